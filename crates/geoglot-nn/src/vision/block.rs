//! The pre-norm block of a vision transformer, with DINOv2's layer scale.

use burn::module::{Module, Param};
use burn::nn::{Initializer, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::{Device, Tensor};

use super::VitConfig;
use crate::attention::{SelfAttention, SelfAttentionConfig};
use crate::layers;
use crate::transformer::Activation;

/// x + s₁·Attention(LN(x)), then x + s₂·MLP(LN(x)).
#[derive(Module, Debug)]
pub struct VitBlock {
    /// Norm of the attention part.
    pub norm1: LayerNorm,
    /// Attention part.
    pub attention: SelfAttention,
    /// Layer scale s₁ of the attention part, `[D]`, where the model has it.
    pub scale1: Option<Param<Tensor<1>>>,
    /// Norm of the feed-forward part.
    pub norm2: LayerNorm,
    /// First feed-forward layer, D → hidden.
    pub fc1: Linear,
    /// Second feed-forward layer, hidden → D.
    pub fc2: Linear,
    /// Layer scale s₂ of the feed-forward part, `[D]`.
    pub scale2: Option<Param<Tensor<1>>>,
    #[module(skip)]
    activation: Activation,
    pub(super) heads: usize,
    pub(super) epsilon: f64,
}

impl VitBlock {
    /// A block of the widths of `config`, with initial weights.
    pub fn init(config: &VitConfig, device: &Device) -> Self {
        let norm = || LayerNormConfig::new(config.width).with_epsilon(config.epsilon).init(device);
        let scale = || config.layer_scale.then(|| Initializer::Constant { value: 1e-5 }.init([config.width], device));
        Self {
            norm1: norm(),
            attention: SelfAttentionConfig { width: config.width, heads: config.heads }.init(device),
            scale1: scale(),
            norm2: norm(),
            fc1: LinearConfig::new(config.width, config.hidden).init(device),
            fc2: LinearConfig::new(config.hidden, config.width).init(device),
            scale2: scale(),
            activation: config.activation,
            heads: config.heads,
            epsilon: config.epsilon,
        }
    }

    /// Non-linearity of the feed-forward part.
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// Tokens `[B, N, D]` to tokens `[B, N, D]`: any backend, with gradients.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let normed = layers::norm(&self.norm1, self.epsilon, x.clone());
        let x = match &self.scale1 {
            Some(scale) => x + self.attention.forward(normed, None) * scale.val().unsqueeze::<3>(),
            None => self.attention.forward_added(normed, None, x),
        };
        let normed = layers::norm(&self.norm2, self.epsilon, x.clone());
        let fed = layers::activated(&self.fc1, self.activation, normed);
        match &self.scale2 {
            Some(scale) => x + layers::linear(&self.fc2, fed) * scale.val().unsqueeze::<3>(),
            None => layers::added(&self.fc2, fed, x),
        }
    }
}
