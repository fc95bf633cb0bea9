//! Errors of reading, aligning and writing rasters.

use std::path::PathBuf;

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with rasters.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Registry, legend, grid or small-file errors.
    #[error(transparent)]
    Core(#[from] geoglot_core::Error),
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
    /// The file's bytes are not what its format demands: truncated, damaged, another format.
    #[error("{path}: {problem}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, what was expected, what to do.
        problem: String,
    },
    /// A valid file that needs something this build does not have.
    #[error("{path}: {what} is not supported by this build; {remedy}")]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// Codec, driver, sample type.
        what: String,
        /// What to do instead.
        remedy: String,
    },
    /// Bands cannot be bound: unnamed, unknown, too many, too few.
    #[error("{path}: {problem}")]
    Bands {
        /// The file.
        path: PathBuf,
        /// What is wrong, what is known, how to name the bands.
        problem: String,
    },
    /// Rasters that cannot be brought onto one grid.
    #[error("{path}: {problem}")]
    Align {
        /// The raster that does not fit.
        path: PathBuf,
        /// Both grids and what to do.
        problem: String,
    },
    /// Arguments that make no sense.
    #[error("{0}")]
    Usage(String),
}

impl Error {
    /// A [`Error::Format`].
    pub fn format(path: impl Into<PathBuf>, problem: impl std::fmt::Display) -> Self {
        Self::Format { path: path.into(), problem: problem.to_string() }
    }

    /// A [`Error::Io`].
    pub fn io(path: impl Into<PathBuf>, action: &'static str, source: std::io::Error) -> Self {
        Self::Io { path: path.into(), action, source }
    }

    /// A [`Error::Bands`].
    pub fn bands(path: impl Into<PathBuf>, problem: impl std::fmt::Display) -> Self {
        Self::Bands { path: path.into(), problem: problem.to_string() }
    }
}
