//! Transformer encoder blocks, pre-norm (CLIP, ViT) and post-norm (BERT).

use burn::module::Module;
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::activation::{gelu, gelu_approximate, relu, sigmoid};
use burn::tensor::{Device, Tensor};

use crate::attention::{SelfAttention, SelfAttentionConfig};
use crate::layers;

/// Non-linearity of the feed-forward part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activation {
    /// x·Φ(x) (Hendrycks & Gimpel 2016).
    Gelu,
    /// The tanh approximation of GELU; `gelu_new` of ALBERT.
    GeluTanh,
    /// x·σ(1.702·x), of OpenAI's CLIP weights.
    QuickGelu,
    /// max(x, 0).
    Relu,
}

impl Activation {
    /// The activation that Hugging Face configs call `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "gelu" => Activation::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Activation::GeluTanh,
            "quick_gelu" => Activation::QuickGelu,
            "relu" => Activation::Relu,
            _ => return None,
        })
    }

    /// Applies it to every element.
    pub fn forward<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Activation::Gelu => gelu(x),
            Activation::GeluTanh => gelu_approximate(x),
            Activation::QuickGelu => x.clone() * sigmoid(x * 1.702),
            Activation::Relu => relu(x),
        }
    }
}

/// Where the layer norms stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormPlacement {
    /// x + f(LN(x)): CLIP, ViT.
    Before,
    /// LN(x + f(x)): BERT.
    After,
}

/// Sizes of an [`EncoderBlock`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EncoderBlockConfig {
    /// Width D of the tokens.
    pub width: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of the feed-forward part.
    pub hidden: usize,
    /// ε of the layer norms.
    pub epsilon: f64,
    /// Non-linearity of the feed-forward part.
    pub activation: Activation,
    /// Where the norms stand.
    pub norm: NormPlacement,
}

/// Self-attention and a two-layer feed-forward part, each with residual and layer norm.
#[derive(Module, Debug)]
pub struct EncoderBlock {
    /// Attention part.
    pub attention: SelfAttention,
    /// Norm of the attention part.
    pub norm1: LayerNorm,
    /// First feed-forward layer, D → hidden.
    pub fc1: Linear,
    /// Second feed-forward layer, hidden → D.
    pub fc2: Linear,
    /// Norm of the feed-forward part.
    pub norm2: LayerNorm,
    #[module(skip)]
    activation: Activation,
    #[module(skip)]
    norm: NormPlacement,
    epsilon: f64,
}

impl EncoderBlockConfig {
    /// Builds the block.
    pub fn init(&self, device: &Device) -> EncoderBlock {
        let norm = || LayerNormConfig::new(self.width).with_epsilon(self.epsilon).init(device);
        EncoderBlock {
            attention: SelfAttentionConfig { width: self.width, heads: self.heads }.init(device),
            norm1: norm(),
            fc1: LinearConfig::new(self.width, self.hidden).init(device),
            fc2: LinearConfig::new(self.hidden, self.width).init(device),
            norm2: norm(),
            activation: self.activation,
            norm: self.norm,
            epsilon: self.epsilon,
        }
    }
}

impl EncoderBlock {
    /// Tokens `[B, N, D]` to tokens `[B, N, D]`; `bias` as in [`SelfAttention::forward`].
    pub fn forward(&self, x: Tensor<3>, bias: Option<Tensor<4>>) -> Tensor<3> {
        match self.norm {
            NormPlacement::Before => {
                let normed = layers::norm(&self.norm1, self.epsilon, x.clone());
                let x = self.attention.forward_added(normed, bias, x);
                self.feed_forward(layers::norm(&self.norm2, self.epsilon, x.clone()), x)
            }
            NormPlacement::After => {
                let x = layers::norm(&self.norm1, self.epsilon, self.attention.forward_added(x.clone(), bias, x));
                layers::norm(&self.norm2, self.epsilon, self.feed_forward(x.clone(), x))
            }
        }
    }

    /// `residual` + the feed-forward part of x.
    fn feed_forward(&self, x: Tensor<3>, residual: Tensor<3>) -> Tensor<3> {
        layers::added(&self.fc2, layers::activated(&self.fc1, self.activation, x), residual)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activations_have_their_published_values() {
        // torch.nn.functional.gelu(x), gelu(x, approximate="tanh"), x * sigmoid(1.702 x) at x = -1, 0.5, 2.
        let x = Tensor::<1>::from_floats([-1.0, 0.5, 2.0], &Device::flex());
        for (activation, expected) in [
            (Activation::Gelu, [-0.158_655_25, 0.345_731_23, 1.954_499_7]),
            (Activation::GeluTanh, [-0.158_808_01, 0.345_714, 1.954_597_7]),
            (Activation::QuickGelu, [-0.154_204_23, 0.350_388_44, 1.935_658_6]),
            (Activation::Relu, [0.0, 0.5, 2.0]),
        ] {
            let got = activation.forward(x.clone()).into_data().try_to_vec::<f32>().unwrap();
            for (g, e) in got.iter().zip(expected) {
                assert!((g - e).abs() < 2e-6, "{activation:?}: {got:?}");
            }
        }
    }
}
