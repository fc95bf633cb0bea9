//! The paper's ablations (tables III, IV, V and figure 2) for a recipe.

use std::path::Path;

use anyhow::bail;
use burn::tensor::Device;
use indexmap::IndexMap;

use super::evaluate::split_note;
use super::fold::{TextSide, train_fold};
use super::prepare::{Prepared, prepare};
use super::text;
use crate::core::RunManifest;
use crate::eval::{AblationReport, AblationRow, AblationTable, ConfusionMatrix, FoldScores, ReportFiles};
use crate::nn::losses::Direction;
use crate::train::{Ended, Observer, Recipe};

/// One row of one table: its name, and how the recipe differs from the one given.
struct Variant {
    name: String,
    recipe: Recipe,
}

struct Table {
    title: &'static str,
    varied: &'static str,
    caption: &'static str,
    rows: Vec<Variant>,
}

fn variant(recipe: &Recipe, name: impl Into<String>, change: impl FnOnce(&mut Recipe)) -> Variant {
    let mut recipe = recipe.clone();
    change(&mut recipe);
    Variant { name: name.into(), recipe }
}

/// Replaces an input's bands by `bands` in every scene.
fn with_bands(recipe: &mut Recipe, input: &str, bands: &[String]) {
    for scene in &mut recipe.data.scene {
        if let Some(text) = scene.inputs.get_mut(input) {
            let separator = if text.contains(":") { "," } else { ":" };
            *text = format!("{text}{separator}bands={}", bands.join("+"));
        }
    }
}

fn tables(recipe: &Recipe) -> Vec<Table> {
    let mut tables = Vec::new();
    let directions =
        [("v → t", Direction::VisionToText), ("t → v", Direction::TextToVision), ("both", Direction::Both)];
    tables.push(Table {
        title: "Loss direction (table III)",
        varied: "Loss",
        caption: "Which cross-entropies make the contrastive loss.",
        rows: directions.map(|(name, d)| variant(recipe, name, |r| r.train.direction = d)).into(),
    });
    if !recipe.ablation.towers.is_empty() {
        tables.push(Table {
            title: "Text tower (table IV)",
            varied: "Tower",
            caption: "Frozen text towers; the vision side maps into each one's space.",
            rows: recipe.ablation.towers.iter().map(|t| variant(recipe, t, |r| r.text.tower.clone_from(t))).collect(),
        });
    }
    let inputs: Vec<String> = recipe.data.scene[0].inputs.keys().cloned().collect();
    if inputs.len() > 1 {
        let mut rows: Vec<Variant> =
            inputs.iter().map(|n| variant(recipe, n, |r| r.model.inputs = vec![n.clone()])).collect();
        for row in &mut rows {
            let used = row.recipe.model.inputs.clone();
            row.recipe.preprocess.retain(|name, _| used.contains(name));
            row.recipe.model.elevation.retain(|name| used.contains(name));
        }
        rows.push(variant(recipe, inputs.join(" + "), |r| r.model.inputs.clear()));
        tables.push(Table {
            title: "Modality (table V)",
            varied: "Inputs",
            caption: "Each input alone, and all together.",
            rows,
        });
    }
    if let Some(input) =
        inputs.iter().find(|n| recipe.is_elevation(n)).filter(|_| !recipe.ablation.elevation_channels.is_empty())
    {
        let sets = recipe.ablation.elevation_channels.iter();
        tables.push(Table {
            title: "Elevation channels (figure 2)",
            varied: "Channels",
            caption: "Channels of the elevation input.",
            rows: sets.map(|(name, bands)| variant(recipe, name, |r| with_bands(r, input, bands))).collect(),
        });
    }
    tables
}

/// Overall scores of one fold of a variant.
fn score(
    recipe: &Recipe,
    prepared: &Prepared,
    text: &TextSide,
    fold: usize,
    device: &Device,
    observer: &mut dyn Observer,
) -> anyhow::Result<FoldScores> {
    let model = train_fold(recipe, prepared, fold, text, None, device, observer)?;
    if model.ended == Ended::Interrupted {
        bail!("interrupted; finished runs are kept, the same command with --resume continues");
    }
    let test = &prepared.splits[fold].test;
    let mut maps: IndexMap<usize, ndarray::Array2<u16>> = IndexMap::new();
    for pixel in test {
        if !maps.contains_key(&pixel.scene) {
            maps.insert(pixel.scene, model.map(pixel.scene, &text.classes)?);
        }
    }
    let predicted: Vec<usize> = test.iter().map(|p| usize::from(maps[&p.scene][(p.row, p.col)])).collect();
    let truth: Vec<usize> = test.iter().map(|p| p.class).collect();
    let matrix = ConfusionMatrix::of(&truth, &predicted, prepared.legend.len())?;
    Ok(FoldScores::of(fold, Some(recipe.train.seed), &matrix))
}

/// Runs every variant on every fold and seed and writes the report into `out`. Finished runs are kept in `out/runs` and taken as they are with
/// `resume`. `observer` is told table, variant, seed and fold.
///
/// # Errors
/// Whatever preparing, training or writing says; a text tower that is not on this machine.
pub fn ablate(
    recipe: &Recipe,
    out: &Path,
    resume: bool,
    device: &Device,
    run: &mut RunManifest,
    mut observer: impl FnMut(&str) -> Box<dyn Observer>,
) -> anyhow::Result<(AblationReport, ReportFiles)> {
    let seeds = match recipe.ablation.seeds.is_empty() {
        true => vec![recipe.train.seed],
        false => recipe.ablation.seeds.clone(),
    };
    let mut written = Vec::new();
    let mut note = None;
    let mut warnings = Vec::new();
    // The recipe as it stands occurs in several tables; equal recipes share their runs.
    let mut known: IndexMap<String, FoldScores> = IndexMap::new();
    for table in tables(recipe) {
        let mut rows = Vec::new();
        let mut reference = None;
        for Variant { name, recipe: changed } in table.rows {
            if changed.train.direction == recipe.train.direction
                && changed.text == recipe.text
                && changed.used_inputs() == recipe.used_inputs()
                && changed.data == recipe.data
            {
                reference = Some(rows.len());
            }
            let prepared = prepare(&changed)?;
            let tower = text::open(&changed.text.tower, device)?;
            let text = TextSide::new(&changed, &prepared, tower.as_ref())?;
            note.get_or_insert_with(|| split_note(&prepared.splits));
            warnings.clone_from(&prepared.warnings);
            let mut runs = Vec::new();
            for &seed in &seeds {
                let mut changed = changed.clone();
                changed.train.seed = seed;
                changed.ablation = Default::default();
                // All inputs named and none named is the same model.
                changed.model.inputs = changed.used_inputs();
                for fold in 0..prepared.splits.len() {
                    let key = crate::models::mmlgnet::sha256(
                        format!("{}{}{fold}", changed.to_toml()?, text.space).as_bytes(),
                    );
                    let file = out.join("runs").join(format!("{key}.json"));
                    if !known.contains_key(&key)
                        && resume
                        && let Ok(bytes) = std::fs::read(&file)
                        && let Ok(scores) = serde_json::from_slice(&bytes)
                    {
                        known.insert(key.clone(), scores);
                    }
                    if !known.contains_key(&key) {
                        let title = format!("{}: {name}, seed {seed}, fold {}", table.varied, fold + 1);
                        let scores = score(&changed, &prepared, &text, fold, device, observer(&title).as_mut())?;
                        crate::core::atomic::write_json(&file, &scores)?;
                        known.insert(key.clone(), scores);
                    }
                    runs.push(known[&key]);
                }
            }
            rows.push(AblationRow { variant: name, runs });
        }
        run.stage(table.title);
        written.push(AblationTable {
            title: table.title.into(),
            varied: table.varied.into(),
            caption: table.caption.into(),
            rows,
            reference,
        });
    }
    let Some(split) = note else { bail!("there is nothing to compare") };
    run.split = Some(split.sentence.clone());
    let mut facts = IndexMap::new();
    facts.insert("geoglot".to_owned(), run.version.clone());
    facts.insert("seeds".to_owned(), seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", "));
    facts.insert("text tower".to_owned(), recipe.text.tower.clone());
    let report = AblationReport {
        title: format!("{}: ablations", recipe.name),
        summary: recipe.description.clone(),
        split,
        tables: written,
        facts,
        warnings,
    };
    let files = report.write(out)?;
    run.save(out)?;
    Ok((report, files))
}
