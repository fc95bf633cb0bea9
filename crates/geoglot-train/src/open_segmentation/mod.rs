//! Training of TSMNet: optical and SAR images, class names, descriptions (`kind = "open-segmentation"`).
//!
//! # Brief overview
//! 1. An [`OpenRecipe`] names pairs of images with labels and descriptions, the network, the text tower and the training options;
//! 2. [`Pairs`] gives tiles with their labels, turned and shifted alike for optical, SAR and labels;
//! 3. [`fit_network`] trains: AdamW, towers at a tenth of the rate, frozen text, warm-up and polynomial decay, descriptions and modalities
//!    left out at random, a checkpoint an epoch, exact resume;
//! 4. [`fit_baseline`] trains a U-Net on the same tiles, to compare with;
//! 5. the network is saved by [`geoglot_models::tsmnet::save`].

mod answer;
mod baseline;
mod fit;
mod pairs;
mod recipe;
mod sections;

pub use baseline::{Baseline, fit_baseline};
pub use fit::{OpenNetwork, fit_network};
pub use pairs::{ClassTexts, Descriptions, Draw, OpenData, Pair, Pairs};
pub use recipe::{BaselineSection, FolderPairs, OpenData as OpenDataSection, OpenRecipe};
pub use sections::{NetworkSection, OpenOptions, TextSide, Tower};

#[cfg(test)]
mod tests;
