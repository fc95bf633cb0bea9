//! Vision transformers: one trunk ([`Vit`]) for CLIP, SigLIP, DINOv2, timm's plain ViT and the any-band models.
//!
//! The way of an image `[B, C, H, W]`:
//! 1. patches to tokens, by a fixed convolution ([`PatchProjection`]) or by one whose kernels are generated from the bands'
//!    wavelengths ([`WavelengthEmbed`]);
//! 2. class and register tokens in front, positions added, resampled to the image's size ([`resample_positions`]);
//! 3. pre-norm blocks, run by an [`Engine`]: that trait is where a specialised CPU engine is put without touching a model;
//! 4. final norm, pooling ([`Pooling`]), projection.

mod block;
mod engine;
mod fused;
mod patch;
mod pooling;
mod position;
pub mod resample;
mod vit;
mod wavelength;

pub use block::VitBlock;
pub use engine::{Composed, Engine, engine};
pub use fused::Fused;
pub use patch::{PatchProjection, patch_grid};
pub use pooling::{AttentionPool, AttentionPoolConfig};
pub use position::{PositionResampling, resample_position_values, resample_positions};
pub use vit::{FinalNorm, PatchKind, Pooling, Vit, VitConfig};
pub use wavelength::{KernelCache, KernelLayout, PatchKernels, WavelengthConfig, WavelengthEmbed, sine_cosine};
