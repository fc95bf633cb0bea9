//! Errors of the core: registry, legend, grid, small files.

use std::path::PathBuf;

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with sensors, legends, grids and small text files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A sensor id that no registry entry or alias has.
    #[error(
        "unknown sensor `{sensor}`; known sensors: {known}. Add your own with a registry TOML file (--sensors FILE)"
    )]
    UnknownSensor {
        /// The id asked for.
        sensor: String,
        /// Known ids, comma separated.
        known: String,
    },
    /// A band name the sensor does not have.
    #[error("sensor `{sensor}` has no band `{band}`; its bands are: {known}")]
    UnknownBand {
        /// The sensor id.
        sensor: String,
        /// The band name asked for.
        band: String,
        /// Known band names, comma separated.
        known: String,
    },
    /// A band layout the sensor does not have.
    #[error("sensor `{sensor}` has no band layout `{layout}`; its layouts are: {known}")]
    UnknownLayout {
        /// The sensor id.
        sensor: String,
        /// The layout asked for.
        layout: String,
        /// Known layouts, comma separated.
        known: String,
    },
    /// A registry, legend or manifest file that does not parse or is inconsistent.
    #[error("{path}: {problem}")]
    Format {
        /// The file, or `<builtin>`.
        path: String,
        /// What is wrong and what was expected.
        problem: String,
    },
    /// A legend that cannot be used for the job.
    #[error("legend: {0}")]
    Legend(String),
    /// A window outside its grid, a transform that cannot be inverted, sizes that do not match.
    #[error("grid: {0}")]
    Grid(String),
    /// A prompt or template that cannot be used.
    #[error("prompts: {0}")]
    Prompt(String),
    /// Reading or writing a small file.
    #[error("{path}: cannot {action}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// `read`, `write`, `create`, `rename`.
        action: &'static str,
        /// The operating system's answer.
        source: std::io::Error,
    },
}

impl Error {
    /// An I/O error of `path` while doing `action`.
    pub fn io(path: impl Into<PathBuf>, action: &'static str, source: std::io::Error) -> Self {
        Self::Io { path: path.into(), action, source }
    }

    /// What is wrong, without the file's name: for errors that name the file themselves.
    pub fn problem(&self) -> String {
        match self {
            Self::Format { problem, .. } => problem.clone(),
            Self::Io { action, source, .. } => format!("cannot {action}: {source}"),
            other => other.to_string(),
        }
    }
}
