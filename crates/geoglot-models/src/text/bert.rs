//! BERT, RoBERTa and ALBERT encoders (Devlin et al. 2019; Liu et al. 2019; Lan et al. 2020).

use std::path::Path;

use burn::module::Module;
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::{Device, Int, Tensor};
use geoglot_nn::attention::padding_bias;
use geoglot_nn::embedding::{Table, TableConfig};
use geoglot_nn::transformer::{Activation, EncoderBlock, EncoderBlockConfig, NormPlacement};
use geoglot_nn::weights::KeyMap;
use serde::Deserialize;

use crate::error::{Error, Result};

/// Which of the family a config describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BertKind {
    /// BERT and MiniLM.
    Bert,
    /// RoBERTa: positions start at the padding id + 1.
    Roberta,
    /// ALBERT: narrow embeddings, one block applied several times.
    Albert,
}

/// Sizes of a [`Bert`], as in a Hugging Face `config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct BertConfig {
    /// Member of the family.
    pub kind: BertKind,
    /// Vocabulary size.
    pub vocabulary: usize,
    /// Rows of the position table.
    pub positions: usize,
    /// First row of the position table that is used (RoBERTa: 2).
    pub position_offset: usize,
    /// Rows of the segment table.
    pub segments: usize,
    /// Width of the embeddings (ALBERT: 128).
    pub embedding_width: usize,
    /// Width D of the token states.
    pub width: usize,
    /// Number of blocks applied.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of the feed-forward part.
    pub hidden: usize,
    /// ε of the layer norms.
    pub epsilon: f64,
    /// Non-linearity.
    pub activation: Activation,
}

/// The fields of `config.json` that matter.
#[derive(Deserialize)]
struct Published {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    hidden_act: String,
    max_position_embeddings: usize,
    type_vocab_size: usize,
    layer_norm_eps: Option<f64>,
    pad_token_id: Option<usize>,
    position_embedding_type: Option<String>,
    embedding_size: Option<usize>,
    num_hidden_groups: Option<usize>,
    inner_group_num: Option<usize>,
}

impl BertConfig {
    /// Reads a Hugging Face `config.json`; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::Config`] naming what is missing, unknown or not supported.
    pub fn from_json(kind: BertKind, json: &serde_json::Value, path: &Path) -> Result<Self> {
        let p = Published::deserialize(json).map_err(|e| Error::config(path, e.to_string()))?;
        let activation = Activation::from_name(&p.hidden_act)
            .ok_or_else(|| Error::config(path, format!("hidden_act `{}` is not supported", p.hidden_act)))?;
        if let Some(other) = p.position_embedding_type.filter(|t| t != "absolute") {
            return Err(Error::config(
                path,
                format!("position_embedding_type `{other}` is not supported; only `absolute` is"),
            ));
        }
        let groups = (p.num_hidden_groups.unwrap_or(1), p.inner_group_num.unwrap_or(1));
        if kind == BertKind::Albert && groups != (1, 1) {
            return Err(Error::config(
                path,
                format!(
                    "an ALBERT of {} groups of {} layers is not supported; only one shared layer is",
                    groups.0, groups.1
                ),
            ));
        }
        if p.num_attention_heads == 0 || !p.hidden_size.is_multiple_of(p.num_attention_heads) {
            return Err(Error::config(
                path,
                format!(
                    "hidden_size {} is not a multiple of num_attention_heads {}",
                    p.hidden_size, p.num_attention_heads
                ),
            ));
        }
        let config = Self {
            kind,
            vocabulary: p.vocab_size,
            positions: p.max_position_embeddings,
            position_offset: if kind == BertKind::Roberta { p.pad_token_id.unwrap_or(1).saturating_add(1) } else { 0 },
            segments: p.type_vocab_size,
            embedding_width: if kind == BertKind::Albert { p.embedding_size.unwrap_or(128) } else { p.hidden_size },
            width: p.hidden_size,
            depth: p.num_hidden_layers,
            heads: p.num_attention_heads,
            hidden: p.intermediate_size,
            epsilon: p.layer_norm_eps.unwrap_or(1e-12),
            activation,
        };
        if config.positions <= config.position_offset || config.segments == 0 || config.vocabulary == 0 {
            return Err(Error::config(path, "an empty vocabulary, position or segment table"));
        }
        Ok(config)
    }

    /// Longest text in tokens.
    pub fn max_tokens(&self) -> usize {
        self.positions - self.position_offset
    }

    /// A lower bound on the number of weights: tables and matrices.
    pub(super) fn least_weights(&self) -> f64 {
        let blocks = if self.kind == BertKind::Albert { 1 } else { self.depth };
        let table = self.vocabulary as f64 + self.positions as f64 + self.segments as f64;
        table * self.embedding_width as f64 + super::towers::block_weights(self.width, self.hidden) * blocks as f64
    }

    /// The published tensor names of this member of the family.
    pub fn key_map(&self) -> KeyMap {
        let text = match self.kind {
            BertKind::Bert | BertKind::Roberta => include_str!("keymaps/bert.toml"),
            BertKind::Albert => include_str!("keymaps/albert.toml"),
        };
        KeyMap::from_toml(text).expect("a key map of this crate, parsed in its tests")
    }

    /// Builds the encoder with initial weights.
    pub fn init(&self, device: &Device) -> Bert {
        let table = |count| TableConfig { count, width: self.embedding_width }.init(device);
        let block = EncoderBlockConfig {
            width: self.width,
            heads: self.heads,
            hidden: self.hidden,
            epsilon: self.epsilon,
            activation: self.activation,
            norm: NormPlacement::After,
        };
        let (distinct, repeats) = match self.kind {
            BertKind::Albert => (1, self.depth),
            BertKind::Bert | BertKind::Roberta => (self.depth, 1),
        };
        Bert {
            embeddings: BertEmbeddings {
                word: table(self.vocabulary),
                position: table(self.positions),
                token_type: table(self.segments),
                norm: LayerNormConfig::new(self.embedding_width).with_epsilon(self.epsilon).init(device),
            },
            lift: (self.kind == BertKind::Albert)
                .then(|| LinearConfig::new(self.embedding_width, self.width).init(device)),
            blocks: (0..distinct).map(|_| block.init(device)).collect(),
            repeats,
            position_offset: self.position_offset,
        }
    }
}

/// Sum of word, position and segment embeddings, normalised.
#[derive(Module, Debug)]
pub struct BertEmbeddings {
    /// Word table.
    pub word: Table,
    /// Position table.
    pub position: Table,
    /// Segment table; a single text uses its first row.
    pub token_type: Table,
    /// Norm of the sum.
    pub norm: LayerNorm,
}

/// A BERT-like encoder: token ids to token states.
#[derive(Module, Debug)]
pub struct Bert {
    /// Embeddings.
    pub embeddings: BertEmbeddings,
    /// ALBERT's map from the embedding width to the width of the states.
    pub lift: Option<Linear>,
    /// Distinct blocks.
    pub blocks: Vec<EncoderBlock>,
    repeats: usize,
    position_offset: usize,
}

impl Bert {
    /// Token states `[B, N, D]` of ids `[B, N]`; `mask` `[B, N]` is 1 on tokens and 0 on right padding.
    pub fn forward(&self, ids: Tensor<2, Int>, mask: Tensor<2, Int>) -> Tensor<3> {
        let [_, n] = ids.dims();
        let e = &self.embeddings;
        let sum = e.word.forward(ids) + e.position.first(self.position_offset, n) + e.token_type.first(0, 1);
        let mut x = e.norm.forward(sum);
        if let Some(lift) = &self.lift {
            x = lift.forward(x);
        }
        let bias = padding_bias(mask);
        for _ in 0..self.repeats {
            for block in &self.blocks {
                x = block.forward(x, Some(bias.clone()));
            }
        }
        x
    }
}
