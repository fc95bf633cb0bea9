//! Errors of training.

use std::path::PathBuf;

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in training.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Small files.
    #[error(transparent)]
    Core(#[from] geoglot_core::Error),
    /// Patches, samplers, normalisation.
    #[error(transparent)]
    Data(#[from] geoglot_data::Error),
    /// The network.
    #[error(transparent)]
    Model(#[from] geoglot_models::mmlgnet::MmlgnetError),
    /// A loss that is not a number.
    #[error(
        "the loss became {loss} in epoch {epoch}, batch {batch}; training stopped and the checkpoint before it is kept. \
         Try a smaller train.learning_rate, and check the inputs for extreme values with `geoglot info`"
    )]
    Diverged {
        /// Epoch, from 1.
        epoch: usize,
        /// Batch of the epoch, from 1.
        batch: usize,
        /// The loss.
        loss: f32,
    },
    /// A checkpoint that cannot be continued from.
    #[error("{path}: {problem}")]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
    /// Training data that do not fit one another.
    #[error("training data: {0}")]
    Input(String),
}
