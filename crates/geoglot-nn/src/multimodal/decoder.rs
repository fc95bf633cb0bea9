//! Class texts that read the image (TSMNet, section 3.3; DenseCLIP's context decoder, Rao et al. 2022).

use burn::module::{Module, Param};
use burn::nn::{Initializer, LayerNorm, Linear};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::{CrossAttention, EPSILON, layer_norm, linear};
use crate::layers;
use crate::transformer::Activation;

/// Gives factors of dropped units for a shape, or none where nothing is dropped.
pub type Masks<'a> = dyn FnMut([usize; 3]) -> Option<Tensor<3>> + 'a;

/// Drops nothing.
pub fn no_masks(_: [usize; 3]) -> Option<Tensor<3>> {
    None
}

/// Sizes of a [`ContextDecoder`]; defaults are the published ones.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ContextDecoderConfig {
    /// Width of its states.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Share of units dropped in training.
    pub dropout: f64,
}

impl Default for ContextDecoderConfig {
    fn default() -> Self {
        Self { width: 256, depth: 3, heads: 4, dropout: 0.1 }
    }
}

/// Self-attention among texts, attention to the image, feed-forward; pre-norm.
#[derive(Module, Debug)]
pub struct DecoderBlock {
    /// Norm before self-attention.
    pub norm1: LayerNorm,
    /// Among texts.
    pub own: CrossAttention,
    /// Norm before attention to the image.
    pub norm2: LayerNorm,
    /// To the image.
    pub cross: CrossAttention,
    /// Norm before the feed-forward part.
    pub norm3: LayerNorm,
    /// Width → 4 × width.
    pub fc1: Linear,
    /// 4 × width → width.
    pub fc2: Linear,
}

/// Texts `[B, N, D]` to texts that know the image: t + γ·v, γ small at first.
#[derive(Module, Debug)]
pub struct ContextDecoder {
    /// Norm of the image's features.
    pub memory_norm: LayerNorm,
    /// D → width.
    pub memory_in: Linear,
    /// Norm of the projected image features.
    pub memory_out: LayerNorm,
    /// Norm of the texts.
    pub text_norm: LayerNorm,
    /// D → width.
    pub text_in: Linear,
    /// Blocks.
    pub blocks: Vec<DecoderBlock>,
    /// Last norm.
    pub norm: LayerNorm,
    /// Width → D.
    pub output: Linear,
    /// γ, `[D]`.
    pub gamma: Param<Tensor<1>>,
}

impl ContextDecoderConfig {
    /// What makes these sizes impossible, if anything.
    pub fn problem(&self) -> Option<String> {
        if self.heads == 0 || self.width == 0 || !self.width.is_multiple_of(self.heads) {
            return Some(format!("a context decoder of width {} in {} heads", self.width, self.heads));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Some(format!("dropout {}; give a share from 0 to below 1", self.dropout));
        }
        None
    }

    /// A decoder for texts and image features of width `embed` (D).
    ///
    /// # Panics
    /// When [`ContextDecoderConfig::problem`] says something.
    pub fn init(&self, embed: usize, device: &Device) -> ContextDecoder {
        let w = self.width;
        let block = || DecoderBlock {
            norm1: layer_norm(w, device),
            own: CrossAttention::init(w, w, w, self.heads, device),
            norm2: layer_norm(w, device),
            cross: CrossAttention::init(w, w, w, self.heads, device),
            norm3: layer_norm(w, device),
            fc1: linear(w, 4 * w, true, device),
            fc2: linear(4 * w, w, true, device),
        };
        ContextDecoder {
            memory_norm: layer_norm(embed, device),
            memory_in: linear(embed, w, true, device),
            memory_out: layer_norm(w, device),
            text_norm: layer_norm(embed, device),
            text_in: linear(embed, w, true, device),
            blocks: (0..self.depth).map(|_| block()).collect(),
            norm: layer_norm(w, device),
            output: linear(w, embed, true, device),
            gamma: Initializer::Constant { value: 1e-4 }.init([embed], device),
        }
    }
}

impl ContextDecoder {
    /// Texts `[B, N, D]` with what they read in `memory` `[B, M, D]` added. `masks` drops units in training.
    pub fn forward(&self, texts: Tensor<3>, memory: Tensor<3>, masks: &mut Masks<'_>) -> Tensor<3> {
        let norm = |layer: &LayerNorm, x: Tensor<3>| layers::norm(layer, EPSILON, x);
        let memory = layers::linear(&self.memory_in, norm(&self.memory_norm, memory));
        let memory = norm(&self.memory_out, memory);
        let mut x = layers::linear(&self.text_in, norm(&self.text_norm, texts.clone()));
        let mut dropped = |x: Tensor<3>| match masks(x.dims()) {
            Some(mask) => x * mask,
            None => x,
        };
        for block in &self.blocks {
            let own = norm(&block.norm1, x.clone());
            x = x + dropped(block.own.forward(own.clone(), own, None));
            x = x.clone() + dropped(block.cross.forward(norm(&block.norm2, x), memory.clone(), None));
            let fed = layers::activated(&block.fc1, Activation::Gelu, norm(&block.norm3, x.clone()));
            x = x + dropped(layers::linear(&block.fc2, fed));
        }
        let read = layers::linear(&self.output, norm(&self.norm, x));
        texts + read * self.gamma.val().unsqueeze::<3>()
    }
}
