//! Errors of models and text towers.

use std::path::{Path, PathBuf};

use geoglot_nn::weights::WeightsError;

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with a model: finding it, fetching it, loading it, feeding it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder cannot be read or written.
    #[error("{path}: cannot {action}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A model's configuration cannot be used.
    #[error("{path}: {problem}")]
    Config {
        /// The configuration file or model folder.
        path: PathBuf,
        /// What is wrong, what was expected, what helps.
        problem: String,
    },
    /// Weights that do not load.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A tokeniser that does not load or refuses a text.
    #[error("{path}: tokeniser: {problem}")]
    Tokenizer {
        /// The tokeniser's file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A model name nobody knows.
    #[error(
        "unknown model `{name}`: neither a folder nor one of {known}; a Hugging Face repository is written owner/name@revision"
    )]
    UnknownModel {
        /// The name asked for.
        name: String,
        /// Known names, comma separated.
        known: String,
    },
    /// A known model that is not on this machine.
    #[error("model `{name}` is not on this machine ({looked}). To get it:\n{how}")]
    NotAvailable {
        /// The model.
        name: String,
        /// Where it was looked for.
        looked: String,
        /// Commands and files that help, one a line.
        how: String,
    },
    /// A file whose content is not what the registry or the first download recorded.
    #[error(
        "{path}: SHA-256 is {found}, expected {expected}: the file is damaged or was changed; delete it and pull the model again"
    )]
    Hash {
        /// The file.
        path: PathBuf,
        /// The recorded hash.
        expected: String,
        /// The file's hash.
        found: String,
    },
    /// The hub did not give a file.
    #[error("{repo}@{revision}: cannot fetch `{file}`: {problem}")]
    Hub {
        /// Repository.
        repo: String,
        /// Revision asked for.
        revision: String,
        /// File.
        file: String,
        /// The reason.
        problem: String,
    },
    /// A wheel that cannot be used.
    #[error("{path}: {problem}")]
    Wheel {
        /// The wheel.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Python's package installer is missing or failed.
    #[error("`{command}` failed: {problem}")]
    Pip {
        /// The command run.
        command: String,
        /// Its message.
        problem: String,
    },
    /// Embeddings of two spaces were compared.
    #[error(
        "embeddings of space `{left}` cannot be compared with embeddings of space `{right}`: use the text tower the model was trained with"
    )]
    Space {
        /// One space.
        left: String,
        /// The other.
        right: String,
    },
    /// An argument outside what the function accepts.
    #[error("{0}")]
    Input(String),
    /// Pixels of a scene that cannot be read.
    #[error(transparent)]
    Scene(Box<dyn std::error::Error + Send + Sync>),
    /// An error of the core crate.
    #[error(transparent)]
    Core(#[from] geoglot_core::Error),
}

impl Error {
    /// An [`Error::Io`].
    pub fn io(path: impl AsRef<Path>, action: &'static str, source: std::io::Error) -> Self {
        Error::Io { path: path.as_ref().to_owned(), action, source }
    }

    /// An [`Error::Config`].
    pub fn config(path: impl AsRef<Path>, problem: impl Into<String>) -> Self {
        Error::Config { path: path.as_ref().to_owned(), problem: problem.into() }
    }
}
