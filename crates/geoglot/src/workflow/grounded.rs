//! Features before and after alignment with words: linear probes by the share of training images, and both layouts by t-SNE (Spectral-LLaVA,
//! figures 3 and 4).

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use indexmap::IndexMap;
use ndarray::{Array2, Axis};
use serde::Serialize;

use crate::core::{RunManifest, atomic};
use crate::data::datasets::{Dataset, DatasetOptions, Split};
use crate::eval::plot::{Line, class_means_plot, score_lines};
use crate::eval::protocols::{SHARES, SharePoint, ShareProbe, share_curve};
use crate::eval::{Bootstrap, Interval, PairedDifference, TsneOptions, joint_space, paired_difference};
use crate::models::spectral_llava::{SpectralLlava, image_tokens};
use crate::nn::llm::Cache;

/// What is compared, and how.
#[derive(Debug, Clone)]
pub struct AlignmentRequest {
    /// Data set with one class an image.
    pub data: PathBuf,
    /// What the data set does not say by itself.
    pub dataset: DatasetOptions,
    /// Part that is used; everything when `None`.
    pub split: Option<Split>,
    /// How probes are fitted, by name.
    pub probes: Vec<(&'static str, ShareProbe)>,
    /// Random divisions of every share.
    pub folds: usize,
    /// Whether the language model's states of the image tokens are probed too.
    pub language: bool,
    /// Images encoded together.
    pub batch: usize,
    /// Seed of divisions and pictures.
    pub seed: u64,
}

/// Curves of one kind of features.
#[derive(Debug, Clone, Serialize)]
pub struct FeatureCurves {
    /// What the features are.
    pub features: String,
    /// Their width.
    pub width: usize,
    /// By probe: accuracy at every share.
    pub curves: IndexMap<String, Vec<SharePoint>>,
    /// By probe: differences to the encoder's own features at every share, over the same divisions.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub gains: IndexMap<String, Vec<PairedDifference>>,
}

/// The comparison.
#[derive(Debug, Clone, Serialize)]
pub struct AlignmentReport {
    /// Number of images.
    pub images: usize,
    /// Class names.
    pub classes: Vec<String>,
    /// One entry a kind of features; the encoder's own first.
    pub features: Vec<FeatureCurves>,
}

/// Mean states of every image: the encoder's, projected, and the language model's.
fn features(
    model: &SpectralLlava,
    set: &Dataset,
    indices: &[usize],
    request: &AlignmentRequest,
    progress: &mut dyn FnMut(usize, usize),
) -> anyhow::Result<Vec<(&'static str, Array2<f32>)>> {
    let (tower, decoder) = (model.tower.as_ref(), &model.llm.decoder);
    let (inputs, width) = (model.card.tokens.width(tower), decoder.config.width);
    let (mut own, mut projected, mut spoken) = (Vec::new(), Vec::new(), Vec::new());
    let mean = |states: &Array2<f32>| states.mean_axis(Axis(0)).context("an image without tokens");
    for chunk in indices.chunks(request.batch.max(1)) {
        for &i in chunk {
            let pixels = set.read(i)?;
            let data = super::protocols::masked(pixels.data, &pixels.mask);
            let images = tower.prepare(&[data.view()], &pixels.bands).with_context(|| set.items()[i].id.clone())?;
            let states = image_tokens(tower, &images, model.card.tokens)?.swap_remove(0);
            own.extend(mean(&states)?);
            let tokens = model.projector.project(&states)?;
            projected.extend(mean(&tokens)?);
            if request.language {
                let values: Vec<f32> = tokens.iter().copied().collect();
                let read = decoder.forward(&values, &mut Cache::new(&decoder.config, tokens.nrows()));
                spoken.extend(mean(&Array2::from_shape_vec((tokens.nrows(), width), read)?)?);
            }
        }
        progress(own.len() / inputs, indices.len());
    }
    let table = |values: Vec<f32>, width| Array2::from_shape_vec((indices.len(), width), values);
    let mut all =
        vec![("image encoder", table(own, inputs)?), ("projector: language-grounded", table(projected, width)?)];
    if request.language {
        all.push(("language model's states", table(spoken, width)?));
    }
    Ok(all)
}

/// Probes the features of `model` and writes curves, pictures and `alignment.json` to `out`.
///
/// # Errors
/// A data set without one class an image; what reading, encoding and fitting may say.
pub fn alignment(
    model: &SpectralLlava,
    request: &AlignmentRequest,
    out: &Path,
    run: &mut RunManifest,
    progress: &mut dyn FnMut(usize, usize),
) -> anyhow::Result<AlignmentReport> {
    let set = Dataset::open(&request.data, &request.dataset)?;
    let indices = set.indices(request.split);
    if indices.is_empty() {
        bail!("{}: no images in this part", request.data.display());
    }
    let classes = set.truth(&indices)?;
    let legend = set.legend()?;
    run.stage("open");
    let all = features(model, &set, &indices, request, progress)?;
    run.stage("encode");
    let names: Vec<String> = set.classes().to_vec();
    let mut report = AlignmentReport { images: indices.len(), classes: names.clone(), features: Vec::new() };
    let pairs = Bootstrap { seed: request.seed, ..Bootstrap::default() };
    for (name, values) in &all {
        let mut entry = FeatureCurves {
            features: (*name).to_owned(),
            width: values.ncols(),
            curves: IndexMap::new(),
            gains: IndexMap::new(),
        };
        for (probe, how) in &request.probes {
            let curve = share_curve(values.view(), &classes, names.len(), &SHARES, request.folds, how, request.seed)?;
            if let Some(first) = report.features.first() {
                let gains =
                    curve.iter().zip(&first.curves[*probe]).map(|(a, b)| paired_difference(&a.folds, &b.folds, &pairs));
                entry.gains.insert((*probe).to_owned(), gains.collect::<Result<_, _>>()?);
            }
            entry.curves.insert((*probe).to_owned(), curve);
        }
        report.features.push(entry);
    }
    run.stage("probe");
    std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    for (probe, _) in &request.probes {
        let lines: Vec<Line> = report.features.iter().map(|f| line(f, probe)).collect();
        let figure =
            score_lines(&format!("probe-{probe}"), "share of the images that train", "accuracy", &lines, None)?;
        figure.save(&out.join(format!("probe-{probe}.svg")))?;
        atomic::write(&out.join(format!("probe-{probe}.png")), &figure.png(1.5)?)?;
    }
    for (k, (_, values)) in all.iter().enumerate() {
        // Class means stand where prompts do elsewhere.
        let mut means = Array2::zeros((names.len(), values.ncols()));
        for (class, mut row) in means.rows_mut().into_iter().enumerate() {
            let own: Vec<usize> = (0..classes.len()).filter(|&i| classes[i] == class).collect();
            if let Some(mean) = values.select(Axis(0), &own).mean_axis(Axis(0)) {
                row.assign(&mean);
            }
        }
        let options = TsneOptions { seed: request.seed, ..TsneOptions::default() };
        let space = joint_space(values.view(), &classes, means.view(), &options)?;
        let figure = class_means_plot(&space, &legend)?;
        let name = ["encoder", "projector", "language-model"][k];
        atomic::write(&out.join(format!("tsne-{name}.png")), &figure.png(1.5)?)?;
    }
    run.stage("pictures");
    run.seed = Some(request.seed);
    atomic::write_json(&out.join("alignment.json"), &report)?;
    run.save(out)?;
    Ok(report)
}

fn line(features: &FeatureCurves, probe: &str) -> Line {
    let point =
        |p: &SharePoint| (p.share, Interval { value: p.mean, low: p.mean - p.half_width, high: p.mean + p.half_width });
    Line { name: features.features.clone(), points: features.curves[probe].iter().map(point).collect() }
}
