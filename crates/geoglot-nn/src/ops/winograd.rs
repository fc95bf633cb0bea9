//! Winograd's minimal filtering F(2×2, 3×3) on channels-last data (Lavin & Gray 2016, "Fast Algorithms for
//! Convolutional Neural Networks", section 4.1), with the adjoint of each transform for the backward pass.
//!
//! Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A with coefficients 0, ±1, ±½ only, so rounding stays close to the direct sum.
//! The transformed domain has 16 points ("planes"); in each, a plain matrix product over channels remains.

use pulp::Simd;
use rayon::prelude::*;

use super::simd::{kernel, load, store};

/// Points of the transformed domain.
pub const PLANES: usize = 16;

/// Shape of a group of images that share one matrix product.
#[derive(Clone, Copy, Debug)]
pub struct Tiling {
    /// Images in the group.
    pub images: usize,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// Rows of 2×2 output tiles.
    pub rows: usize,
    /// Columns of 2×2 output tiles.
    pub cols: usize,
}

impl Tiling {
    /// Tiles of the group.
    pub fn tiles(&self) -> usize {
        self.images * self.rows * self.cols
    }

    /// Pixels of an image.
    pub fn pixels(&self) -> usize {
        self.height * self.width
    }
}

/// Bᵀ d along one axis.
#[inline(always)]
fn input_line<S: Simd>(simd: S, d: [S::f32s; 4]) -> [S::f32s; 4] {
    [simd.sub_f32s(d[0], d[2]), simd.add_f32s(d[1], d[2]), simd.sub_f32s(d[2], d[1]), simd.sub_f32s(d[1], d[3])]
}

/// The adjoint of [`input_line`].
#[inline(always)]
fn input_line_adjoint<S: Simd>(simd: S, v: [S::f32s; 4]) -> [S::f32s; 4] {
    [
        v[0],
        simd.add_f32s(simd.sub_f32s(v[1], v[2]), v[3]),
        simd.add_f32s(v[1], simd.sub_f32s(v[2], v[0])),
        simd.neg_f32s(v[3]),
    ]
}

/// Aᵀ m along one axis.
#[inline(always)]
fn output_line<S: Simd>(simd: S, m: [S::f32s; 4]) -> [S::f32s; 2] {
    [simd.add_f32s(simd.add_f32s(m[0], m[1]), m[2]), simd.sub_f32s(simd.sub_f32s(m[1], m[2]), m[3])]
}

/// The adjoint of [`output_line`].
#[inline(always)]
fn output_line_adjoint<S: Simd>(simd: S, y: [S::f32s; 2]) -> [S::f32s; 4] {
    [y[0], simd.add_f32s(y[0], y[1]), simd.sub_f32s(y[0], y[1]), simd.neg_f32s(y[1])]
}

/// The four outputs of a tile, row by row, from its 16 points.
#[inline(always)]
pub fn output_tile<S: Simd>(simd: S, m: [[S::f32s; 4]; 4]) -> [S::f32s; 4] {
    let [t0, t1, t2, t3] = m.map_lines(|line| output_line(simd, line));
    let [a, b] = [output_line(simd, [t0[0], t1[0], t2[0], t3[0]]), output_line(simd, [t0[1], t1[1], t2[1], t3[1]])];
    [a[0], b[0], a[1], b[1]]
}

/// The gradient of a tile's 16 points from that of its four outputs.
#[inline(always)]
pub fn output_tile_adjoint<S: Simd>(simd: S, y: [S::f32s; 4]) -> [[S::f32s; 4]; 4] {
    let left = output_line_adjoint(simd, [y[0], y[2]]);
    let right = output_line_adjoint(simd, [y[1], y[3]]);
    [
        output_line_adjoint(simd, [left[0], right[0]]),
        output_line_adjoint(simd, [left[1], right[1]]),
        output_line_adjoint(simd, [left[2], right[2]]),
        output_line_adjoint(simd, [left[3], right[3]]),
    ]
}

/// Applies a function to each of four lines. (`array::map` is not always inlined, which would cost a vector call.)
trait MapLines<T: Copy> {
    fn map_lines<U>(self, f: impl Fn([T; 4]) -> U) -> [U; 4];
}

impl<T: Copy> MapLines<T> for [[T; 4]; 4] {
    #[inline(always)]
    fn map_lines<U>(self, f: impl Fn([T; 4]) -> U) -> [U; 4] {
        [f(self[0]), f(self[1]), f(self[2]), f(self[3])]
    }
}

#[inline(always)]
fn transpose<T: Copy>(m: [[T; 4]; 4]) -> [[T; 4]; 4] {
    [
        [m[0][0], m[1][0], m[2][0], m[3][0]],
        [m[0][1], m[1][1], m[2][1], m[3][1]],
        [m[0][2], m[1][2], m[2][2], m[3][2]],
        [m[0][3], m[1][3], m[2][3], m[3][3]],
    ]
}

/// Splits a buffer of [`PLANES`] equal planes.
#[inline(always)]
pub fn planes(buffer: &[f32]) -> [&[f32]; PLANES] {
    let size = buffer.len() / PLANES;
    std::array::from_fn(|p| &buffer[p * size..(p + 1) * size])
}

/// Splits a buffer of [`PLANES`] equal planes.
#[inline(always)]
pub fn planes_mut(buffer: &mut [f32]) -> [&mut [f32]; PLANES] {
    let size = (buffer.len() / PLANES).max(1);
    let mut parts = buffer.chunks_exact_mut(size);
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

kernel! {
    /// Bᵀ d B for every tile: `x` [images, H, W, C] → `v` [16, tiles, C], with one pixel of zero padding around.
    pub fn input_transform<'a>(simd: S, x: &'a [f32], v: &'a mut [f32], tiling: Tiling, channels: usize) {
        let zeros = vec![0.0f32; channels];
        let v = planes_mut(v);
        let mut tile = 0;
        for image in x.chunks_exact(tiling.pixels() * channels) {
            for row in 0..tiling.rows {
                for col in 0..tiling.cols {
                    let mut pixels = [[&zeros[..]; 4]; 4];
                    for i in 0..4 {
                        for j in 0..4 {
                            if let Some(at) = pixel(&tiling, 2 * row + i, 2 * col + j) {
                                pixels[i][j] = &image[at * channels..(at + 1) * channels];
                            }
                        }
                    }
                    let mut c = 0;
                    while c < channels {
                        let mut lines = [[simd.splat_f32s(0.0); 4]; 4];
                        for i in 0..4 {
                            for j in 0..4 {
                                lines[i][j] = load(simd, &pixels[i][j][c..]);
                            }
                        }
                        let points = transpose(lines.map_lines(|line| input_line(simd, line)))
                            .map_lines(|line| input_line(simd, line));
                        for i in 0..4 {
                            for j in 0..4 {
                                // `points` is transposed by the second pass.
                                let to = &mut v[i * 4 + j][tile * channels + c..(tile + 1) * channels];
                                store(simd, to, points[j][i]);
                            }
                        }
                        c += S::F32_LANES;
                    }
                    tile += 1;
                }
            }
        }
    }
}

kernel! {
    /// Adds B v Bᵀ of every tile to the gradient of the input: `dv` [16, tiles, C] → `dx` [images, H, W, C].
    pub fn input_adjoint<'a>(simd: S, dv: &'a [f32], dx: &'a mut [f32], tiling: Tiling, channels: usize) {
        let dv = planes(dv);
        let mut tile = 0;
        for image in dx.chunks_exact_mut(tiling.pixels() * channels) {
            for row in 0..tiling.rows {
                for col in 0..tiling.cols {
                    let mut c = 0;
                    while c < channels {
                        let mut lines = [[simd.splat_f32s(0.0); 4]; 4];
                        for i in 0..4 {
                            for j in 0..4 {
                                let from = &dv[i * 4 + j][tile * channels + c..(tile + 1) * channels];
                                lines[i][j] = load(simd, from);
                            }
                        }
                        let points = transpose(lines.map_lines(|line| input_line_adjoint(simd, line)))
                            .map_lines(|line| input_line_adjoint(simd, line));
                        for i in 0..4 {
                            for j in 0..4 {
                                if let Some(at) = pixel(&tiling, 2 * row + i, 2 * col + j) {
                                    let to = &mut image[at * channels + c..(at + 1) * channels];
                                    let sum = simd.add_f32s(load(simd, to), points[j][i]);
                                    store(simd, to, sum);
                                }
                            }
                        }
                        c += S::F32_LANES;
                    }
                    tile += 1;
                }
            }
        }
    }
}

kernel! {
    /// Aᵀ m A for every tile: `m` [16, tiles, C] → `y` [images, H, W, C].
    pub fn output_transform<'a>(simd: S, m: &'a [f32], y: &'a mut [f32], tiling: Tiling, channels: usize) {
        let m = planes(m);
        let mut tile = 0;
        for image in y.chunks_exact_mut(tiling.pixels() * channels) {
            for row in 0..tiling.rows {
                for col in 0..tiling.cols {
                    let mut c = 0;
                    while c < channels {
                        let at = tile * channels + c..(tile + 1) * channels;
                        let values = output_tile(simd, load_tile(simd, &m, at));
                        for i in 0..2 {
                            for j in 0..2 {
                                let (r, s) = (2 * row + i, 2 * col + j);
                                if r < tiling.height && s < tiling.width {
                                    let at = r * tiling.width + s;
                                    store(simd, &mut image[at * channels + c..(at + 1) * channels], values[2 * i + j]);
                                }
                            }
                        }
                        c += S::F32_LANES;
                    }
                    tile += 1;
                }
            }
        }
    }
}

/// Loads one vector from each plane at the same place.
#[inline(always)]
pub fn load_tile<S: Simd>(simd: S, planes: &[&[f32]; PLANES], at: std::ops::Range<usize>) -> [[S::f32s; 4]; 4] {
    let mut lines = [[simd.splat_f32s(0.0); 4]; 4];
    for i in 0..4 {
        for j in 0..4 {
            lines[i][j] = load(simd, &planes[i * 4 + j][at.clone()]);
        }
    }
    lines
}

/// Index of the pixel at padded row and column (padding 1), `None` in the padding.
#[inline(always)]
fn pixel(tiling: &Tiling, row: usize, col: usize) -> Option<usize> {
    let inside = (1..=tiling.height).contains(&row) && (1..=tiling.width).contains(&col);
    inside.then(|| (row - 1) * tiling.width + col - 1)
}

/// Output channels handled together when filters are rearranged.
const FILTERS: usize = 16;

kernel! {
    /// G g Gᵀ for the filters of input channels `first..`, one row of `out` channels per input channel and plane.
    fn filter_rows<'a>(
        simd: S,
        w: &'a [f32],
        scale: Option<&'a [f32]>,
        channels: usize,
        out: usize,
        first: usize,
        u: Vec<&'a mut [f32]>,
    ) {
        let mut u = u;
        let half = simd.splat_f32s(0.5);
        let rows = u[0].len() / out;
        for row in 0..rows {
            for block in (0..out).step_by(FILTERS) {
                let count = FILTERS.min(out - block);
                let mut taps = [[0.0f32; FILTERS]; 9];
                for f in 0..count {
                    let factor = scale.map_or(1.0, |s| s[block + f]);
                    let at = ((block + f) * channels + first + row) * 9;
                    for (tap, &value) in taps.iter_mut().zip(&w[at..at + 9]) {
                        tap[f] = value * factor;
                    }
                }
                let mut c = 0;
                while c < count {
                    let mut g = [[simd.splat_f32s(0.0); 3]; 3];
                    for k in 0..9 {
                        g[k / 3][k % 3] = load(simd, &taps[k][c..]);
                    }
                    let cols = [
                        filter_line(simd, half, [g[0][0], g[1][0], g[2][0]]),
                        filter_line(simd, half, [g[0][1], g[1][1], g[2][1]]),
                        filter_line(simd, half, [g[0][2], g[1][2], g[2][2]]),
                    ];
                    for i in 0..4 {
                        let line = filter_line(simd, half, [cols[0][i], cols[1][i], cols[2][i]]);
                        for j in 0..4 {
                            let to = &mut u[i * 4 + j][row * out + block + c..row * out + block + count];
                            store(simd, to, line[j]);
                        }
                    }
                    c += S::F32_LANES;
                }
            }
        }
    }
}

/// G g along one axis.
#[inline(always)]
fn filter_line<S: Simd>(simd: S, half: S::f32s, g: [S::f32s; 3]) -> [S::f32s; 4] {
    let ends = simd.mul_f32s(half, simd.add_f32s(g[0], g[2]));
    let middle = simd.mul_f32s(half, g[1]);
    [g[0], simd.add_f32s(ends, middle), simd.sub_f32s(ends, middle), g[2]]
}

/// The adjoint of [`filter_line`].
#[inline(always)]
fn filter_line_adjoint<S: Simd>(simd: S, half: S::f32s, u: [S::f32s; 4]) -> [S::f32s; 3] {
    let sum = simd.mul_f32s(half, simd.add_f32s(u[1], u[2]));
    let difference = simd.mul_f32s(half, simd.sub_f32s(u[1], u[2]));
    [simd.add_f32s(u[0], sum), difference, simd.add_f32s(u[3], sum)]
}

/// G g Gᵀ of all filters: `w` [C_out, C_in, 3, 3] (each output channel times `scale`) → `u` [16, C_in, C_out].
pub fn filter_transform(w: &[f32], scale: Option<&[f32]>, channels: usize, out: usize, u: &mut [f32]) {
    // Tasks own the same rows of all planes, so that the gathered taps are used for all 16 points at once.
    let rows = channels.div_ceil(8).max(1);
    let mut tasks: Vec<Vec<&mut [f32]>> = Vec::new();
    for plane in planes_mut(u) {
        for (index, part) in plane.chunks_mut(rows * out).enumerate() {
            match tasks.get_mut(index) {
                Some(task) => task.push(part),
                None => tasks.push(vec![part]),
            }
        }
    }
    tasks.into_par_iter().enumerate().for_each(|(index, task)| {
        filter_rows(w, scale, channels, out, index * rows, task);
    });
}

kernel! {
    /// Gᵀ u G for the filters of output channels `first..`.
    fn filter_block_adjoint<'a>(simd: S, du: &'a [f32], channels: usize, out: usize, first: usize, dw: &'a mut [f32]) {
        let half = simd.splat_f32s(0.5);
        let du = planes(du);
        let count = dw.len() / (channels * 9);
        for channel in 0..channels {
            let mut taps = [[0.0f32; FILTERS]; 9];
            let mut c = 0;
            while c < count {
                let at = channel * out + first + c..channel * out + first + count;
                let u = load_tile(simd, &du, at);
                let mut cols = [[simd.splat_f32s(0.0); 4]; 3];
                for j in 0..4 {
                    let line = filter_line_adjoint(simd, half, [u[0][j], u[1][j], u[2][j], u[3][j]]);
                    for i in 0..3 {
                        cols[i][j] = line[i];
                    }
                }
                for i in 0..3 {
                    let line = filter_line_adjoint(simd, half, cols[i]);
                    for j in 0..3 {
                        store(simd, &mut taps[i * 3 + j][c..], line[j]);
                    }
                }
                c += S::F32_LANES;
            }
            for f in 0..count {
                let at = (f * channels + channel) * 9;
                for (value, tap) in dw[at..at + 9].iter_mut().zip(&taps) {
                    *value = tap[f];
                }
            }
        }
    }
}

/// Gᵀ u G of all filters: `du` [16, C_in, C_out] → `dw` [C_out, C_in, 3, 3].
pub fn filter_adjoint(du: &[f32], channels: usize, out: usize, dw: &mut [f32]) {
    dw.par_chunks_mut(FILTERS * channels * 9)
        .enumerate()
        .for_each(|(block, dw)| filter_block_adjoint(du, channels, out, block * FILTERS, dw));
}
