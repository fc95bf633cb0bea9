//! The text tower of SigLIP (Zhai et al. 2023), which GeoLangBind shares: no causal mask, a fixed context whose padding is not
//! masked, pooled at the last position.

use std::path::Path;

use burn::module::Module;
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::{Device, Int, Tensor};
use geoglot_nn::embedding::{Table, TableConfig};
use geoglot_nn::transformer::{Activation, EncoderBlock, EncoderBlockConfig, NormPlacement};
use geoglot_nn::weights::KeyMap;
use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result};

/// Sizes of a [`SiglipText`].
#[derive(Debug, Clone, PartialEq)]
pub struct SiglipTextConfig {
    /// Vocabulary size.
    pub vocabulary: usize,
    /// Tokens of every text, padding included.
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
    /// GELU in OpenCLIP's files, its tanh approximation in Hugging Face's.
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
    projection_size: Option<usize>,
}

impl Default for HuggingFace {
    fn default() -> Self {
        Self {
            vocab_size: 32000,
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            max_position_embeddings: 64,
            hidden_act: "gelu_pytorch_tanh".into(),
            layer_norm_eps: 1e-6,
            projection_size: None,
        }
    }
}

/// `model_cfg.text_cfg` of OpenCLIP. An unknown field is an error: it might change the computation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenClip {
    context_length: usize,
    vocab_size: usize,
    width: usize,
    heads: usize,
    layers: usize,
    #[serde(default = "mlp_ratio")]
    mlp_ratio: f64,
    norm_kwargs: Option<NormKwargs>,
    // Accepted only with SigLIP's values.
    #[serde(default)]
    no_causal_mask: bool,
    #[serde(default)]
    proj_bias: bool,
    pool_type: Option<String>,
    act_kwargs: Option<ActKwargs>,
    tokenizer_kwargs: Option<Value>,
    // Without influence on the tower itself.
    #[serde(rename = "hf_tokenizer_name")]
    _hf_tokenizer_name: Option<String>,
    #[serde(rename = "output_tokens")]
    _output_tokens: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NormKwargs {
    eps: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ActKwargs {
    approximate: String,
}

fn mlp_ratio() -> f64 {
    4.0
}

impl SiglipTextConfig {
    /// Whether an OpenCLIP configuration describes a SigLIP text tower: no causal mask, pooled at the last position.
    pub fn is_open_clip(json: &Value) -> bool {
        let Some(text) = json.get("model_cfg").unwrap_or(json).get("text_cfg") else { return false };
        let unmasked = text.get("no_causal_mask").and_then(Value::as_bool) == Some(true);
        unmasked && text.get("pool_type").and_then(Value::as_str) == Some("last")
    }

    /// Reads a Hugging Face `config.json` of `model_type` `siglip` or `siglip_text_model`.
    ///
    /// # Errors
    /// [`Error::Config`] naming what is wrong.
    pub fn from_hugging_face(json: &Value, path: &Path) -> Result<Self> {
        let text = match json.get("text_config") {
            Some(text) if !text.is_null() => text,
            _ => json,
        };
        let p = HuggingFace::deserialize(text).map_err(|e| Error::config(path, e.to_string()))?;
        Self {
            vocabulary: p.vocab_size,
            context: p.max_position_embeddings,
            width: p.hidden_size,
            depth: p.num_hidden_layers,
            heads: p.num_attention_heads,
            hidden: p.intermediate_size,
            projection: p.projection_size.unwrap_or(p.hidden_size),
            epsilon: p.layer_norm_eps,
            activation: Activation::from_name(&p.hidden_act)
                .ok_or_else(|| Error::config(path, format!("hidden_act `{}` is not supported", p.hidden_act)))?,
        }
        .checked(path)
    }

    /// Reads an `open_clip_config.json` with SigLIP's text side.
    ///
    /// # Errors
    /// [`Error::Config`] naming what is wrong or not supported.
    pub fn from_open_clip(json: &Value, path: &Path) -> Result<Self> {
        let bad = |problem: String| Error::config(path, problem);
        let model = json.get("model_cfg").unwrap_or(json);
        let text = model.get("text_cfg").ok_or_else(|| bad("no `model_cfg.text_cfg`".into()))?;
        let projection = model.get("embed_dim").and_then(Value::as_u64).ok_or_else(|| bad("no `embed_dim`".into()))?;
        let p = OpenClip::deserialize(text).map_err(|e| bad(format!("text_cfg: {e}")))?;
        let clean = p.tokenizer_kwargs.as_ref().and_then(|k| k.get("clean")).and_then(Value::as_str);
        let activation = match p.act_kwargs.as_ref().map(|a| a.approximate.as_str()) {
            None | Some("none") => Activation::Gelu,
            Some("tanh") => Activation::GeluTanh,
            Some(other) => return Err(bad(format!("text_cfg.act_kwargs.approximate `{other}` is not supported"))),
        };
        let special = [
            ("no_causal_mask", !p.no_causal_mask),
            ("proj_bias", !p.proj_bias),
            ("pool_type", p.pool_type.as_deref() != Some("last")),
            ("tokenizer_kwargs.clean", clean.is_some_and(|c| c != "canonicalize")),
        ];
        if let Some((field, _)) = special.iter().find(|(_, set)| *set) {
            return Err(bad(format!(
                "text_cfg.{field} asks for a tower other than SigLIP's, which is not supported here"
            )));
        }
        Self {
            vocabulary: p.vocab_size,
            context: p.context_length,
            width: p.width,
            depth: p.layers,
            heads: p.heads,
            hidden: (p.width as f64 * p.mlp_ratio) as usize,
            projection: projection as usize,
            epsilon: p.norm_kwargs.map_or(1e-5, |n| n.eps),
            activation,
        }
        .checked(path)
    }

    fn checked(self, path: &Path) -> Result<Self> {
        if self.heads == 0 || !self.width.is_multiple_of(self.heads) {
            return Err(Error::config(path, format!("width {} is not a multiple of {} heads", self.width, self.heads)));
        }
        if self.context < 2 || self.vocabulary < 2 || self.projection == 0 {
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

    /// The published tensor names of OpenCLIP and Hugging Face.
    pub fn key_map() -> KeyMap {
        KeyMap::from_toml(include_str!("keymaps/siglip.toml")).expect("a key map of this crate, parsed in its tests")
    }

    /// Builds the tower with initial weights.
    pub fn init(&self, device: &Device) -> SiglipText {
        let block = EncoderBlockConfig {
            width: self.width,
            heads: self.heads,
            hidden: self.hidden,
            epsilon: self.epsilon,
            activation: self.activation,
            norm: NormPlacement::Before,
        };
        SiglipText {
            token: TableConfig { count: self.vocabulary, width: self.width }.init(device),
            position: TableConfig { count: self.context, width: self.width }.init(device),
            blocks: (0..self.depth).map(|_| block.init(device)).collect(),
            norm: LayerNormConfig::new(self.width).with_epsilon(self.epsilon).init(device),
            projection: LinearConfig::new(self.width, self.projection).init(device),
        }
    }
}

/// SigLIP's text transformer.
#[derive(Module, Debug)]
pub struct SiglipText {
    /// Token table.
    pub token: Table,
    /// Position table.
    pub position: Table,
    /// Pre-norm blocks.
    pub blocks: Vec<EncoderBlock>,
    /// Final norm.
    pub norm: LayerNorm,
    /// Projection with bias, width → D.
    pub projection: Linear,
}

impl SiglipText {
    /// Features `[B, D]`, not normalised, of ids `[B, context]`, padded to the context.
    pub fn forward(&self, ids: Tensor<2, Int>) -> Tensor<2> {
        let [b, n] = ids.dims();
        let mut x = self.token.forward(ids) + self.position.first(0, n);
        for block in &self.blocks {
            x = block.forward(x, None);
        }
        let width = x.dims()[2];
        self.projection.forward(self.norm.forward(x.narrow(1, n - 1, 1).reshape([b, width])))
    }
}

/// A text as SigLIP's tokeniser expects it: `_` becomes a space, ASCII punctuation goes, lower case, single spaces.
pub fn canonicalise(text: &str) -> String {
    let spaced = text.replace('_', " ");
    let kept: String = spaced.chars().filter(|c| !c.is_ascii_punctuation()).collect();
    kept.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_texts() {
        for (text, expected) in [
            ("A photo of_an  Airport, (busy)!", "a photo of an airport busy"),
            ("it's\n SÃO-Paulo…", "its sãopaulo…"),
            ("  ", ""),
        ] {
            assert_eq!(canonicalise(text), expected);
        }
    }

    #[test]
    fn the_key_map_parses() {
        SiglipTextConfig::key_map();
    }
}
