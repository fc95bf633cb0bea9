//! What a model says of scenes whose true answers are known.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::describe::{Seen, look};
use super::llava::image_arg;
use crate::core::{Registry, RunManifest, atomic};
use crate::data::instruct::{Conversation, read_conversations};
use crate::eval::Bootstrap;
use crate::eval::protocols::{Said, SaidReport, score_said, verdict};
use crate::models::llm::{GenerateOptions, Message};
use crate::models::spectral_llava::{SpectralLlava, Task};

/// Most tokens of an answer to a question of yes or no.
const SHORT: usize = 16;

/// What is asked, and how much of it.
#[derive(Debug, Clone)]
pub struct SaidRequest {
    /// Conversations whose answers are true (LLaVA's JSON with `labels`).
    pub conversations: PathBuf,
    /// Folder of the images; that of the file when none is given.
    pub images: Option<PathBuf>,
    /// Sensor of images that name none.
    pub sensor: Option<String>,
    /// Most entries of each kind, spread over the file; all when `None`.
    pub limit: Option<usize>,
    /// How answers are made.
    pub options: GenerateOptions,
    /// Intervals.
    pub bootstrap: Bootstrap,
}

/// Every question of an entry as it is asked alone, with its true answer.
fn asked(entry: &Conversation) -> Vec<(&'static str, String, String)> {
    let plain = |text: &str| text.replace("<image>", "").trim().to_owned();
    let pairs = entry.conversations.windows(2).filter(|t| t[1].from == "gpt" || t[1].from == "assistant");
    let kind = |question: &str| match question {
        q if q.starts_with(Task::Caption.token()) => "caption",
        q if q.starts_with(Task::Classification.token()) => "classification",
        _ => "question",
    };
    let all = pairs.map(|t| (plain(&t[0].value), plain(&t[1].value)));
    all.map(|(question, answer)| (kind(&question), question, answer)).collect()
}

/// Asks everything in `request`, writes `answers.jsonl` and `captions.json` to `out`.
///
/// # Errors
/// Conversations or images that cannot be read; none to ask; what generating may say.
pub fn said(
    model: &SpectralLlava,
    request: &SaidRequest,
    registry: &Registry,
    out: &Path,
    run: &mut RunManifest,
    progress: &mut dyn FnMut(usize, usize),
) -> anyhow::Result<SaidReport> {
    let file = &request.conversations;
    let entries = read_conversations(file)?;
    let root = request.images.clone().or_else(|| file.parent().map(Path::to_path_buf)).unwrap_or_default();
    let mut plan: BTreeMap<&'static str, Vec<&Conversation>> = BTreeMap::new();
    for entry in &entries {
        if let Some((kind, ..)) = asked(entry).first() {
            plan.entry(kind).or_default().push(entry);
        }
    }
    for chosen in plan.values_mut() {
        let (all, keep) = (chosen.len(), request.limit.unwrap_or(usize::MAX).min(chosen.len()));
        *chosen = (0..keep).map(|k| chosen[k * all / keep]).collect();
    }
    let total: usize = plan.values().map(Vec::len).sum();
    if total == 0 {
        bail!("{}: nothing to ask", file.display());
    }
    run.stage("open");
    let mut images: BTreeMap<PathBuf, Seen> = BTreeMap::new();
    let mut answers: Vec<Said> = Vec::new();
    for (done, entry) in plan.values().flatten().enumerate() {
        let arg = image_arg(entry, &root, request.sensor.as_deref())?;
        if !images.contains_key(&arg.path) {
            images.insert(arg.path.clone(), look(model, &arg, registry, None)?);
        }
        let tokens = std::slice::from_ref(&images[&arg.path].tiles[0].tokens);
        for (kind, question, reference) in asked(entry) {
            let mut options = request.options.clone();
            if verdict(&reference).is_some() {
                options.max_tokens = options.max_tokens.min(SHORT);
            }
            let messages = [Message::user(format!("<image>\n{question}"))];
            let told = model.answer(&messages, tokens, &options, &mut |_| true).with_context(|| entry.id.clone())?;
            answers.push(Said {
                id: entry.id.clone(),
                kind,
                question,
                answer: told.text.trim().to_owned(),
                reference,
                labels: entry.labels.clone(),
            });
        }
        progress(done + 1, total);
    }
    run.stage("answer");
    let report = score_said(&answers, &request.bootstrap)?;
    std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    let lines = answers.iter().map(|a| Ok(serde_json::to_string(a)? + "\n")).collect::<anyhow::Result<String>>()?;
    atomic::write(&out.join("answers.jsonl"), lines.as_bytes())?;
    atomic::write_json(&out.join("captions.json"), &report)?;
    run.seed = Some(request.options.sampling.seed);
    run.stage("score");
    run.save(out)?;
    Ok(report)
}
