//! BERT-like, CLIP and SigLIP towers: tokeniser, encoder, pooling, batches.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor, TensorData};
use geoglot_core::small_file;
use geoglot_nn::weights::{Checkpoint, load_into};
use ndarray::Array2;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::bert::{Bert, BertConfig, BertKind};
use super::clip::{ClipText, ClipTextConfig, PromptEncoder};
use super::pooling::{Pooling, normalize_rows};
use super::siglip::{SiglipText, SiglipTextConfig, canonicalise};
use super::tokenize::{CLIP_END, TextTokenizer};
use super::{SpaceId, TextTower};
use crate::error::{Error, Result};
use crate::hub::{Registry, hex, sha256_of_file};
use crate::vision::Preset;

/// Texts encoded together.
const BATCH: usize = 32;

/// Weight files of a text model folder, in order of preference.
const WEIGHTS: &[&str] = &[
    "model.safetensors",
    "open_clip_model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "open_clip_pytorch_model.bin",
];

/// What a folder does not say by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TowerOptions {
    /// Pooling of a BERT; by default what `1_Pooling/config.json` says, else the mean.
    pub pooling: Option<Pooling>,
    /// Name of the space; by default the registry's for weights it knows, else folder name and weight hash.
    pub space: Option<String>,
    /// Hash the weights must have.
    pub sha256: Option<String>,
    /// A published model ([`Preset`]) whose configuration is used instead of the one beside the weights.
    pub preset: Option<String>,
}

/// Loads the text tower in `folder`, recognised by `open_clip_config.json` or by `model_type` in `config.json`.
///
/// # Errors
/// Everything that can be wrong with a folder, each error naming the file.
pub fn load_from_folder(folder: &Path, options: &TowerOptions, device: &Device) -> Result<Box<dyn TextTower>> {
    let preset = options.preset.as_deref().map(Preset::named).transpose()?;
    let weights = find_weights(folder, preset)?;
    let sha256 = sha256_of_file(&weights)?;
    if let Some(expected) = options.sha256.as_ref().filter(|e| **e != sha256) {
        return Err(Error::Hash { path: weights, expected: expected.clone(), found: sha256 });
    }
    let parts = Parts { folder, weights, sha256, options, device };
    let open_clip = folder.join("open_clip_config.json");
    let config = folder.join("config.json");
    let by_name = || Preset::of_file(&parts.weights).filter(|_| !open_clip.is_file() && !config.is_file());
    if let Some(preset) = preset.or_else(by_name) {
        let json = preset.open_clip().ok_or_else(|| {
            Error::config(&parts.weights, format!("the published model `{}` has no text side", preset.name))
        })?;
        return parts.open_clip(json, &open_clip);
    }
    if open_clip.is_file() {
        return parts.open_clip(&read_json(&open_clip)?, &open_clip);
    }
    if !config.is_file() {
        return Err(Error::config(folder, "neither config.json nor open_clip_config.json: not a text model folder"));
    }
    let json = read_json(&config)?;
    match json.get("model_type").and_then(Value::as_str) {
        Some("bert") => parts.bert(BertKind::Bert, &json, &config),
        Some("roberta") => parts.bert(BertKind::Roberta, &json, &config),
        Some("albert") => parts.bert(BertKind::Albert, &json, &config),
        Some("siglip" | "siglip_text_model") => {
            parts.siglip(SiglipTextConfig::from_hugging_face(&json, &config)?, &json)
        }
        Some("clip" | "clip_text_model") => parts.clip(ClipTextConfig::from_hugging_face(&json, &config)?, &json),
        other => Err(Error::config(
            &config,
            format!(
                "model_type {} is no text tower known here; expected bert, roberta, albert, clip, clip_text_model, siglip or siglip_text_model",
                other.map_or("is missing and".into(), |o| format!("`{o}`"))
            ),
        )),
    }
}

/// The weight file of a model folder: the preset's, one of the usual names, or one that a published model is known by.
pub(crate) fn find_weights(folder: &Path, preset: Option<&Preset>) -> Result<PathBuf> {
    let there = |file: &str| Some(folder.join(file)).filter(|p| p.is_file());
    let of_preset = preset.into_iter().flat_map(|p| &p.files).find_map(|f| there(f));
    let usual = || WEIGHTS.iter().find_map(|w| there(w));
    let published = || crate::vision::presets().iter().flat_map(|p| &p.files).find_map(|f| there(f));
    // Weights of a named model may have any name, if there is no doubt which file is meant.
    let only = || {
        let mut files = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).filter(|path| {
            let kind = path.extension().and_then(|e| e.to_str());
            path.is_file() && matches!(kind, Some("pt" | "pth" | "bin" | "safetensors"))
        });
        preset.and(files.next()).filter(|_| files.next().is_none())
    };
    of_preset.or_else(usual).or_else(published).or_else(only).ok_or_else(|| {
        Error::config(folder, format!("no weights in this folder; expected one of {}", WEIGHTS.join(", ")))
    })
}

/// The name of the space of weights: the one given, the registry's for weights it knows, else folder name and weight hash.
pub(crate) fn space_name(given: Option<&str>, folder: &Path, sha256: &str, suffix: &str) -> String {
    let name = given.map(str::to_owned).or_else(|| Registry::builtin().space_of_weights(sha256)).unwrap_or_else(|| {
        let canonical = folder.canonicalize().ok();
        let last = canonical.as_deref().unwrap_or(folder).file_name();
        let name = last.map_or("tower".into(), |n| n.to_string_lossy().into_owned());
        format!("{name}@{}", &sha256[..12])
    });
    if suffix.is_empty() { name } else { format!("{name}-{suffix}") }
}

/// Numbers in the matrices of one transformer block.
pub(super) fn block_weights(width: usize, hidden: usize) -> f64 {
    4.0 * (width as f64).powi(2) + 2.0 * width as f64 * hidden as f64
}

pub(crate) fn read_json(path: &Path) -> Result<Value> {
    let bytes = small_file::read(path, small_file::TEXT)?;
    serde_json::from_slice(&bytes).map_err(|e| Error::config(path, e.to_string()))
}

/// What both kinds need while loading.
struct Parts<'a> {
    folder: &'a Path,
    weights: PathBuf,
    sha256: String,
    options: &'a TowerOptions,
    device: &'a Device,
}

impl Parts<'_> {
    fn bert(self, kind: BertKind, json: &Value, path: &Path) -> Result<Box<dyn TextTower>> {
        let config = BertConfig::from_json(kind, json, path)?;
        let published = published_pooling(self.folder)?;
        let pooling = self.options.pooling.or(published).unwrap_or(Pooling::Mean);
        let max_tokens = published_length(self.folder)?.unwrap_or(usize::MAX).min(config.max_tokens());
        let tokenizer = TextTokenizer::from_folder(self.folder, max_tokens)?;
        self.check_vocabulary(&tokenizer, config.vocabulary)?;
        let checkpoint = self.checkpoint(config.least_weights())?;
        let (model, _) = load_into(config.init(self.device), &checkpoint, &config.key_map())?;
        // A pooling other than the published one makes another space.
        let suffix = if published.unwrap_or(Pooling::Mean) == pooling { "" } else { pooling.name() };
        let space = SpaceId::new(self.space_name(suffix), config.width);
        let fingerprint = self.fingerprint(json, &tokenizer, &format!("{} {max_tokens}", pooling.name()));
        Ok(Box::new(BertTower { model, tokenizer, pooling, space, fingerprint, device: self.device.clone() }))
    }

    fn clip(self, config: ClipTextConfig, json: &Value) -> Result<Box<dyn TextTower>> {
        let tokenizer = TextTokenizer::clip_from_folder(self.folder, config.context)?;
        self.check_vocabulary(&tokenizer, config.vocabulary)?;
        let end = tokenizer.id(CLIP_END).ok_or_else(|| Error::Tokenizer {
            path: tokenizer.path().to_owned(),
            problem: format!("the vocabulary has no `{CLIP_END}`"),
        })?;
        let checkpoint = self.checkpoint(config.least_weights())?;
        let (model, _) = load_into(config.init(self.device), &checkpoint, &ClipTextConfig::key_map())?;
        let space = SpaceId::new(self.space_name(""), config.projection);
        let fingerprint = self.fingerprint(json, &tokenizer, "clip");
        Ok(Box::new(ClipTower { model, tokenizer, end, space, fingerprint, device: self.device.clone() }))
    }

    fn open_clip(self, json: &Value, path: &Path) -> Result<Box<dyn TextTower>> {
        if SiglipTextConfig::is_open_clip(json) {
            return self.siglip(SiglipTextConfig::from_open_clip(json, path)?, json);
        }
        self.clip(ClipTextConfig::from_open_clip(json, path)?, json)
    }

    fn siglip(self, config: SiglipTextConfig, json: &Value) -> Result<Box<dyn TextTower>> {
        let tokenizer = TextTokenizer::siglip_from_folder(self.folder, config.context)?;
        self.check_vocabulary(&tokenizer, config.vocabulary)?;
        let published = self.folder.join("tokenizer_config.json");
        let declared = if published.is_file() { Some(read_json(&published)?) } else { None };
        let pad = declared.as_ref().and_then(|j| j.get("pad_token")).and_then(Value::as_str).unwrap_or("</s>");
        let pad_id = tokenizer.id(pad).ok_or_else(|| Error::Tokenizer {
            path: tokenizer.path().to_owned(),
            problem: format!("the vocabulary has no padding token `{pad}`"),
        })?;
        let checkpoint = Checkpoint::open(&self.weights)?;
        let (model, _) = load_into(config.init(self.device), &checkpoint, &SiglipTextConfig::key_map())?;
        let space = SpaceId::new(self.space_name(""), config.projection);
        let fingerprint = self.fingerprint(json, &tokenizer, "siglip");
        let (context, device) = (config.context, self.device.clone());
        Ok(Box::new(SiglipTower { model, tokenizer, context, pad: pad_id, space, fingerprint, device }))
    }

    /// The weights' table of tensors, after a look at its size: a damaged configuration must not make a network that fills the memory
    /// before its weights turn out not to fit. Smaller differences are left to the loader, which names the tensors.
    fn checkpoint(&self, needed: f64) -> Result<Checkpoint> {
        let checkpoint = Checkpoint::open(&self.weights)?;
        let elements = |name| checkpoint.info(name).map_or(0.0, |t| t.shape.iter().map(|&n| n as f64).product::<f64>());
        let stored: f64 = checkpoint.names().map(elements).sum();
        if needed > 4.0 * stored + 1e8 {
            return Err(Error::config(
                self.folder,
                format!(
                    "the configuration describes a network of {needed:.0} weights or more, {} holds {stored:.0}: they do not belong together",
                    self.weights.display()
                ),
            ));
        }
        Ok(checkpoint)
    }

    /// Ids beyond the embedding table would be read out of bounds.
    fn check_vocabulary(&self, tokenizer: &TextTokenizer, rows: usize) -> Result<()> {
        if tokenizer.vocabulary() > rows {
            return Err(Error::config(
                self.folder,
                format!(
                    "the tokeniser has {} tokens, the model's table {rows}: they do not belong together",
                    tokenizer.vocabulary()
                ),
            ));
        }
        Ok(())
    }

    fn space_name(&self, suffix: &str) -> String {
        space_name(self.options.space.as_deref(), self.folder, &self.sha256, suffix)
    }

    /// SHA-256 over everything that determines a feature.
    fn fingerprint(&self, config: &Value, tokenizer: &TextTokenizer, pooling: &str) -> String {
        let mut hasher = Sha256::new();
        for part in [self.sha256.as_str(), tokenizer.digest(), &config.to_string(), pooling] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hex(&hasher.finalize())
    }
}

/// The pooling a sentence-transformers folder declares; `None` when it is a plain model.
fn published_pooling(folder: &Path) -> Result<Option<Pooling>> {
    let modules = folder.join("modules.json");
    if modules.is_file() {
        let json = read_json(&modules)?;
        let types = json.as_array().into_iter().flatten().filter_map(|m| m.get("type")?.as_str());
        for kind in types {
            if !["Transformer", "Pooling", "Normalize"].iter().any(|k| kind.rsplit('.').next() == Some(k)) {
                return Err(Error::config(
                    &modules,
                    format!("module `{kind}` is not supported; only transformer, pooling and normalisation are"),
                ));
            }
        }
    }
    let path = folder.join("1_Pooling/config.json");
    if !path.is_file() {
        return Ok(None);
    }
    let json = read_json(&path)?;
    let on = |key: &str| json.get(key).and_then(Value::as_bool).unwrap_or(false);
    // Newer releases of the library write one word instead of flags.
    let mode = json.get("pooling_mode").and_then(Value::as_str);
    match (on("pooling_mode_mean_tokens") || mode == Some("mean"), on("pooling_mode_cls_token") || mode == Some("cls"))
    {
        (true, false) => Ok(Some(Pooling::Mean)),
        (false, true) => Ok(Some(Pooling::Cls)),
        _ => Err(Error::config(&path, "only mean or CLS pooling, one of them, is supported; choose one by option")),
    }
}

/// The longest text, in tokens, that a sentence-transformers folder declares.
fn published_length(folder: &Path) -> Result<Option<usize>> {
    let path = folder.join("sentence_bert_config.json");
    if !path.is_file() {
        return Ok(None);
    }
    Ok(read_json(&path)?.get("max_seq_length").and_then(Value::as_u64).map(|n| n as usize))
}

/// Ids of a batch, right-padded with `pad` to its longest text, as `[B, N]`.
fn pad(batch: &[&Vec<u32>], pad: u32, device: &Device) -> Tensor<2, Int> {
    let n = batch.iter().map(|ids| ids.len()).max().unwrap_or(0);
    let mut values = Vec::with_capacity(batch.len() * n);
    for ids in batch {
        values.extend(ids.iter().map(|&id| id as i32));
        values.extend(std::iter::repeat_n(pad as i32, n - ids.len()));
    }
    Tensor::from_data(TensorData::new(values, [batch.len(), n]), device)
}

/// Encodes in batches of similar length (little padding), rows in the order of `ids`, L2-normalised.
fn in_batches(ids: &[Vec<u32>], width: usize, encode: impl Fn(&[&Vec<u32>]) -> Tensor<2>) -> Result<Array2<f32>> {
    let mut order: Vec<usize> = (0..ids.len()).collect();
    order.sort_by_key(|&i| ids[i].len());
    let mut out = Array2::zeros((ids.len(), width));
    for chunk in order.chunks(BATCH) {
        let batch: Vec<&Vec<u32>> = chunk.iter().map(|&i| &ids[i]).collect();
        let values: Vec<f32> = encode(&batch).into_data().iter::<f32>().collect();
        for (row, &i) in values.chunks_exact(width).zip(chunk) {
            out.row_mut(i).iter_mut().zip(row).for_each(|(o, v)| *o = *v);
        }
    }
    if out.iter().any(|v| !v.is_finite()) {
        return Err(Error::Input(
            "the text tower gave NaN or infinite features: its weights are damaged or overflow".into(),
        ));
    }
    normalize_rows(&mut out);
    Ok(out)
}

/// A BERT-like encoder with pooling.
struct BertTower {
    model: Bert,
    tokenizer: TextTokenizer,
    pooling: Pooling,
    space: SpaceId,
    fingerprint: String,
    device: Device,
}

impl TextTower for BertTower {
    fn space(&self) -> &SpaceId {
        &self.space
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn encode(&self, texts: &[String]) -> Result<Array2<f32>> {
        let ids = self.tokenizer.encode(texts)?;
        in_batches(&ids, self.width(), |batch| {
            let ones: Vec<Vec<u32>> = batch.iter().map(|ids| vec![1; ids.len()]).collect();
            let mask = pad(&ones.iter().collect::<Vec<_>>(), 0, &self.device);
            // Padding is masked, so that its id does not matter as long as the table has it.
            let states = self.model.forward(pad(batch, 0, &self.device), mask.clone());
            self.pooling.forward(states, mask)
        })
    }

    fn states(&self, texts: &[String]) -> Result<Vec<Array2<f32>>> {
        let ids = self.tokenizer.encode(texts)?;
        one_by_one(
            &ids,
            |ids| {
                let mask = Tensor::ones([1, ids.dims()[1]], &self.device);
                self.model.forward(ids, mask)
            },
            &self.device,
        )
    }
}

/// States of each text alone, so that none has padding.
fn one_by_one(
    ids: &[Vec<u32>],
    states: impl Fn(Tensor<2, Int>) -> Tensor<3>,
    device: &Device,
) -> Result<Vec<Array2<f32>>> {
    let each = ids.iter().map(|ids| {
        let states = states(pad(&[ids], 0, device));
        let [_, n, width] = states.dims();
        let values: Vec<f32> = states.into_data().iter::<f32>().collect();
        if values.iter().any(|v| !v.is_finite()) {
            return Err(Error::Input(
                "the text tower gave NaN or infinite token states: its weights are damaged or overflow".into(),
            ));
        }
        Ok(Array2::from_shape_vec((n, width), values).expect("the tensor's own size"))
    });
    each.collect()
}

/// CLIP's text tower.
struct ClipTower {
    model: ClipText,
    tokenizer: TextTokenizer,
    end: u32,
    space: SpaceId,
    fingerprint: String,
    device: Device,
}

impl TextTower for ClipTower {
    fn space(&self) -> &SpaceId {
        &self.space
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn encode(&self, texts: &[String]) -> Result<Array2<f32>> {
        let ids = self.tokenizer.encode(texts)?;
        in_batches(&ids, self.width(), |batch| {
            // The first end-of-text token, as OpenAI's argmax over ids finds it; every text has one.
            let end: Vec<usize> =
                batch.iter().map(|ids| ids.iter().position(|&id| id == self.end).unwrap_or(ids.len() - 1)).collect();
            self.model.forward(pad(batch, self.end, &self.device), &end)
        })
    }

    fn states_width(&self) -> usize {
        self.model.position.weight.dims()[1]
    }

    fn states(&self, texts: &[String]) -> Result<Vec<Array2<f32>>> {
        one_by_one(&self.tokenizer.encode(texts)?, |ids| self.model.states(ids), &self.device)
    }

    fn prompt_encoder(&self, texts: &[String], count: usize) -> Result<Option<PromptEncoder>> {
        PromptEncoder::new(self.model.clone(), self.tokenizer.encode(texts)?, self.end, count).map(Some)
    }
}

/// SigLIP's text tower.
struct SiglipTower {
    model: SiglipText,
    tokenizer: TextTokenizer,
    context: usize,
    pad: u32,
    space: SpaceId,
    fingerprint: String,
    device: Device,
}

impl TextTower for SiglipTower {
    fn space(&self) -> &SpaceId {
        &self.space
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn encode(&self, texts: &[String]) -> Result<Array2<f32>> {
        let texts: Vec<String> = texts.iter().map(|t| canonicalise(t)).collect();
        let mut ids = self.tokenizer.encode(&texts)?;
        // Padding is not masked: every text has the context's length.
        ids.iter_mut().for_each(|ids| ids.resize(self.context, self.pad));
        in_batches(&ids, self.width(), |batch| self.model.forward(pad(batch, self.pad, &self.device)))
    }
}
