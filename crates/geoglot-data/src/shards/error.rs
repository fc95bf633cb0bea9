//! Errors of shards.

use std::path::{Path, PathBuf};

/// Result with this module's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong between shards and samples.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tar file whose structure is damaged: what follows the damage cannot be reached.
    #[error("{shard}: {problem}")]
    Shard {
        /// The tar file.
        shard: PathBuf,
        /// What is wrong, where, what to do.
        problem: String,
    },
    /// One sample; the others of the shard can be read.
    #[error("{shard}, sample `{key}`: {problem}")]
    Sample {
        /// The tar file.
        shard: PathBuf,
        /// The sample's key.
        key: String,
        /// What is wrong, what was expected, what to do.
        problem: String,
    },
    /// `shards.json`, or a folder that does not hold what it says.
    #[error("{path}: {problem}")]
    Index {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong, what was expected, what to do.
        problem: String,
    },
    /// An item of the data that were to be written.
    #[error("item `{key}`: {problem}")]
    Item {
        /// Its key.
        key: String,
        /// What is wrong, what to do.
        problem: String,
    },
    /// Settings that make no sense.
    #[error("{0}")]
    Usage(String),
    /// Published data sets.
    #[error(transparent)]
    Dataset(#[from] crate::datasets::Error),
    /// Rasters and bands.
    #[error(transparent)]
    Raster(#[from] geoglot_raster::Error),
    /// Small files, sensors.
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
}

impl Error {
    pub(super) fn shard(shard: &Path, problem: impl Into<String>) -> Self {
        Self::Shard { shard: shard.into(), problem: problem.into() }
    }

    pub(super) fn sample(shard: &Path, key: &str, problem: impl Into<String>) -> Self {
        Self::Sample { shard: shard.into(), key: key.into(), problem: problem.into() }
    }

    pub(super) fn index(path: &Path, problem: impl Into<String>) -> Self {
        Self::Index { path: path.into(), problem: problem.into() }
    }

    pub(super) fn item(key: &str, problem: impl Into<String>) -> Self {
        Self::Item { key: key.into(), problem: problem.into() }
    }

    pub(super) fn io(path: &Path, action: &'static str, source: std::io::Error) -> Self {
        Self::Io { path: path.into(), action, source }
    }

    /// True for faults of the data, which [`OnFault::Skip`] passes over.
    pub fn is_fault(&self) -> bool {
        matches!(self, Self::Shard { .. } | Self::Sample { .. })
    }
}

/// What to do about a faulty sample or shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFault {
    /// Stop with an error that names shard and sample.
    #[default]
    Fail,
    /// Pass over it, count it and log it.
    Skip,
}
