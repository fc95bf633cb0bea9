//! The paper's ablations (tables 4 and 5), modalities, and the same scenes under other skies, with several seeds.

use std::path::Path;

use anyhow::{Context, bail};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::data::{Prepared, prepare};
use super::evaluate::{maps, mean_iou};
use super::text::TextWords;
use super::train::train_fold;
use crate::core::{RunManifest, atomic};
use crate::eval::report::slug;
use crate::eval::{ConfusionMatrix, Interval};
use crate::models::mmlgnet::sha256;
use crate::models::tsmnet::{Fusion, Modality, TextUse, Variant};
use crate::nn::segmentation::IGNORE;
use crate::train::open_segmentation::OpenRecipe;
use crate::train::{Ended, Observer};
use crate::workflow::fold::FoldPlace;

/// The table of an ablation, written as `ablation.json`, `ablation.csv` and `ablation.txt`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenAblation {
    /// Name of the recipe.
    pub recipe: String,
    /// Seeds of the runs.
    pub seeds: Vec<u64>,
    /// What is measured.
    pub columns: Vec<String>,
    /// One row a variant; the first is what the others are compared with.
    pub rows: Vec<OpenRow>,
    /// What the reader should know.
    pub notes: Vec<String>,
}

/// One variant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenRow {
    /// Its name.
    pub variant: String,
    /// Its runs, one a seed.
    pub runs: Vec<OpenRun>,
    /// Mean of each column over the seeds, 0–1, with the 95 % interval of Student's t; `None` where the variant cannot be asked.
    pub figures: Vec<Option<Interval>>,
    /// Each figure less that of the first row, seed by seed; empty in the first row.
    pub differences: Vec<Option<Interval>>,
}

/// A variant trained with one seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenRun {
    /// The seed.
    pub seed: u64,
    /// SHA-256 of the first fold's weights.
    pub model: String,
    /// Figures by column, 0–1.
    pub figures: Vec<Option<f64>>,
}

/// A finished run, `scores.json` in its folder.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// What was trained and measured.
    identity: String,
    run: OpenRun,
}

/// Variants of a recipe by name: the recipe itself, then every part of it left out or replaced.
pub fn variants(recipe: &OpenRecipe) -> Vec<(String, OpenRecipe)> {
    let mut out: Vec<(String, OpenRecipe)> = vec![("whole network".into(), recipe.clone())];
    let mut add = |name: &str, change: &dyn Fn(&mut OpenRecipe)| {
        let mut changed = recipe.clone();
        change(&mut changed);
        if out.iter().all(|(_, other)| *other != changed) {
            out.push((name.into(), changed));
        }
    };
    if recipe.model.modality == Modality::Both {
        add("optical alone", &|r| r.model.modality = Modality::Optical);
        add("SAR alone", &|r| r.model.modality = Modality::Sar);
        add("no fusion network (table 4)", &|r| r.model.fusion = Fusion::Mean);
    }
    let described = !recipe.data.descriptions.is_empty() || recipe.data.folders.iter().any(|f| f.texts.is_some());
    add("no text (table 5, A)", &|r| r.model.text = TextUse::None);
    add("class names (table 5, B)", &|r| r.model.text = TextUse::Classes);
    if described {
        add("descriptions (table 5, C)", &|r| r.model.text = TextUse::Description);
        add("class names and descriptions (table 5, D)", &|r| r.model.text = TextUse::Both);
    }
    add("as published", &|r| r.model.variant = Variant::Published);
    out
}

/// What an ablation runs on.
pub struct AblationRequest<'a> {
    /// The recipe.
    pub recipe: &'a OpenRecipe,
    /// Its variants, or some of them.
    pub variants: &'a [(String, OpenRecipe)],
    /// Runs of each, with the recipe's seed and those after it.
    pub seeds: usize,
    /// Takes finished runs as they are and continues interrupted ones.
    pub resume: bool,
    /// Where everything is computed.
    pub device: &'a Device,
}

/// The recipe's data, and the same under other skies.
struct Skies {
    own: Prepared,
    others: Vec<(String, Prepared)>,
}

impl Skies {
    fn open(recipe: &OpenRecipe) -> anyhow::Result<Self> {
        let mut others = Vec::new();
        for (name, root) in &recipe.data.covers {
            let mut other = recipe.clone();
            other.data.root = Some(root.clone());
            let prepared = prepare(&other).with_context(|| format!("data.covers `{name}`"))?;
            others.push((name.clone(), prepared));
        }
        Ok(Self { own: prepare(recipe)?, others })
    }
}

fn columns(recipe: &OpenRecipe) -> Vec<String> {
    let mut out = vec!["OA".to_owned(), "mIoU".to_owned()];
    if !recipe.data.hold_out.is_empty() {
        out.extend(["mIoU of seen classes".into(), "mIoU of held-out classes".into()]);
        if !recipe.data.synonyms.is_empty() {
            out.push("mIoU of held-out classes, asked in synonyms".into());
        }
    }
    out.extend(recipe.data.covers.keys().map(|name| format!("mIoU, {name}")));
    out
}

/// Trains and tests every variant and writes the table into `out`; the networks stay in `out/runs`. `observer` is told variant and seed.
///
/// # Errors
/// Whatever preparing, training, testing or writing says; data without test labels; an interruption by the observer.
pub fn ablate(
    request: &AblationRequest<'_>,
    out: &Path,
    run: &mut RunManifest,
    mut observer: impl FnMut(&str) -> Box<dyn Observer>,
) -> anyhow::Result<OpenAblation> {
    let recipe = request.recipe;
    let skies = Skies::open(recipe)?;
    if skies.own.folds.iter().any(|f| f.test.iter().all(Option::is_none)) {
        bail!("no image has test labels; give a [[data.folders]] with split = \"test\", or fewer train_images");
    }
    run.stage("prepare");
    let columns = columns(recipe);
    let seeds: Vec<u64> = (0..request.seeds.max(1) as u64).map(|k| recipe.train.seed.wrapping_add(k)).collect();
    let mut rows: Vec<OpenRow> = Vec::new();
    for (name, variant) in request.variants {
        let mut runs = Vec::new();
        for &seed in &seeds {
            let mut changed = variant.clone();
            changed.train.seed = seed;
            let folder = out.join("runs").join(format!("{}-{seed}", slug(name)));
            let title = format!("{name}, seed {seed}");
            let done = one(request, &changed, &skies, &folder, &mut || observer(&title));
            runs.push(done.with_context(|| title.clone())?);
        }
        let of = |values: Option<Vec<f64>>| values.and_then(|v| Interval::of_runs(&v));
        let column = |k: usize| runs.iter().map(|r| r.figures[k]).collect::<Option<Vec<f64>>>();
        let first = rows.first().map(|r| &r.runs);
        let difference = |k: usize| {
            let pairs = runs.iter().zip(first?).map(|(r, other)| Some(r.figures[k]? - other.figures[k]?));
            pairs.collect::<Option<Vec<f64>>>()
        };
        let figures = (0..columns.len()).map(|k| of(column(k))).collect();
        let differences = (0..if first.is_some() { columns.len() } else { 0 }).map(|k| of(difference(k))).collect();
        rows.push(OpenRow { variant: name.clone(), runs, figures, differences });
        run.stage(name);
    }
    let mut notes = vec![skies.own.note.sentence.clone()];
    notes.push(match seeds.len() {
        1 => "One training: what another seed would change is not known.".to_owned(),
        n => format!("Means over {n} trainings with seeds {seeds:?}; intervals: 95 %, Student's t. They hold what the seed changes, not what other test images would."),
    });
    notes.extend(skies.own.warnings.iter().cloned());
    let table = OpenAblation { recipe: recipe.name.clone(), seeds, columns, rows, notes };
    run.seed = Some(recipe.train.seed);
    run.inputs.clone_from(&skies.own.band_use);
    atomic::write_json(&out.join("ablation.json"), &table)?;
    atomic::write(&out.join("ablation.csv"), table.csv().as_bytes())?;
    atomic::write(&out.join("ablation.txt"), table.text().as_bytes())?;
    run.save(out)?;
    Ok(table)
}

/// Trains and tests one variant with one seed, as far as that is not done.
fn one(
    request: &AblationRequest<'_>,
    recipe: &OpenRecipe,
    skies: &Skies,
    folder: &Path,
    observer: &mut dyn FnMut() -> Box<dyn Observer>,
) -> anyhow::Result<OpenRun> {
    let identity = sha256(recipe.to_toml()?.as_bytes());
    let file = folder.join("scores.json");
    let kept = std::fs::read(&file).ok().and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
    if let Some(kept) = kept.filter(|k| request.resume && k.identity == identity) {
        return Ok(kept.run);
    }
    let words = TextWords::new(recipe, &skies.own, request.device)?;
    let rounds = recipe.data.synonyms.values().map(Vec::len).max().unwrap_or(0);
    let k = skies.own.legend.len();
    let empty = || ConfusionMatrix::new(k);
    let (mut plain, mut synonyms) = (empty(), (0..rounds).map(|_| empty()).collect::<Vec<_>>());
    let mut others: Vec<ConfusionMatrix> = skies.others.iter().map(|_| empty()).collect();
    let (mut hash, mut open) = (String::new(), true);
    for fold in 0..skies.own.folds.len() {
        let place = folder.join(format!("fold-{}", fold + 1));
        let place = FoldPlace { folder: &place, resume: request.resume };
        let network = train_fold(recipe, &skies.own, &words, fold, place, request.device, observer().as_mut())?;
        if network.ended == Ended::Interrupted {
            bail!("interrupted; the same command with --resume continues");
        }
        let model = &network.model;
        if fold == 0 {
            hash.clone_from(&model.card.weights_sha256);
        }
        open = model.card.network.open_vocabulary();
        let add = |matrix: &mut ConfusionMatrix, prepared: &Prepared, synonym: Option<usize>| {
            let found = maps(recipe, prepared, &words, fold, model, synonym)?;
            for (test, map) in prepared.folds[fold].test.iter().zip(&found) {
                let (Some(test), Some(map)) = (test, map) else { continue };
                for (&t, &p) in test.iter().zip(map).filter(|(t, p)| **t != IGNORE && **p != IGNORE) {
                    matrix.add(usize::from(t), usize::from(p), 1)?;
                }
            }
            anyhow::Ok(())
        };
        add(&mut plain, &skies.own, None)?;
        if open && !recipe.data.hold_out.is_empty() {
            for (round, matrix) in synonyms.iter_mut().enumerate() {
                add(matrix, &skies.own, Some(round))?;
            }
        }
        for (matrix, (_, prepared)) in others.iter_mut().zip(&skies.others) {
            add(matrix, prepared, None)?;
        }
    }
    let unseen: Vec<usize> = (0..k).filter(|c| !skies.own.seen.contains(c)).collect();
    let mut figures = vec![plain.oa(), plain.mean_iou()];
    if !recipe.data.hold_out.is_empty() {
        figures.extend([mean_iou(&plain, &skies.own.seen), mean_iou(&plain, &unseen)]);
        if rounds > 0 {
            let each: Option<Vec<f64>> = synonyms.iter().map(|m| mean_iou(m, &unseen)).collect();
            figures.push(each.filter(|_| open).map(|v| v.iter().sum::<f64>() / v.len() as f64));
        }
    }
    figures.extend(others.iter().map(ConfusionMatrix::mean_iou));
    let run = OpenRun { seed: recipe.train.seed, model: hash, figures };
    atomic::write_json(&file, &Kept { identity, run: run.clone() })?;
    Ok(run)
}

impl OpenAblation {
    /// One line a variant, column and seed, and one each with the mean and the difference: variant, seed, measured, value, low, high.
    pub fn csv(&self) -> String {
        let mut text = String::from("variant,seed,measured,value,low,high\n");
        let quoted = |s: &str| format!("\"{}\"", s.replace('"', "\"\""));
        for row in &self.rows {
            let mut line = |seed: &str, k: usize, v: Option<Interval>| {
                let Some(v) = v else { return };
                let (variant, measured) = (quoted(&row.variant), quoted(&self.columns[k]));
                text += &format!("{variant},{seed},{measured},{},{},{}\n", v.value, v.low, v.high);
            };
            for run in &row.runs {
                for (k, value) in run.figures.iter().enumerate() {
                    line(&run.seed.to_string(), k, value.map(|value| Interval { value, low: value, high: value }));
                }
            }
            row.figures.iter().enumerate().for_each(|(k, v)| line("mean", k, *v));
            row.differences.iter().enumerate().for_each(|(k, v)| line("difference", k, *v));
        }
        text
    }

    /// The table as text, in %: the figures, then the differences to the first row.
    pub fn text(&self) -> String {
        let cell = |v: &Option<Interval>, sign: bool| {
            let Some(v) = v else { return "–".to_owned() };
            let number = |v: f64| if sign { format!("{:+.2}", 100.0 * v) } else { format!("{:.2}", 100.0 * v) };
            match v.low < v.high {
                true => format!("{} ({} to {})", number(v.value), number(v.low), number(v.high)),
                false => number(v.value),
            }
        };
        let first = self.rows.first().map_or("", |r| r.variant.as_str());
        let mut text = format!("{}: ablation, seeds {:?}\n", self.recipe, self.seeds);
        for (title, sign) in [("%".to_owned(), false), (format!("points against {first}"), true)] {
            let mut table = vec![std::iter::once(title).chain(self.columns.iter().cloned()).collect::<Vec<_>>()];
            for row in self.rows.iter().skip(usize::from(sign)) {
                let values = if sign { &row.differences } else { &row.figures };
                table.push(std::iter::once(row.variant.clone()).chain(values.iter().map(|v| cell(v, sign))).collect());
            }
            let width = |k: usize| table.iter().map(|r| r[k].chars().count()).max().unwrap_or(0);
            let widths: Vec<usize> = (0..=self.columns.len()).map(width).collect();
            text.push('\n');
            for row in &table {
                let cells = row.iter().zip(&widths).map(|(cell, &w)| format!("{cell:<w$}"));
                text += &format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end());
            }
        }
        text.push('\n');
        self.notes.iter().for_each(|n| text += &format!("{n}\n"));
        text
    }
}
