//! Windowed reading and writing of rasters and formats, masks, co-registration and previews.
//!
//! # Brief overview
//! [`BandSource`] is a raster opened for windowed reading; [`Tile`] is what a window holds.
#![warn(missing_docs)]

mod error;
mod footprint;
pub mod formats;
#[cfg(feature = "gdal")]
pub mod gdal;
mod label;
mod open;
pub mod polygons;
pub mod preview;
pub mod registration;
mod scene;
mod scene_align;
mod scene_arg;
mod scene_bind;
mod scene_scale;
mod source;
pub mod stats;
pub mod tiff;
mod warp;

pub use error::{Error, Result};
pub use footprint::Footprints;
pub use label::Labels;
pub use open::{Axes, SourceOptions, open};
pub use scene::{OpenOptions, Scene, SceneInput};
pub use scene_arg::{ScaleRule, SceneArg};
pub use scene_bind::{Binding, Bound, is_placeholder};
pub use source::{BandSource, SampleType, Tile, check_request, placeholder_name};
pub use tiff::{Codec, Overviews, RasterSpec, RasterWriter};
pub use warp::{Resampled, Resampling};
