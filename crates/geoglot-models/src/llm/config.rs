//! `config.json` of Hugging Face's transformers to the sizes of a decoder.

use std::path::Path;

use geoglot_nn::llm::{DecoderConfig, Rope, RopeScaling};
use serde_json::Value;

use crate::error::{Error, Result};

/// The decoder that a `config.json` describes.
///
/// # Errors
/// [`Error::Config`] for another architecture, a part that is not built here (sliding windows, biases in the feed-forward part, other
/// activations or rotary scalings), or sizes that cannot be.
pub fn decoder_config(json: &Value, path: &Path) -> Result<DecoderConfig> {
    let bad = |problem: String| Error::config(path, problem);
    let number = |name: &str| json.get(name).and_then(Value::as_u64).map(|n| n as usize);
    let need = |name: &str| number(name).ok_or_else(|| bad(format!("`{name}` is missing or no whole number")));
    let flag = |name: &str| json.get(name).and_then(Value::as_bool).unwrap_or(false);
    let kind = json.get("model_type").and_then(Value::as_str).unwrap_or("missing");
    if !matches!(kind, "llama" | "qwen2" | "mistral") {
        return Err(bad(format!(
            "model_type `{kind}` is no language model known here; expected llama (LLaMA 2 and 3, TinyLlama, SmolLM2), qwen2 or mistral"
        )));
    }
    let context = need("max_position_embeddings")?;
    let windowed = match kind {
        "mistral" => number("sliding_window").is_some_and(|w| w < context),
        _ => flag("use_sliding_window"),
    };
    if windowed {
        return Err(bad("attends within a sliding window, which is not supported".into()));
    }
    if flag("mlp_bias") || (flag("attention_bias") && kind != "qwen2") {
        return Err(bad("has biases in its output or feed-forward projections, which is not supported".into()));
    }
    match json.get("hidden_act").and_then(Value::as_str) {
        None | Some("silu") => {}
        Some(other) => return Err(bad(format!("hidden_act `{other}`; expected silu"))),
    }
    let (width, heads) = (need("hidden_size")?, need("num_attention_heads")?);
    let head = number("head_dim").unwrap_or(width / heads.max(1));
    let config = DecoderConfig {
        vocabulary: need("vocab_size")?,
        width,
        hidden: need("intermediate_size")?,
        depth: need("num_hidden_layers")?,
        heads,
        kv_heads: number("num_key_value_heads").unwrap_or(heads),
        head,
        epsilon: json.get("rms_norm_eps").and_then(Value::as_f64).unwrap_or(1e-6),
        rope: rope(json).map_err(bad)?,
        qkv_bias: kind == "qwen2",
        tied: flag("tie_word_embeddings"),
        context,
    };
    match config.problem() {
        Some(problem) => Err(Error::config(path, problem)),
        None => Ok(config),
    }
}

/// Rotary positions: `rope_theta` with `rope_scaling`, or both in `rope_parameters` (transformers 5).
fn rope(json: &Value) -> std::result::Result<Rope, String> {
    let object = |name: &str| json.get(name).filter(|v| v.is_object());
    let (parameters, scaling) = (object("rope_parameters"), object("rope_scaling"));
    let theta = parameters.and_then(|p| p.get("rope_theta")).or_else(|| json.get("rope_theta"));
    let theta = theta.and_then(Value::as_f64).unwrap_or(10_000.0);
    let Some(scaling) = parameters.or(scaling) else { return Ok(Rope::plain(theta)) };
    let kind = scaling.get("rope_type").or_else(|| scaling.get("type")).and_then(Value::as_str).unwrap_or("default");
    let number = |name: &str| {
        let value = scaling.get(name).and_then(Value::as_f64);
        value.map(|v| v as f32).ok_or_else(|| format!("rope scaling `{kind}` without `{name}`"))
    };
    let scaling = match kind {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear(number("factor")?),
        "llama3" => RopeScaling::Llama3 {
            factor: number("factor")?,
            low: number("low_freq_factor")?,
            high: number("high_freq_factor")?,
            original: number("original_max_position_embeddings")? as usize,
        },
        other => return Err(format!("rope scaling `{other}`; expected default, linear or llama3")),
    };
    Ok(Rope { theta, scaling })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn base() -> Value {
        json!({"model_type": "llama", "vocab_size": 100, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
               "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "rms_norm_eps": 1e-5})
    }

    #[test]
    fn both_forms_of_rotary_positions_are_read() {
        let mut old = base();
        old["rope_theta"] = json!(5e5);
        old["rope_scaling"] = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                     "original_max_position_embeddings": 8192});
        let mut new = base();
        new["rope_parameters"] = old["rope_scaling"].clone();
        new["rope_parameters"]["rope_theta"] = json!(5e5);
        let path = Path::new("config.json");
        let (old, new) = (decoder_config(&old, path).unwrap(), decoder_config(&new, path).unwrap());
        assert_eq!(old, new);
        assert_eq!((old.head, old.kv_heads, old.rope.theta), (16, 2, 5e5));
    }

    #[test]
    fn what_is_not_built_is_refused_by_name() {
        for (name, value, part) in [
            ("model_type", json!("gpt2"), "gpt2"),
            ("hidden_act", json!("gelu"), "gelu"),
            ("rope_scaling", json!({"type": "yarn", "factor": 2.0}), "yarn"),
            ("attention_bias", json!(true), "biases"),
            ("num_key_value_heads", json!(3), "3 key heads"),
            ("hidden_size", json!(0), "width is 0"),
            ("num_hidden_layers", json!(1u64 << 60), "depth"),
            ("vocab_size", json!("many"), "vocab_size"),
        ] {
            let mut config = base();
            config[name] = value;
            let error = decoder_config(&config, Path::new("here/config.json")).unwrap_err().to_string();
            assert!(error.contains("here/config.json") && error.contains(part), "{error}");
        }
    }
}
