//! Matrix products with packed right sides and the work around them done while a tile is in cache.
//!
//! The library that burn's CPU backend multiplies with packs both sides on every call. Weights never change, so they are packed once
//! here; bias, activation and residual are applied to a tile as it leaves the registers. Blocking follows Goto & van de Geijn 2008.

use pulp::{Simd, WithSimd};

use crate::ops::math::activate;
use crate::transformer::Activation;

/// Depth of a pass: a left block and a right panel of this depth stay in the second-level cache.
const DEPTH: usize = 768;

/// A right side `[k, n]`, in panels of `nr` columns: `[n / nr, k, nr]`, zeros beyond n.
#[derive(Debug, Clone, Default)]
pub struct Packed {
    k: usize,
    n: usize,
    nr: usize,
    data: Vec<f32>,
}

/// Columns of a panel: two vectors of the processor at hand.
pub fn panel_width() -> usize {
    struct Lanes;
    impl WithSimd for Lanes {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }
    2 * pulp::Arch::new().dispatch(Lanes)
}

impl Packed {
    /// Packs rows that `row(i)` gives, each of `n` values.
    pub fn rows<'a>(&mut self, k: usize, n: usize, nr: usize, row: impl Fn(usize) -> &'a [f32]) {
        self.reset(k, n, nr);
        for i in 0..k {
            for (panel, part) in row(i)[..n].chunks(nr).enumerate() {
                let at = (panel * k + i) * nr;
                self.data[at..at + part.len()].copy_from_slice(part);
            }
        }
    }

    /// Packs columns that `column(j)` gives, each of `k` values.
    pub fn columns<'a>(&mut self, k: usize, n: usize, nr: usize, column: impl Fn(usize) -> &'a [f32]) {
        self.reset(k, n, nr);
        for j in 0..n {
            let at = j / nr * k * nr + j % nr;
            for (i, v) in column(j)[..k].iter().enumerate() {
                self.data[at + i * nr] = *v;
            }
        }
    }

    fn reset(&mut self, k: usize, n: usize, nr: usize) {
        (self.k, self.n, self.nr) = (k, n, nr);
        self.data.clear();
        self.data.resize(n.div_ceil(nr) * k * nr, 0.0);
    }
}

/// out `[rows, n]` = act(left `[rows, k]` · right + bias), or out += left · right + bias.
pub struct Product<'a, L> {
    /// Rows of the left side.
    pub rows: usize,
    /// Copies `left[row, from..from + to.len()]` to `to`.
    pub left: L,
    /// The right side.
    pub right: &'a Packed,
    /// Added to every row.
    pub bias: Option<&'a [f32]>,
    /// Whether the product is added to what `out` holds.
    pub add: bool,
    /// Applied last.
    pub activation: Option<Activation>,
    /// Result; rows lie `stride` apart.
    pub out: &'a mut [f32],
    /// Distance of rows of `out`.
    pub stride: usize,
    /// Work space.
    pub scratch: &'a mut Vec<f32>,
}

impl<L: Fn(usize, usize, &mut [f32])> Product<'_, L> {
    /// Computes it, on this thread.
    pub fn run(self) {
        assert!(self.rows == 0 || self.out.len() >= (self.rows - 1) * self.stride + self.right.n, "result too short");
        pulp::Arch::new().dispatch(self);
    }

    #[inline(always)]
    fn tiles<S: Simd, const MR: usize>(self, simd: S) {
        let Packed { k, n, nr, data } = self.right;
        let (k, n, nr) = (*k, *n, *nr);
        assert_eq!(nr, 2 * S::F32_LANES);
        let blocks = self.rows.div_ceil(MR);
        let depth = k.min(DEPTH);
        self.scratch.clear();
        self.scratch.resize(blocks * MR * depth + MR * depth, 0.0);
        let (packed, rows) = self.scratch.split_at_mut(blocks * MR * depth);
        for k0 in (0..k).step_by(DEPTH) {
            let depth = DEPTH.min(k - k0);
            let (first, last) = (k0 == 0, k0 + depth == k);
            for block in 0..blocks {
                let have = MR.min(self.rows - block * MR);
                for r in 0..MR {
                    let row = &mut rows[r * depth..(r + 1) * depth];
                    if r < have { (self.left)(block * MR + r, k0, row) } else { row.fill(0.0) }
                }
                interleave::<MR>(rows, depth, &mut packed[block * MR * depth..(block + 1) * MR * depth]);
            }
            for (panel, j) in (0..n).step_by(nr).enumerate() {
                let right = &data[(panel * k + k0) * nr..(panel * k + k0 + depth) * nr];
                let columns = nr.min(n - j);
                for block in 0..blocks {
                    let left = &packed[block * MR * depth..(block + 1) * MR * depth];
                    let sums = tile::<S, MR>(simd, left, right);
                    let have = MR.min(self.rows - block * MR);
                    for (r, sums) in sums.iter().enumerate().take(have) {
                        let at = (block * MR + r) * self.stride + j;
                        let out = &mut self.out[at..at + columns];
                        let bias = self.bias.filter(|_| last).map(|b| &b[j..j + columns]);
                        finish(simd, sums, out, bias, self.add || !first);
                        if let (true, Some(activation)) = (last, self.activation) {
                            activate(out, activation);
                        }
                    }
                }
            }
        }
    }
}

impl<L: Fn(usize, usize, &mut [f32])> WithSimd for Product<'_, L> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // As many rows as the registers hold sums for: 32 registers of 16 lanes, or 16 of 8 or 4.
        if S::F32_LANES >= 16 { self.tiles::<S, 12>(simd) } else { self.tiles::<S, 6>(simd) }
    }
}

/// Rows `[MR, depth]` to `[depth, MR]`.
#[inline(always)]
fn interleave<const MR: usize>(rows: &[f32], depth: usize, out: &mut [f32]) {
    let rows: [&[f32]; MR] = std::array::from_fn(|r| &rows[r * depth..(r + 1) * depth]);
    for (k, out) in out.chunks_exact_mut(MR).enumerate() {
        for r in 0..MR {
            out[r] = rows[r][k];
        }
    }
}

/// One tile of sums: left `[depth, MR]`, right `[depth, 2 vectors]`.
#[inline(always)]
fn tile<S: Simd, const MR: usize>(simd: S, left: &[f32], right: &[f32]) -> [[S::f32s; 2]; MR] {
    let mut sums = [[simd.splat_f32s(0.0); 2]; MR];
    let (right, _) = S::as_simd_f32s(right);
    for (a, b) in left.chunks_exact(MR).zip(right.chunks_exact(2)) {
        for (sums, a) in sums.iter_mut().zip(a) {
            let a = simd.splat_f32s(*a);
            sums[0] = simd.mul_add_e_f32s(a, b[0], sums[0]);
            sums[1] = simd.mul_add_e_f32s(a, b[1], sums[1]);
        }
    }
    sums
}

/// Writes one row of a tile.
#[inline(always)]
fn finish<S: Simd>(simd: S, sums: &[S::f32s; 2], out: &mut [f32], bias: Option<&[f32]>, add: bool) {
    let width = S::F32_LANES;
    for (half, sum) in sums.iter().enumerate() {
        let from = half * width;
        if from >= out.len() {
            return;
        }
        let mut value = *sum;
        let to = from + width.min(out.len() - from);
        if let Some(bias) = bias {
            value = simd.add_f32s(value, load(simd, &bias[from..to]));
        }
        if add {
            value = simd.add_f32s(value, load(simd, &out[from..to]));
        }
        store(simd, &mut out[from..to], value);
    }
}

#[inline(always)]
fn load<S: Simd>(simd: S, from: &[f32]) -> S::f32s {
    match S::as_simd_f32s(from) {
        ([first, ..], _) => *first,
        ([], tail) => simd.partial_load_f32s(tail),
    }
}

#[inline(always)]
fn store<S: Simd>(simd: S, to: &mut [f32], value: S::f32s) {
    match S::as_mut_simd_f32s(to) {
        ([first, ..], _) => *first = value,
        ([], tail) => simd.partial_store_f32s(tail, value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_all_shapes() {
        let nr = panel_width();
        for (m, k, n) in [(1, 1, 1), (12, 768, 32), (13, 5, 33), (25, 900, 70), (7, 1600, 3)] {
            let left: Vec<f32> = (0..m * k).map(|i| ((i * 7 % 23) as f32 - 11.0) / 16.0).collect();
            let right: Vec<f32> = (0..k * n).map(|i| ((i * 5 % 19) as f32 - 9.0) / 16.0).collect();
            let bias: Vec<f32> = (0..n).map(|i| i as f32).collect();
            let mut packed = Packed::default();
            packed.rows(k, n, nr, |i| &right[i * n..(i + 1) * n]);
            let transposed: Vec<f32> = (0..n * k).map(|i| right[i % k * n + i / k]).collect();
            let mut other = Packed::default();
            other.columns(k, n, nr, |j| &transposed[j * k..(j + 1) * k]);
            assert_eq!(packed.data, other.data);
            for add in [false, true] {
                let stride = n + 2;
                let mut out = vec![0.5f32; m * stride];
                Product {
                    rows: m,
                    left: |row: usize, from: usize, to: &mut [f32]| {
                        to.copy_from_slice(&left[row * k + from..row * k + from + to.len()]);
                    },
                    right: &packed,
                    bias: Some(&bias),
                    add,
                    activation: Some(Activation::Relu),
                    out: &mut out,
                    stride,
                    scratch: &mut Vec::new(),
                }
                .run();
                for i in 0..m {
                    for j in 0..n {
                        let exact: f64 = (0..k).map(|x| f64::from(left[i * k + x]) * f64::from(right[x * n + j])).sum();
                        let expected = (exact as f32 + bias[j] + if add { 0.5 } else { 0.0 }).max(0.0);
                        let found = out[i * stride + j];
                        assert!((found - expected).abs() < 1e-3, "{m}×{k}×{n} at {i},{j}: {found} {expected}");
                    }
                    assert!(out[i * stride + n..(i + 1) * stride].iter().all(|v| *v == 0.5), "wrote beyond a row");
                }
            }
        }
    }
}
