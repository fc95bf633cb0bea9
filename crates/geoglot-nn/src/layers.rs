//! Layers of transformers: the custom operations of [`crate::ops`] where the device has them, else burn's own.

use burn::nn::{LayerNorm, Linear};
use burn::tensor::Tensor;
use burn::tensor::activation::softmax;

use crate::ops::{self, After};
use crate::transformer::Activation;

fn fused<const D: usize>(layer: &Linear, x: &Tensor<D>, after: After<D>) -> Option<Tensor<D>> {
    let bias = layer.bias.as_ref().map(|b| b.val());
    ops::linear(x, &layer.weight.val(), bias.as_ref(), after)
}

/// x·W + b.
pub(crate) fn linear<const D: usize>(layer: &Linear, x: Tensor<D>) -> Tensor<D> {
    fused(layer, &x, After::Nothing).unwrap_or_else(|| layer.forward(x))
}

/// x·W + b with a weight [K, N] that is no layer's own: made by another layer, or a convolution's.
pub(crate) fn project(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    ops::linear(&x, &weight, bias.as_ref(), After::Nothing).unwrap_or_else(|| {
        let product = x.matmul(weight);
        match bias {
            Some(bias) => product + bias.unsqueeze::<2>(),
            None => product,
        }
    })
}

/// f(x·W + b).
pub(crate) fn activated<const D: usize>(layer: &Linear, activation: Activation, x: Tensor<D>) -> Tensor<D> {
    fused(layer, &x, After::Activation(activation)).unwrap_or_else(|| activation.forward(layer.forward(x)))
}

/// `residual` + x·W + b.
pub(crate) fn added<const D: usize>(layer: &Linear, x: Tensor<D>, residual: Tensor<D>) -> Tensor<D> {
    fused(layer, &x, After::Add(&residual)).unwrap_or_else(|| residual + layer.forward(x))
}

/// `layer` on the last axis; `epsilon` is the layer's, which it keeps to itself.
pub(crate) fn norm<const D: usize>(layer: &LayerNorm, epsilon: f64, x: Tensor<D>) -> Tensor<D> {
    let beta = layer.beta.as_ref().map(|b| b.val());
    ops::layer_norm(&x, &layer.gamma.val(), beta.as_ref(), epsilon).unwrap_or_else(|| layer.forward(x))
}

/// softmax(q·kᵀ/√(D/heads) + bias)·v for every head: q `[B, M, D]`, k and v `[B, N, D]` to `[B, M, D]`; `bias` is broadcast to
/// `[B, heads, M, N]`.
pub(crate) fn attention(q: Tensor<3>, k: Tensor<3>, v: Tensor<3>, heads: usize, bias: Option<Tensor<4>>) -> Tensor<3> {
    if bias.is_none()
        && let Some(mixed) = ops::attention(&q, &k, &v, heads)
    {
        return mixed;
    }
    let [b, m, d] = q.dims();
    let n = k.dims()[1];
    let head = d / heads;
    let split = |t: Tensor<3>, len: usize| t.reshape([b, len, heads, head]).swap_dims(1, 2);
    let scores = (split(q, m) / (head as f32).sqrt()).matmul(split(k, n).swap_dims(2, 3));
    let scores = match bias {
        Some(bias) => scores + bias,
        None => scores,
    };
    softmax(scores, 3).matmul(split(v, n)).swap_dims(1, 2).reshape([b, m, d])
}

/// As [`attention`] of a sequence to itself, in which no query sees the keys after it.
pub(crate) fn causal_attention(q: Tensor<3>, k: Tensor<3>, v: Tensor<3>, heads: usize) -> Tensor<3> {
    if let Some(mixed) = ops::causal_attention(&q, &k, &v, heads) {
        return mixed;
    }
    let bias = crate::attention::causal_bias(q.dims()[1], &q.device());
    attention(q, k, v, heads, Some(bias))
}
