//! Decode heads for dense prediction on a frozen vision transformer: UPerNet (Xiao et al. 2018) with a feature pyramid made from four
//! blocks of one resolution, and an auxiliary FCN head (Long et al. 2015), as GeoLangBind's segmentation uses them.
//!
//! The way of four maps `[B, D, h, w]`:
//! 1. [`FeaturePyramid`] rescales them to ×4, ×2, ×1 and ×½;
//! 2. [`UperHead`] pools the smallest one at several scales, adds it to the larger ones from the top down, and joins all four at ×4,
//!    and with them, in a head with a [`PixelBranch`], what a convolution makes of the image itself;
//! 3. a 1×1 convolution gives logits `[B, K, 4h, 4w]`, which [`resize`] brings to the labels' grid;
//! 4. in training, [`FcnHead`] gives further logits from the third map alone.
//!
//! [`UNet`] is the plain network that others are compared with.
//!
//! Everything resizes by small matrices ([`resize`], [`adaptive_pool`]): differentiable on every backend, and the same numbers as
//! PyTorch's `interpolate(align_corners=False)` and `adaptive_avg_pool2d`.

mod conv_norm;
mod fcn;
mod loss;
mod pyramid;
mod resize;
mod unet;
mod upernet;

pub use conv_norm::ConvNorm;
pub use fcn::FcnHead;
pub use loss::{IGNORE, pixel_cross_entropy};
pub use pyramid::FeaturePyramid;
pub use resize::{adaptive_pool, resize};
pub use unet::{DoubleConv, UNet};
pub use upernet::{Dropped, PixelBranch, Seen, UperHead, UperNet, UperNetConfig, image_for};
