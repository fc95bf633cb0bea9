//! Image towers: rasters to vectors of a named space.
//!
//! An image goes preprocessing ([`ImagePreprocess`]) → patches → vision transformer → pooling → L2 norm. One trunk
//! ([`geoglot_nn::vision::Vit`]) is configured for CLIP, SigLIP, DINOv2, timm's plain ViT, and the any-band models DOFA and
//! GeoLangBind. Published files load by their own names; key maps, architectures and presets are data.
//!
//! ```no_run
//! use burn::tensor::Device;
//! use geoglot_core::Registry;
//! use geoglot_models::vision::load_image_tower;
//! # let scene = ndarray::Array3::<f32>::zeros((3, 256, 256));
//! let tower = load_image_tower("clip-vit-b-32", &Device::flex())?;
//! let sensor = Registry::builtin().sensor("sentinel-2-l2a")?;
//! let bands = [sensor.band("B04")?.clone(), sensor.band("B03")?.clone(), sensor.band("B02")?.clone()];
//! let batch = tower.prepare(&[scene.view()], &bands)?; // reflectance [3, H, W], preprocessed once, here
//! let vectors = tower.encode(&batch)?; // [1, 512], rows of length 1
//! # Ok::<(), geoglot_models::Error>(())
//! ```

mod architectures;
mod bands;
mod batch;
mod config;
mod hugging_face;
mod load;
mod merged;
mod open_clip;
mod preprocess;
mod presets;
mod resize;
mod tower;

pub use bands::{BandNeed, FixedBand};
pub use batch::ImageBatch;
pub use config::{Left, VisionConfig};
pub use load::{ImageOptions, TowerCard, TowerFiles, load_image_tower, load_image_tower_from, load_image_tower_with};
pub use merged::{MergeMethod, MergeRecord, MergedModel, ModuleRatios};
pub use preprocess::{BoundPreprocess, ImagePreprocess, ResizeMode, ValueScale};
pub use presets::{Preset, presets};
pub use tower::{ImageTower, VitTower};
