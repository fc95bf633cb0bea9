//! Errors of weight files, key maps and loading.

use std::path::PathBuf;

use super::pickle::PickleError;

/// What can go wrong between a weight file and a module.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The file cannot be opened or read.
    #[error("{path}: cannot {action}: {source}")]
    Io {
        /// The weight file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is not what its kind says: truncated, wrong header, sizes that do not fit.
    #[error("{path}: not a usable {kind} file: {problem}")]
    Format {
        /// The weight file.
        path: PathBuf,
        /// `safetensors` or `PyTorch`.
        kind: &'static str,
        /// What is wrong, and what helps.
        problem: String,
    },
    /// The pickle inside a PyTorch file was refused or is damaged.
    #[error("{path}: {source}")]
    Pickle {
        /// The weight file.
        path: PathBuf,
        /// What the pickle reader says.
        source: PickleError,
    },
    /// A tensor name that the file does not have.
    #[error("{path}: no tensor `{name}`; the file has {count} tensors, for example {examples}")]
    NoTensor {
        /// The weight file.
        path: PathBuf,
        /// The name asked for.
        name: String,
        /// How many there are.
        count: usize,
        /// A few names.
        examples: String,
    },
    /// A tensor whose element type cannot become f32.
    #[error("{path}: tensor `{name}` holds {found}; expected f64, f32, f16 or bf16")]
    DType {
        /// The weight file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its element type.
        found: String,
    },
    /// A tensor whose shape is not the module's.
    #[error(
        "{path}: tensor `{source_name}` (for `{name}`) has shape {found:?}, the model expects {expected:?}; check that config and weights belong together"
    )]
    Shape {
        /// The weight file.
        path: PathBuf,
        /// The module's parameter.
        name: String,
        /// The name in the file.
        source_name: String,
        /// The module's shape, in the file's layout.
        expected: Box<[usize]>,
        /// The file's shape.
        found: Box<[usize]>,
    },
    /// Parameters the module has and the file lacks, or tensors in the file that no rule of the key map names.
    #[error(
        "{path}: weights do not fit the key map `{map}`: {missing_count} missing ({missing}), {unused_count} unused ({unused}); name a tensor in the map's `ignore` list if it is meant to be left out"
    )]
    Keys {
        /// The weight file.
        path: PathBuf,
        /// The key map's name.
        map: String,
        /// How many parameters found no tensor.
        missing_count: usize,
        /// Their names (the first few).
        missing: String,
        /// How many tensors were claimed by no rule.
        unused_count: usize,
        /// Their names (the first few).
        unused: String,
    },
    /// Two tensors of a file were mapped to one parameter.
    #[error("{path}: key map `{map}` sends both {sources} to `{name}`")]
    Clash {
        /// The weight file.
        path: PathBuf,
        /// The key map's name.
        map: String,
        /// The module's parameter.
        name: String,
        /// The two tensors.
        sources: String,
    },
    /// A key map that does not parse.
    #[error("key map `{map}`: {problem}")]
    KeyMap {
        /// The key map's name or `<unnamed>`.
        map: String,
        /// What is wrong.
        problem: String,
    },
    /// A module could not be written.
    #[error(transparent)]
    Write(#[from] geoglot_core::Error),
}

/// The first few of `names`, comma separated, with an ellipsis when there are more.
pub(crate) fn some_of<S: AsRef<str>>(names: &[S]) -> String {
    const SHOWN: usize = 8;
    if names.is_empty() {
        return "none".into();
    }
    let mut text = names.iter().take(SHOWN).map(|n| format!("`{}`", n.as_ref())).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(", …");
    }
    text
}
