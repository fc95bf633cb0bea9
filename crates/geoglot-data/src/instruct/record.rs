//! LLaVA's JSON: a list of entries with an image and turns.

use std::path::Path;

use geoglot_core::{atomic, small_file};
use serde::{Deserialize, Serialize};

use super::SpectralFacts;
use crate::captions::{Error, Result};

/// A turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// `human` or `gpt`, as LLaVA names person and model; `system`.
    pub from: String,
    /// What is said; `<image>` stands for the image.
    pub value: String,
}

/// A conversation about one image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    /// Unique name.
    pub id: String,
    /// Image, relative to the file's folder or absolute, with options behind a colon as in `--scene`.
    pub image: String,
    /// Turns.
    pub conversations: Vec<Turn>,
    /// Classes that are true of the image, for scoring; LLaVA ignores them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// What its spectra say, for scoring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spectral: Option<SpectralFacts>,
    /// Where it lies, longitude and latitude in degrees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<[f64; 2]>,
    /// A picture of its colours (PNG), for captioners that see nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<String>,
}

/// Reads conversations.
///
/// # Errors
/// [`Error::Core`] for a file that cannot be read; [`Error::Image`] naming the entry that has no turns or speakers that are not known.
pub fn read_conversations(path: &Path) -> Result<Vec<Conversation>> {
    let bytes = small_file::read(path, small_file::LIST)?;
    let wrong = |problem: String| Error::Image { path: path.to_path_buf(), problem };
    let all: Vec<Conversation> =
        serde_json::from_slice(&bytes).map_err(|e| wrong(format!("no list of conversations: {e}")))?;
    for entry in &all {
        let known = |t: &Turn| matches!(t.from.as_str(), "human" | "gpt" | "user" | "assistant" | "system");
        if entry.conversations.is_empty() {
            return Err(wrong(format!("`{}` has no turns", entry.id)));
        }
        if let Some(turn) = entry.conversations.iter().find(|t| !known(t)) {
            return Err(wrong(format!("`{}`: a turn from `{}`; expected human, gpt or system", entry.id, turn.from)));
        }
    }
    Ok(all)
}

/// Writes conversations.
///
/// # Errors
/// [`Error::Core`] for a path that cannot be written.
pub fn write_conversations(path: &Path, conversations: &[Conversation]) -> Result<()> {
    Ok(atomic::write_json(path, &conversations)?)
}
