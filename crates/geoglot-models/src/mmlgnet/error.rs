//! Errors of MMLGNet: configuration, model folders, evaluation.

use std::path::PathBuf;

use geoglot_nn::cnn::CnnError;
use geoglot_nn::weights::WeightsError;

/// What can go wrong with MMLGNet.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MmlgnetError {
    /// A configuration that describes no network.
    #[error("mmlgnet: {0}")]
    Config(String),
    /// An encoder that cannot be built.
    #[error("mmlgnet: encoder `{input}`: {source}")]
    Encoder {
        /// Name of the encoder's input.
        input: String,
        /// Why.
        source: CnnError,
    },
    /// Inputs that are not those of the model.
    #[error("mmlgnet: {0}")]
    Input(String),
    /// A model folder that cannot be used.
    #[error("{path}: {problem}")]
    Folder {
        /// The file.
        path: PathBuf,
        /// What is wrong, what was expected, what to do.
        problem: String,
    },
    /// Weights that do not fit.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Small files.
    #[error(transparent)]
    Core(#[from] geoglot_core::Error),
    /// What a scene reader or a receiver of results answered.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

/// Result with [`MmlgnetError`].
pub type Result<T, E = MmlgnetError> = std::result::Result<T, E>;
