//! Layers of TSMNet: two sensors rectified by each other and fused, text that looks at images, images that look at text, and a
//! semantic pyramid.
//!
//! Feature maps are kept as tokens `[B, h·w, C]` wherever a layer acts on positions alone, so that 1×1 convolutions are matrix
//! products; `(h, w)` is passed where neighbours matter.
//!
//! 1. [`Rectify`] lets each modality correct the other by channel and by position (MFRM);
//! 2. [`Fuse`] exchanges their contexts and joins them (MFFM);
//! 3. [`ContextDecoder`] lets class texts read the image;
//! 4. [`TextFusion`] lets image positions read a description's token states;
//! 5. [`Fpn`] and [`SemanticHead`] bring four levels to one map.

mod attend;
mod decoder;
mod fuse;
mod loss;
mod neck;
mod rectify;
mod text_fusion;

pub use attend::CrossAttention;
pub use decoder::{ContextDecoder, ContextDecoderConfig, Masks, no_masks};
pub use fuse::{Fuse, FuseConfig};
pub use loss::dice_loss;
pub use neck::{Fpn, LevelPyramid, SemanticHead};
pub use rectify::Rectify;
pub use text_fusion::{Description, TextFusion};

use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::{Device, Tensor};

/// ε of every layer norm here.
pub(crate) const EPSILON: f64 = 1e-5;

pub(crate) fn layer_norm(width: usize, device: &Device) -> LayerNorm {
    LayerNormConfig::new(width).with_epsilon(EPSILON).init(device)
}

pub(crate) fn linear(from: usize, to: usize, bias: bool, device: &Device) -> Linear {
    LinearConfig::new(from, to).with_bias(bias).init(device)
}

/// A map `[B, C, h, w]` as tokens `[B, h·w, C]`.
pub fn tokens(map: Tensor<4>) -> Tensor<3> {
    let [b, c, h, w] = map.dims();
    map.reshape([b, c, h * w]).swap_dims(1, 2)
}

/// Tokens `[B, h·w, C]` as a map `[B, C, h, w]`.
pub fn map(tokens: Tensor<3>, (h, w): (usize, usize)) -> Tensor<4> {
    let [b, _, c] = tokens.dims();
    tokens.swap_dims(1, 2).reshape([b, c, h, w])
}
