//! The recipe of a Spectral-LLaVA.
//!
//! ```toml
//! name = "terramind-llava"
//! kind = "spectral-llava"
//!
//! [data]
//! conversations = "instruct/train.json"      # LLaVA's JSON; images relative to its folder
//!
//! [model]
//! tower = "out/spectralgpt-small"
//! llm = "smollm2-135m-q4"
//! tokens = { pooled = 8 }
//!
//! [align]                                    # stage 1: the projector
//! epochs = 1
//! [tune]                                     # stage 2: projector and adapters
//! epochs = 1
//! ```

use std::path::{Path, PathBuf};

use geoglot_models::spectral_llava::ImageTokens;
use geoglot_nn::llm::LoraConfig;
use serde::{Deserialize, Serialize};

use crate::recipe::{Recipe, RecipeError, file, named, read};

/// A training of projector and adapters: `kind = "spectral-llava"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LlavaRecipe {
    /// Short name, used for folders and titles.
    pub name: String,
    /// `spectral-llava`.
    pub kind: String,
    /// What it is.
    #[serde(default)]
    pub description: String,
    /// Conversations.
    pub data: LlavaData,
    /// Tower and language model.
    pub model: LlavaModel,
    /// Stage 1; left out, the projector begins at random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub align: Option<StageSection>,
    /// Stage 2; left out, the language model stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tune: Option<StageSection>,
    /// Seed.
    #[serde(default)]
    pub seed: u64,
    /// Folder of the recipe file, to which paths are relative.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// Conversations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LlavaData {
    /// File in LLaVA's JSON; a stage may name its own.
    pub conversations: String,
    /// Folder of the images; that of the file when none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<String>,
    /// Sensor of images that name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensor: Option<String>,
}

/// Tower and language model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LlavaModel {
    /// Image tower: a folder beside the recipe, or a name.
    pub tower: String,
    /// Language model: a folder or GGUF file beside the recipe, or a name.
    pub llm: String,
    /// Trained model whose projector training begins with; a new one when none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// Where there is no `start`.
    #[serde(default)]
    pub begin: Begin,
    /// Chat template by name, where the model's own is not to be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Most tokens of a conversation.
    #[serde(default = "context")]
    pub context: usize,
    /// Tokens of an image.
    #[serde(default)]
    pub tokens: ImageTokens,
    /// Adapters of stage 2.
    #[serde(default)]
    pub lora: LoraConfig,
    /// Licence of what is trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
}

/// What a new projector begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Begin {
    /// Ridge regression from image states to the embeddings of the answers' words.
    #[default]
    Answers,
    /// Random numbers, as published.
    Random,
}

fn context() -> usize {
    2048
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageSection {
    /// Conversations of this stage (class labels instead of descriptions, say).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversations: Option<String>,
    /// Passes over the conversations.
    #[serde(default = "one")]
    pub epochs: usize,
    /// Conversations computed together.
    #[serde(default = "four")]
    pub batch: usize,
    /// Conversations of a step, as a sum of batches; the paper's 8 and 64.
    #[serde(default = "eight")]
    pub effective_batch: usize,
    /// Whether a step's conversations are of nearly one length: less padding, and short answers are not outweighed by the words of long ones.
    #[serde(default = "yes")]
    pub group_by_length: bool,
    /// Highest learning rate; 1e-3 for alignment and 2e-4 for tuning when none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// Share of the steps in which it rises from zero; then it falls as half a cosine.
    #[serde(default = "warmup")]
    pub warmup: f64,
    /// Largest norm of the gradients.
    #[serde(default = "clip")]
    pub clip: Option<f64>,
    /// Compute blocks again in the backward pass instead of keeping what they computed: less memory, a third more time.
    #[serde(default)]
    pub gradient_checkpointing: bool,
    /// Steps between checkpoints.
    #[serde(default = "fifty")]
    pub save_every: usize,
}

fn one() -> usize {
    1
}
fn four() -> usize {
    4
}
fn eight() -> usize {
    8
}
fn yes() -> bool {
    true
}
fn fifty() -> usize {
    50
}
fn warmup() -> f64 {
    0.03
}
fn clip() -> Option<f64> {
    Some(1.0)
}

impl Default for StageSection {
    fn default() -> Self {
        Self {
            conversations: None,
            epochs: 1,
            batch: 4,
            effective_batch: 8,
            group_by_length: true,
            learning_rate: None,
            warmup: warmup(),
            clip: clip(),
            gradient_checkpointing: false,
            save_every: fifty(),
        }
    }
}

impl StageSection {
    fn problem(&self) -> Option<&'static str> {
        let out_of_range = [
            ("epochs", self.epochs == 0),
            ("batch", self.batch == 0),
            ("effective_batch", self.effective_batch < self.batch),
            ("learning_rate", self.learning_rate.is_some_and(|r| !(r > 0.0 && r <= 1.0))),
            ("warmup", !(0.0..=1.0).contains(&self.warmup)),
            ("clip", self.clip.is_some_and(|c| !(c.is_finite() && c > 0.0))),
            ("save_every", self.save_every == 0),
        ];
        out_of_range.into_iter().find(|o| o.1).map(|o| o.0)
    }
}

impl LlavaRecipe {
    /// Reads a recipe, with overrides `key.path=value` applied before it is checked.
    ///
    /// # Errors
    /// [`RecipeError`] naming the file and the key.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self, RecipeError> {
        let (text, folder) = file(path)?;
        Self::parse(&text, &path.display().to_string(), folder, overrides)
    }

    /// As [`LlavaRecipe::load`], from TOML `text`; `origin` names it in messages.
    ///
    /// # Errors
    /// As [`LlavaRecipe::load`].
    pub fn parse(text: &str, origin: &str, folder: PathBuf, overrides: &[String]) -> Result<Self, RecipeError> {
        Ok(Self { folder, ..read(text, origin, overrides, |r: &Self| r.problem().map_or(Ok(()), Err))? })
    }

    fn problem(&self) -> Option<String> {
        if let Err(problem) = named(&self.name) {
            return Some(problem);
        }
        if self.align.is_none() && self.tune.is_none() {
            return Some("neither [align] nor [tune]: nothing would be trained".into());
        }
        for (name, stage) in [("align", &self.align), ("tune", &self.tune)] {
            if let Some(key) = stage.as_ref().and_then(StageSection::problem) {
                return Some(format!("{name}.{key} is out of range"));
            }
        }
        if self.model.context == 0 {
            return Some("model.context is 0".into());
        }
        self.model.tokens.problem().or_else(|| self.model.lora.problem()).map(|p| format!("model: {p}"))
    }

    /// A path of the recipe: relative to its folder, `${NAME}` replaced.
    ///
    /// # Errors
    /// [`RecipeError::Variable`].
    pub fn beside(&self, path: &str) -> Result<PathBuf, RecipeError> {
        Ok(self.folder.join(Recipe::expand(path)?))
    }

    /// The recipe as TOML.
    ///
    /// # Errors
    /// None in practice.
    pub fn to_toml(&self) -> Result<String, RecipeError> {
        toml::to_string(self).map_err(|e| RecipeError::Format { path: self.name.clone(), problem: e.to_string() })
    }
}
