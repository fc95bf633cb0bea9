//! The loops of the block outside the matrix products: batch statistics, normalisation, ReLU, pooling, and their
//! adjoints, on channels-last slices.

use pulp::Simd;

use super::simd::{kernel, load, store};
use super::winograd::{self, Tiling, planes, planes_mut};

kernel! {
    /// Mean and sum of squared deviations of each channel: `y` [positions, F].
    pub fn channel_moments<'a>(simd: S, y: &'a [f32], mean: &'a mut [f32], m2: &'a mut [f32]) {
        let filters = mean.len();
        let count = simd.splat_f32s((y.len() / filters) as f32);
        let mut c = 0;
        while c < filters {
            // Four accumulators hide the latency of an addition.
            let mut sums = [simd.splat_f32s(0.0); 4];
            for rows in y.chunks(4 * filters) {
                for (sum, row) in sums.iter_mut().zip(rows.chunks_exact(filters)) {
                    *sum = simd.add_f32s(*sum, load(simd, &row[c..]));
                }
            }
            let sum = simd.add_f32s(simd.add_f32s(sums[0], sums[1]), simd.add_f32s(sums[2], sums[3]));
            let centre = simd.div_f32s(sum, count);
            let mut sums = [simd.splat_f32s(0.0); 4];
            for rows in y.chunks(4 * filters) {
                for (sum, row) in sums.iter_mut().zip(rows.chunks_exact(filters)) {
                    let deviation = simd.sub_f32s(load(simd, &row[c..]), centre);
                    *sum = simd.mul_add_e_f32s(deviation, deviation, *sum);
                }
            }
            let sum = simd.add_f32s(simd.add_f32s(sums[0], sums[1]), simd.add_f32s(sums[2], sums[3]));
            store(simd, &mut mean[c..], centre);
            store(simd, &mut m2[c..], sum);
            c += S::F32_LANES;
        }
    }
}

/// Offsets of the four pixels of a pooling window in an image of `filters` channels.
#[inline(always)]
fn window(tiling: &Tiling, row: usize, col: usize, filters: usize) -> [usize; 4] {
    let first = (2 * row * tiling.width + 2 * col) * filters;
    let below = first + tiling.width * filters;
    [first, first + filters, below, below + filters]
}

/// max(0, z₀, z₁, z₂, z₃), NaN if any z is NaN or infinite: a diverged network must not look healthy.
#[inline(always)]
fn relu_max<S: Simd>(simd: S, z: [S::f32s; 4]) -> S::f32s {
    let best = simd.max_f32s(simd.max_f32s(z[0], z[1]), simd.max_f32s(z[2], z[3]));
    let best = simd.max_f32s(best, simd.splat_f32s(0.0));
    let sum = simd.add_f32s(simd.add_f32s(z[0], z[1]), simd.add_f32s(z[2], z[3]));
    simd.add_f32s(best, simd.sub_f32s(sum, sum))
}

kernel! {
    /// max(0, scale·y + shift) over 2×2 windows: `y` [images, H, W, F] → `out` [images, rows, cols, F].
    pub fn normalise_relu_pool<'a>(
        simd: S,
        y: &'a [f32],
        scale: &'a [f32],
        shift: &'a [f32],
        out: &'a mut [f32],
        tiling: Tiling,
    ) {
        let filters = scale.len();
        let mut pixels = out.chunks_exact_mut(filters);
        for image in y.chunks_exact(tiling.pixels() * filters) {
            for row in 0..tiling.rows {
                for col in 0..tiling.cols {
                    let at = window(&tiling, row, col, filters);
                    let Some(out) = pixels.next() else { return };
                    let mut c = 0;
                    while c < filters {
                        let (a, b) = (load(simd, &scale[c..]), load(simd, &shift[c..]));
                        let mut z = [a; 4];
                        for k in 0..4 {
                            let y = load(simd, &image[at[k] + c..at[k] + filters]);
                            z[k] = simd.mul_add_e_f32s(y, a, b);
                        }
                        store(simd, &mut out[c..], relu_max(simd, z));
                        c += S::F32_LANES;
                    }
                }
            }
        }
    }
}

/// The pooling winner of a window: normalised maximum, the raw value under it, and which pixel it is.
///
/// Of equal maxima the first wins, as in PyTorch.
#[inline(always)]
fn winner<S: Simd>(simd: S, y: &[S::f32s; 4], scale: S::f32s, shift: S::f32s) -> (S::f32s, S::f32s, S::f32s) {
    let mut best = simd.mul_add_e_f32s(y[0], scale, shift);
    let mut raw = y[0];
    let mut index = simd.splat_f32s(0.0);
    for k in 1..4 {
        let z = simd.mul_add_e_f32s(y[k], scale, shift);
        let higher = simd.greater_than_f32s(z, best);
        best = simd.select_f32s(higher, z, best);
        raw = simd.select_f32s(higher, y[k], raw);
        index = simd.select_f32s(higher, simd.splat_f32s(k as f32), index);
    }
    (best, raw, index)
}

kernel! {
    /// Sums of the gradient reaching the normalisation, plain (`d_beta`) and times y − mean (`d_gamma`).
    pub fn gradient_sums<'a>(
        simd: S,
        y: &'a [f32],
        grad: &'a [f32],
        scale: &'a [f32],
        shift: &'a [f32],
        mean: &'a [f32],
        d_gamma: &'a mut [f32],
        d_beta: &'a mut [f32],
        tiling: Tiling,
    ) {
        let filters = scale.len();
        let zero = simd.splat_f32s(0.0);
        let mut grads = grad.chunks_exact(filters);
        for image in y.chunks_exact(tiling.pixels() * filters) {
            for row in 0..tiling.rows {
                for col in 0..tiling.cols {
                    let at = window(&tiling, row, col, filters);
                    let Some(grad) = grads.next() else { return };
                    let mut c = 0;
                    while c < filters {
                        let mut values = [zero; 4];
                        for k in 0..4 {
                            values[k] = load(simd, &image[at[k] + c..at[k] + filters]);
                        }
                        let (best, raw, _) =
                            winner(simd, &values, load(simd, &scale[c..]), load(simd, &shift[c..]));
                        let passed = simd.greater_than_f32s(best, zero);
                        let g = simd.select_f32s(passed, load(simd, &grad[c..]), zero);
                        let centred = simd.sub_f32s(raw, load(simd, &mean[c..]));
                        let dg = simd.mul_add_e_f32s(g, centred, load(simd, &d_gamma[c..]));
                        store(simd, &mut d_gamma[c..], dg);
                        let db = simd.add_f32s(g, load(simd, &d_beta[c..]));
                        store(simd, &mut d_beta[c..], db);
                        c += S::F32_LANES;
                    }
                }
            }
        }
    }
}

kernel! {
    /// Gradient of the convolution's output, straight into the transformed domain: → `dm` [16, tiles, F].
    pub fn output_adjoint<'a>(
        simd: S,
        y: &'a [f32],
        grad: &'a [f32],
        scale: &'a [f32],
        shift: &'a [f32],
        slope: &'a [f32],
        offset: &'a [f32],
        dm: &'a mut [f32],
        tiling: Tiling,
    ) {
        let filters = scale.len();
        let zero = simd.splat_f32s(0.0);
        let dm = planes_mut(dm);
        let mut grads = grad.chunks_exact(filters);
        let mut tile = 0;
        for image in y.chunks_exact(tiling.pixels() * filters) {
            for row in 0..tiling.rows {
                for col in 0..tiling.cols {
                    let at = window(&tiling, row, col, filters);
                    // Tiles on an odd last row or column lie outside every pooling window.
                    let right = 2 * col + 1 < tiling.width;
                    let below = 2 * row + 1 < tiling.height;
                    let inside = [true, right, below, right && below];
                    let grad = if right && below { grads.next() } else { None };
                    let mut c = 0;
                    while c < filters {
                        let a = load(simd, &scale[c..]);
                        let (m, b) = (load(simd, &slope[c..]), load(simd, &offset[c..]));
                        let mut values = [zero; 4];
                        let mut dy = [zero; 4];
                        for k in 0..4 {
                            if inside[k] {
                                values[k] = load(simd, &image[at[k] + c..at[k] + filters]);
                                dy[k] = simd.mul_add_e_f32s(values[k], m, b);
                            }
                        }
                        if let Some(grad) = grad {
                            let (best, _, index) = winner(simd, &values, a, load(simd, &shift[c..]));
                            let passed = simd.greater_than_f32s(best, zero);
                            let g = simd.select_f32s(passed, load(simd, &grad[c..]), zero);
                            let g = simd.mul_f32s(g, a);
                            for k in 0..4 {
                                let here = simd.equal_f32s(index, simd.splat_f32s(k as f32));
                                dy[k] = simd.add_f32s(dy[k], simd.select_f32s(here, g, zero));
                            }
                        }
                        let points = winograd::output_tile_adjoint(simd, dy);
                        for i in 0..4 {
                            for j in 0..4 {
                                let to = &mut dm[i * 4 + j][tile * filters + c..(tile + 1) * filters];
                                store(simd, to, points[i][j]);
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
    /// max(0, shift + the largest output of each tile): `m` [16, tiles, F] → `out` [tiles, F].
    pub fn pool_tiles<'a>(simd: S, m: &'a [f32], shift: &'a [f32], out: &'a mut [f32], tiles: usize) {
        let filters = shift.len();
        let m = planes(m);
        for tile in 0..tiles {
            let mut c = 0;
            while c < filters {
                let at = tile * filters + c..(tile + 1) * filters;
                let mut z = winograd::output_tile(simd, winograd::load_tile(simd, &m, at.clone()));
                let shift = load(simd, &shift[c..]);
                for z in &mut z {
                    *z = simd.add_f32s(*z, shift);
                }
                store(simd, &mut out[at], relu_max(simd, z));
                c += S::F32_LANES;
            }
        }
    }
}
