//! A model that answers about images.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use ndarray::Array2;

use super::{ImageTokens, LlavaCard, Projector, image_tokens, prompt_parts};
use crate::error::{Error, Result};
use crate::llm::{ChatTemplate, GenerateOptions, Generated, LanguageModel, Message, Part, PeftAdapter};
use crate::vision::{ImageBatch, ImageTower, load_image_tower};

/// Folder of the adapter in a model's folder.
const ADAPTER: &str = "adapter";
/// File of the projector.
pub const PROJECTOR: &str = "projector.safetensors";

/// Tower, projector and language model.
pub struct SpectralLlava {
    /// What its folder says.
    pub card: LlavaCard,
    /// Images to states.
    pub tower: Box<dyn ImageTower>,
    /// States to embeddings.
    pub projector: Projector,
    /// Embeddings and tokens to words.
    pub llm: LanguageModel,
}

/// Other parts than a folder names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parts {
    /// The language model, where it lies elsewhere than at training.
    pub llm: Option<String>,
    /// The image tower, where it lies elsewhere.
    pub tower: Option<String>,
    /// Whether the adapter is multiplied into the weights: faster with f32 weights, but they then take four bytes each.
    pub merge: bool,
}

impl SpectralLlava {
    /// Loads the model in `folder`.
    ///
    /// # Errors
    /// What is wrong with the folder; a language model or tower that is not there or is another than the one it was trained with.
    pub fn load(folder: &Path, parts: &Parts, device: &Device) -> Result<Self> {
        let card = LlavaCard::open(folder)?;
        let beside = |name: &str| -> String {
            let path = folder.join(name);
            if path.exists() { path.display().to_string() } else { name.to_owned() }
        };
        let tower_name = parts.tower.clone().unwrap_or_else(|| beside(&card.tower));
        let tower = load_image_tower(&tower_name, device)?;
        if tower.fingerprint() != card.tower_fingerprint {
            return Err(other(folder, "image tower", &tower_name, tower.fingerprint(), &card.tower_fingerprint));
        }
        let llm_name = parts.llm.clone().unwrap_or_else(|| beside(&card.llm.model));
        let mut llm = LanguageModel::load(&llm_name)?;
        if llm.fingerprint() != card.llm.fingerprint {
            return Err(other(folder, "language model", &llm_name, llm.fingerprint(), &card.llm.fingerprint));
        }
        if let Some(name) = &card.llm.template {
            llm = with_template(llm, name)?;
        }
        if let Some(context) = card.llm.context {
            llm = llm.with_context(context);
        }
        let adapter = folder.join(ADAPTER);
        if PeftAdapter::is_in(&adapter) {
            llm = llm.with_adapter(&PeftAdapter::open(&adapter)?, parts.merge)?;
        }
        let path = folder.join(PROJECTOR);
        let projector = Projector::open(&path)?;
        let (inputs, outputs) = (card.tokens.width(tower.as_ref()), llm.decoder.config.width);
        if (projector.weight.ncols(), projector.weight.nrows()) != (inputs, outputs) {
            return Err(Error::config(
                &path,
                format!(
                    "projects {} to {} numbers; the tower gives {inputs} a token with the `tokens` of config.json, the language model reads \
                     {outputs}: train it again, or mend the file",
                    projector.weight.ncols(),
                    projector.weight.nrows()
                ),
            ));
        }
        Ok(Self { card, tower, projector, llm })
    }

    /// Projected tokens of each image, flat [tokens · width].
    ///
    /// # Errors
    /// As [`ImageTower::encode`].
    pub fn look(&self, images: &ImageBatch) -> Result<Vec<Vec<f32>>> {
        let states = image_tokens(self.tower.as_ref(), images, self.card.tokens)?;
        let project = |states: &Array2<f32>| Ok(self.projector.project(states)?.iter().copied().collect());
        states.iter().map(project).collect()
    }

    /// The prompt of a conversation about `images` (of [`SpectralLlava::look`]), up to the model's next turn.
    ///
    /// # Errors
    /// As [`prompt_parts`]; no chat template, or a conversation it refuses.
    pub fn prompt(&self, messages: &[Message], images: &[Vec<f32>]) -> Result<Vec<Part>> {
        prompt_parts(&self.llm.template()?.render(messages, true)?, images, &self.llm.tokenizer)
    }

    /// The model's next turn. `listen` gets the text as it comes and says whether to go on.
    ///
    /// # Errors
    /// As [`SpectralLlava::prompt`] and [`LanguageModel::generate`]; a prompt that leaves no room for the answer, with the sum.
    pub fn answer(
        &self,
        messages: &[Message],
        images: &[Vec<f32>],
        options: &GenerateOptions,
        listen: &mut dyn FnMut(&str) -> bool,
    ) -> Result<Generated> {
        self.llm.generate(&self.prompt(messages, images)?, options, listen)
    }
}

/// `llm` with a template by name.
pub(crate) fn with_template(llm: LanguageModel, name: &str) -> Result<LanguageModel> {
    let (bos, eos) = llm.template.as_ref().map_or_else(
        || {
            let token =
                |names: &[&'static str]| names.iter().find(|t| llm.tokenizer.id(t).is_some()).copied().unwrap_or("");
            (token(&["<s>", "<|begin_of_text|>"]).to_owned(), token(&["</s>", "<|end_of_text|>"]).to_owned())
        },
        |t| (t.bos.clone(), t.eos.clone()),
    );
    Ok(llm.with_template(ChatTemplate::named(name, bos, eos)?))
}

fn other(folder: &Path, what: &str, name: &str, found: &str, expected: &str) -> Error {
    let start = |hash: &str| hash.get(..12).unwrap_or(hash).to_owned();
    Error::config(
        folder,
        format!(
            "was trained with another {what} than `{name}` ({}… instead of {}…): give the one it was trained with",
            start(found),
            start(expected)
        ),
    )
}

/// Writes a model's folder; the tower is written or named by the caller. The card comes last: a folder with one is whole.
///
/// # Errors
/// A folder that cannot be written.
pub fn save_spectral_llava(
    folder: &Path,
    card: &LlavaCard,
    projector: &Projector,
    adapter: Option<&PeftAdapter>,
) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create", e))?;
    projector.save(&folder.join(PROJECTOR))?;
    let path: PathBuf = folder.join(ADAPTER);
    match adapter {
        Some(adapter) => adapter.save(&path)?,
        // An adapter of an earlier training would be taken for this model's.
        None if path.exists() => std::fs::remove_dir_all(&path).map_err(|e| Error::io(&path, "remove", e))?,
        None => {}
    }
    Ok(geoglot_core::atomic::write_json(&folder.join("config.json"), card)?)
}

impl LanguageModel {
    /// Uses a template by name instead of the model's own.
    ///
    /// # Errors
    /// [`Error::Input`] listing the names.
    pub fn with_named_template(self, name: &str) -> Result<Self> {
        with_template(self, name)
    }
}

impl LlavaCard {
    /// A card of a model trained with `tower` (at `path`) and `llm`.
    pub fn new(tower: &dyn ImageTower, path: String, tokens: ImageTokens, llm: super::LlmReference) -> Self {
        Self {
            system: "spectral-llava".into(),
            layout: 1,
            tower: path,
            tower_fingerprint: tower.fingerprint().to_owned(),
            tokens,
            llm,
            license: None,
            training: serde_json::Value::Null,
        }
    }
}
