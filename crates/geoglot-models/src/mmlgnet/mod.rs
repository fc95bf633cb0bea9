//! MMLGNet: land-cover classes of pixels from hyperspectral and elevation patches, aligned with text (`papers/mmlgnet.txt`).
//!
//! [`MmlgnetConfig`] → [`MmlgnetConfig::init`] → [`Mmlgnet`]; [`save`] and [`load`] keep it as a folder with a [`ModelCard`]; [`Mapper`] evaluates
//! every pixel of a scene, exactly as patch by patch but far cheaper.

mod config;
mod dense;
mod dense_encoder;
mod dense_kernels;
mod error;
mod folder;
mod lowered;
mod network;
mod product;

pub use config::{EncoderConfig, MmlgnetConfig, Padding};
pub use dense::{Block, MapOptions, Mapper, SceneReader};
pub use error::{MmlgnetError, Result};
pub use folder::{ModelCard, load, load_card, save, save_bytes, sha256};
pub use lowered::{LoweredConv, LoweredEncoder, LoweredMmlgnet};
pub use network::Mmlgnet;
