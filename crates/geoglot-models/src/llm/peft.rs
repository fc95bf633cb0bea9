//! Low-rank adapters in the format of Hugging Face's `peft`: `adapter_config.json` and `adapter_model.safetensors`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use geoglot_core::{atomic, small_file};
use geoglot_nn::llm::{Decoder, LowRank, Target};
use geoglot_nn::weights::{Checkpoint, save_streamed};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{Error, Result};

/// What every name of PEFT's tensors begins with.
const PREFIX: &str = "base_model.model.";
const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

/// `adapter_config.json`, the parts that matter here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeftConfig {
    /// Rank r.
    pub r: usize,
    /// α.
    pub lora_alpha: f64,
    /// Dropout in training.
    #[serde(default)]
    pub lora_dropout: f64,
    /// The base model's name.
    #[serde(default)]
    pub base_model_name_or_path: Option<String>,
    /// Whether scales are α/√r instead of α/r.
    #[serde(default)]
    pub use_rslora: bool,
    /// α of single layers, by the end of their name.
    #[serde(default)]
    pub alpha_pattern: BTreeMap<String, f64>,
    /// geoglot's hash of the base model ([`super::LanguageModel::fingerprint`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geoglot_base_model: Option<String>,
}

/// An adapter of a decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct PeftAdapter {
    /// What its configuration says.
    pub config: PeftConfig,
    /// Adapters by block and projection.
    pub layers: BTreeMap<(usize, Target), LowRank>,
    path: PathBuf,
}

impl PeftConfig {
    /// Reads `adapter_config.json`; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::Config`] for another method than LoRA, parts that are not built here, numbers that cannot be.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self> {
        let bad = |problem: String| Error::config(path, problem);
        let json: Value = serde_json::from_slice(bytes).map_err(|e| bad(e.to_string()))?;
        match json.get("peft_type").and_then(Value::as_str) {
            Some("LORA") => {}
            other => return Err(bad(format!("peft_type {}; expected LORA", other.unwrap_or("is missing")))),
        }
        if json.get("bias").and_then(Value::as_str).is_some_and(|b| b != "none") {
            return Err(bad("adapters with biases are not supported".into()));
        }
        for flag in ["use_dora", "fan_in_fan_out", "use_qalora"] {
            if json.get(flag).and_then(Value::as_bool) == Some(true) {
                return Err(bad(format!("`{flag}` is not supported")));
            }
        }
        if json.get("modules_to_save").and_then(Value::as_array).is_some_and(|m| !m.is_empty()) {
            return Err(bad("`modules_to_save` holds whole layers, which is not supported".into()));
        }
        let config = Self::deserialize(&json).map_err(|e| bad(e.to_string()))?;
        if config.r == 0 || config.r > 1 << 16 {
            return Err(bad(format!("r {}; expected 1 to 65536", config.r)));
        }
        let alphas = config.alpha_pattern.values().chain([&config.lora_alpha]);
        if let Some(alpha) = alphas.copied().find(|a| !a.is_finite()) {
            return Err(bad(format!("lora_alpha {alpha}")));
        }
        Ok(config)
    }

    /// The factor on B·A of a layer of rank `rank`.
    fn scale(&self, layer: &str, rank: usize) -> f32 {
        let ends = |pattern: &str| layer == pattern || layer.ends_with(&format!(".{pattern}"));
        let own = self.alpha_pattern.iter().find(|(p, _)| ends(p)).map(|(_, a)| *a);
        let rank = if self.use_rslora { (rank as f64).sqrt() } else { rank as f64 };
        (own.unwrap_or(self.lora_alpha) / rank) as f32
    }
}

impl PeftAdapter {
    /// An adapter of these parts, for [`PeftAdapter::save`].
    pub fn new(config: PeftConfig, layers: BTreeMap<(usize, Target), LowRank>) -> Self {
        Self { config, layers, path: PathBuf::new() }
    }

    /// Whether a folder holds an adapter.
    pub fn is_in(folder: &Path) -> bool {
        folder.join(CONFIG).is_file()
    }

    /// Reads the adapter in `folder`.
    ///
    /// # Errors
    /// [`Error::Config`] for a configuration that cannot be used, tensors that belong to no projection or have half a pair; what
    /// reading may say.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(CONFIG);
        let config = PeftConfig::parse(&small_file::read(&path, small_file::TEXT)?, &path)?;
        let weights = [WEIGHTS, "adapter_model.bin"].map(|w| folder.join(w)).into_iter().find(|p| p.is_file());
        let weights = weights.ok_or_else(|| Error::config(folder, format!("no {WEIGHTS} beside {CONFIG}")))?;
        let checkpoint = Checkpoint::open(&weights)?;
        let bad = |problem: String| Error::config(&weights, problem);
        let mut halves: BTreeMap<(usize, Target), [Option<Half>; 2]> = BTreeMap::new();
        for name in checkpoint.names() {
            let place = place(name).ok_or_else(|| {
                bad(format!("tensor `{name}` belongs to no attention or feed-forward projection of a LLaMA-like model"))
            })?;
            let shape = checkpoint.info(name).expect("listed").shape.clone();
            halves.entry((place.0, place.1)).or_default()[place.2] = Some((shape, checkpoint.read_f32(name)?));
        }
        let mut layers = BTreeMap::new();
        for ((block, target), pair) in halves {
            let layer = format!("model.layers.{block}.{}.{}", target.part(), target.name());
            let [Some((sa, a)), Some((sb, b))] = pair else {
                return Err(bad(format!("`{layer}` has only one of lora_A and lora_B")));
            };
            let (&[rank, _], &[_, other]) = (sa.as_slice(), sb.as_slice()) else {
                return Err(bad(format!("`{layer}`: lora_A is {sa:?}, lora_B {sb:?}; expected matrices")));
            };
            if rank == 0 || rank != other {
                return Err(bad(format!("`{layer}`: lora_A has rank {rank}, lora_B {other}")));
            }
            layers.insert((block, target), LowRank { a, b, rank, scale: config.scale(&layer, rank) });
        }
        if layers.is_empty() {
            return Err(bad("holds no adapter".into()));
        }
        Ok(Self { config, layers, path: folder.to_owned() })
    }

    /// Adds the adapter to `decoder`, whose hash is `fingerprint`: multiplied into the weights, or kept apart.
    ///
    /// # Errors
    /// [`Error::Config`] when it was made for another model.
    pub fn apply(&self, decoder: &mut Decoder, fingerprint: &str, merge: bool) -> Result<()> {
        let bad = |problem: String| Error::config(&self.path, problem);
        let named = self.config.base_model_name_or_path.as_deref().unwrap_or("another model");
        if let Some(base) = self.config.geoglot_base_model.as_ref().filter(|b| *b != fingerprint) {
            return Err(bad(format!(
                "this adapter was trained on {named} (base {}…), not on this model ({}…): give the model it was trained on",
                start(base),
                start(fingerprint)
            )));
        }
        for ((block, target), low) in &self.layers {
            let shape = decoder.config.shape(*target);
            let found = [low.b.len() / low.rank, low.a.len() / low.rank];
            if *block >= decoder.layers.len() || found != shape {
                return Err(bad(format!(
                    "made for another base model ({named}): {} of block {block} is {} × {}, this model has {} blocks of {} × {}",
                    target.name(),
                    found[0],
                    found[1],
                    decoder.layers.len(),
                    shape[0],
                    shape[1]
                )));
            }
        }
        for ((block, target), low) in &self.layers {
            let projection = &mut decoder.layers[*block].projections[*target as usize];
            if merge {
                projection.weight = projection.weight.with_low_rank(&low.a, &low.b, low.scale);
            } else {
                projection.low_rank = Some(low.clone());
            }
        }
        Ok(())
    }

    /// Writes the adapter into `folder`, each file whole.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create", e))?;
        let mut targets: Vec<&str> = self.layers.keys().map(|(_, t)| t.name()).collect();
        targets.sort_unstable();
        targets.dedup();
        let mut config = json!({
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "inference_mode": true, "bias": "none", "fan_in_fan_out": false,
            "target_modules": targets, "modules_to_save": null, "rank_pattern": {}, "init_lora_weights": true, "use_dora": false,
        });
        let own = serde_json::to_value(&self.config).expect("a plain structure");
        for (name, value) in own.as_object().into_iter().flatten() {
            config[name] = value.clone();
        }
        let mut table = Vec::new();
        for ((block, target), low) in &self.layers {
            let layer = format!("{PREFIX}model.layers.{block}.{}.{}", target.part(), target.name());
            table.push((format!("{layer}.lora_A.weight"), vec![low.rank, low.a.len() / low.rank]));
            table.push((format!("{layer}.lora_B.weight"), vec![low.b.len() / low.rank, low.rank]));
        }
        let values = |name: &str| {
            let (block, target, half) = place(name).expect("written above");
            let low = &self.layers[&(block, target)];
            Ok::<_, Error>(if half == 0 { low.a.clone() } else { low.b.clone() })
        };
        save_streamed(&folder.join(WEIGHTS), &table, &BTreeMap::new(), values)?;
        Ok(atomic::write_json(&folder.join(CONFIG), &config)?)
    }
}

fn start(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

/// Shape and numbers of one of an adapter's two matrices.
type Half = (Vec<usize>, Vec<f32>);

/// Block, projection and half (0 for A, 1 for B) of a tensor's name.
fn place(name: &str) -> Option<(usize, Target, usize)> {
    let name = name.strip_prefix(PREFIX).unwrap_or(name);
    let name = name.strip_prefix("model.").unwrap_or(name).strip_prefix("layers.")?;
    let mut parts = name.split('.');
    let block = parts.next()?.parse().ok()?;
    let part = parts.next()?;
    let target = Target::from_name(parts.next()?).filter(|t| t.part() == part)?;
    let half = match parts.next()? {
        "lora_A" => 0,
        "lora_B" => 1,
        _ => return None,
    };
    let rest: Vec<&str> = parts.collect();
    matches!(rest.as_slice(), ["weight"] | ["default", "weight"]).then_some((block, target, half))
}
