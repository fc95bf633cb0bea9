//! Errors of datasets, splits, preprocessing and scene generation.

use std::path::PathBuf;

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong between labelled rasters and batches.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Registry, legend, grid or small-file errors.
    #[error(transparent)]
    Core(#[from] geoglot_core::Error),
    /// Reading or writing rasters.
    #[error(transparent)]
    Raster(#[from] geoglot_raster::Error),
    /// Labels that do not fit the legend or the scene, or are empty.
    #[error("labels: {0}")]
    Labels(String),
    /// A split that the labelled pixels do not allow.
    #[error("split: {0}")]
    Split(String),
    /// Statistics that cannot be fitted or applied.
    #[error("normalisation: {0}")]
    Preprocess(String),
    /// Patches or batches that cannot be cut as asked.
    #[error("patches: {0}")]
    Patches(String),
    /// Arrays or grids of one scene that do not match.
    #[error("scene `{scene}`: {problem}")]
    Scene {
        /// Name of the scene.
        scene: String,
        /// What is wrong, what was expected, what to do.
        problem: String,
    },
    /// A generator configuration that makes no sense.
    #[error("synthetic scene: {0}")]
    Synth(String),
    /// The operating system refused a file.
    #[error("{path}: cannot {action}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The operating system's answer.
        source: std::io::Error,
    },
}
