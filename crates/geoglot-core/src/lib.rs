//! Sensors, bands, grids, legends, prompts, seeds and the run manifest of geoglot.
//!
//! # Brief overview
//! This crate holds the words every other room of geoglot uses, and nothing that touches tensors or raster files:
//! * [`Band`] and [`Registry`]: which sensor a band belongs to, its name, centre wavelength (µm), unit and scale;
//! * [`Grid`], [`Window`] and [`Crs`]: where pixels lie on the ground;
//! * [`Legend`] and [`prompt`]: class id ↔ name ↔ colour ↔ words;
//! * [`Seeds`]: one root seed, named independent streams;
//! * [`RunManifest`]: the `run.json` beside every result;
//! * [`atomic`]: files that are either whole or absent; [`small_file`]: files that are read whole.
//!
//! ```
//! use geoglot_core::Registry;
//! let registry = Registry::builtin();
//! let red = registry.band("sentinel-2-l2a", "B04").unwrap();
//! assert_eq!(red.wavelength_um, Some(0.665));
//! ```
#![warn(missing_docs)]

pub mod atomic;
mod band;
mod error;
mod grid;
mod legend;
mod manifest;
pub mod prompt;
mod seed;
mod sensor;
pub mod small_file;

pub use band::{Band, Unit};
pub use error::{Error, Result};
pub use grid::{Affine, Crs, Grid, Window};
pub use legend::{Class, Legend};
pub use manifest::{BandUse, RunManifest};
pub use seed::Seeds;
pub use sensor::{Layout, Registry, Sensor, SensorKind};
