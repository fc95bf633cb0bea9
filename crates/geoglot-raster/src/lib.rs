//! Windowed reading and writing of rasters and formats, masks, co-registration and previews.
//!
//! # Brief overview
//! [`BandSource`] is a raster opened for windowed reading; [`Tile`] is what a window holds.
#![warn(missing_docs)]

mod error;
mod source;

pub use error::{Error, Result};
pub use source::{BandSource, Tile, check_request};
