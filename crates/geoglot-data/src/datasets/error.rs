//! Errors of published data sets: layouts, lists, records, pixels.

use std::path::PathBuf;

/// Result with this module's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong between a folder and its images, labels and captions.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The folder or file is of no known layout, or of several.
    #[error("{path}: {problem}")]
    Layout {
        /// The folder or file given.
        path: PathBuf,
        /// What was looked for and what was found.
        problem: String,
    },
    /// A list or metadata file that is not what its layout demands.
    #[error("{path}: {problem}")]
    List {
        /// The file.
        path: PathBuf,
        /// What is wrong, what was expected, what to do.
        problem: String,
    },
    /// One record of a list.
    #[error("{path}, {place}: {problem}")]
    Record {
        /// The list.
        path: PathBuf,
        /// Where in it, such as `line 12`.
        place: String,
        /// What is wrong, what was expected, what to do.
        problem: String,
    },
    /// One image or scene whose pixels or annotation cannot be used.
    #[error("{path}: {problem}")]
    Image {
        /// The image.
        path: PathBuf,
        /// What is wrong, what was expected, what to do.
        problem: String,
    },
    /// The pickle in a GEO-Bench file is damaged.
    #[error("{path}: {source}")]
    Pickle {
        /// The file.
        path: PathBuf,
        /// What the reader says.
        source: geoglot_nn::weights::pickle::PickleError,
    },
    /// Reading a raster.
    #[error(transparent)]
    Raster(#[from] geoglot_raster::Error),
    /// Registry, legend or small-file errors.
    #[error(transparent)]
    Core(#[from] geoglot_core::Error),
    /// Items or settings that do not exist or make no sense.
    #[error("{0}")]
    Usage(String),
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

impl Error {
    pub(super) fn layout(path: impl Into<PathBuf>, problem: impl Into<String>) -> Self {
        Self::Layout { path: path.into(), problem: problem.into() }
    }

    pub(super) fn list(path: impl Into<PathBuf>, problem: impl Into<String>) -> Self {
        Self::List { path: path.into(), problem: problem.into() }
    }

    pub(super) fn record(path: impl Into<PathBuf>, place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Record { path: path.into(), place: place.into(), problem: problem.into() }
    }

    pub(super) fn image(path: impl Into<PathBuf>, problem: impl Into<String>) -> Self {
        Self::Image { path: path.into(), problem: problem.into() }
    }

    pub(super) fn io(path: impl Into<PathBuf>, action: &'static str, source: std::io::Error) -> Self {
        Self::Io { path: path.into(), action, source }
    }
}
