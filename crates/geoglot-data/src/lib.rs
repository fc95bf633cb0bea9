//! Datasets, splits, samplers, normalisation and the synthetic scene generator of geoglot.
//!
//! # Brief overview
//! 1. [`LabelledScene`]: named inputs, a validity mask and labels on one grid;
//! 2. [`split`]: which labelled pixels train, validate and test, with the separation measured;
//! 3. [`Preprocess`]: scaling and principal components fitted on the training pixels, stored with the model;
//! 4. [`PatchCutter`], [`BatchSampler`], [`Symmetry`]: batches of patches in a replayable order.
//!
//! [`datasets`] reads published evaluation sets: scenes with labels and captions.
//!
//! [`captions`] builds image–text data: facts of labels, heights, masks and boxes, and words for them.
//!
//! [`instruct`] makes conversations about multispectral images of captions and spectra.
//!
//! [`shards`] keeps image–text pairs of any sensor in WebDataset tar files and streams batches from them.
//!
//! [`synth`] generates aligned scenes with labels for the demo, the tests and the benchmarks.
#![warn(missing_docs)]

mod augment;
pub mod captions;
pub mod datasets;
mod error;
pub mod instruct;
mod patches;
mod preprocess;
mod sampler;
mod scene;
pub mod shards;
pub mod split;
pub mod synth;

pub use augment::Symmetry;
pub use error::{Error, Result};
pub use patches::{Padding, PatchCutter};
pub use preprocess::{BandScaling, Pca, Preprocess, PreprocessOptions, ScalingMethod};
pub use sampler::BatchSampler;
pub use scene::LabelledScene;
pub use split::Pixel;
