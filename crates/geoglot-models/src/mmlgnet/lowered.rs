//! The trained network as plain arrays: batch norm folded into the convolutions, linear layers without an activation between them multiplied out.

use ndarray::{Array1, Array2, Array4};

/// One convolution with its batch norm folded in: y = conv(x) + bias.
#[derive(Debug, Clone)]
pub struct LoweredConv {
    /// Kernel, [out, in, 3, 3].
    pub kernel: Array4<f32>,
    /// Bias, `[out]`.
    pub bias: Array1<f32>,
}

/// One encoder's three convolutions.
#[derive(Debug, Clone)]
pub struct LoweredEncoder {
    /// Name of the input the encoder reads.
    pub input: String,
    /// Channels of the input.
    pub channels: usize,
    /// The convolution blocks, first to last.
    pub blocks: Vec<LoweredConv>,
}

/// The whole network in the form the dense evaluation uses.
#[derive(Debug, Clone)]
pub struct LoweredMmlgnet {
    /// Patch width in pixels.
    pub patch: usize,
    /// Encoders in the order of their features.
    pub encoders: Vec<LoweredEncoder>,
    /// From the concatenated flattened features to the embedding, [features, D]: every encoder's linear layer and the fusion in one matrix.
    pub head: Array2<f32>,
    /// Bias of the embedding, `[D]`.
    pub bias: Array1<f32>,
}

/// Folds inference batch norm into a convolution, in double precision: k' = k·γ/√(σ²+ε), b' = (b − µ)·γ/√(σ²+ε) + β.
pub(super) fn fold_batch_norm(
    mut kernel: Array4<f32>,
    bias: &[f32],
    [gamma, beta, mean, var]: [&[f32]; 4],
    epsilon: f64,
) -> LoweredConv {
    let mut folded = Array1::zeros(bias.len());
    for (o, mut filter) in kernel.outer_iter_mut().enumerate() {
        let scale = f64::from(gamma[o]) / (f64::from(var[o]) + epsilon).sqrt();
        filter.mapv_inplace(|k| (f64::from(k) * scale) as f32);
        folded[o] = ((f64::from(bias[o]) - f64::from(mean[o])) * scale + f64::from(beta[o])) as f32;
    }
    LoweredConv { kernel, bias: folded }
}

/// Multiplies the encoders' linear layers into the fusion layer, in double precision.
///
/// `layers`: per encoder its weight [in, out] and bias `[out]`; `fusion`: weight [sum of outs, D] and bias `[D]`.
pub(super) fn fold_head(
    layers: &[(Array2<f32>, Array1<f32>)],
    fusion: (&Array2<f32>, &Array1<f32>),
) -> (Array2<f32>, Array1<f32>) {
    let wide = fusion.0.mapv(f64::from);
    let mut bias = fusion.1.mapv(f64::from);
    let mut rows = Vec::new();
    let mut start = 0;
    for (weight, layer_bias) in layers {
        let part = wide.slice(ndarray::s![start..start + weight.ncols(), ..]);
        rows.push(weight.mapv(f64::from).dot(&part));
        bias += &layer_bias.mapv(f64::from).dot(&part);
        start += weight.ncols();
    }
    let views: Vec<_> = rows.iter().map(|r| r.view()).collect();
    let head = ndarray::concatenate(ndarray::Axis(0), &views).expect("all parts have D columns");
    (head.mapv(|v| v as f32), bias.mapv(|v| v as f32))
}
