//! `config.json` of a trained model.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::ImageTokens;
use crate::error::{Error, Result};
use crate::text::towers::read_json;

/// Which language model a model belongs to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LlmReference {
    /// Folder, GGUF file or name of `models list`.
    pub model: String,
    /// Its hash ([`crate::llm::LanguageModel::fingerprint`]).
    pub fingerprint: String,
    /// Chat template by name, where the model's own is not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Most tokens of prompt and answer, where it is less than the model was trained for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<usize>,
}

/// geoglot's `config.json` of a Spectral-LLaVA model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LlavaCard {
    /// `spectral-llava`.
    pub system: String,
    /// Format of this file.
    pub layout: u32,
    /// Image tower: a folder beside this file, or another path or name.
    pub tower: String,
    /// Its fingerprint.
    pub tower_fingerprint: String,
    /// Tokens of an image.
    pub tokens: ImageTokens,
    /// The language model.
    pub llm: LlmReference,
    /// Licence of what was trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// How it was trained.
    #[serde(default)]
    pub training: serde_json::Value,
}

impl LlavaCard {
    /// Reads the card in `folder`.
    ///
    /// # Errors
    /// [`Error::Config`] for another system or layout.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        let bad = |problem: String| Error::config(&path, problem);
        let json = read_json(&path)?;
        let system = json.get("system").and_then(|s| s.as_str()).unwrap_or("nothing geoglot wrote");
        if system != "spectral-llava" {
            return Err(bad(format!(
                "describes `{system}`, no model that answers in words; train one with a recipe of kind = \"spectral-llava\""
            )));
        }
        let card = Self::deserialize(&json).map_err(|e| bad(e.to_string()))?;
        if card.layout != 1 {
            return Err(bad(format!("layout {}; expected 1", card.layout)));
        }
        match card.tokens.problem() {
            Some(problem) => Err(bad(problem)),
            None => Ok(card),
        }
    }
}
