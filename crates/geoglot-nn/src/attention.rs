//! Multi-head attention.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Int, Tensor};

use crate::layers;

/// Added to the score of a pair that may not attend; its softmax weight is exactly zero in f32.
const FORBIDDEN: f32 = -1e9;

/// Multi-head self-attention with separate projections (Vaswani et al. 2017, §3.2.2).
#[derive(Module, Debug)]
pub struct SelfAttention {
    /// Query projection, D → D.
    pub query: Linear,
    /// Key projection, D → D.
    pub key: Linear,
    /// Value projection, D → D.
    pub value: Linear,
    /// Output projection, D → D.
    pub output: Linear,
    heads: usize,
}

/// Sizes of a [`SelfAttention`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SelfAttentionConfig {
    /// Width D of the tokens; a multiple of `heads`.
    pub width: usize,
    /// Number of heads.
    pub heads: usize,
}

impl SelfAttentionConfig {
    /// Builds the layer.
    ///
    /// # Panics
    /// When `width` is not a multiple of `heads`; configs read from files are checked before.
    pub fn init(&self, device: &Device) -> SelfAttention {
        assert!(
            self.heads > 0 && self.width.is_multiple_of(self.heads),
            "width {} in {} heads",
            self.width,
            self.heads
        );
        let linear = || LinearConfig::new(self.width, self.width).init(device);
        SelfAttention { query: linear(), key: linear(), value: linear(), output: linear(), heads: self.heads }
    }
}

impl SelfAttention {
    /// Tokens `[B, N, D]` to tokens `[B, N, D]`. `bias`, broadcast to `[B, heads, N, N]`, is added to the scores:
    /// see [`padding_bias`] and [`causal_bias`].
    pub fn forward(&self, x: Tensor<3>, bias: Option<Tensor<4>>) -> Tensor<3> {
        let mixed = self.mixed(x, bias);
        layers::linear(&self.output, mixed)
    }

    /// `residual` + attention(x).
    pub(crate) fn forward_added(&self, x: Tensor<3>, bias: Option<Tensor<4>>, residual: Tensor<3>) -> Tensor<3> {
        layers::added(&self.output, self.mixed(x, bias), residual)
    }

    fn mixed(&self, x: Tensor<3>, bias: Option<Tensor<4>>) -> Tensor<3> {
        let [q, k, v] = [&self.query, &self.key, &self.value].map(|layer| layers::linear(layer, x.clone()));
        layers::attention(q, k, v, self.heads, bias)
    }
}

/// Bias `[B, 1, 1, N]` that keeps every query from attending to padding; `mask` `[B, N]` is 1 on tokens, 0 on padding.
pub fn padding_bias(mask: Tensor<2, Int>) -> Tensor<4> {
    let [b, n] = mask.dims();
    ((mask.float() - 1.0) * -FORBIDDEN).reshape([b, 1, 1, n])
}

/// Bias `[1, 1, N, N]` that keeps position i from attending to positions after it.
pub fn causal_bias(n: usize, device: &Device) -> Tensor<4> {
    let values: Vec<f32> = (0..n * n).map(|at| if at % n > at / n { FORBIDDEN } else { 0.0 }).collect();
    Tensor::<1>::from_floats(values.as_slice(), device).reshape([1, 1, n, n])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Distribution;

    fn layer(device: &Device) -> SelfAttention {
        device.seed(3);
        SelfAttentionConfig { width: 8, heads: 2 }.init(device)
    }

    #[test]
    fn padding_changes_nothing() {
        let device = Device::flex();
        let layer = layer(&device);
        let x = Tensor::<3>::random([1, 5, 8], Distribution::Normal(0., 1.), &device);
        let short = layer.forward(x.clone().slice([0..1, 0..3]), None);
        let mask = Tensor::from_ints([[1, 1, 1, 0, 0]], &device);
        let padded = layer.forward(x, Some(padding_bias(mask))).slice([0..1, 0..3]);
        let difference: f32 = (short - padded).abs().max().into_scalar();
        assert!(difference < 1e-6, "{difference}");
    }

    #[test]
    fn a_causal_prefix_does_not_see_what_follows() {
        let device = Device::flex();
        let layer = layer(&device);
        let x = Tensor::<3>::random([1, 4, 8], Distribution::Normal(0., 1.), &device);
        let prefix = layer.forward(x.clone().slice([0..1, 0..2]), Some(causal_bias(2, &device)));
        let whole = layer.forward(x, Some(causal_bias(4, &device))).slice([0..1, 0..2]);
        let difference: f32 = (prefix - whole).abs().max().into_scalar();
        assert!(difference < 1e-6, "{difference}");
    }
}
