//! The fused block on plain channels-last slices: Conv3x3 (pad 1) → batch norm → ReLU → MaxPool2x2.

use rayon::prelude::*;

use super::matrix::{Matrix, product};
use super::pointwise::{channel_moments, gradient_sums, normalise_relu_pool, output_adjoint, pool_tiles};
use super::scratch::Buffer;
use super::winograd::{self, PLANES, Tiling, planes, planes_mut};

/// Tiles that share one matrix product: enough rows to fill the kernel, few enough to stay in the second-level cache.
const GROUP_TILES: usize = 72;

/// Groups whose transformed data are kept together for the weight gradient (they fit the third-level cache).
const GROUPS_AT_ONCE: usize = 8;

/// Sizes of a block's input and output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Images B.
    pub batch: usize,
    /// Input channels.
    pub channels: usize,
    /// Output channels.
    pub filters: usize,
    /// Rows of the input.
    pub height: usize,
    /// Columns of the input.
    pub width: usize,
}

impl Shape {
    /// Rows and columns after pooling.
    pub fn pooled(&self) -> (usize, usize) {
        (self.height / 2, self.width / 2)
    }

    /// Floats of one input image.
    pub fn image(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// Floats of one image after the convolution.
    fn activation(&self) -> usize {
        self.height * self.width * self.filters
    }

    /// Floats of one output image.
    pub fn output(&self) -> usize {
        let (rows, cols) = self.pooled();
        rows * cols * self.filters
    }

    /// Floats of the transformed filters.
    fn transformed(&self) -> usize {
        PLANES * self.channels * self.filters
    }

    /// A group of `images`; `whole` also covers the odd last row and column, which pooling drops.
    fn tiling(&self, images: usize, whole: bool) -> Tiling {
        let (rows, cols) = match whole {
            true => (self.height.div_ceil(2), self.width.div_ceil(2)),
            false => self.pooled(),
        };
        Tiling { images, height: self.height, width: self.width, rows, cols }
    }

    /// Images of a group. It depends on the shape only, so results do not depend on the number of threads.
    fn group(&self) -> usize {
        GROUP_TILES.div_ceil(self.tiling(1, true).tiles()).min(self.batch).max(1)
    }
}

/// What the backward pass needs of a forward pass.
#[derive(Debug)]
pub struct Saved {
    shape: Shape,
    /// Convolution output without bias, [B, H, W, F].
    y: Buffer,
    /// Batch mean per channel, without the convolution's bias.
    pub mean: Vec<f32>,
    /// Biased batch variance per channel.
    pub variance: Vec<f32>,
    inverse_std: Vec<f32>,
    /// Transformed filters, [16, C, F].
    u: Buffer,
}

/// Gradients of a block.
pub struct Gradients {
    /// Of the input, [B, H, W, C], if asked for.
    pub x: Option<Vec<f32>>,
    /// Of the filters, [F, C, 3, 3].
    pub weight: Vec<f32>,
    /// Of the normalisation's scale.
    pub gamma: Vec<f32>,
    /// Of the normalisation's shift.
    pub beta: Vec<f32>,
}

/// Forward pass with batch statistics: `x` [B, H, W, C], `weight` [F, C, 3, 3] → [B, H/2, W/2, F].
pub fn forward_train(
    shape: Shape,
    x: &[f32],
    weight: &[f32],
    gamma: &[f32],
    beta: &[f32],
    epsilon: f32,
) -> (Vec<f32>, Saved) {
    let filters = shape.filters;
    let mut u = Buffer::take(shape.transformed());
    winograd::filter_transform(weight, None, shape.channels, filters, &mut u);

    let mut y = Buffer::take(shape.batch * shape.activation());
    let group = shape.group();
    let moments: Vec<(usize, Vec<f32>, Vec<f32>)> = y
        .par_chunks_mut(group * shape.activation())
        .zip(x.par_chunks(group * shape.image()))
        .map(|(y, x)| {
            let tiling = shape.tiling(y.len() / shape.activation(), true);
            let m = convolve(shape, tiling, x, &u);
            winograd::output_transform(&m, y, tiling, filters);
            let (mut mean, mut m2) = (vec![0.0; filters], vec![0.0; filters]);
            channel_moments(y, &mut mean, &mut m2);
            (y.len() / filters, mean, m2)
        })
        .collect();
    let (mean, variance) = merge_moments(&moments, filters);

    let inverse_std: Vec<f32> = variance.iter().map(|v| 1.0 / (v + epsilon).sqrt()).collect();
    let (scale, shift) = affine(gamma, beta, &mean, &inverse_std);
    let mut out = vec![0.0; shape.batch * shape.output()];
    if shape.output() > 0 {
        out.par_chunks_mut(group * shape.output()).zip(y.par_chunks(group * shape.activation())).for_each(
            |(out, y)| {
                normalise_relu_pool(y, &scale, &shift, out, shape.tiling(out.len() / shape.output(), false));
            },
        );
    }
    let saved = Saved { shape, y, mean, variance, inverse_std, u };
    (out, saved)
}

/// Forward pass with given statistics folded into the filters: z = `scale`·conv(x) + `shift`, ReLU, pool.
pub fn forward_eval(shape: Shape, x: &[f32], weight: &[f32], scale: &[f32], shift: &[f32]) -> Vec<f32> {
    let mut u = Buffer::take(shape.transformed());
    winograd::filter_transform(weight, Some(scale), shape.channels, shape.filters, &mut u);
    let mut out = vec![0.0; shape.batch * shape.output()];
    if shape.output() == 0 {
        return out;
    }
    let group = shape.group();
    out.par_chunks_mut(group * shape.output()).zip(x.par_chunks(group * shape.image())).for_each(|(out, x)| {
        let tiling = shape.tiling(out.len() / shape.output(), false);
        let m = convolve(shape, tiling, x, &u);
        pool_tiles(&m, shift, out, tiling.tiles());
    });
    out
}

/// The 16 products of a group: `x` [images, H, W, C] → [16, tiles, F].
fn convolve(shape: Shape, tiling: Tiling, x: &[f32], u: &[f32]) -> Buffer {
    let tiles = tiling.tiles();
    let mut v = Buffer::take(PLANES * tiles * shape.channels);
    let mut m = Buffer::take(PLANES * tiles * shape.filters);
    winograd::input_transform(x, &mut v, tiling, shape.channels);
    let (v, u) = (planes(&v), planes(u));
    for (plane, m) in planes_mut(&mut m).into_iter().enumerate() {
        let v = Matrix::new(v[plane], tiles, shape.channels);
        let u = Matrix::new(u[plane], shape.channels, shape.filters);
        product(v, u, m, false);
    }
    m
}

/// Backward pass: `grad` [B, H/2, W/2, F] is the gradient of the output.
pub fn backward(saved: &Saved, x: &[f32], gamma: &[f32], beta: &[f32], grad: &[f32], input_grad: bool) -> Gradients {
    let Shape { batch, channels, filters, .. } = saved.shape;
    let shape = saved.shape;
    let group = shape.group();
    let (scale, shift) = affine(gamma, beta, &saved.mean, &saved.inverse_std);

    // Sums over the batch first: batch norm's gradient needs them everywhere.
    let (mut d_gamma, mut d_beta) = (vec![0.0f64; filters], vec![0.0f64; filters]);
    if shape.output() > 0 {
        let parts: Vec<(Vec<f32>, Vec<f32>)> = grad
            .par_chunks(group * shape.output())
            .zip(saved.y.par_chunks(group * shape.activation()))
            .map(|(grad, y)| {
                let tiling = shape.tiling(grad.len() / shape.output(), false);
                let (mut dg, mut db) = (vec![0.0; filters], vec![0.0; filters]);
                gradient_sums(y, grad, &scale, &shift, &saved.mean, &mut dg, &mut db, tiling);
                (dg, db)
            })
            .collect();
        for (dg, db) in &parts {
            for f in 0..filters {
                d_gamma[f] += f64::from(dg[f]) * f64::from(saved.inverse_std[f]);
                d_beta[f] += f64::from(db[f]);
            }
        }
    }
    // dy = scale·dz + offset + slope·y, with the two means of batch norm's gradient folded in.
    let n = (batch * shape.height * shape.width) as f64;
    let slope: Vec<f32> = (0..filters)
        .map(|f| (-f64::from(scale[f]) * f64::from(saved.inverse_std[f]) * d_gamma[f] / n) as f32)
        .collect();
    let offset: Vec<f32> = (0..filters)
        .map(|f| (-f64::from(scale[f]) * d_beta[f] / n - f64::from(slope[f]) * f64::from(saved.mean[f])) as f32)
        .collect();

    let group_tiles = shape.tiling(group, true).tiles();
    let (v_size, m_size) = (PLANES * group_tiles * channels, PLANES * group_tiles * filters);
    let groups = batch.div_ceil(group).min(GROUPS_AT_ONCE);
    let mut v = Buffer::take(groups * v_size);
    let mut dm = Buffer::take(groups * m_size);
    let mut du = Buffer::take(shape.transformed());
    let mut dx = input_grad.then(|| vec![0.0f32; batch * shape.image()]);

    for first in (0..batch).step_by(groups * group) {
        let images = (groups * group).min(batch - first);
        let x = &x[first * shape.image()..][..images * shape.image()];
        let y = &saved.y[first * shape.activation()..][..images * shape.activation()];
        let grad = &grad[first * shape.output()..][..images * shape.output()];
        let outputs = group * shape.output();
        let dx_parts: Vec<Option<&mut [f32]>> = match &mut dx {
            Some(dx) => dx[first * shape.image()..][..images * shape.image()]
                .chunks_mut(group * shape.image())
                .map(Some)
                .collect(),
            None => (0..images.div_ceil(group)).map(|_| None).collect(),
        };
        x.par_chunks(group * shape.image())
            .zip(y.par_chunks(group * shape.activation()))
            .zip(v.par_chunks_mut(v_size))
            .zip(dm.par_chunks_mut(m_size))
            .zip(dx_parts)
            .enumerate()
            .for_each(|(index, ((((x, y), v), dm), dx))| {
                let tiling = shape.tiling(x.len() / shape.image(), true);
                let tiles = tiling.tiles();
                let dm = &mut dm[..PLANES * tiles * filters];
                let grad = &grad[index * outputs..][..tiling.images * shape.output()];
                output_adjoint(y, grad, &scale, &shift, &slope, &offset, dm, tiling);
                if let Some(dx) = dx {
                    let mut dv = Buffer::take(PLANES * tiles * channels);
                    let (dm, u) = (planes(dm), planes(&saved.u));
                    for (plane, dv) in planes_mut(&mut dv).into_iter().enumerate() {
                        let dm = Matrix::new(dm[plane], tiles, filters);
                        let u = Matrix::new(u[plane], channels, filters);
                        product(dm, u.t(), dv, false);
                    }
                    winograd::input_adjoint(&dv, dx, tiling, channels);
                }
                winograd::input_transform(x, &mut v[..PLANES * tiles * channels], tiling, channels);
            });
        du.par_chunks_mut(channels * filters).enumerate().for_each(|(plane, du)| {
            for index in 0..images.div_ceil(group) {
                let tiles = shape.tiling(group.min(images - index * group), true).tiles();
                let v = planes(&v[index * v_size..][..PLANES * tiles * channels])[plane];
                let dm = planes(&dm[index * m_size..][..PLANES * tiles * filters])[plane];
                let v = Matrix::new(v, tiles, channels);
                let dm = Matrix::new(dm, tiles, filters);
                product(v.t(), dm, du, first + index > 0);
            }
        });
    }
    let mut weight = vec![0.0; filters * channels * 9];
    winograd::filter_adjoint(&du, channels, filters, &mut weight);
    Gradients {
        x: dx,
        weight,
        gamma: d_gamma.into_iter().map(|v| v as f32).collect(),
        beta: d_beta.into_iter().map(|v| v as f32).collect(),
    }
}

/// Normalisation as z = scale·y + shift.
fn affine(gamma: &[f32], beta: &[f32], mean: &[f32], inverse_std: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let scale: Vec<f32> = gamma.iter().zip(inverse_std).map(|(g, s)| g * s).collect();
    let shift = (0..scale.len()).map(|f| beta[f] - mean[f] * scale[f]).collect();
    (scale, shift)
}

/// Mean and biased variance of all groups together (Chan, Golub & LeVeque 1979), in a fixed order and in f64.
fn merge_moments(parts: &[(usize, Vec<f32>, Vec<f32>)], filters: usize) -> (Vec<f32>, Vec<f32>) {
    let (mut mean, mut m2) = (vec![0.0f64; filters], vec![0.0f64; filters]);
    let mut count = 0.0;
    for (size, part_mean, part_m2) in parts {
        let size = *size as f64;
        let total = count + size;
        for f in 0..filters {
            let delta = f64::from(part_mean[f]) - mean[f];
            mean[f] += delta * size / total;
            m2[f] += f64::from(part_m2[f]) + delta * delta * count * size / total;
        }
        count = total;
    }
    (mean.iter().map(|&v| v as f32).collect(), m2.iter().map(|&v| (v / count) as f32).collect())
}
