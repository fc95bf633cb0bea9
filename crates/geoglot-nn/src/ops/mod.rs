//! Custom operations with hand-written backward passes for the CPU backend.
//!
//! **Convolution.** A small convolutional network spends more time around its matrix products than in them: lowering to columns,
//! batch statistics, broadcasts, pooling and the copies between them. [`conv_block()`] runs one block
//! `MaxPool2x2(ReLU(BN(Conv3x3(x))))` as one operation and one node of the autodiff graph:
//!
//! 1. activations are kept channels-last, so every loop outside the products runs over contiguous channels;
//! 2. the 3×3 convolution is Winograd's F(2×2, 3×3): 16 products per 2×2 outputs instead of 36, and its output tile
//!    *is* the pooling window;
//! 3. batch statistics, ReLU and pooling work on the tiles while they are in cache;
//! 4. only the pre-normalisation activations are kept for the backward pass; ReLU masks and pooling winners are
//!    recomputed.
//!
//! **Transformers.** A block is [`layer_norm()`], [`linear()`] with the activation or residual that follows it, and [`attention()`],
//! which keeps no scores. They track gradients: inference has the engines of [`crate::vision`].
//!
//! **Seam.** The operations return `None` when the tensors do not live on the Flex backend in f32, and the caller composes the layer
//! from burn's own modules; `crate::layers` does so for transformers.

pub mod adam;
mod attention;
mod block;
mod conv_block;
mod graph;
mod layer_norm;
mod linear;
pub(crate) mod math;
pub(crate) mod matrix;
mod patches;
mod pointwise;
pub(crate) mod scratch;
pub(crate) mod simd;
mod transpose;
mod winograd;

pub use attention::{attention, causal_attention};
pub use conv_block::{BatchStatistics, Normalisation, conv_block};
pub use layer_norm::layer_norm;
pub use linear::{After, linear};
pub use patches::patches;
