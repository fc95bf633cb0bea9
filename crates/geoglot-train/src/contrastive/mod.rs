//! Contrastive pre-training of an any-band image tower into the space of a frozen text tower (GeoLangBind, §"Wavelength-aware
//! dynamic encoder" and its sigmoid loss; SigLIP, Zhai et al. 2023).
//!
//! # Brief overview
//! 1. A [`PretrainRecipe`] names image sets, the tower's size, the text tower and the training options;
//! 2. [`DatasetImages`] are the images of one modality (equal bands), read once and kept while they fit in memory, [`ShardImages`] those of
//!    shards, read as they are needed;
//! 3. [`epoch_plan`] draws batches, captions and crops from the seed and the epoch alone; a batch holds one modality;
//! 4. [`pretrain`] trains: AdamW with parameter groups, linear warm-up, half a cosine, exact gradients of large batches in parts, a
//!    checkpoint an epoch, exact resume;
//! 5. [`pretrain_with`] begins with another tower's weights, and learns from [`Teacher`]s: any image towers, through MaKA heads;
//! 6. [`save_tower`] writes a model folder that [`geoglot_models::vision::load_image_tower`] loads;
//! 7. [`export_start`] writes first weights, text features and the plan, so that another program can train the same thing.

mod batches;
mod distill;
mod distill_section;
mod error;
mod export;
mod fit;
mod groups;
mod images;
mod measure;
mod model;
mod objective;
mod options;
mod recipe;
mod shards;
mod step;
mod tower;

pub use batches::{Batch, Crop, Images, Modality, PretrainData, epoch_plan};
pub use distill::{Precomputed, Teacher};
pub use distill_section::{DistillSection, HeadKind};
pub use error::{PretrainError, Result};
pub use export::{export_start, save_tower};
pub use fit::{Beginning, Measure, Pretrained, pretrain, pretrain_with};
pub use groups::ParameterGroup;
pub use images::DatasetImages;
pub use measure::{EvaluateKind, EvaluateSection, Variant, VariantSection};
pub use model::Contrast;
pub use objective::{pairs, sigmoid_loss};
pub use options::{Loss, Precision, PretrainOptions};
pub use recipe::{ImageSet, PretrainRecipe, PretrainText, SetsSection};
pub use shards::ShardImages;
pub use tower::TowerSection;

#[cfg(test)]
mod distill_tests;
#[cfg(test)]
mod loop_tests;
#[cfg(test)]
mod tests;
