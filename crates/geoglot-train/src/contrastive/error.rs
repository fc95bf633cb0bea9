//! Errors of contrastive pre-training.

use geoglot_data::datasets;
use geoglot_nn::weights::WeightsError;

use crate::recipe::RecipeError;

/// Result with [`PretrainError`].
pub type Result<T, E = PretrainError> = std::result::Result<T, E>;

/// What can go wrong in contrastive pre-training.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PretrainError {
    /// The recipe.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The loop, checkpoints, small files.
    #[error(transparent)]
    Train(#[from] crate::Error),
    /// Images and captions.
    #[error(transparent)]
    Dataset(#[from] datasets::Error),
    /// Shards.
    #[error(transparent)]
    Shards(#[from] geoglot_data::shards::Error),
    /// Towers and preprocessing.
    #[error(transparent)]
    Tower(#[from] geoglot_models::Error),
    /// Weight files.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A training that gives no numbers any more.
    #[error(
        "the {what} became {value} in epoch {epoch}, batch {batch} ({images} of {modality}); training stopped and the checkpoint before it is \
         kept. Try a smaller train.learning_rate or train.clip = 1, and check these images for extreme values with `geoglot info`"
    )]
    Diverged {
        /// Loss, gradient norm, or weights.
        what: &'static str,
        /// Its value.
        value: f32,
        /// Epoch, from 1.
        epoch: usize,
        /// Batch of the epoch, from 1.
        batch: usize,
        /// The first images of the batch.
        images: String,
        /// Their modality.
        modality: String,
    },
    /// Images, texts and tower that do not fit one another.
    #[error("pre-training: {0}")]
    Input(String),
}
