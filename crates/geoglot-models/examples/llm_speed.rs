//! Tokens a second of greedy decoding: `llm_speed MODEL f32|stored|q8_0|q4_0 NEW_TOKENS PROMPT_IDS`, for `benches/llm_speed.py`.

use std::time::Instant;

use geoglot_models::llm::LanguageModel;
use geoglot_nn::llm::{Cache, Format};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [path, form, new, prompt] = args.as_slice() else {
        return Err("usage: llm_speed MODEL f32|stored|q8_0|q4_0 NEW_TOKENS PROMPT_IDS".into());
    };
    let model = LanguageModel::load(path)?;
    let model = match form.as_str() {
        "stored" => model,
        "f32" => model.with_format(Format::F32)?,
        "q8_0" => model.with_format(Format::Q8_0)?,
        "q4_0" => model.with_format(Format::Q4_0)?,
        other => return Err(format!("unknown form {other}").into()),
    };
    let prompt = prompt.split(',').map(str::parse).collect::<Result<Vec<u32>, _>>()?;
    let (new, decoder): (usize, _) = (new.parse()?, &model.decoder);
    let width = decoder.config.width;
    let mut cache = Cache::new(&decoder.config, prompt.len() + new + 1);
    let begin = Instant::now();
    let states = decoder.forward(&decoder.embed(&prompt), &mut cache);
    let mut state = states[states.len() - width..].to_vec();
    let prefill = begin.elapsed().as_secs_f64();
    let best =
        |scores: &[f32]| scores.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(i, _)| i as u32);
    let mut token = best(&decoder.logits(&state));
    let begin = Instant::now();
    for _ in 0..new {
        state = decoder.forward(&decoder.embed(&[token]), &mut cache);
        token = best(&decoder.logits(&state));
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "{}",
        serde_json::json!({
            "tokens_per_second": new as f64 / seconds, "prompt_tokens_per_second": prompt.len() as f64 / prefill,
            "weight_bytes": decoder.size(),
        })
    );
    Ok(())
}
