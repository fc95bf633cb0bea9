//! Training of TSMNet: optical and SAR images, class names, descriptions (`kind = "open-segmentation"`).
//!
//! # Brief overview
//! 1. An [`OpenRecipe`] names pairs of images with labels and descriptions, the network, the text tower and the training options;
//! 2. [`Pairs`] gives tiles with their labels, turned and shifted alike for optical, SAR and labels;
//! 3. [`fit_network`] trains: AdamW, towers at a tenth of the rate, frozen text, warm-up and polynomial decay, descriptions and modalities
//!    left out at random, a checkpoint an epoch, exact resume;
//! 4. the network is saved by [`geoglot_models::tsmnet::save`].

mod fit;
mod recipe;

pub use fit::{ClassTexts, Descriptions, Draw, OpenData, OpenNetwork, Pair, Pairs, fit_network};
pub use recipe::{FolderPairs, NetworkSection, OpenData as OpenDataSection, OpenOptions, OpenRecipe, TextSide, Tower};

#[cfg(test)]
mod tests;
