//! Errors of merging.

use std::fmt;

use geoglot_nn::weights::WeightsError;

/// Result with [`MergeError`].
pub type Result<T, E = MergeError> = std::result::Result<T, E>;

/// One thing in which two models differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// A tensor, a setting, or the space.
    pub what: String,
    /// The first model's.
    pub first: String,
    /// The other model's.
    pub other: String,
}

/// What can go wrong in merging.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// Models that cannot be merged.
    #[error("`{other}` does not fit `{first}`:{}\n{hint}", listed(.differences))]
    Incompatible {
        /// The first model.
        first: String,
        /// The one that does not fit it.
        other: String,
        /// Everything in which they differ.
        differences: Vec<Difference>,
        /// What helps.
        hint: &'static str,
    },
    /// A tensor with values that are no numbers.
    #[error("`{model}`: tensor `{tensor}` holds NaN or infinite values; the model is damaged or its training diverged")]
    NotFinite {
        /// The model.
        model: String,
        /// The tensor.
        tensor: String,
    },
    /// Ratios, patterns, or models that make no merge.
    #[error("merge: {0}")]
    Plan(String),
    /// Reading and writing weights.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Model files.
    #[error(transparent)]
    Model(#[from] geoglot_models::Error),
    /// Writing the configuration.
    #[error(transparent)]
    Core(#[from] geoglot_core::Error),
}

fn listed(differences: &[Difference]) -> impl fmt::Display {
    differences.iter().map(|d| format!("\n  {}: {} ≠ {}", d.what, d.first, d.other)).collect::<String>()
}
