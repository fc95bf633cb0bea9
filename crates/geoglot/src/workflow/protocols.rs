//! Evaluation protocols on a model and a data set: zero-shot, retrieval, several labels, linear probe, nearest neighbours.

mod encode;
mod job;
mod maps;

use std::path::{Path, PathBuf};

use burn::tensor::Device;

use self::job::Job;
use crate::core::{BandUse, RunManifest};
use crate::data::datasets::{DatasetOptions, Split};
use crate::eval::protocols::ProbeOptions;
use crate::eval::{Bootstrap, ProtocolReport, ReportFiles, Section};
use crate::raster::SceneArg;

pub use encode::encode_items;
pub(super) use encode::masked;
pub use maps::{FeatureMaps, feature_maps};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// The class whose prompts are nearest: top-1 and top-5.
    ZeroShot,
    /// Images find their captions and captions their images: recall at 1, 5, 10.
    Retrieval,
    /// Every class whose prompts are near enough: precision, recall, F1.
    Multilabel,
    /// Logistic regression on frozen vectors.
    Probe,
    /// Majority of the nearest training images.
    Knn,
}

impl Protocol {
    /// Title in reports.
    pub fn title(self) -> &'static str {
        match self {
            Self::ZeroShot => "Zero-shot",
            Self::Retrieval => "Retrieval",
            Self::Multilabel => "Labels by prompts",
            Self::Probe => "Linear probe",
            Self::Knn => "Nearest neighbours",
        }
    }

    /// Whether it compares images with texts.
    pub fn needs_text(self) -> bool {
        matches!(self, Self::ZeroShot | Self::Retrieval | Self::Multilabel)
    }
}

/// What to run, and on what.
#[derive(Debug, Clone)]
pub struct ProtocolRequest {
    /// The protocol.
    pub protocol: Protocol,
    /// Image tower by name or folder.
    pub model: String,
    /// Data set folder or list.
    pub data: PathBuf,
    /// What the data set does not say by itself.
    pub dataset: DatasetOptions,
    /// Part that is scored; the test part when the set is divided, else everything.
    pub split: Option<Split>,
    /// Prompt templates.
    pub templates: Vec<String>,
    /// Text tower by name or folder, where the model's space does not say which.
    pub text_model: Option<String>,
    /// Images encoded together.
    pub batch: usize,
    /// Cosine from which a label is given; chosen on validation or training images when `None`.
    pub threshold: Option<f32>,
    /// Neighbours.
    pub neighbours: usize,
    /// Settings of the probe.
    pub probe: ProbeOptions,
    /// Validation and test shares for sets that come undivided.
    pub divide: (f64, f64),
    /// Intervals.
    pub bootstrap: Bootstrap,
    /// Scenes to make feature maps of.
    pub scenes: Vec<SceneArg>,
    /// Prompts of the heat maps.
    pub prompts: Vec<String>,
    /// Whether the picture of tiles and texts is made.
    pub tsne: bool,
    /// Writes `embeddings.json` (vectors of the images and what they were scored with), too.
    pub save_embeddings: bool,
}

/// Runs `request` without writing anything: the protocol's figures, and what the user should know.
///
/// # Errors
/// As [`run_protocol`].
pub fn score_protocol(
    request: &ProtocolRequest,
    device: &Device,
    progress: &mut dyn FnMut(&str, usize, usize),
) -> anyhow::Result<(Section, Vec<String>)> {
    let mut job = Job::open(request, device, progress)?;
    job.images = job.encode(&job.scored.clone())?;
    Ok((job.section()?, std::mem::take(&mut job.warnings)))
}

/// Runs `request` and writes report, figures, maps and `run.json` to `out`. `progress` is told what is done, how much of it, and of how much.
///
/// # Errors
/// Models and data that do not load, protocols the data have no labels or captions for, an unwritable folder.
pub fn run_protocol(
    request: &ProtocolRequest,
    out: &Path,
    device: &Device,
    run: &mut RunManifest,
    progress: &mut dyn FnMut(&str, usize, usize),
) -> anyhow::Result<(ProtocolReport, ReportFiles)> {
    let mut job = Job::open(request, device, progress)?;
    run.stage("open");
    job.images = job.encode(&job.scored.clone())?;
    run.stage("encode");
    let section = job.section()?;
    run.stage("score");
    let mut report = ProtocolReport::new(format!("{} of {}", request.protocol.title(), request.model));
    report.summary = format!("{} ({}), {} images.", request.data.display(), job.set.format(), job.scored.len());
    for row in &section.table.rows {
        for (column, value) in section.table.columns.iter().zip(&row.values) {
            run.results.insert(format!("{} {column}", row.name), serde_json::to_value(value)?);
        }
    }
    report.sections.push(section);
    if request.tsne {
        report.tiles_texts = job.picture()?;
        run.stage("t-SNE");
    }
    let registry = request.dataset.registry.clone();
    let prompts = job.prompts()?;
    for (k, scene) in request.scenes.iter().enumerate() {
        let folder = out.join("maps").join(format!("{}-{}", k + 1, scene.label()));
        let told = &mut *job.progress;
        let mut tell = |done: usize, all: usize| told("feature maps", done, all);
        let maps = feature_maps(job.tower.as_ref(), scene, &registry, &prompts, &folder, &mut tell)?;
        report.images.extend(maps.images);
    }
    if !request.scenes.is_empty() {
        run.stage("maps");
    }
    run.seed = Some(request.bootstrap.seed);
    run.model_hash = Some(job.tower.fingerprint().to_owned());
    run.split = job.note.as_ref().map(|n| n.sentence.clone());
    run.inputs = vec![BandUse {
        input: request.protocol.title().into(),
        path: request.data.display().to_string(),
        bands: job.set.bands()?,
    }];
    report.split = job.note.take();
    report.warnings = std::mem::take(&mut job.warnings);
    report.add_run(run);
    report.facts.insert("model".into(), request.model.clone());
    report.facts.insert("space".into(), job.tower.space().to_string());
    if request.protocol.needs_text() && request.protocol != Protocol::Retrieval {
        report.facts.insert("templates".into(), request.templates.join(" | "));
    }
    if request.save_embeddings {
        job.save(out)?;
    }
    let files = report.write(out)?;
    run.save(out)?;
    Ok((report, files))
}
