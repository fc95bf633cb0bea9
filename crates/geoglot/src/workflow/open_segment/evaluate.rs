//! Every fold of a recipe, trained and tested: classes seen in training and held-out ones apart, synonyms, beside a random forest.

use std::path::Path;
use std::time::Instant;

use anyhow::bail;
use burn::tensor::Device;
use ndarray::Array2;

use super::data::Prepared;
use super::pair::{PairScene, PairTiles};
use super::text::TextWords;
use super::train::{FoldNetwork, train_fold};
use super::unet::FoldUNet;
use crate::core::{Legend, RunManifest};
use crate::eval::baselines::{coordinate_knn, random_forest};
use crate::eval::plot::{Curve, CurvePoint};
use crate::eval::{
    Bootstrap, ConfusionMatrix, MethodResult, Report, ReportFiles, ReportImage, Role, Scores, TestPixels,
};
use crate::models::segmentation::PredictOptions;
use crate::models::tsmnet::{TsmNetModel, Words};
use crate::nn::segmentation::IGNORE;
use crate::train::open_segmentation::OpenRecipe;
use crate::train::{Ended, Observer};
use crate::workflow::evaluate::{Predicted, classes, features, groups, panel, places};
use crate::workflow::fold::FoldPlace;

const OURS: &str = "geoglot (TSMNet)";
const UNET: &str = "U-Net on optical + SAR";
const SYNONYMS: &str = "geoglot (TSMNet), asked in synonyms";

/// What an evaluation gives.
#[derive(Debug)]
pub struct OpenEvaluation {
    /// Report with every method.
    pub report: Report,
    /// Files written.
    pub files: ReportFiles,
}

/// Words as the legend has them, or with every class that has synonyms called by its k-th one.
fn vocabulary(recipe: &OpenRecipe, words: &TextWords, legend: &Legend, synonym: Option<usize>) -> Vec<Vec<String>> {
    let mut texts = words.texts(legend);
    if let Some(k) = synonym {
        for (name, others) in &recipe.data.synonyms {
            let class = legend.classes.iter().position(|c| c.name.eq_ignore_ascii_case(name));
            if let (Some(class), false) = (class, others.is_empty()) {
                texts[class] = vec![others[k % others.len()].clone()];
            }
        }
    }
    texts
}

/// Best class of every pixel as a position in the legend; [`IGNORE`] without data.
fn predict(
    model: &TsmNetModel,
    pair: &PairScene,
    words: &Words,
    position: &[u8],
    lift: &[f32],
) -> anyhow::Result<Array2<u8>> {
    let size = pair.size();
    let mut out = Array2::from_elem(size, IGNORE);
    let reader = PairTiles { pair, cards: &model.card.inputs, origin: (0, 0) };
    let options = PredictOptions { batch: 4, ..PredictOptions::new(model.card.tile) };
    model.predict(&reader, size, words, &options, None, |block| {
        let s = &block.probabilities;
        for ((r, c), _) in block.mask.indexed_iter().filter(|(_, valid)| **valid) {
            let value = |k: usize| s[[k, r, c]] + lift[k];
            let best = (0..s.dim().0).max_by(|&a, &b| value(a).total_cmp(&value(b)));
            out[[block.window.row + r, block.window.col + c]] = best.map_or(IGNORE, |k| position[k]);
        }
        anyhow::Ok(())
    })?;
    Ok(out)
}

/// Maps of a fold's test images, `None` for others.
pub(super) type Maps = Vec<Option<Array2<u8>>>;

/// How the classes of the legend are asked for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Asking {
    /// Classes that have synonyms by their k-th one.
    pub synonym: Option<usize>,
    /// Added to the cosines of classes held out.
    pub lift: f32,
}

/// Maps of the test images of a fold.
pub(super) fn maps(
    recipe: &OpenRecipe,
    prepared: &Prepared,
    words: &TextWords,
    fold: usize,
    model: &TsmNetModel,
    asking: Asking,
) -> anyhow::Result<Maps> {
    let open = model.card.network.open_vocabulary();
    // A fixed head knows the classes of training only.
    let legend = if open { prepared.legend.clone() } else { prepared.seen_legend()? };
    let position: Vec<u8> = match open {
        true => (0..prepared.legend.len() as u8).collect(),
        false => prepared.seen.iter().map(|&k| k as u8).collect(),
    };
    let texts = vocabulary(recipe, words, &legend, asking.synonym);
    let held_out = |p: &u8| !prepared.seen.contains(&usize::from(*p));
    let lift: Vec<f32> = position.iter().map(|p| if held_out(p) { asking.lift } else { 0.0 }).collect();
    let mut out = Vec::with_capacity(prepared.len());
    for (k, test) in prepared.folds[fold].test.iter().enumerate() {
        if test.is_none() {
            out.push(None);
            continue;
        }
        let describe = prepared.text(k).filter(|_| model.card.network.scene()).map(|t| prepared.texts[t].as_str());
        let asked = model.words(words.tower.as_deref(), &texts, describe)?;
        out.push(Some(predict(model, &prepared.open(k)?, &asked, &position, &lift)?));
    }
    Ok(out)
}

fn curve(fold: usize, network: &FoldNetwork) -> Curve {
    let points = network.history.iter().map(|e| CurvePoint {
        epoch: e.epoch,
        loss: e.loss,
        validation_loss: None,
        validation_oa: e.validation_oa,
    });
    Curve { name: format!("fold {}", fold + 1), points: points.collect() }
}

/// Mean IoU of the classes at `which` that occur in the truth.
pub(super) fn mean_iou(confusion: &ConfusionMatrix, which: &[usize]) -> Option<f64> {
    let ious: Vec<f64> =
        which.iter().filter(|&&k| confusion.support(k) > 0).map(|&k| confusion.iou(k).unwrap_or(0.0)).collect();
    (!ious.is_empty()).then(|| ious.iter().sum::<f64>() / ious.len() as f64)
}

/// Trains and tests every fold, asks for all classes of the legend by their words, held-out ones among them, and once more in synonyms; compares
/// with a random forest on the same pixels; writes the report into `out`. Networks go to `out/fold-1`, …; with `resume` finished ones are taken
/// as they are.
///
/// # Errors
/// Whatever reading, training, prediction or writing says; data without test labels; an interruption by the observer.
#[allow(clippy::too_many_arguments)]
pub fn evaluate(
    recipe: &OpenRecipe,
    prepared: &Prepared,
    words: &TextWords,
    out: &Path,
    resume: bool,
    device: &Device,
    run: &mut RunManifest,
    mut observer: impl FnMut(usize) -> Box<dyn Observer>,
) -> anyhow::Result<OpenEvaluation> {
    if prepared.folds.iter().any(|f| f.test.iter().all(Option::is_none)) {
        bail!("no image has test labels; give a [[data.folders]] with split = \"test\", or fewer train_images");
    }
    let bootstrap = Bootstrap { seed: recipe.train.seed, ..Bootstrap::default() };
    let mut report = Report::new(&recipe.name, prepared.note.clone(), prepared.legend.clone());
    let rounds = recipe.data.synonyms.values().map(Vec::len).max().unwrap_or(0);
    let words_of = |name: String| Mapped::new(name, Role::Model, "class words by cosine");
    let (mut asked, mut ways) = (vec![words_of(OURS.into())], vec![Asking::default()]);
    for k in 0..rounds {
        asked.push(words_of(if rounds == 1 { SYNONYMS.into() } else { format!("{SYNONYMS} {}", k + 1) }));
        ways.push(Asking { synonym: Some(k), ..Asking::default() });
    }
    for &lift in recipe.data.lift.iter().filter(|_| !recipe.data.hold_out.is_empty()) {
        asked.push(words_of(format!("{OURS}, held-out classes lifted by {lift}")));
        ways.push(Asking { lift, ..Asking::default() });
    }
    let mut unet = Mapped::new(UNET.into(), Role::Baseline, "the same tiles, turns and schedule; stacked bands");
    let mut curves = Vec::new();
    for fold in 0..prepared.folds.len() {
        let start = Instant::now();
        let folder = out.join(format!("fold-{}", fold + 1));
        let place = FoldPlace { folder: &folder, resume };
        let network = train_fold(recipe, prepared, words, fold, place, device, observer(fold).as_mut())?;
        if network.ended == Ended::Interrupted {
            bail!("interrupted in fold {}; the same command with --resume continues", fold + 1);
        }
        curves.push(curve(fold, &network));
        if fold == 0 {
            run.model_hash = Some(network.model.card.weights_sha256.clone());
        }
        let open = network.model.card.network.open_vocabulary();
        if !open {
            asked.truncate(1);
        }
        for (one, way) in asked.iter_mut().zip(&ways) {
            one.folds.push(maps(recipe, prepared, words, fold, &network.model, *way)?);
        }
        asked[0].seconds += start.elapsed().as_secs_f64();
        if recipe.baseline.unet > 0 {
            let start = Instant::now();
            let Some(trained) = FoldUNet::train(recipe, prepared, fold, device, observer(fold).as_mut())? else {
                bail!("interrupted in fold {}; the same command with --resume continues", fold + 1);
            };
            unet.folds.push(trained.maps(prepared, fold, device)?);
            unet.seconds += start.elapsed().as_secs_f64();
            report.facts.insert("parameters of the U-Net".into(), trained.parameters().to_string());
        }
        run.stage(&format!("fold {}", fold + 1));
    }
    report.summary = format!(
        "{} {:?} network, {:?} modality, {:?} fusion, text: {:?}, tiles of {} px.",
        recipe.description,
        recipe.model.variant,
        recipe.model.modality,
        recipe.model.fusion,
        recipe.model.text,
        recipe.model.tile
    );
    if !unet.folds.is_empty() {
        asked.push(unet);
    }
    match &prepared.scenes {
        Some(_) => pixels(recipe, prepared, &asked, &bootstrap, &mut report)?,
        None => images(prepared, &asked, &bootstrap, &mut report)?,
    }
    run.stage("scores");
    let unseen: Vec<usize> = (0..prepared.legend.len()).filter(|k| !prepared.seen.contains(k)).collect();
    for method in &report.methods {
        for (name, value) in [
            ("OA", method.scores.oa),
            ("kappa", method.scores.kappa),
            ("mIoU", method.scores.mean_iou),
            ("F1", method.scores.mean_f1),
        ] {
            if let Some(value) = value {
                run.results.insert(format!("{name}, {}", method.name), serde_json::to_value(value)?);
            }
        }
        let parts = [("mIoU of seen classes", &prepared.seen), ("mIoU of held-out classes", &unseen)];
        for (name, which) in parts.into_iter().filter(|_| !unseen.is_empty()) {
            if let Some(value) = mean_iou(&method.scores.confusion, which) {
                run.results.insert(format!("{name}, {}", method.name), value.into());
                report.facts.insert(format!("{name}, {}", method.name), format!("{:.2} %", 100.0 * value));
            }
        }
    }
    if !unseen.is_empty() {
        let names: Vec<&str> = unseen.iter().map(|&k| prepared.legend.classes[k].name.as_str()).collect();
        report.facts.insert("held out of training".into(), names.join(", "));
    }
    for (k, map) in asked[0].folds[0].iter().enumerate().filter_map(|(k, m)| Some((k, m.as_ref()?))).take(4) {
        let ids = |map: &Array2<u8>| {
            map.mapv(|p| prepared.legend.classes.get(usize::from(p)).map_or(prepared.legend.unlabelled, |c| c.id))
        };
        let labels = match (&prepared.scenes, &prepared.folds[0].test[k]) {
            (Some(scenes), _) => scenes.scenes[k].labels.clone(),
            (None, Some(test)) => ids(test),
            (None, None) => ids(map),
        };
        let pair = prepared.open(k)?;
        let image = panel(pair.scene(), &labels, &ids(map), &prepared.legend, "map of fold 1")?;
        report.images.push(ReportImage {
            title: format!("Map: {}", prepared.name(k)),
            caption: format!("{}: what the first sensor sees, the labels, and the map of fold 1.", prepared.name(k)),
            png: image.to_png()?,
        });
    }
    report.curves = curves;
    report.warnings.clone_from(&prepared.warnings);
    run.seed = Some(recipe.train.seed);
    run.inputs.clone_from(&prepared.band_use);
    run.split = Some(report.split.sentence.clone());
    report.add_run(run);
    let files = report.write(out)?;
    run.stage("report");
    run.save(out)?;
    Ok(OpenEvaluation { report, files })
}

fn method(name: &str, role: Role, note: &str, scores: Scores, seconds: f64) -> MethodResult {
    MethodResult { name: name.into(), role, note: note.into(), scores, seconds: Some(seconds) }
}

/// What one method says of the test images, fold by fold.
struct Mapped {
    name: String,
    role: Role,
    note: &'static str,
    folds: Vec<Maps>,
    seconds: f64,
}

impl Mapped {
    fn new(name: String, role: Role, note: &'static str) -> Self {
        Self { name, role, note, folds: Vec::new(), seconds: 0.0 }
    }
}

/// Scenes divided pixel by pixel: all methods on the same test pixels.
fn pixels(
    recipe: &OpenRecipe,
    prepared: &Prepared,
    asked: &[Mapped],
    bootstrap: &Bootstrap,
    report: &mut Report,
) -> anyhow::Result<()> {
    let Some(scenes) = &prepared.scenes else { return Ok(()) };
    let k = prepared.legend.len();
    let inputs: Vec<String> = scenes.scenes[0].inputs.keys().cloned().collect();
    let mut test = TestPixels { truth: Vec::new(), groups: Some(Vec::new()), folds: Some(Vec::new()), classes: k };
    let mut ours: Vec<Predicted> = asked.iter().map(|_| Predicted::new()).collect();
    let [mut forest, mut wide, mut coordinates] = [(); 3].map(|()| Predicted::new());
    for (fold, split) in scenes.splits.iter().enumerate() {
        for (predicted, one) in ours.iter_mut().zip(asked) {
            for p in &split.test {
                let found = one.folds[fold][p.scene].as_ref().map_or(IGNORE, |m| m[(p.row, p.col)]);
                if found == IGNORE {
                    bail!("{}: pixel ({}, {}) was tested but not mapped", prepared.name(p.scene), p.row, p.col);
                }
                predicted.classes.push(usize::from(found));
            }
        }
        // Baselines learn from what the network may learn from.
        let train: Vec<_> = split.train.iter().filter(|p| prepared.seen.contains(&p.class)).copied().collect();
        for (method, windows) in [(&mut forest, &[][..]), (&mut wide, &[3, 5][..])] {
            let start = Instant::now();
            let values = features(scenes, &inputs, &train, windows)?;
            let tested = features(scenes, &inputs, &split.test, windows)?;
            method.extend(random_forest(values.view(), &classes(&train), tested.view(), k, recipe.train.seed)?, start);
        }
        let start = Instant::now();
        coordinates.extend(coordinate_knn(&places(&train), &classes(&train), &places(&split.test), 1)?, start);
        test.truth.extend(classes(&split.test));
        test.groups.get_or_insert_default().extend(groups(&split.test));
        test.folds.get_or_insert_default().extend(vec![fold; split.test.len()]);
    }
    for (one, predicted) in asked.iter().zip(&ours) {
        let scores = test.score(&predicted.classes, bootstrap)?;
        report.methods.push(method(&one.name, one.role, one.note, scores, one.seconds));
        if one.role == Role::Baseline {
            report.comparisons.push(test.compare(
                (OURS, &ours[0].classes),
                (&one.name, &predicted.classes),
                bootstrap,
            )?);
        }
    }
    let baselines = [
        ("random forest", Role::Baseline, "200 trees on the pixel's values", &forest),
        (
            "random forest, 3×3 and 5×5",
            Role::Baseline,
            "200 trees on values, means and deviations around the pixel",
            &wide,
        ),
        ("coordinates only", Role::CoordinatesOnly, "nearest training pixel, no band seen", &coordinates),
    ];
    for (name, role, note, predicted) in &baselines {
        let scores = test.score(&predicted.classes, bootstrap)?;
        report.methods.push(method(name, *role, note, scores, predicted.seconds));
        report.comparisons.push(test.compare((OURS, &ours[0].classes), (name, &predicted.classes), bootstrap)?);
    }
    Ok(())
}

/// Sets of images: one confusion matrix an image, intervals over images.
fn images(prepared: &Prepared, asked: &[Mapped], bootstrap: &Bootstrap, report: &mut Report) -> anyhow::Result<()> {
    for one in asked {
        let mut matrices = Vec::new();
        for (test, map) in prepared.folds[0].test.iter().zip(&one.folds[0]) {
            let (Some(test), Some(map)) = (test, map) else { continue };
            let mut matrix = ConfusionMatrix::new(prepared.legend.len());
            for (&t, &p) in test.iter().zip(map).filter(|(t, p)| **t != IGNORE && **p != IGNORE) {
                matrix.add(usize::from(t), usize::from(p), 1)?;
            }
            matrices.push(matrix);
        }
        let scores = Scores::of_groups(&matrices, bootstrap)?;
        report.methods.push(method(&one.name, one.role, one.note, scores, one.seconds));
    }
    Ok(())
}
