//! Decoder and tokeniser of a GGUF file.

use std::io::{Read, Seek, SeekFrom};

use geoglot_nn::llm::{
    Decoder, DecoderConfig, Format, Layer, Projection, Rope, RopeScaling, TARGETS, Target, WeightMatrix,
};

use super::Gguf;
use super::header::GgufValue;
use crate::error::{Error, Result};
use crate::llm::LlmTokenizer;
use crate::llm::hugging_face::checked;
use crate::llm::pieces::{self, Vocabulary};

impl Gguf {
    /// Reads configuration and weights.
    ///
    /// # Errors
    /// [`Error::Config`] for another architecture, missing metadata or tensors, types that are not read here; what reading may say.
    pub fn decoder(&mut self) -> Result<Decoder> {
        let config = self.config()?;
        let embedding = self.matrix("token_embd.weight")?;
        // LLaMA's query and key rows are stored pair by pair, as (0, half), (1, half + 1), …; ours are first halves, then second halves.
        let paired = self.text("general.architecture") == Some("llama");
        let (head, half) = (config.head, config.head / 2);
        let from = move |row: usize| row / head * head + row % half * 2 + row % head / half;
        let mut layers = Vec::new();
        for i in 0..config.depth {
            let mut projections = Vec::new();
            for target in TARGETS {
                let name = format!("blk.{i}.{}", stored_name(target));
                let mut weight = self.matrix(&format!("{name}.weight"))?;
                let mut bias = None;
                if self.tensors.contains_key(&format!("{name}.bias")) {
                    bias = Some(self.vector(&format!("{name}.bias"))?);
                }
                if paired && matches!(target, Target::Query | Target::Key) {
                    // Shapes are checked below; rows that are no whole heads stay where they are until then.
                    if weight.rows().is_multiple_of(head) {
                        weight = weight.permuted(from);
                    }
                    bias = bias.map(|b: Vec<f32>| match b.len().is_multiple_of(head) {
                        true => (0..b.len()).map(|row| b[from(row)]).collect(),
                        false => b,
                    });
                }
                projections.push(Projection { weight, bias, low_rank: None });
            }
            layers.push(Layer {
                attention_norm: self.vector(&format!("blk.{i}.attn_norm.weight"))?,
                mlp_norm: self.vector(&format!("blk.{i}.ffn_norm.weight"))?,
                projections: projections.try_into().expect("one a target"),
            });
        }
        let norm = self.vector("output_norm.weight")?;
        let head = if config.tied { None } else { Some(self.matrix("output.weight")?) };
        let path = self.path.clone();
        checked(Decoder { config, embedding, layers, norm, head }, &path)
    }

    fn config(&mut self) -> Result<DecoderConfig> {
        let architecture = self.text("general.architecture").unwrap_or("unnamed").to_owned();
        if !matches!(architecture.as_str(), "llama" | "qwen2") {
            return Err(self.bad(format!("architecture `{architecture}`; expected llama or qwen2")));
        }
        let key = |name: &str| format!("{architecture}.{name}");
        let optional = |file: &Self, name: &str| file.number(&key(name)).map(|n| n as usize);
        let need = |file: &Self, name: &str| {
            optional(file, name).ok_or_else(|| file.bad(format!("metadata `{}` is missing", key(name))))
        };
        let (width, heads) = (need(self, "embedding_length")?, need(self, "attention.head_count")?);
        let head = optional(self, "attention.key_length").unwrap_or(width / heads.max(1));
        if optional(self, "rope.dimension_count").is_some_and(|d| d != head) {
            return Err(self.bad("only a part of each head has rotary positions, which is not supported"));
        }
        let theta = self.float(&key("rope.freq_base")).unwrap_or(10_000.0);
        let scaling = if self.tensors.contains_key("rope_freqs.weight") {
            RopeScaling::Factors(self.vector("rope_freqs.weight")?)
        } else {
            match self.text(&key("rope.scaling.type")) {
                None | Some("none") => RopeScaling::None,
                Some("linear") => RopeScaling::Linear(self.float(&key("rope.scaling.factor")).unwrap_or(1.0) as f32),
                Some(other) => return Err(self.bad(format!("rope scaling `{other}`; expected none or linear"))),
            }
        };
        let vocabulary = self.tensors.get("token_embd.weight").and_then(|t| t.shape.get(1)).copied();
        let config = DecoderConfig {
            vocabulary: vocabulary.ok_or_else(|| self.bad("no tensor `token_embd.weight`"))?,
            width,
            hidden: need(self, "feed_forward_length")?,
            depth: need(self, "block_count")?,
            heads,
            kv_heads: optional(self, "attention.head_count_kv").unwrap_or(heads),
            head,
            epsilon: self.float(&key("attention.layer_norm_rms_epsilon")).unwrap_or(1e-6),
            rope: Rope { theta, scaling },
            qkv_bias: self.tensors.contains_key("blk.0.attn_q.bias"),
            tied: !self.tensors.contains_key("output.weight"),
            context: need(self, "context_length")?,
        };
        match config.problem() {
            Some(problem) => Err(self.bad(problem)),
            None => Ok(config),
        }
    }

    /// Bytes of a tensor, with its rows, columns and format.
    fn read(&mut self, name: &str) -> Result<(usize, usize, Format, Vec<u8>)> {
        let Some(tensor) = self.tensors.get(name) else { return Err(self.bad(format!("no tensor `{name}`"))) };
        let (Some(format), Some(len)) = (tensor.format(), tensor.len) else {
            return Err(self.bad(format!(
                "tensor `{name}` has ggml type {}; F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0 are read: quantise the model to one of them",
                tensor.kind
            )));
        };
        let (columns, rows) = match tensor.shape.as_slice() {
            [n] => (*n, 1),
            [columns, rows] => (*columns, *rows),
            other => return Err(self.bad(format!("tensor `{name}` has the shape {other:?}"))),
        };
        let start = tensor.start;
        let mut bytes = Vec::new();
        let path = self.path.clone();
        let io = |e| Error::io(&path, "read", e);
        self.file.seek(SeekFrom::Start(start)).map_err(io)?;
        (&mut self.file).take(len).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 != len {
            return Err(self.bad(format!("ends inside tensor `{name}`: truncated; copy or download it again")));
        }
        Ok((rows, columns, format, bytes))
    }

    fn matrix(&mut self, name: &str) -> Result<WeightMatrix> {
        let (rows, columns, format, bytes) = self.read(name)?;
        WeightMatrix::from_bytes(format, rows, columns, bytes).map_err(|e| self.bad(format!("tensor `{name}`: {e}")))
    }

    fn vector(&mut self, name: &str) -> Result<Vec<f32>> {
        Ok(self.matrix(name)?.to_f32())
    }

    /// The tokeniser in the metadata.
    ///
    /// # Errors
    /// [`Error::Config`] for a kind that is not known here, [`Error::Tokenizer`].
    pub fn tokenizer(&self) -> Result<LlmTokenizer> {
        let need = |key: &str| self.texts(key).ok_or_else(|| self.bad(format!("metadata `{key}` is missing")));
        let tokens: Vec<&str> = need("tokenizer.ggml.tokens")?.iter().map(String::as_str).collect();
        let kinds = match self.metadata.get("tokenizer.ggml.token_type") {
            Some(GgufValue::Wholes(kinds)) => kinds.iter().map(|k| u64::try_from(*k).unwrap_or(0)).collect(),
            _ => Vec::new(),
        };
        let vocabulary = Vocabulary { tokens, kinds };
        let specification = match self.text("tokenizer.ggml.model") {
            Some("gpt2") => {
                let merges: Vec<&str> = need("tokenizer.ggml.merges")?.iter().map(String::as_str).collect();
                let words = self.text("tokenizer.ggml.pre").unwrap_or("default");
                pieces::byte_level(&vocabulary, &merges, words).map_err(|e| self.bad(e))?
            }
            Some("llama") => {
                let scores = match self.metadata.get("tokenizer.ggml.scores") {
                    Some(GgufValue::Floats(scores)) => scores.as_slice(),
                    _ => return Err(self.bad("metadata `tokenizer.ggml.scores` is missing")),
                };
                let prefix = self.number("tokenizer.ggml.add_space_prefix") != Some(0);
                pieces::sentence_pieces(&vocabulary, scores, prefix)
            }
            other => {
                return Err(self.bad(format!("tokeniser `{}`; expected gpt2 or llama", other.unwrap_or("missing"))));
            }
        };
        LlmTokenizer::from_specification(&specification, self.path.clone())
    }
}

fn stored_name(target: Target) -> &'static str {
    match target {
        Target::Query => "attn_q",
        Target::Key => "attn_k",
        Target::Value => "attn_v",
        Target::Output => "attn_output",
        Target::Gate => "ffn_gate",
        Target::Up => "ffn_up",
        Target::Down => "ffn_down",
    }
}
