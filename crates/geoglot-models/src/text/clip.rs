//! The text tower of CLIP (Radford et al. 2021, §2.4).

use std::path::Path;

use burn::module::Module;
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::{Device, Int, Tensor, TensorData};
use geoglot_nn::attention::causal_bias;
use geoglot_nn::embedding::{Table, TableConfig};
use geoglot_nn::transformer::{Activation, EncoderBlock, EncoderBlockConfig, NormPlacement};
use geoglot_nn::weights::KeyMap;
use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result};

/// Sizes of a [`ClipText`].
#[derive(Debug, Clone, PartialEq)]
pub struct ClipTextConfig {
    /// Vocabulary size.
    pub vocabulary: usize,
    /// Longest text in tokens, both special tokens included.
    pub context: usize,
    /// Width of the token states.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of the feed-forward part.
    pub hidden: usize,
    /// Width D of the feature.
    pub projection: usize,
    /// ε of the layer norms.
    pub epsilon: f64,
    /// QuickGELU for OpenAI's weights, GELU for most of OpenCLIP's.
    pub activation: Activation,
}

/// `text_config` of Hugging Face; absent fields have the library's defaults.
#[derive(Deserialize)]
#[serde(default)]
struct HuggingFace {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    max_position_embeddings: usize,
    hidden_act: String,
    layer_norm_eps: f64,
    projection_dim: Option<usize>,
}

impl Default for HuggingFace {
    fn default() -> Self {
        Self {
            vocab_size: 49408,
            hidden_size: 512,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: "quick_gelu".into(),
            layer_norm_eps: 1e-5,
            projection_dim: None,
        }
    }
}

/// `model_cfg.text_cfg` of OpenCLIP. An unknown field is an error: it might change the computation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenClip {
    #[serde(default = "context")]
    context_length: usize,
    #[serde(default = "vocabulary")]
    vocab_size: usize,
    width: usize,
    heads: usize,
    layers: usize,
    #[serde(default = "mlp_ratio")]
    mlp_ratio: f64,
    // Accepted only with the values of the plain text tower.
    #[serde(default)]
    embed_cls: bool,
    #[serde(default)]
    no_causal_mask: bool,
    #[serde(default)]
    proj_bias: bool,
    #[serde(default)]
    final_ln_after_pool: bool,
    pool_type: Option<String>,
    proj_type: Option<String>,
    ls_init_value: Option<f64>,
    // Without influence on the tower itself.
    #[serde(rename = "output_tokens")]
    _output_tokens: Option<bool>,
    #[serde(rename = "pad_id")]
    _pad_id: Option<usize>,
    #[serde(rename = "hf_tokenizer_name")]
    _hf_tokenizer_name: Option<String>,
    #[serde(rename = "tokenizer_kwargs")]
    _tokenizer_kwargs: Option<Value>,
}

fn context() -> usize {
    77
}
fn vocabulary() -> usize {
    49408
}
fn mlp_ratio() -> f64 {
    4.0
}

impl ClipTextConfig {
    /// Reads a Hugging Face `config.json` of `model_type` `clip` or `clip_text_model`.
    ///
    /// # Errors
    /// [`Error::Config`] naming what is wrong.
    pub fn from_hugging_face(json: &Value, path: &Path) -> Result<Self> {
        let text = match json.get("text_config") {
            Some(text) if !text.is_null() => text,
            _ => json,
        };
        let p = HuggingFace::deserialize(text).map_err(|e| Error::config(path, e.to_string()))?;
        let top = json.get("projection_dim").and_then(Value::as_u64).map(|d| d as usize);
        Self {
            vocabulary: p.vocab_size,
            context: p.max_position_embeddings,
            width: p.hidden_size,
            depth: p.num_hidden_layers,
            heads: p.num_attention_heads,
            hidden: p.intermediate_size,
            projection: top.or(p.projection_dim).unwrap_or(512),
            epsilon: p.layer_norm_eps,
            activation: Activation::from_name(&p.hidden_act)
                .ok_or_else(|| Error::config(path, format!("hidden_act `{}` is not supported", p.hidden_act)))?,
        }
        .checked(path)
    }

    /// Reads an `open_clip_config.json`.
    ///
    /// # Errors
    /// [`Error::Config`] naming what is wrong or not supported.
    pub fn from_open_clip(json: &Value, path: &Path) -> Result<Self> {
        let bad = |problem: String| Error::config(path, problem);
        let model = json.get("model_cfg").unwrap_or(json);
        let text = model.get("text_cfg").ok_or_else(|| bad("no `model_cfg.text_cfg`".into()))?;
        if let Some(name) = text.get("hf_model_name").and_then(Value::as_str) {
            return Err(bad(format!("the text tower is the Hugging Face model `{name}`, which is not supported here")));
        }
        let projection = model.get("embed_dim").and_then(Value::as_u64).ok_or_else(|| bad("no `embed_dim`".into()))?;
        let p = OpenClip::deserialize(text).map_err(|e| bad(format!("text_cfg: {e}")))?;
        let special = [
            ("embed_cls", p.embed_cls),
            ("no_causal_mask", p.no_causal_mask),
            ("proj_bias", p.proj_bias),
            ("final_ln_after_pool", p.final_ln_after_pool),
            ("ls_init_value", p.ls_init_value.is_some()),
            ("pool_type", p.pool_type.as_deref().is_some_and(|t| t != "argmax")),
            ("proj_type", p.proj_type.as_deref().is_some_and(|t| t != "linear")),
        ];
        if let Some((field, _)) = special.iter().find(|(_, set)| *set) {
            return Err(bad(format!(
                "text_cfg.{field} asks for a tower other than CLIP's, which is not supported here"
            )));
        }
        let quick = model.get("quick_gelu").and_then(Value::as_bool).unwrap_or(false);
        Self {
            vocabulary: p.vocab_size,
            context: p.context_length,
            width: p.width,
            depth: p.layers,
            heads: p.heads,
            hidden: (p.width as f64 * p.mlp_ratio) as usize,
            projection: projection as usize,
            epsilon: 1e-5,
            activation: if quick { Activation::QuickGelu } else { Activation::Gelu },
        }
        .checked(path)
    }

    fn checked(self, path: &Path) -> Result<Self> {
        if self.heads == 0 || !self.width.is_multiple_of(self.heads) {
            return Err(Error::config(path, format!("width {} is not a multiple of {} heads", self.width, self.heads)));
        }
        if self.context < 3 || self.vocabulary == 0 || self.projection == 0 {
            return Err(Error::config(
                path,
                format!(
                    "context {}, vocabulary {} and projection {} make no text tower",
                    self.context, self.vocabulary, self.projection
                ),
            ));
        }
        Ok(self)
    }

    /// A lower bound on the number of weights: tables and matrices.
    pub(super) fn least_weights(&self) -> f64 {
        (self.vocabulary as f64 + self.context as f64 + self.projection as f64) * self.width as f64
            + super::towers::block_weights(self.width, self.hidden) * self.depth as f64
    }

    /// The published tensor names of OpenAI, OpenCLIP and Hugging Face.
    pub fn key_map() -> KeyMap {
        KeyMap::from_toml(include_str!("keymaps/clip.toml")).expect("a key map of this crate, parsed in its tests")
    }

    /// Builds the tower with initial weights.
    pub fn init(&self, device: &Device) -> ClipText {
        let block = EncoderBlockConfig {
            width: self.width,
            heads: self.heads,
            hidden: self.hidden,
            epsilon: self.epsilon,
            activation: self.activation,
            norm: NormPlacement::Before,
        };
        ClipText {
            token: TableConfig { count: self.vocabulary, width: self.width }.init(device),
            position: TableConfig { count: self.context, width: self.width }.init(device),
            blocks: (0..self.depth).map(|_| block.init(device)).collect(),
            norm: LayerNormConfig::new(self.width).with_epsilon(self.epsilon).init(device),
            projection: LinearConfig::new(self.width, self.projection).with_bias(false).init(device),
        }
    }
}

/// CLIP's causal text transformer.
#[derive(Module, Debug)]
pub struct ClipText {
    /// Token table.
    pub token: Table,
    /// Position table.
    pub position: Table,
    /// Pre-norm blocks.
    pub blocks: Vec<EncoderBlock>,
    /// Final norm.
    pub norm: LayerNorm,
    /// `text_projection`, width → D.
    pub projection: Linear,
}

impl ClipText {
    /// Features `[B, D]`, not normalised, of ids `[B, N]` (N ≤ context); `end` `[B]` is the index of each text's
    /// end-of-text token. What follows that token has no influence, because attention is causal.
    pub fn forward(&self, ids: Tensor<2, Int>, end: &[usize]) -> Tensor<2> {
        self.feature(self.run(self.token.forward(ids)), end)
    }

    /// As [`ClipText::forward`] with `contexts` `[P, width]` between the first token and the rest; N + P ≤ context.
    pub fn forward_prompted(&self, ids: Tensor<2, Int>, end: &[usize], contexts: Tensor<2>) -> Tensor<2> {
        let [b, n] = ids.dims();
        let [p, width] = contexts.dims();
        let words = self.token.forward(ids);
        let start = words.clone().narrow(1, 0, 1);
        let contexts = contexts.unsqueeze::<3>().expand([b, p, width]);
        let words = Tensor::cat(vec![start, contexts, words.narrow(1, 1, n - 1)], 1);
        let end: Vec<usize> = end.iter().map(|e| e + p).collect();
        self.feature(self.run(words), &end)
    }

    /// Token states `[B, N, width]` after the final norm, of ids `[B, N]`.
    pub fn states(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        self.norm.forward(self.run(self.token.forward(ids)))
    }

    /// Word vectors `[B, N, width]` through the blocks.
    fn run(&self, words: Tensor<3>) -> Tensor<3> {
        let n = words.dims()[1];
        let bias = causal_bias(n, &words.device());
        let words = words + self.position.first(0, n);
        self.blocks.iter().fold(words, |x, block| block.forward(x, Some(bias.clone())))
    }

    fn feature(&self, x: Tensor<3>, end: &[usize]) -> Tensor<2> {
        let [b, n, width] = x.dims();
        let rows: Vec<i32> = end.iter().enumerate().map(|(i, &e)| (i * n + e) as i32).collect();
        let rows = Tensor::<1, Int>::from_ints(rows.as_slice(), &x.device());
        let last = x.reshape([b * n, width]).select(0, rows);
        self.projection.forward(self.norm.forward(last))
    }
}

/// Texts and the frozen tower that reads them behind learnable contexts.
#[derive(Debug, Clone)]
pub struct PromptEncoder {
    model: ClipText,
    /// Ids, start and end tokens included, right-padded to one length.
    ids: Vec<Vec<u32>>,
    end: Vec<usize>,
}

impl PromptEncoder {
    /// From ids that begin with the start token; what would not fit behind `count` contexts is cut before the end token `end`.
    ///
    /// # Errors
    /// [`Error::Input`] when no room for a word is left.
    pub fn new(model: ClipText, mut ids: Vec<Vec<u32>>, end: u32, count: usize) -> Result<Self> {
        let context = model.position.weight.dims()[0];
        if count + 3 > context {
            return Err(Error::Input(format!(
                "{count} learnable contexts leave no room for words: the text tower reads {context} tokens, two of them start and end"
            )));
        }
        let mut ends = Vec::with_capacity(ids.len());
        for ids in &mut ids {
            if ids.len() > context - count {
                ids.truncate(context - count - 1);
                ids.push(end);
            }
            ends.push(ids.iter().position(|&id| id == end).unwrap_or(ids.len().saturating_sub(1)));
        }
        let longest = ids.iter().map(Vec::len).max().unwrap_or(0);
        ids.iter_mut().for_each(|ids| ids.resize(longest, end));
        Ok(Self { model, ids, end: ends })
    }

    /// Width of a context vector.
    pub fn width(&self) -> usize {
        self.model.position.weight.dims()[1]
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// True without texts.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The same texts in another order, or some of them.
    pub fn picked(&self, which: &[usize]) -> Self {
        let ids = which.iter().map(|&k| self.ids[k].clone()).collect();
        Self { model: self.model.clone(), ids, end: which.iter().map(|&k| self.end[k]).collect() }
    }

    /// The tower on `device` (an autodiff one to train contexts), its own weights frozen.
    pub fn on(self, device: &Device) -> Self {
        Self { model: self.model.to_device(device).no_grad(), ..self }
    }

    /// Features `[N, D]`, not normalised, of all texts behind `contexts` `[P, width]`.
    pub fn forward(&self, contexts: Tensor<2>) -> Tensor<2> {
        let n = self.ids.first().map_or(0, Vec::len);
        let values: Vec<i32> = self.ids.iter().flatten().map(|&id| id as i32).collect();
        let ids = Tensor::from_data(TensorData::new(values, [self.ids.len(), n]), &contexts.device());
        self.model.forward_prompted(ids, &self.end, contexts)
    }
}
