//! Training of a segmentation head on a frozen image tower (GeoLangBind, section on semantic segmentation).
//!
//! # Brief overview
//! 1. A [`SegmentRecipe`] (`kind = "segmentation"`) names scenes with label rasters, pairs of image and label files, or a GEO-Bench set; the
//!    tower, its taps, the tile; and the training options;
//! 2. [`Tiles`] gives tiles as the tower sees them; [`Features`] runs the tower over them once and keeps the tapped maps in memory or, when
//!    they are more than that may hold, in a file, so that an epoch trains only the head. The tower stores no gradients at all;
//! 3. [`fit_head`] trains: AdamW, linear warm-up, half a cosine, cross-entropy over labelled pixels, an auxiliary head, a checkpoint an epoch,
//!    exact resume;
//! 4. the head is saved by [`geoglot_models::segmentation::save_segmenter`].

mod error;
mod features;
mod fit;
mod recipe;

pub use error::{Result, SegmentError};
pub use features::{FeatureOptions, Features, Tiles};
pub use fit::{HeadData, LabelledTile, TrainedHead, fit_head};
pub use recipe::{DecoderSection, FilePairs, SegmentOptions, SegmentRecipe, SegmentationData};

#[cfg(test)]
mod tests;
