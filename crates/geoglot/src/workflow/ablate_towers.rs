//! Ablations of an image–text recipe (GeoLangBind, tables 7 and 11): every variant trained once a seed, measured, and put into one table.

use std::path::Path;

use anyhow::{Context, bail};
use burn::tensor::Device;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::ablation_table::{AblationRun, AblationTable, about_seeds};
use super::measure::{Measurement, measurement};
use super::merge::figure;
use super::pretrain::{Prepared, pretrain};
use super::protocols::score_protocol;
use super::segment;
use super::text;
use crate::core::{Registry, RunManifest, atomic};
use crate::eval::report::slug;
use crate::eval::{Interval, Role};
use crate::models::mmlgnet::sha256;
use crate::train::checkpoint::Checkpoint;
use crate::train::contrastive::{EvaluateSection, PretrainRecipe, Variant};
use crate::train::{Observer, Silent};

/// A finished training and its figures, `scores.json` in its folder.
#[derive(Debug, Serialize, Deserialize)]
struct Scores {
    /// Identifies the recipe without what is measured.
    training: String,
    model: String,
    loss: f64,
    /// By the identity of the measurement.
    figures: IndexMap<String, Interval>,
}

/// What an ablation runs on.
pub struct TowerAblationRequest<'a> {
    /// The recipe.
    pub recipe: &'a PretrainRecipe,
    /// Its variants, or some of them.
    pub variants: &'a [Variant],
    /// Runs of each, with the recipe's seed and those after it.
    pub seeds: usize,
    /// Sensors.
    pub registry: &'a Registry,
    /// Takes finished runs as they are and continues interrupted ones.
    pub resume: bool,
    /// Where everything is computed.
    pub device: &'a Device,
}

/// Trains and measures every variant and writes the table into `out`; the models stay in `out/runs`. `observer` is told variant and seed.
///
/// # Errors
/// Whatever preparing, training, measuring or writing says; a recipe that measures nothing.
pub fn ablate_towers(
    request: &TowerAblationRequest<'_>,
    out: &Path,
    run: &mut RunManifest,
    mut observer: impl FnMut(&str) -> Box<dyn Observer>,
) -> anyhow::Result<AblationTable> {
    let recipe = request.recipe;
    if recipe.evaluate.is_empty() {
        bail!("{}: nothing is measured; add [[evaluate]] with a protocol and data", recipe.name);
    }
    // Whatever can be refused is refused before hours of training.
    for section in &recipe.evaluate {
        measurement(recipe, section, Path::new("none"), recipe.train.seed, request.registry)
            .with_context(|| format!("evaluate `{}`", section.label()))?;
    }
    let open = |recipe: &PretrainRecipe| -> anyhow::Result<Prepared> {
        let tower = text::open(&recipe.text.tower, request.device)?;
        Prepared::new(recipe, request.registry, tower.as_ref())
    };
    let shared = open(recipe)?;
    run.stage("prepare");
    let folders: Vec<String> = request.variants.iter().map(|v| slug(&v.name)).collect();
    if let Some(k) = (0..folders.len()).find(|&k| folders[..k].contains(&folders[k])) {
        bail!(
            "the variant `{}` would share the folder {} with another; rename it",
            request.variants[k].name,
            folders[k]
        );
    }
    let seeds: Vec<u64> = (0..request.seeds.max(1) as u64).map(|k| recipe.train.seed.wrapping_add(k)).collect();
    let columns = recipe.evaluate.iter().map(EvaluateSection::title).collect();
    let mut table = AblationTable::new(&recipe.name, seeds.clone(), columns);
    for variant in request.variants {
        let same = variant.recipe.data == recipe.data && variant.recipe.text == recipe.text;
        let own = if same { None } else { Some(open(&variant.recipe)?) };
        let prepared = own.as_ref().unwrap_or(&shared);
        let mut runs = Vec::new();
        for &seed in &seeds {
            let mut changed = variant.recipe.clone();
            changed.train.seed = seed;
            let folder = out.join("runs").join(format!("{}-{seed}", slug(&variant.name)));
            let title = format!("{}, seed {seed}", variant.name);
            runs.push(
                one(request, &changed, prepared, &folder, observer(&title).as_mut()).with_context(|| title.clone())?,
            );
        }
        table.add(&variant.name, runs);
        run.stage(&variant.name);
    }
    let one = "Intervals: the protocols' own (bootstrap over test images) of one training; they do not hold what another seed would change.";
    table.notes.push(about_seeds(&seeds, one));
    table.notes.extend(shared.warnings.iter().cloned());
    run.seed = Some(recipe.train.seed);
    run.inputs.clone_from(&shared.bands);
    table.save(out)?;
    run.save(out)?;
    Ok(table)
}

/// Trains and measures one variant with one seed, as far as that is not done.
fn one(
    request: &TowerAblationRequest<'_>,
    recipe: &PretrainRecipe,
    prepared: &Prepared,
    folder: &Path,
    observer: &mut dyn Observer,
) -> anyhow::Result<AblationRun> {
    let bare = PretrainRecipe { evaluate: Vec::new(), ablation: Vec::new(), ..recipe.clone() };
    let training = sha256(bare.to_toml()?.as_bytes());
    let file = folder.join("scores.json");
    let kept = std::fs::read(&file).ok().and_then(|bytes| serde_json::from_slice::<Scores>(&bytes).ok());
    let kept = kept.filter(|s| request.resume && s.training == training && folder.join("model.safetensors").is_file());
    let mut scores = match kept {
        Some(scores) => scores,
        None => {
            let mut run = RunManifest::start("ablate");
            let result = pretrain(
                &bare,
                prepared,
                folder,
                request.resume,
                std::slice::from_ref(request.device),
                &mut run,
                observer,
            )?;
            let last = result.trained.history.last().context("no epoch was trained")?;
            let loss = last.parts.get("contrastive").copied().unwrap_or(last.loss);
            let scores = Scores { training, model: result.hash, loss, figures: IndexMap::new() };
            atomic::write_json(&file, &scores)?;
            // Three times the weights, of no more use.
            let _ = std::fs::remove_file(Checkpoint::path(folder));
            scores
        }
    };
    let mut figures = Vec::new();
    for section in &recipe.evaluate {
        let key = sha256(serde_json::to_string(section)?.as_bytes());
        let value = match scores.figures.get(&key) {
            Some(value) => *value,
            None => {
                let value = measure(request, recipe, section, folder).with_context(|| section.label())?;
                scores.figures.insert(key, value);
                atomic::write_json(&file, &scores)?;
                value
            }
        };
        figures.push(Some(value));
    }
    Ok(AblationRun { seed: recipe.train.seed, model: scores.model, loss: Some(scores.loss), figures })
}

/// The figure of a section for the model in `folder`.
fn measure(
    request: &TowerAblationRequest<'_>,
    recipe: &PretrainRecipe,
    section: &EvaluateSection,
    folder: &Path,
) -> anyhow::Result<Interval> {
    let dense = match measurement(recipe, section, folder, recipe.train.seed, request.registry)? {
        Measurement::Protocol(asked) => {
            let (scored, _) = score_protocol(&asked, request.device, &mut |_, _, _| {})?;
            return figure(&scored, section.metric());
        }
        Measurement::Dense(dense) => dense,
    };
    let setting = segment::Setting::new(&dense, request.device)?;
    let prepared = segment::prepare(&dense, &setting)?;
    let out = folder.join(slug(&section.label()));
    let mut run = RunManifest::start("ablate");
    let quiet = |_: usize| -> Box<dyn Observer> { Box::new(Silent) };
    let found = segment::evaluate(
        &dense,
        &setting,
        &prepared,
        &out,
        request.resume,
        request.device,
        &mut run,
        quiet,
        |_, _| {},
    )?;
    let head = found.report.methods.iter().find(|m| m.role == Role::Model).context("no head was scored")?;
    let value = if section.metric() == "OA" { head.scores.oa } else { head.scores.mean_iou };
    value.context("the figure is undefined on these images")
}
