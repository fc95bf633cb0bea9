//! Errors of caption building.

use std::path::PathBuf;

/// Result with this module's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong between a recipe and its captions.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A recipe that lacks what its kind needs or holds impossible values.
    #[error("caption recipe: {0}")]
    Recipe(String),
    /// An image whose facts cannot be stated.
    #[error("{path}: {problem}")]
    Image {
        /// The image or the label file.
        path: PathBuf,
        /// What is wrong, what was expected, what to do.
        problem: String,
    },
    /// A record of a list that cannot be used.
    #[error("{path}, {place}: {problem}")]
    Record {
        /// The list.
        path: PathBuf,
        /// Where in it.
        place: String,
        /// What is wrong and what was expected.
        problem: String,
    },
    /// An image of which nothing can be said; it is left out.
    #[error("{path}: {problem}; left out")]
    Nothing {
        /// The image.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// Words that cannot be put together, or that the facts do not bear out.
    #[error("captions: {0}")]
    Wording(String),
    /// An endpoint that does not answer, or not as expected.
    #[error("endpoint {url}: {problem}")]
    Endpoint {
        /// The address asked.
        url: String,
        /// What happened and what to do.
        problem: String,
    },
    /// Reading rasters.
    #[error(transparent)]
    Raster(#[from] geoglot_raster::Error),
    /// Reading data sets.
    #[error(transparent)]
    Dataset(#[from] crate::datasets::Error),
    /// Legends and small files.
    #[error(transparent)]
    Core(#[from] geoglot_core::Error),
}

impl Error {
    pub(super) fn image(path: impl Into<PathBuf>, problem: impl Into<String>) -> Self {
        Self::Image { path: path.into(), problem: problem.into() }
    }

    pub(super) fn record(path: impl Into<PathBuf>, place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Record { path: path.into(), place: place.into(), problem: problem.into() }
    }
}
