//! Attention pooling: SigLIP's "map" head (Zhai et al. 2023; Lee et al. 2019, "pooling by multi-head attention").

use burn::module::{Module, Param};
use burn::nn::{Initializer, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::{Device, Tensor};

use crate::layers;
use crate::transformer::Activation;

/// One latent query attends to all tokens, then a feed-forward part with residual.
#[derive(Module, Debug)]
pub struct AttentionPool {
    /// The query before its projection, `[1, D]`.
    pub latent: Param<Tensor<2>>,
    /// Query projection, D → D.
    pub query: Linear,
    /// Key projection, D → D.
    pub key: Linear,
    /// Value projection, D → D.
    pub value: Linear,
    /// Output projection, D → D.
    pub output: Linear,
    /// Norm of the feed-forward part.
    pub norm: LayerNorm,
    /// First feed-forward layer, D → hidden.
    pub fc1: Linear,
    /// Second feed-forward layer, hidden → D.
    pub fc2: Linear,
    heads: usize,
    #[module(skip)]
    activation: Activation,
    epsilon: f64,
}

/// Sizes of an [`AttentionPool`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionPoolConfig {
    /// Width D of the tokens.
    pub width: usize,
    /// Number of heads.
    pub heads: usize,
    /// Width of the feed-forward part.
    pub hidden: usize,
    /// ε of the norm.
    pub epsilon: f64,
    /// Non-linearity of the feed-forward part.
    pub activation: Activation,
}

impl AttentionPoolConfig {
    /// Builds the layer with initial weights.
    pub fn init(&self, device: &Device) -> AttentionPool {
        let linear = |from, to| LinearConfig::new(from, to).init(device);
        let d = self.width;
        AttentionPool {
            latent: Initializer::Normal { mean: 0.0, std: (d as f64).powf(-0.5) }.init([1, d], device),
            query: linear(d, d),
            key: linear(d, d),
            value: linear(d, d),
            output: linear(d, d),
            norm: LayerNormConfig::new(d).with_epsilon(self.epsilon).init(device),
            fc1: linear(d, self.hidden),
            fc2: linear(self.hidden, d),
            heads: self.heads,
            activation: self.activation,
            epsilon: self.epsilon,
        }
    }
}

impl AttentionPool {
    /// Tokens `[B, N, D]` to one vector each image, `[B, D]`.
    pub fn forward(&self, tokens: Tensor<3>) -> Tensor<2> {
        let [b, _, d] = tokens.dims();
        let query = layers::linear(&self.query, self.latent.val().unsqueeze::<3>()).expand([b, 1, d]);
        let key = layers::linear(&self.key, tokens.clone());
        let value = layers::linear(&self.value, tokens);
        self.finish(layers::attention(query, key, value, self.heads, None).reshape([b, d]))
    }

    /// What every token of `[B, N, D]` would be pooled to if it were the image's only one, `[B, N, D]`: dense features in
    /// the space of the pooled ones.
    pub fn each(&self, tokens: Tensor<3>) -> Tensor<3> {
        let [b, n, d] = tokens.dims();
        // Attention over one token is that token's value.
        self.finish(layers::linear(&self.value, tokens).reshape([b * n, d])).reshape([b, n, d])
    }

    fn finish(&self, mixed: Tensor<2>) -> Tensor<2> {
        let x = layers::linear(&self.output, mixed);
        let normed = layers::norm(&self.norm, self.epsilon, x.clone());
        layers::added(&self.fc2, layers::activated(&self.fc1, self.activation, normed), x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Distribution;

    #[test]
    fn one_token_alone_is_pooled_as_each_says_and_order_does_not_matter() {
        let device = Device::flex();
        device.seed(5);
        let config =
            AttentionPoolConfig { width: 8, heads: 2, hidden: 12, epsilon: 1e-6, activation: Activation::Gelu };
        let pool = config.init(&device);
        let tokens = Tensor::<3>::random([2, 3, 8], Distribution::Normal(0., 1.), &device);
        let each = pool.each(tokens.clone());
        let second = pool.forward(tokens.clone().slice([0..2, 1..2]));
        let difference: f32 = (each.slice([0..2, 1..2]).reshape([2, 8]) - second).abs().max().into_scalar();
        assert!(difference < 1e-6, "{difference}");
        let difference: f32 = (pool.forward(tokens.clone()) - pool.forward(tokens.flip([1]))).abs().max().into_scalar();
        assert!(difference < 1e-6, "{difference}");
    }
}
