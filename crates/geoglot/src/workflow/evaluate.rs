//! Every fold of a recipe, trained and tested, beside its baselines.

use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

use anyhow::bail;
use burn::tensor::Device;
use ndarray::{Array2, Axis, concatenate};

use super::fold::{FoldModel, FoldPlace, TextSide, train_fold};
use super::prepare::Prepared;
use crate::core::{Legend, RunManifest};
use crate::data::Pixel;
use crate::data::split::{Split, SplitKind};
use crate::eval::baselines::{Place, coordinate_knn, patch_features, random_forest};
use crate::eval::plot::{Curve, CurvePoint};
use crate::eval::{
    Bootstrap, Honesty, MethodResult, Report, ReportFiles, ReportImage, Role, SplitNote, TestPixels, TsneOptions,
    joint_space,
};
use crate::raster::Scene;
use crate::raster::preview::{Image, class_map, legend_entries, panels, quick_look, with_legend};
use crate::train::{Ended, Observer, Recipe};

/// Side in pixels of the spatial groups that the bootstrap resamples.
const GROUP: usize = 16;
/// Pixels drawn in the picture of the joint space.
const SHOWN: usize = 1500;

/// Predictions of one method on all test pixels, with the seconds they took.
pub(super) struct Predicted {
    pub(super) classes: Vec<usize>,
    pub(super) seconds: f64,
}

impl Predicted {
    pub(super) fn new() -> Self {
        Self { classes: Vec::new(), seconds: 0.0 }
    }

    pub(super) fn extend(&mut self, classes: Vec<usize>, start: Instant) {
        self.classes.extend(classes);
        self.seconds += start.elapsed().as_secs_f64();
    }
}

/// What an evaluation gives.
#[derive(Debug)]
pub struct Evaluation {
    /// Report with every method.
    pub report: Report,
    /// Files written.
    pub files: ReportFiles,
}

/// Features of a pixel for the forest: values of all inputs, with means and deviations around it.
pub(super) fn features(
    prepared: &Prepared,
    inputs: &[String],
    pixels: &[Pixel],
    windows: &[usize],
) -> anyhow::Result<Array2<f32>> {
    let mut rows = Vec::new();
    // By scene, as each array belongs to one; put back into the pixels' order below.
    let mut order = Vec::new();
    for (s, scene) in prepared.scenes.iter().enumerate() {
        let own: Vec<usize> = (0..pixels.len()).filter(|&k| pixels[k].scene == s).collect();
        let at: Vec<(usize, usize)> = own.iter().map(|&k| (pixels[k].row, pixels[k].col)).collect();
        let each = inputs.iter().map(|name| patch_features(scene.inputs[name].view(), &at, windows));
        let each = each.collect::<Result<Vec<_>, _>>()?;
        let views: Vec<_> = each.iter().map(|a| a.view()).collect();
        rows.push(concatenate(Axis(1), &views)?);
        order.extend(own);
    }
    let views: Vec<_> = rows.iter().map(|a| a.view()).collect();
    let stacked = concatenate(Axis(0), &views)?;
    let mut back = vec![0; order.len()];
    order.iter().enumerate().for_each(|(row, &k)| back[k] = row);
    Ok(stacked.select(Axis(0), &back))
}

pub(super) fn places(pixels: &[Pixel]) -> Vec<Place> {
    pixels.iter().map(|p| Place { scene: p.scene as u32, row: p.row as u32, col: p.col as u32 }).collect()
}

pub(super) fn classes(pixels: &[Pixel]) -> Vec<usize> {
    pixels.iter().map(|p| p.class).collect()
}

/// What the report says of the splits: the first one's kind, the worst one's honesty.
pub fn split_note(splits: &[Split]) -> SplitNote {
    let overlap = splits.iter().map(|s| s.report.overlap).fold(0.0, f64::max);
    let kind = match &splits[0].kind {
        SplitKind::Blocks { folds, .. } => format!("spatial blocks, {folds} folds"),
        SplitKind::Regions { folds, .. } => format!("regions, {folds} folds"),
        SplitKind::RandomPerClass => "random pixels per class".into(),
        SplitKind::Given => "training and test labels as given".into(),
        SplitKind::LeaveSceneOut { .. } => "leave scene out".into(),
        _ => "split".into(),
    };
    let honesty = if overlap == 0.0 { Honesty::Honest } else { Honesty::Optimistic };
    SplitNote { kind, honesty, sentence: splits[0].describe() }
}

/// Spatial groups of pixels, unique over scenes.
pub(super) fn groups(pixels: &[Pixel]) -> Vec<u32> {
    let mut seen = HashMap::new();
    let mut number = |p: &Pixel| {
        let next = seen.len() as u32;
        *seen.entry((p.scene, p.row / GROUP, p.col / GROUP)).or_insert(next)
    };
    pixels.iter().map(&mut number).collect()
}

fn curve(fold: usize, model: &FoldModel) -> Curve {
    let points = model.history.iter().map(|e| CurvePoint {
        epoch: e.epoch,
        loss: e.loss,
        validation_loss: None,
        validation_oa: e.validation_oa,
    });
    Curve { name: format!("fold {}", fold + 1), points: points.collect() }
}

/// A scene's quick-look, labels and map beside one another, with the legend.
///
/// # Errors
/// Those of reading the scene.
pub fn panel(
    scene: &Scene,
    labels: &Array2<u16>,
    map: &Array2<u16>,
    legend: &Legend,
    title: &str,
) -> anyhow::Result<Image> {
    let look = quick_look(scene.inputs()[0].source().as_ref(), 800)?;
    let mapped = with_legend(&class_map(map, legend), &legend_entries(map, legend));
    let look_title = format!("{} ({})", scene.inputs()[0].name(), look.caption);
    Ok(panels(&[(&look_title, look.image), ("labels", class_map(labels, legend)), (title, mapped)]))
}

/// Trains and tests every fold, compares with the baselines on the same pixels, and writes the report into `out`.
///
/// Models go to `out/fold-1`, …; with `resume` finished folds are taken as they are.
///
/// # Errors
/// Whatever training, prediction or writing says; an interruption by the observer.
#[allow(clippy::too_many_arguments)]
pub fn evaluate(
    recipe: &Recipe,
    prepared: &Prepared,
    text: &TextSide,
    out: &Path,
    resume: bool,
    device: &Device,
    run: &mut RunManifest,
    mut observer: impl FnMut(usize) -> Box<dyn Observer>,
) -> anyhow::Result<Evaluation> {
    let k = prepared.legend.len();
    let inputs = recipe.used_inputs();
    let mut test = TestPixels { truth: Vec::new(), groups: Some(Vec::new()), folds: Some(Vec::new()), classes: k };
    let [mut ours, mut forest, mut wide, mut coordinates] = [(); 4].map(|()| Predicted::new());
    let mut curves = Vec::new();
    let mut pictures = Vec::new();
    let mut joint = None;
    for (fold, split) in prepared.splits.iter().enumerate() {
        let start = Instant::now();
        let folder = out.join(format!("fold-{}", fold + 1));
        let place = Some(FoldPlace { folder: &folder, resume });
        let model = train_fold(recipe, prepared, fold, text, place, device, observer(fold).as_mut())?;
        if model.ended == Ended::Interrupted {
            bail!("interrupted in fold {}; the same command with --resume continues", fold + 1);
        }
        let mut maps = Vec::new();
        for scene in 0..prepared.scenes.len() {
            maps.push(model.map(scene, &text.classes)?);
        }
        let predicted = split.test.iter().map(|p| usize::from(maps[p.scene][(p.row, p.col)])).collect();
        ours.extend(predicted, start);
        run.stage(&format!("fold {}", fold + 1));

        for (method, windows) in [(&mut forest, &[][..]), (&mut wide, &[3, 5][..])] {
            let start = Instant::now();
            let train_features = features(prepared, &inputs, &split.train, windows)?;
            let test_features = features(prepared, &inputs, &split.test, windows)?;
            let labels = classes(&split.train);
            method.extend(
                random_forest(train_features.view(), &labels, test_features.view(), k, recipe.train.seed)?,
                start,
            );
        }
        let start = Instant::now();
        let nearest = coordinate_knn(&places(&split.train), &classes(&split.train), &places(&split.test), 1)?;
        coordinates.extend(nearest, start);
        run.stage("baselines");

        test.truth.extend(classes(&split.test));
        test.groups.get_or_insert_default().extend(groups(&split.test));
        test.folds.get_or_insert_default().extend(vec![fold; split.test.len()]);
        curves.push(curve(fold, &model));
        if fold == 0 {
            run.model_hash = Some(model.hash.clone());
            joint = Some(picture_of_space(&model, split, text, recipe.train.seed, device)?);
            for (s, scene) in prepared.sources.iter().enumerate() {
                let labelled = &prepared.scenes[s];
                let ids = Array2::from_shape_fn(maps[s].dim(), |at| match labelled.mask[at] {
                    true => prepared.legend.classes[usize::from(maps[s][at])].id,
                    false => prepared.legend.unlabelled,
                });
                let image = panel(scene, &labelled.labels, &ids, &prepared.legend, "map of fold 1")?;
                let png = image.to_png()?;
                let caption =
                    format!("{}: what the sensor sees, the labels, and the map of the model of fold 1.", labelled.name);
                pictures.push(ReportImage { title: format!("Map: {}", labelled.name), caption, png });
            }
            run.stage("pictures");
        }
    }
    let bootstrap = Bootstrap { seed: recipe.train.seed, ..Bootstrap::default() };
    let mut report = Report::new(&recipe.name, split_note(&prepared.splits), prepared.legend.clone());
    report.summary = format!("{} Inputs: {}. Text tower: {}.", recipe.description, inputs.join(", "), text.space);
    let methods = [
        ("geoglot (MMLGNet)", Role::Model, "patches compared with class prompts", &ours),
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
        let scores = test.score(&predicted.classes, &bootstrap)?;
        report.methods.push(MethodResult {
            name: (*name).into(),
            role: *role,
            note: (*note).into(),
            scores,
            seconds: Some(predicted.seconds),
        });
    }
    for (name, _, _, other) in &methods[1..] {
        report.comparisons.push(test.compare((methods[0].0, &ours.classes), (name, &other.classes), &bootstrap)?);
    }
    (report.curves, report.images, report.joint_space) = (curves, pictures, joint);
    report.warnings.clone_from(&prepared.warnings);
    run.seed = Some(recipe.train.seed);
    run.inputs.clone_from(&prepared.bands);
    run.split = Some(report.split.sentence.clone());
    for method in &report.methods {
        if let Some(oa) = method.scores.oa {
            run.results.insert(format!("OA, {}", method.name), serde_json::to_value(oa)?);
        }
    }
    run.stage("scores");
    report.add_run(run);
    report.facts.insert("text tower".into(), text.space.clone());
    let files = report.write(out)?;
    run.stage("report");
    run.save(out)?;
    Ok(Evaluation { report, files })
}

/// Test pixels and prompts of the first fold in two dimensions.
fn picture_of_space(
    model: &FoldModel,
    split: &Split,
    text: &TextSide,
    seed: u64,
    device: &Device,
) -> anyhow::Result<crate::eval::JointSpace> {
    let step = split.test.len().div_ceil(SHOWN).max(1);
    let pixels: Vec<Pixel> = split.test.iter().step_by(step).copied().collect();
    let embeddings = model.embed(&pixels, device)?;
    let options = TsneOptions { seed, ..TsneOptions::default() };
    Ok(joint_space(embeddings.view(), &classes(&pixels), text.classes.view(), &options)?)
}
