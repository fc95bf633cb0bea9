//! Weights under Hugging Face's names to a decoder, in the types the file has.

use std::collections::BTreeSet;
use std::path::Path;

use geoglot_nn::llm::{Decoder, DecoderConfig, Format, Layer, Projection, TARGETS, WeightMatrix};
use geoglot_nn::weights::{Checkpoint, DType};

use crate::error::{Error, Result};

/// Reads all weights of `config` from `checkpoint`.
///
/// # Errors
/// [`Error::Config`] naming tensors that are missing, left over or of another shape, and what reading may say.
pub(super) fn decoder(checkpoint: &Checkpoint, config: &DecoderConfig) -> Result<Decoder> {
    let prefix = if checkpoint.info("model.embed_tokens.weight").is_some() { "model." } else { "" };
    let mut reader = Reader { checkpoint, taken: BTreeSet::new() };
    let embedding = reader.matrix(&format!("{prefix}embed_tokens.weight"))?;
    let mut layers = Vec::new();
    for i in 0..config.depth {
        let name = |rest: &str| format!("{prefix}layers.{i}.{rest}");
        let mut projections = Vec::new();
        for target in TARGETS {
            let layer = name(&format!("{}.{}", target.part(), target.name()));
            let weight = reader.matrix(&format!("{layer}.weight"))?;
            let bias = format!("{layer}.bias");
            let has = config.qkv_bias && checkpoint.info(&bias).is_some();
            let bias = has.then(|| reader.vector(&bias)).transpose()?;
            projections.push(Projection { weight, bias, low_rank: None });
        }
        layers.push(Layer {
            attention_norm: reader.vector(&name("input_layernorm.weight"))?,
            mlp_norm: reader.vector(&name("post_attention_layernorm.weight"))?,
            projections: projections.try_into().expect("one a target"),
        });
    }
    let norm = reader.vector(&format!("{prefix}norm.weight"))?;
    let head = if config.tied { None } else { Some(reader.matrix("lm_head.weight")?) };
    // A tied output matrix may be stored a second time; frequencies of old files follow from the configuration.
    let known = |n: &&str| *n == "lm_head.weight" || n.ends_with("rotary_emb.inv_freq");
    let left: Vec<&str> = checkpoint.names().filter(|n| !reader.taken.contains(*n) && !known(n)).collect();
    if !left.is_empty() {
        let shown = left.iter().take(6).copied().collect::<Vec<_>>().join(", ");
        return Err(Error::config(
            checkpoint.path(),
            format!("{} tensors belong to no part of the decoder that config.json describes: {shown}", left.len()),
        ));
    }
    let decoder = Decoder { config: config.clone(), embedding, layers, norm, head };
    checked(decoder, checkpoint.path())
}

/// The decoder, if its parts have the shapes of its configuration.
pub(super) fn checked(decoder: Decoder, path: &Path) -> Result<Decoder> {
    match decoder.problem() {
        Some(problem) => Err(Error::config(path, problem)),
        None => Ok(decoder),
    }
}

struct Reader<'a> {
    checkpoint: &'a Checkpoint,
    taken: BTreeSet<String>,
}

impl Reader<'_> {
    fn matrix(&mut self, name: &str) -> Result<WeightMatrix> {
        self.taken.insert(name.to_owned());
        let info = self.checkpoint.info(name).cloned();
        let Some(info) = info else { return Err(self.missing(name)) };
        let &[rows, columns] = info.shape.as_slice() else {
            return Err(Error::config(
                self.checkpoint.path(),
                format!("`{name}` has the shape {:?}, expected a matrix", info.shape),
            ));
        };
        let format = match info.dtype {
            DType::F32 => Some(Format::F32),
            DType::F16 => Some(Format::F16),
            DType::BF16 => Some(Format::Bf16),
            _ => None,
        };
        if let Some(format) = format
            && let Some(bytes) = self.checkpoint.read_bytes(name)?
        {
            return WeightMatrix::from_bytes(format, rows, columns, bytes)
                .map_err(|e| Error::config(self.checkpoint.path(), format!("`{name}`: {e}")));
        }
        Ok(WeightMatrix::floats(self.checkpoint.read_f32(name)?, rows, columns))
    }

    fn vector(&mut self, name: &str) -> Result<Vec<f32>> {
        self.taken.insert(name.to_owned());
        if self.checkpoint.info(name).is_none() {
            return Err(self.missing(name));
        }
        Ok(self.checkpoint.read_f32(name)?)
    }

    fn missing(&self, name: &str) -> Error {
        let shown = self.checkpoint.names().take(4).collect::<Vec<_>>().join(", ");
        Error::config(
            self.checkpoint.path(),
            format!("no tensor `{name}`, which config.json asks for; it holds {shown}, …"),
        )
    }
}
