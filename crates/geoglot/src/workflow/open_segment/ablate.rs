//! The paper's ablations (tables 4 and 5), modalities, baselines, and the same scenes under other skies, with several seeds.

use std::path::Path;

use anyhow::{Context, bail};
use burn::tensor::Device;
use ndarray::{Array2, Axis};
use serde::{Deserialize, Serialize};

use super::super::ablation_table::{AblationRun, AblationTable, about_seeds};
use super::data::{Parts, Prepared, prepare};
use super::evaluate::{Asking, Maps, maps, mean_iou};
use super::text::TextWords;
use super::train::train_fold;
use super::unet::FoldUNet;
use crate::core::{RunManifest, atomic};
use crate::data::Pixel;
use crate::eval::baselines::random_forest;
use crate::eval::report::slug;
use crate::eval::{ConfusionMatrix, Interval};
use crate::models::mmlgnet::sha256;
use crate::models::tsmnet::{Fusion, Modality, TextUse, Variant};
use crate::nn::segmentation::IGNORE;
use crate::train::open_segmentation::OpenRecipe;
use crate::train::{Ended, Observer};
use crate::workflow::evaluate::{classes, features};
use crate::workflow::fold::FoldPlace;

/// A finished run, `scores.json` in its folder.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// What was trained and measured.
    identity: String,
    run: AblationRun,
}

/// What a row of the table is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The network of the variant's recipe.
    Network,
    /// A U-Net on stacked optical and SAR, trained on the same tiles.
    UNet,
    /// A random forest on the pixel's values.
    Forest,
}

/// One row: what is trained, and the recipe it is trained by.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenVariant {
    /// Its name.
    pub name: String,
    /// What is trained.
    pub subject: Subject,
    /// The recipe, changed.
    pub recipe: OpenRecipe,
}

/// Variants of a recipe: the recipe itself, then every part of it left out or replaced, then the baselines: a U-Net where the recipe has one,
/// and a random forest where it has scenes.
pub fn variants(recipe: &OpenRecipe) -> Vec<OpenVariant> {
    let of = |name: &str, subject, recipe| OpenVariant { name: name.into(), subject, recipe };
    let mut out = vec![of("whole network", Subject::Network, recipe.clone())];
    let mut add = |name: &str, change: &dyn Fn(&mut OpenRecipe)| {
        let mut changed = recipe.clone();
        change(&mut changed);
        if out.iter().all(|other| other.recipe != changed) {
            out.push(of(name, Subject::Network, changed));
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
    if !recipe.baseline.is_none() {
        out.push(of("U-Net", Subject::UNet, recipe.clone()));
    }
    if !recipe.data.scene.is_empty() {
        out.push(of("random forest", Subject::Forest, recipe.clone()));
    }
    out
}

/// What an ablation runs on.
pub struct AblationRequest<'a> {
    /// The recipe.
    pub recipe: &'a OpenRecipe,
    /// Its variants, or some of them.
    pub variants: &'a [OpenVariant],
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
        for lift in &recipe.data.lift {
            out.extend(
                ["seen", "held-out"].map(|which| format!("mIoU of {which} classes, held-out ones lifted by {lift}")),
            );
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
) -> anyhow::Result<AblationTable> {
    let recipe = request.recipe;
    let skies = Skies::open(recipe)?;
    if skies.own.folds.iter().any(|f| f.test.iter().all(Option::is_none)) {
        bail!("no image has test labels; give a [[data.folders]] with split = \"test\", or fewer train_images");
    }
    run.stage("prepare");
    let seeds: Vec<u64> = (0..request.seeds.max(1) as u64).map(|k| recipe.train.seed.wrapping_add(k)).collect();
    let mut table = AblationTable::new(&recipe.name, seeds.clone(), columns(recipe));
    for OpenVariant { name, subject, recipe: variant } in request.variants {
        let mut runs = Vec::new();
        for &seed in &seeds {
            let mut changed = variant.clone();
            changed.train.seed = seed;
            let folder = out.join("runs").join(format!("{}-{seed}", slug(name)));
            let title = format!("{name}, seed {seed}");
            let done = one(request, (*subject, &changed), &skies, &folder, &mut || observer(&title));
            runs.push(done.with_context(|| title.clone())?);
        }
        table.add(name, runs);
        run.stage(name);
    }
    table.notes.push(skies.own.note.sentence.clone());
    table.notes.push(about_seeds(&seeds, "One training: what another seed would change is not known."));
    table.notes.extend(skies.own.warnings.iter().cloned());
    run.seed = Some(recipe.train.seed);
    run.inputs.clone_from(&skies.own.band_use);
    table.save(out)?;
    run.save(out)?;
    Ok(table)
}

/// Confusion matrices of one variant and seed over all folds.
struct Matrices {
    own: ConfusionMatrix,
    /// Asked in synonyms, by round; empty where no class is held out or the words are fixed.
    synonyms: Vec<ConfusionMatrix>,
    /// Held-out classes lifted; empty as for synonyms.
    lifted: Vec<ConfusionMatrix>,
    skies: Vec<ConfusionMatrix>,
}

fn add(matrix: &mut ConfusionMatrix, test: &Parts, maps: &Maps) -> anyhow::Result<()> {
    for (test, map) in test.iter().zip(maps) {
        let (Some(test), Some(map)) = (test, map) else { continue };
        for (&t, &p) in test.iter().zip(map).filter(|(t, p)| **t != IGNORE && **p != IGNORE) {
            matrix.add(usize::from(t), usize::from(p), 1)?;
        }
    }
    Ok(())
}

/// Trains and tests one variant with one seed, as far as that is not done.
fn one(
    request: &AblationRequest<'_>,
    (subject, recipe): (Subject, &OpenRecipe),
    skies: &Skies,
    folder: &Path,
    observer: &mut dyn FnMut() -> Box<dyn Observer>,
) -> anyhow::Result<AblationRun> {
    let identity = sha256(format!("{subject:?}\n{}", recipe.to_toml()?).as_bytes());
    let file = folder.join("scores.json");
    let kept = std::fs::read(&file).ok().and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
    if let Some(kept) = kept.filter(|k| request.resume && k.identity == identity) {
        return Ok(kept.run);
    }
    let own = &skies.own;
    let hold_out = !recipe.data.hold_out.is_empty();
    let empty = || ConfusionMatrix::new(own.legend.len());
    let mut found = Matrices {
        own: empty(),
        synonyms: Vec::new(),
        lifted: Vec::new(),
        skies: skies.others.iter().map(|_| empty()).collect(),
    };
    let mut hash = String::new();
    for fold in 0..own.folds.len() {
        let test = &own.folds[fold].test;
        match subject {
            Subject::Network => {
                let words = TextWords::new(recipe, own, request.device)?;
                let place = folder.join(format!("fold-{}", fold + 1));
                let place = FoldPlace { folder: &place, resume: request.resume };
                let network = train_fold(recipe, own, &words, fold, place, request.device, observer().as_mut())?;
                if network.ended == Ended::Interrupted {
                    bail!("interrupted; the same command with --resume continues");
                }
                let model = &network.model;
                if fold == 0 {
                    hash.clone_from(&model.card.weights_sha256);
                }
                add(&mut found.own, test, &maps(recipe, own, &words, fold, model, Asking::default())?)?;
                if hold_out && model.card.network.open_vocabulary() {
                    let rounds = recipe.data.synonyms.values().map(Vec::len).max().unwrap_or(0);
                    found.synonyms.resize_with(rounds, empty);
                    for (round, matrix) in found.synonyms.iter_mut().enumerate() {
                        let way = Asking { synonym: Some(round), ..Asking::default() };
                        add(matrix, test, &maps(recipe, own, &words, fold, model, way)?)?;
                    }
                    found.lifted.resize_with(recipe.data.lift.len(), empty);
                    for (&lift, matrix) in recipe.data.lift.iter().zip(&mut found.lifted) {
                        let way = Asking { lift, ..Asking::default() };
                        add(matrix, test, &maps(recipe, own, &words, fold, model, way)?)?;
                    }
                }
                for (matrix, (_, sky)) in found.skies.iter_mut().zip(&skies.others) {
                    add(matrix, &sky.folds[fold].test, &maps(recipe, sky, &words, fold, model, Asking::default())?)?;
                }
            }
            Subject::UNet => {
                let Some(unet) = FoldUNet::train(recipe, own, fold, request.device, observer().as_mut())? else {
                    bail!("interrupted; the same command with --resume continues");
                };
                add(&mut found.own, test, &unet.maps(own, fold, request.device)?)?;
                for (matrix, (_, sky)) in found.skies.iter_mut().zip(&skies.others) {
                    add(matrix, &sky.folds[fold].test, &unet.maps(sky, fold, request.device)?)?;
                }
            }
            Subject::Forest => {
                let mut all = vec![own];
                all.extend(skies.others.iter().map(|(_, sky)| sky));
                let each = forest_maps(recipe, &all, fold)?;
                add(&mut found.own, test, &each[0])?;
                for ((matrix, maps), (_, sky)) in found.skies.iter_mut().zip(&each[1..]).zip(&skies.others) {
                    add(matrix, &sky.folds[fold].test, maps)?;
                }
            }
        }
    }
    let mut figures = vec![found.own.oa(), found.own.mean_iou()];
    if hold_out {
        let unseen: Vec<usize> = (0..own.legend.len()).filter(|c| !own.seen.contains(c)).collect();
        figures.extend([mean_iou(&found.own, &own.seen), mean_iou(&found.own, &unseen)]);
        if !recipe.data.synonyms.is_empty() {
            let each: Option<Vec<f64>> = found.synonyms.iter().map(|m| mean_iou(m, &unseen)).collect();
            let mean = |v: Vec<f64>| v.iter().sum::<f64>() / v.len() as f64;
            figures.push(each.filter(|v| !v.is_empty()).map(mean));
        }
        for k in 0..recipe.data.lift.len() {
            let of = |which: &[usize]| mean_iou(found.lifted.get(k)?, which);
            figures.extend([of(&own.seen), of(&unseen)]);
        }
    }
    figures.extend(found.skies.iter().map(ConfusionMatrix::mean_iou));
    let exact = |value: Option<f64>| value.map(|value| Interval { value, low: value, high: value });
    let figures = figures.into_iter().map(exact).collect();
    let run = AblationRun { seed: recipe.train.seed, model: hash, loss: None, figures };
    atomic::write_json(&file, &Kept { identity, run: run.clone() })?;
    Ok(run)
}

/// A random forest of a fold's training pixels on the test pixels of each sky; the first is the one trained under.
fn forest_maps(recipe: &OpenRecipe, skies: &[&Prepared], fold: usize) -> anyhow::Result<Vec<Maps>> {
    let own = skies[0];
    let none = "a random forest needs a recipe of scenes";
    let first = own.scenes.as_ref().context(none)?;
    let inputs: Vec<String> = first.scenes[0].inputs.keys().cloned().collect();
    let train: Vec<Pixel> = first.splits[fold].train.iter().filter(|p| own.seen.contains(&p.class)).copied().collect();
    let values = features(first, &inputs, &train, &[])?;
    let (mut tests, mut rows) = (Vec::new(), Vec::new());
    for sky in skies {
        let scenes = sky.scenes.as_ref().context(none)?;
        let test = scenes.splits[fold].test.clone();
        rows.push(features(scenes, &inputs, &test, &[])?);
        tests.push(test);
    }
    let views: Vec<_> = rows.iter().map(|r| r.view()).collect();
    let all = ndarray::concatenate(Axis(0), &views)?;
    let found = random_forest(values.view(), &classes(&train), all.view(), own.legend.len(), recipe.train.seed)?;
    let mut found = found.into_iter();
    let each = skies.iter().zip(&tests).map(|(sky, pixels)| {
        let mut maps: Maps = vec![None; sky.len()];
        for (p, class) in pixels.iter().zip(&mut found) {
            let size = sky.images[p.scene].size;
            maps[p.scene].get_or_insert_with(|| Array2::from_elem(size, IGNORE))[(p.row, p.col)] = class as u8;
        }
        maps
    });
    Ok(each.collect())
}
