//! A language model: decoder, tokeniser, chat template.

use std::path::{Path, PathBuf};

use geoglot_nn::llm::{Decoder, Format};
use geoglot_nn::weights::Checkpoint;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::gguf::Gguf;
use super::{ChatTemplate, LlmTokenizer, Message, PeftAdapter, decoder_config, hugging_face};
use crate::error::{Error, Result};
use crate::hub::{Hub, hex};
use crate::text::towers::{find_weights, read_json};

/// Tokens that end a turn in the templates of published models.
const TURN_ENDS: &[&str] = &["<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<|endoftext|>", "</s>", "<|end|>"];

/// A language model ready to generate.
pub struct LanguageModel {
    /// Name for messages: the folder's or file's.
    pub name: String,
    /// Where it was loaded from.
    pub path: PathBuf,
    /// The network.
    pub decoder: Decoder,
    /// Texts to tokens.
    pub tokenizer: LlmTokenizer,
    /// How conversations are written; `None` when the files do not say.
    pub template: Option<ChatTemplate>,
    /// Tokens that end an answer.
    pub ends: Vec<u32>,
    fingerprint: String,
    context: Option<usize>,
}

impl LanguageModel {
    /// Loads a model by folder, GGUF file, registry name or hub repository. Never touches the network.
    ///
    /// # Errors
    /// [`Error::NotAvailable`] saying how to get it, [`Error::UnknownModel`], and everything that can be wrong with the files.
    pub fn load(path_or_name: &str) -> Result<Self> {
        let path = Path::new(path_or_name);
        if path.is_file() {
            return Self::open(path);
        }
        Self::open(&Hub::from_env()?.resolve(path_or_name)?.folder)
    }

    /// Loads a GGUF file, or a folder with `config.json` and safetensors or with one GGUF file.
    ///
    /// # Errors
    /// As [`LanguageModel::load`].
    pub fn open(path: &Path) -> Result<Self> {
        let gguf = |p: &Path| p.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf"));
        if !path.is_dir() {
            return match gguf(path) {
                true => Self::from_gguf(path),
                false => Err(Error::config(path, "neither a folder nor a .gguf file")),
            };
        }
        if path.join("config.json").is_file() {
            return Self::from_hugging_face(path);
        }
        let entries = std::fs::read_dir(path).map_err(|e| Error::io(path, "list", e))?;
        let mut files: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(|p| gguf(p)).collect();
        files.sort();
        match files.as_slice() {
            [one] => Self::from_gguf(one),
            [] => Err(Error::config(path, "neither config.json nor a .gguf file: no language model")),
            several => {
                let names: Vec<_> =
                    several.iter().map(|p| p.file_name().unwrap_or_default().to_string_lossy()).collect();
                Err(Error::config(path, format!("holds several GGUF files; name one: {}", names.join(", "))))
            }
        }
    }

    fn from_hugging_face(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        let json = read_json(&path)?;
        let config = decoder_config(&json, &path)?;
        let checkpoint = Checkpoint::open(find_weights(folder, None)?)?;
        let decoder = hugging_face::decoder(&checkpoint, &config)?;
        let tokenizer = LlmTokenizer::from_folder(folder)?;
        let template = ChatTemplate::from_folder(folder)?;
        let generation = folder.join("generation_config.json");
        let generation = if generation.is_file() { read_json(&generation)? } else { Value::Null };
        let mut ends = Vec::new();
        for value in [generation.get("eos_token_id"), json.get("eos_token_id")].into_iter().flatten() {
            let ids = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
            ends.extend(ids.iter().filter_map(Value::as_u64).filter_map(|id| u32::try_from(id).ok()));
        }
        Self::assemble(folder, decoder, tokenizer, template, ends)
    }

    fn from_gguf(path: &Path) -> Result<Self> {
        let mut file = Gguf::open(path)?;
        let decoder = file.decoder()?;
        let tokenizer = file.tokenizer()?;
        let token = |id: Option<u32>| id.and_then(|id| tokenizer.token(id)).unwrap_or_default();
        let eos = file.number("tokenizer.ggml.eos_token_id").and_then(|n| u32::try_from(n).ok());
        let bos = file.number("tokenizer.ggml.bos_token_id").and_then(|n| u32::try_from(n).ok());
        let template = file.text("tokenizer.chat_template").map(|t| ChatTemplate::new(t, token(bos), token(eos)));
        let template = template.transpose()?;
        let ends = eos.into_iter().collect();
        Self::assemble(path, decoder, tokenizer, template, ends)
    }

    fn assemble(
        path: &Path,
        decoder: Decoder,
        tokenizer: LlmTokenizer,
        template: Option<ChatTemplate>,
        mut ends: Vec<u32>,
    ) -> Result<Self> {
        if tokenizer.size() > decoder.config.vocabulary {
            return Err(Error::Tokenizer {
                path: tokenizer.path().to_owned(),
                problem: format!(
                    "has ids up to {}, the model embeds {} tokens: it belongs to another model",
                    tokenizer.size() - 1,
                    decoder.config.vocabulary
                ),
            });
        }
        if let Some(template) = &template {
            // A turn's end is an answer's end, whether or not the files list it.
            let written = TURN_ENDS.iter().filter(|t| template.source().contains(**t) || template.eos == **t);
            ends.extend(written.filter_map(|t| tokenizer.id(t)));
        }
        ends.sort_unstable();
        ends.dedup();
        let name = path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned());
        let fingerprint = fingerprint(&decoder);
        Ok(Self { name, path: path.to_owned(), decoder, tokenizer, template, ends, fingerprint, context: None })
    }

    /// A hash of sizes and norms: the same for all forms (f32, half precision, blocks) of one model's weights, another for another model's.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Most tokens of prompt and answer.
    pub fn context(&self) -> usize {
        self.context.unwrap_or(usize::MAX).min(self.decoder.config.context)
    }

    /// Limits prompt and answer to fewer tokens than the model was trained for.
    pub fn with_context(mut self, context: usize) -> Self {
        self.context = Some(context);
        self
    }

    /// Uses this template instead of the model's own.
    pub fn with_template(mut self, template: ChatTemplate) -> Self {
        self.template = Some(template);
        self
    }

    /// The weights in another form: blocks of 4 or 8 bits need less memory and are read faster.
    ///
    /// # Errors
    /// [`Error::Config`] for sizes that are no whole blocks.
    pub fn with_format(mut self, format: Format) -> Result<Self> {
        self.decoder = self.decoder.to_format(format).map_err(|e| Error::config(&self.path, e))?;
        Ok(self)
    }

    /// Adds an adapter: multiplied into the weights (which become f32), or kept apart.
    ///
    /// # Errors
    /// [`Error::Config`] for an adapter of another model.
    pub fn with_adapter(mut self, adapter: &PeftAdapter, merge: bool) -> Result<Self> {
        adapter.apply(&mut self.decoder, &self.fingerprint, merge)?;
        Ok(self)
    }

    /// The model's template.
    ///
    /// # Errors
    /// [`Error::Config`] when its files have none.
    pub fn template(&self) -> Result<&ChatTemplate> {
        self.template.as_ref().ok_or_else(|| {
            Error::config(
                &self.path,
                "no chat template (chat_template.jinja, tokenizer_config.json or GGUF metadata): name one of chatml, llama-3, llama-2, \
                 zephyr, vicuna",
            )
        })
    }

    /// Tokens of a conversation, up to where the model's next turn begins.
    ///
    /// # Errors
    /// No template, a conversation it refuses, [`Error::Tokenizer`].
    pub fn prompt(&self, messages: &[Message]) -> Result<Vec<u32>> {
        self.tokenizer.encode(&self.template()?.render(messages, true)?, false)
    }
}

fn fingerprint(decoder: &Decoder) -> String {
    let c = &decoder.config;
    let mut hasher = Sha256::new();
    for size in [c.vocabulary, c.width, c.hidden, c.depth, c.heads, c.kv_heads, c.head] {
        hasher.update((size as u64).to_le_bytes());
    }
    let norms = decoder.layers.iter().flat_map(|l| [&l.attention_norm, &l.mlp_norm]).chain([&decoder.norm]);
    // Norms are never quantised; bf16 keeps 8 bits of what f32 had.
    for value in norms.flatten() {
        hasher.update(half::bf16::from_f32(*value).to_le_bytes());
    }
    hex(&hasher.finalize())
}
