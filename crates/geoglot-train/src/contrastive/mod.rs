//! Contrastive pre-training of an any-band image tower into the space of a frozen text tower (GeoLangBind, §"Wavelength-aware
//! dynamic encoder" and its sigmoid loss; SigLIP, Zhai et al. 2023).
//!
//! # Brief overview
//! 1. A [`PretrainRecipe`] names image sets, the tower's size, the text tower and the training options;
//! 2. [`DatasetImages`] are the images of one modality (equal bands), read once and kept while they fit in memory;
//! 3. [`epoch_plan`] draws batches, captions and crops from the seed and the epoch alone; a batch holds one modality;
//! 4. [`pretrain`] trains: AdamW, linear warm-up, half a cosine, a checkpoint an epoch, exact resume;
//! 5. [`save_tower`] writes a model folder that [`geoglot_models::vision::load_image_tower`] loads;
//! 6. [`export_start`] writes first weights, text features and the plan, so that another program can train the same thing.

mod batches;
mod error;
mod export;
mod fit;
mod images;
mod model;
mod objective;
mod recipe;

pub use batches::{Batch, Crop, Images, Modality, PretrainData, epoch_plan};
pub use error::{PretrainError, Result};
pub use export::{export_start, save_tower};
pub use fit::{Pretrained, pretrain};
pub use images::DatasetImages;
pub use model::Contrast;
pub(crate) use model::Shrink;
pub use objective::{pairs, sigmoid_loss};
pub use recipe::{ImageSet, Loss, PretrainOptions, PretrainRecipe, PretrainText, SetsSection, TowerSection};

#[cfg(test)]
mod tests;
