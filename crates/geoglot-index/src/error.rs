//! Errors of the archive: files, spaces, records, filters, exports.

use std::path::PathBuf;

use crate::Space;

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with an archive of embeddings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Reading or writing a file.
    #[error("{path}: cannot {action}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// `read`, `write`, `open`, …
        action: &'static str,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// Grids and atomic files of the core.
    #[error(transparent)]
    Core(#[from] geoglot_core::Error),
    /// The folder holds no archive.
    #[error("{path}: not an archive ({problem}). Make one with `index create`, or name its folder")]
    NotAnArchive {
        /// The folder.
        path: PathBuf,
        /// What is missing.
        problem: String,
    },
    /// An archive is already there.
    #[error("{path}: an archive is already there; open it to add to it, or choose another folder")]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// Written by a newer version.
    #[error("{path}: format version {found}, but this program reads up to version {expected}; use a newer geoglot")]
    Version {
        /// The file.
        path: PathBuf,
        /// Version found.
        found: u32,
        /// Newest version known.
        expected: u32,
    },
    /// A file of the archive is missing, cut or altered.
    #[error("{path}: damaged: {problem}. `index verify` lists what is lost, `index repair` makes the rest usable")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was expected and found.
        problem: String,
    },
    /// Bytes that are not of the expected format.
    #[error("{what}: {problem}")]
    Format {
        /// Which structure.
        what: &'static str,
        /// What was expected and found.
        problem: String,
    },
    /// Vectors of two embedding spaces were about to be compared.
    #[error(
        "the archive is in the space {archive}, the query in {query}: their vectors cannot be compared. \
         Embed the query with the archive's model, or search an archive made with the query's"
    )]
    SpaceMismatch {
        /// Space of the archive.
        archive: Box<Space>,
        /// Space of the query or of the added records.
        query: Box<Space>,
    },
    /// A vector that cannot be stored or searched with.
    #[error("{what}: {problem}")]
    Vector {
        /// Which vector: `record …`, `query`, `row 7 of FILE`.
        what: String,
        /// Wrong length, not finite, zero.
        problem: String,
    },
    /// Another process writes to the archive.
    #[error("{path}: being written by {holder}. Wait until it ends; reading and searching go on meanwhile")]
    Locked {
        /// The archive.
        path: PathBuf,
        /// Who holds the lock.
        holder: String,
    },
    /// A footprint, box or polygon that is no area on Earth.
    #[error("geometry: {0}")]
    Geometry(String),
    /// A filter that cannot be applied.
    #[error("filter: {0}")]
    Filter(String),
    /// A query that has no direction or no records to start from.
    #[error("query: {0}")]
    Query(String),
    /// A GeoParquet file that cannot be imported.
    #[error("{path}: {problem}")]
    Import {
        /// The file.
        path: PathBuf,
        /// What is missing or of the wrong type, and what to do.
        problem: String,
    },
    /// The Parquet or Arrow library refuses a file.
    #[error("{path}: Parquet: {source}")]
    Parquet {
        /// The file.
        path: PathBuf,
        /// The library's answer.
        source: parquet::errors::ParquetError,
    },
    /// The approximate index refuses.
    #[error("approximate index: {0}")]
    Approximate(String),
}

impl Error {
    /// An I/O error of `path` while doing `action`.
    pub fn io(path: impl Into<PathBuf>, action: &'static str, source: std::io::Error) -> Self {
        Self::Io { path: path.into(), action, source }
    }

    /// A damaged file.
    pub(crate) fn damaged(path: impl Into<PathBuf>, problem: impl Into<String>) -> Self {
        Self::Damaged { path: path.into(), problem: problem.into() }
    }

    /// Bytes of the wrong format.
    pub(crate) fn format(what: &'static str, problem: impl Into<String>) -> Self {
        Self::Format { what, problem: problem.into() }
    }

    /// A Parquet error of `path`.
    pub(crate) fn parquet(path: impl Into<PathBuf>) -> impl FnOnce(parquet::errors::ParquetError) -> Self {
        let path = path.into();
        move |source| Self::Parquet { path, source }
    }
}
