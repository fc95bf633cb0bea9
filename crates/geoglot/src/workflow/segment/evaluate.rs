//! Every fold of a segmentation recipe, trained and tested, beside a random forest.

use std::path::Path;
use std::time::Instant;

use anyhow::bail;
use burn::tensor::Device;
use ndarray::{Array2, Axis, concatenate};

use super::data::Prepared;
use super::map::SceneTiles;
use super::setting::Setting;
use super::tiles::TileSet;
use super::train::{FoldHead, feature_options, train_fold};
use crate::core::{Legend, RunManifest};
use crate::eval::baselines::{Forest, ForestOptions, coordinate_knn, patch_features, random_forest};
use crate::eval::plot::{Curve, CurvePoint};
use crate::eval::{
    Bootstrap, ConfusionMatrix, MethodResult, Report, ReportFiles, ReportImage, Role, Scores, TestPixels,
};
use crate::models::segmentation::{PredictOptions, Segmenter};
use crate::nn::segmentation::IGNORE;
use crate::train::segmentation::{Features, SegmentRecipe, Tiles};
use crate::train::{Ended, Observer};
use crate::workflow::evaluate::{Predicted, classes, features as pixel_features, groups, panel, places};
use crate::workflow::fold::FoldPlace;
use crate::workflow::images::TowerScene;

/// Training pixels of the random forest on sets of images, evenly drawn.
const FOREST_PIXELS: usize = 20_000;

/// What an evaluation gives.
#[derive(Debug)]
pub struct SegmentEvaluation {
    /// Report with every method.
    pub report: Report,
    /// Files written.
    pub files: ReportFiles,
}

/// Best class of every pixel, [H, W], as positions in the legend; [`IGNORE`] without data.
fn predict(segmenter: &Segmenter<'_>, scene: &TowerScene) -> anyhow::Result<Array2<u8>> {
    let (height, width) = (scene.grid().height, scene.grid().width);
    let mut out = Array2::from_elem((height, width), IGNORE);
    let reader = SceneTiles { scene, area: scene.grid().window() };
    segmenter.predict(&reader, (height, width), &PredictOptions::new(segmenter.card.tile), |block| {
        let p = &block.probabilities;
        for ((r, c), _) in block.mask.indexed_iter().filter(|(_, valid)| **valid) {
            let best = (0..p.dim().0).max_by(|&a, &b| p[[a, r, c]].total_cmp(&p[[b, r, c]]));
            out[[block.window.row + r, block.window.col + c]] = best.map_or(IGNORE, |k| k as u8);
        }
        anyhow::Ok(())
    })?;
    Ok(out)
}

fn curve(fold: usize, head: &FoldHead) -> Curve {
    let points = head.history.iter().map(|e| CurvePoint {
        epoch: e.epoch,
        loss: e.loss,
        validation_loss: None,
        validation_oa: e.validation_oa,
    });
    Curve { name: format!("fold {}", fold + 1), points: points.collect() }
}

fn ids(map: &Array2<u8>, legend: &Legend) -> Array2<u16> {
    map.mapv(|k| legend.classes.get(usize::from(k)).map_or(legend.unlabelled, |c| c.id))
}

/// Trains and tests every fold, compares with a random forest on the same pixels, and writes the report into `out`. Heads go to `out/fold-1`,
/// …; with `resume` finished ones are taken as they are.
///
/// # Errors
/// Whatever reading, training, prediction or writing says; data without test labels; an interruption by the observer.
#[allow(clippy::too_many_arguments)]
pub fn evaluate(
    recipe: &SegmentRecipe,
    setting: &Setting,
    prepared: &Prepared,
    out: &Path,
    resume: bool,
    device: &Device,
    run: &mut RunManifest,
    mut observer: impl FnMut(usize) -> Box<dyn Observer>,
    mut tell: impl FnMut(usize, usize),
) -> anyhow::Result<SegmentEvaluation> {
    if prepared.folds.iter().any(|f| f.test.iter().all(Option::is_none)) {
        bail!("no image has test labels; give a [[data.pairs]] with split = \"test\", or a partition with a test part");
    }
    let tiles = TileSet::new(prepared, setting);
    let features =
        Features::prepare(setting.tower.as_ref(), &tiles, setting.taps, feature_options(recipe, out), &mut tell)?;
    run.stage("features");
    let mut maps: Vec<Vec<Option<Array2<u8>>>> = Vec::new();
    let mut curves = Vec::new();
    let mut seconds = 0.0;
    for fold in 0..prepared.folds.len() {
        let start = Instant::now();
        let folder = out.join(format!("fold-{}", fold + 1));
        let place = FoldPlace { folder: &folder, resume };
        let model =
            train_fold(recipe, setting, prepared, &tiles, &features, fold, place, device, observer(fold).as_mut())?;
        if model.ended == Ended::Interrupted {
            bail!("interrupted in fold {}; the same command with --resume continues", fold + 1);
        }
        curves.push(curve(fold, &model));
        if fold == 0 {
            run.model_hash = Some(model.card.weights_sha256.clone());
        }
        let segmenter = Segmenter { tower: setting.tower.as_ref(), head: model.head, card: model.card };
        let mut own = Vec::new();
        for (k, test) in prepared.folds[fold].test.iter().enumerate() {
            own.push(match test {
                Some(_) => Some(predict(&segmenter, prepared.open(k, setting)?.as_ref())?),
                None => None,
            });
        }
        maps.push(own);
        seconds += start.elapsed().as_secs_f64();
        run.stage(&format!("fold {}", fold + 1));
    }
    let bootstrap = Bootstrap { seed: recipe.train.seed, ..Bootstrap::default() };
    let mut report = Report::new(&recipe.name, prepared.note.clone(), prepared.legend.clone());
    report.summary = format!(
        "{} UPerNet on blocks {:?} of the frozen image tower {}, {} tiles of {} px seen as {} px.",
        recipe.description,
        setting.taps,
        setting.name,
        tiles.len(),
        setting.tile,
        setting.input
    );
    match &prepared.scenes {
        Some(_) => pixels(recipe, prepared, &maps, seconds, &bootstrap, &mut report)?,
        None => images(recipe, setting, prepared, &maps[0], seconds, &bootstrap, &mut report)?,
    }
    run.stage("baselines");
    for (k, map) in maps[0].iter().enumerate().take(4) {
        let Some(map) = map else { continue };
        let scene = prepared.open(k, setting)?;
        let labels = match &prepared.scenes {
            Some(scenes) => scenes.scenes[k].labels.clone(),
            None => prepared.folds[0].test[k]
                .as_ref()
                .map_or_else(|| ids(map, &prepared.legend), |t| ids(t, &prepared.legend)),
        };
        let image = panel(scene.scene(), &labels, &ids(map, &prepared.legend), &prepared.legend, "map of fold 1")?;
        report.images.push(ReportImage {
            title: format!("Map: {}", prepared.name(k)),
            caption: format!(
                "{}: what the sensor sees, the labels, and the map of the head of fold 1.",
                prepared.name(k)
            ),
            png: image.to_png()?,
        });
    }
    report.curves = curves;
    report.warnings.clone_from(&prepared.warnings);
    if prepared.scenes.is_some() {
        report.warnings.push(
            "tiles of the training part show the network pixels of the test part as surroundings, without their labels; \
             no label nearer than the split's buffer to a test pixel trains"
                .into(),
        );
    }
    run.seed = Some(recipe.train.seed);
    run.inputs.clone_from(&prepared.band_use);
    run.split = Some(report.split.sentence.clone());
    for method in &report.methods {
        for (name, value) in [("OA", method.scores.oa), ("mIoU", method.scores.mean_iou)] {
            if let Some(value) = value {
                run.results.insert(format!("{name}, {}", method.name), serde_json::to_value(value)?);
            }
        }
    }
    run.stage("scores");
    report.add_run(run);
    report.facts.insert("image tower".into(), format!("{} ({})", setting.name, setting.tower.fingerprint()));
    let files = report.write(out)?;
    features.remove();
    run.stage("report");
    run.save(out)?;
    Ok(SegmentEvaluation { report, files })
}

const OURS: &str = "geoglot (UPerNet)";

fn method(name: &str, role: Role, note: &str, scores: Scores, seconds: f64) -> MethodResult {
    MethodResult { name: name.into(), role, note: note.into(), scores, seconds: Some(seconds) }
}

/// Scenes divided pixel by pixel: all methods on the same test pixels, intervals over spatial groups, paired differences.
fn pixels(
    recipe: &SegmentRecipe,
    prepared: &Prepared,
    maps: &[Vec<Option<Array2<u8>>>],
    seconds: f64,
    bootstrap: &Bootstrap,
    report: &mut Report,
) -> anyhow::Result<()> {
    let Some(scenes) = &prepared.scenes else { return Ok(()) };
    let k = prepared.legend.len();
    let inputs: Vec<String> = scenes.scenes[0].inputs.keys().cloned().collect();
    let mut test = TestPixels { truth: Vec::new(), groups: Some(Vec::new()), folds: Some(Vec::new()), classes: k };
    let [mut ours, mut forest, mut wide, mut coordinates] = [(); 4].map(|()| Predicted::new());
    ours.seconds = seconds;
    for (fold, split) in scenes.splits.iter().enumerate() {
        for p in &split.test {
            // Splits hold only pixels with data in every band of every input, so that each has a class.
            let found = maps[fold][p.scene].as_ref().map_or(IGNORE, |m| m[(p.row, p.col)]);
            if found == IGNORE {
                bail!("{}: pixel ({}, {}) was tested but not mapped", prepared.name(p.scene), p.row, p.col);
            }
            ours.classes.push(usize::from(found));
        }
        for (method, windows) in [(&mut forest, &[][..]), (&mut wide, &[3, 5][..])] {
            let start = Instant::now();
            let train = pixel_features(scenes, &inputs, &split.train, windows)?;
            let tested = pixel_features(scenes, &inputs, &split.test, windows)?;
            let labels = classes(&split.train);
            method.extend(random_forest(train.view(), &labels, tested.view(), k, recipe.train.seed)?, start);
        }
        let start = Instant::now();
        let nearest = coordinate_knn(&places(&split.train), &classes(&split.train), &places(&split.test), 1)?;
        coordinates.extend(nearest, start);
        test.truth.extend(classes(&split.test));
        test.groups.get_or_insert_default().extend(groups(&split.test));
        test.folds.get_or_insert_default().extend(vec![fold; split.test.len()]);
    }
    let methods = [
        (OURS, Role::Model, "a decode head on a frozen image tower", &ours),
        ("random forest", Role::Baseline, "200 trees on the pixel's values", &forest),
        (
            "random forest, 3×3 and 5×5",
            Role::Baseline,
            "200 trees on values, means and deviations around the pixel",
            &wide,
        ),
        ("coordinates only", Role::CoordinatesOnly, "nearest training pixel, no band seen", &coordinates),
    ];
    for (name, role, note, predicted) in &methods {
        let scores = test.score(&predicted.classes, bootstrap)?;
        report.methods.push(method(name, *role, note, scores, predicted.seconds));
    }
    for (name, _, _, other) in &methods[1..] {
        report.comparisons.push(test.compare((OURS, &ours.classes), (name, &other.classes), bootstrap)?);
    }
    Ok(())
}

/// Counts of one image.
fn confusion(truth: &Array2<u8>, predicted: &Array2<u8>, k: usize) -> anyhow::Result<ConfusionMatrix> {
    let mut matrix = ConfusionMatrix::new(k);
    for (&t, &p) in truth.iter().zip(predicted).filter(|(t, p)| **t != IGNORE && **p != IGNORE) {
        matrix.add(usize::from(t), usize::from(p), 1)?;
    }
    Ok(matrix)
}

/// Values of labelled pixels of an image with means and deviations around them, and their classes.
fn image_features(scene: &TowerScene, at: &[(usize, usize)]) -> anyhow::Result<Array2<f32>> {
    let values = scene.read(scene.grid().window().into())?.data.mapv(|v| if v.is_finite() { v } else { 0.0 });
    Ok(patch_features(values.view(), at, &[3, 5])?)
}

/// Sets of images: one confusion matrix an image, intervals over images, a forest on evenly drawn training pixels.
fn images(
    recipe: &SegmentRecipe,
    setting: &Setting,
    prepared: &Prepared,
    maps: &[Option<Array2<u8>>],
    seconds: f64,
    bootstrap: &Bootstrap,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (fold, k) = (&prepared.folds[0], prepared.legend.len());
    let tested =
        || fold.test.iter().zip(maps).enumerate().filter_map(|(i, (t, m))| Some((i, t.as_ref()?, m.as_ref()?)));
    let ours = tested().map(|(_, t, m)| confusion(t, m, k)).collect::<anyhow::Result<Vec<_>>>()?;
    let note = "a decode head on a frozen image tower";
    report.methods.push(method(OURS, Role::Model, note, Scores::of_groups(&ours, bootstrap)?, seconds));

    let start = Instant::now();
    let labelled = |plane: &Array2<u8>| -> Vec<((usize, usize), u8)> {
        plane.indexed_iter().filter(|(_, l)| **l != IGNORE).map(|(at, &l)| (at, l)).collect()
    };
    let all: usize = fold.train.iter().flatten().map(|p| p.iter().filter(|l| **l != IGNORE).count()).sum();
    let step = all.div_ceil(FOREST_PIXELS).max(1);
    let (mut rows, mut truth, mut seen) = (Vec::new(), Vec::new(), 0);
    for (i, plane) in fold.train.iter().enumerate() {
        let Some(plane) = plane else { continue };
        let own = labelled(plane);
        // Every step-th pixel of all images in a row.
        let first = (step - seen % step) % step;
        seen += own.len();
        let drawn: Vec<_> = own.into_iter().skip(first).step_by(step).collect();
        if drawn.is_empty() {
            continue;
        }
        let at: Vec<(usize, usize)> = drawn.iter().map(|d| d.0).collect();
        rows.push(image_features(prepared.open(i, setting)?.as_ref(), &at)?);
        truth.extend(drawn.iter().map(|d| usize::from(d.1)));
    }
    let views: Vec<_> = rows.iter().map(|r| r.view()).collect();
    let options = ForestOptions { seed: recipe.train.seed, ..ForestOptions::default() };
    let forest = Forest::fit(concatenate(Axis(0), &views)?.view(), &truth, k, &options)?;
    let mut matrices = Vec::new();
    for (i, plane, _) in tested() {
        let own = labelled(plane);
        let at: Vec<(usize, usize)> = own.iter().map(|d| d.0).collect();
        let found = forest.predict(image_features(prepared.open(i, setting)?.as_ref(), &at)?.view())?;
        let truth: Vec<usize> = own.iter().map(|d| usize::from(d.1)).collect();
        matrices.push(ConfusionMatrix::of(&truth, &found, k)?);
    }
    let note = format!("trees on values, means and deviations around the pixel, {} training pixels", truth.len());
    let scores = Scores::of_groups(&matrices, bootstrap)?;
    report.methods.push(method(
        "random forest, 3×3 and 5×5",
        Role::Baseline,
        &note,
        scores,
        start.elapsed().as_secs_f64(),
    ));
    Ok(())
}
