//! Errors of training segmentation heads.

use std::path::PathBuf;

use crate::recipe::RecipeError;

/// Result with [`SegmentError`].
pub type Result<T, E = SegmentError> = std::result::Result<T, E>;

/// What can go wrong in training a segmentation head.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentError {
    /// The recipe.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The loop, checkpoints, small files.
    #[error(transparent)]
    Train(#[from] crate::Error),
    /// Samplers.
    #[error(transparent)]
    Data(#[from] geoglot_data::Error),
    /// The tower.
    #[error(transparent)]
    Tower(#[from] geoglot_models::Error),
    /// Tiles that cannot be read.
    #[error(transparent)]
    Tiles(Box<dyn std::error::Error + Send + Sync>),
    /// The file of features.
    #[error(
        "{path}: cannot {action} the features of the image tower: {source}; give the folder more room, or lower model.cache_mib to 0"
    )]
    Cache {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Tiles, labels and tower that do not fit one another.
    #[error("segmentation: {0}")]
    Input(String),
}
