//! Images aligned with and fused with a description (TSMNet, section 3.4).

use burn::module::{Module, Param};
use burn::nn::{Initializer, LayerNorm, Linear};
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::{CrossAttention, EPSILON, layer_norm, linear};
use crate::layers;
use crate::losses::{Direction, Targets, contrastive_loss, l2_normalise};

/// Temperature of the alignment.
const TEMPERATURE: f64 = 0.07;

/// Descriptions of a batch.
#[derive(Debug, Clone)]
pub struct Description {
    /// Token states, `[B, L, W]`, right-padded.
    pub states: Tensor<3>,
    /// 1 on tokens, 0 on padding, `[B, L]`; at least one 1 a row, also for images without description.
    pub mask: Tensor<2, Int>,
    /// One vector a description, `[B, G]`.
    pub global: Tensor<2>,
    /// Which images are fused with their description, `[B]`.
    pub fused: Vec<bool>,
    /// Which description an image has, equal numbers for equal texts; `None` for none. `[B]`.
    pub ids: Vec<Option<usize>>,
}

/// One pyramid level's side.
#[derive(Module, Debug)]
pub struct FusionSide {
    /// Mean of the level → alignment.
    pub align: Linear,
    /// Norm of the positions that ask.
    pub norm: LayerNorm,
    /// Positions to token states.
    pub attention: CrossAttention,
    /// Factor of what they read, `[C]`, small at first.
    pub gamma: Param<Tensor<1>>,
}

/// Alignment of pyramid levels with a description, and attention from their positions to its tokens.
#[derive(Module, Debug)]
pub struct TextFusion {
    /// One vector a description → alignment.
    pub text: Linear,
    /// Levels.
    pub levels: Vec<FusionSide>,
}

impl TextFusion {
    /// For four levels of `channels`, token states of width `states` and description vectors of width `global`; aligned in `channels`.
    ///
    /// # Panics
    /// When `channels` is no multiple of `heads`.
    pub fn init(channels: usize, states: usize, global: usize, heads: usize, device: &Device) -> Self {
        let side = || FusionSide {
            align: linear(channels, channels, true, device),
            norm: layer_norm(channels, device),
            attention: CrossAttention::init(channels, states, channels, heads, device),
            gamma: Initializer::Constant { value: 1e-4 }.init([channels], device),
        };
        Self { text: linear(global, channels, true, device), levels: (0..4).map(|_| side()).collect() }
    }

    /// Symmetric InfoNCE between each level's mean and the description, averaged over levels, over the images that have one; `None`
    /// with fewer than two of them. Images of equal descriptions are all positives.
    pub fn alignment(&self, levels: &[Tensor<3>], description: &Description) -> Option<Tensor<1>> {
        let with: Vec<usize> = (0..description.ids.len()).filter(|&i| description.ids[i].is_some()).collect();
        if with.len() < 2 {
            return None;
        }
        let device = description.global.device();
        let ints = |v: Vec<i32>| {
            let n = v.len();
            Tensor::<1, Int>::from_data(TensorData::new(v, [n]), &device)
        };
        let rows = ints(with.iter().map(|&i| i as i32).collect());
        let labels = ints(with.iter().map(|&i| description.ids[i].unwrap_or(0) as i32).collect());
        let text = l2_normalise(layers::linear(&self.text, description.global.clone().select(0, rows.clone())));
        let each = self.levels.iter().zip(levels).map(|(side, level)| {
            let [b, _, c] = level.dims();
            let mean = level.clone().mean_dim(1).reshape([b, c]).select(0, rows.clone());
            let image = l2_normalise(layers::linear(&side.align, mean));
            let logits = image.matmul(text.clone().transpose()).div_scalar(TEMPERATURE);
            contrastive_loss(logits, labels.clone(), Targets::SameLabel, Direction::Both)
        });
        let count = self.levels.len() as f64;
        each.reduce(|a, b| a + b).map(|sum| sum.div_scalar(count))
    }

    /// Levels `[B, N, C]` with what their positions read in the descriptions added; images without description stay as they are.
    pub fn fuse(&self, levels: Vec<Tensor<3>>, description: &Description) -> Vec<Tensor<3>> {
        if !description.fused.contains(&true) {
            return levels;
        }
        let device = description.global.device();
        let has: Vec<f32> = description.fused.iter().map(|&f| f32::from(u8::from(f))).collect();
        let has = Tensor::<1>::from_floats(has.as_slice(), &device).reshape([description.fused.len(), 1, 1]);
        let each = self.levels.iter().zip(levels).map(|(side, level)| {
            let asking = layers::norm(&side.norm, EPSILON, level.clone());
            let read = side.attention.forward(asking, description.states.clone(), Some(description.mask.clone()));
            level + read * side.gamma.val().unsqueeze::<3>() * has.clone()
        });
        each.collect()
    }
}
