//! Ask any sensor's imagery in plain words: the facade library of geoglot.
//!
//! # Brief overview
//! Each module is one room of the toolkit, usable alone:
//! * [`core`]: sensors, bands, grids, legends, prompts, seeds, the run manifest;
//! * [`raster`]: reading, writing, co-registration, previews;
//! * [`nn`]: layers, losses, weight files;
//! * [`models`]: the systems and the text towers;
//! * [`data`]: splits, normalisation, patches, synthetic scenes;
//! * [`train`]: recipes, training loop, checkpoints;
//! * [`eval`]: metrics, baselines, reports;
//! * [`index`]: archives of embeddings, search, export;
//! * [`workflow`]: whole jobs, as the command line runs them.
//!
//! # The way through
//! 1. A [`raster::Scene`] is opened from named inputs; every band is bound by name and wavelength.
//! 2. Windows of it are normalised once by the statistics stored with the model.
//! 3. A model makes embeddings in a named space.
//! 4. Prompts become vectors of the same space; the nearest prompt is a pixel's class.
//!
//! # Features
//! * default: pure-Rust CPU backend, nothing but cargo needed;
//! * `vulkan`: GPU through wgpu;
//! * `cuda`: NVIDIA GPU through burn's CUDA backend (its build fetches a prebuilt LLVM, so it needs internet access);
//! * `gdal`: every raster GDAL reads (needs libgdal).
#![warn(missing_docs)]

pub mod workflow;

pub use geoglot_core as core;
pub use geoglot_data as data;
pub use geoglot_eval as eval;
pub use geoglot_index as index;
pub use geoglot_models as models;
pub use geoglot_nn as nn;
pub use geoglot_raster as raster;
pub use geoglot_train as train;
