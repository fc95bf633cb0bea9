//! Objectives, training loop, schedules, checkpoints and resume of geoglot.
//!
//! # Brief overview
//! 1. A [`Recipe`] names data, split, preprocessing, model, text tower and training options.
//! 2. [`fit`] trains on normalised scenes and a split, telling an [`Observer`] what happens.
//! 3. [`checkpoint::Checkpoint`] is written after each epoch; a run continued from it ends with the same weights.
//! 4. [`contrastive`] trains any-band image towers, [`segmentation`] decode heads on frozen ones, [`open_segmentation`] TSMNet, [`merge`] makes one tower of several.
//!    [`mae`] pre-trains SpectralGPT, [`llava`] teaches a language model to read an image tower's tokens.
//! 5. [`history`] and [`tfevents`] log every epoch as JSON lines, CSV and for TensorBoard.
#![warn(missing_docs)]

pub mod checkpoint;
pub mod contrastive;
mod diff;
mod error;
mod fit;
mod flat;
pub mod history;
pub mod llava;
pub mod mae;
pub mod merge;
mod objective;
pub mod open_segmentation;
mod optimise;
mod past;
pub mod recipe;
pub mod segmentation;
pub mod tfevents;

pub use error::{Error, Result};
pub use fit::{Ended, Observer, RunFolder, Silent, Trained, TrainingData, classify, embed, fit};
pub use objective::vocabulary_loss;
pub use recipe::Recipe;
