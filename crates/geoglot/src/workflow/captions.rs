//! Captions of a recipe's images: facts, words, manifest, report.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use rayon::prelude::*;

use super::local_model::LocalModel;
use crate::core::{Legend, Registry, RunManifest, small_file};
use crate::data::captions::{
    CaptionRecipe, CaptionStatistics, CaptionedImage, Endpoint, Error, Job, Subject, TextStatistics, Writer,
};
use crate::eval::{CaptionExample, CaptionGroup, CaptionReport};
use crate::models::mmlgnet::sha256;
use crate::raster::preview::quick_look;
use crate::train::Recipe;
use crate::train::recipe;

/// Images shown in the report.
const SHOWN: usize = 6;
/// Longest side of their quick-looks.
const SIDE: usize = 256;
/// Images between two lines of progress and two additions to the manifest.
const CHUNK: usize = 64;

/// A recipe with the folder it lies in.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The recipe.
    pub recipe: CaptionRecipe,
    folder: PathBuf,
}

/// Reads a recipe, with overrides `key.path=value` applied before it is checked.
///
/// # Errors
/// A file that cannot be read, is not TOML, or lacks what its kind needs, naming the file and the key.
pub fn load(path: &Path, overrides: &[String]) -> anyhow::Result<Loaded> {
    let text = small_file::read_text(path, small_file::TEXT)?;
    let check = |recipe: &CaptionRecipe| recipe.check().map_err(|e| e.to_string());
    let recipe = recipe::read(&text, &path.display().to_string(), overrides, check)?;
    // Absolute, so that the paths in a manifest hold wherever it is read.
    let path = std::path::absolute(path).with_context(|| path.display().to_string())?;
    Ok(Loaded { recipe, folder: path.parent().map_or_else(PathBuf::new, Path::to_path_buf) })
}

impl Loaded {
    /// Finds the images and the legend.
    ///
    /// # Errors
    /// An unset environment variable, a legend that does not load, no image.
    pub fn job(&self, registry: &Registry) -> anyhow::Result<Job> {
        let beside = |text: &str| anyhow::Ok(self.folder.join(Recipe::expand(text)?));
        let root = self.recipe.root.as_deref().map_or_else(|| Ok(self.folder.clone()), beside)?;
        let legend = self.recipe.legend.as_deref().map(|l| anyhow::Ok(Legend::load(&beside(l)?)?)).transpose()?;
        Ok(Job::new(self.recipe.clone(), &root, legend, Arc::new(registry.clone()))?)
    }
}

/// What came of a recipe.
#[derive(Debug, Clone)]
pub struct Built {
    /// Images with captions, in the order of the job.
    pub images: Vec<CaptionedImage>,
    /// Images left out and other remarks.
    pub warnings: Vec<String>,
    /// Lengths and words.
    pub statistics: CaptionStatistics,
}

/// Captions every image of `job` into the folder `out`: `captions.jsonl`, `report.html`, `report.md`, `report.json`, `figures`.
///
/// `progress` is told how many of how many images are done, and returns false to stop; what was done is then kept for `resume`.
///
/// # Errors
/// The first faulty image, unless the recipe skips such; an endpoint that fails; a folder that cannot be written.
pub fn caption(
    job: &Job,
    out: &Path,
    resume: bool,
    run: &mut RunManifest,
    progress: &mut dyn FnMut(usize, usize) -> bool,
) -> anyhow::Result<Built> {
    let recipe = job.recipe();
    let endpoint = recipe.endpoint.as_ref().map(|e| Endpoint::new(e, LocalModel::open)).transpose()?;
    let manifest = out.join("captions.jsonl");
    let fingerprint = sha256(serde_json::to_string(recipe)?.as_bytes());
    let (mut writer, mut images) = Writer::start(&manifest, &fingerprint, resume)?;
    let done: std::collections::HashSet<String> = images.iter().map(|i| i.key.clone()).collect();
    let left: Vec<&Subject> = job.subjects().iter().filter(|s| !done.contains(&s.key)).collect();
    let all = job.subjects().len();
    // Many requests wait at the same time; measuring wants one thread a core.
    let threads = endpoint.as_ref().map_or(0, Endpoint::parallel);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().context("cannot start threads")?;
    let mut warnings = job.warnings().to_vec();
    let mut seen = all - left.len();
    for chunk in left.chunks(CHUNK) {
        let made: Vec<Result<CaptionedImage, Error>> =
            pool.install(|| chunk.par_iter().map(|s| job.caption(s, endpoint.as_ref())).collect());
        let mut fault = None;
        for result in made {
            match result {
                Ok(image) => {
                    writer.add(std::slice::from_ref(&image))?;
                    images.push(image);
                }
                Err(e @ Error::Nothing { .. }) => warnings.push(e.to_string()),
                Err(e @ (Error::Endpoint { .. } | Error::Recipe(_))) => fault = fault.or(Some(e)),
                Err(e) if recipe.skip_faulty => warnings.push(format!("{e}; left out")),
                Err(e) => fault = fault.or(Some(e)),
            }
        }
        if let Some(fault) = fault {
            let text = match &fault {
                Error::Endpoint { .. } => "captions made so far are kept, continue with --resume",
                _ => "skip_faulty = true leaves faulty images out",
            };
            return Err(anyhow::Error::new(fault).context(text));
        }
        seen += chunk.len();
        if !progress(seen, all) {
            bail!("stopped after {seen} of {all} images; continue with --resume");
        }
    }
    if images.is_empty() {
        bail!("no image could be captioned: {}", warnings.first().map_or("there is none", String::as_str));
    }
    // A resumed run ends in the same file as an uninterrupted one.
    let order: std::collections::HashMap<&str, usize> =
        job.subjects().iter().enumerate().map(|(k, s)| (s.key.as_str(), k)).collect();
    images.sort_by_key(|i| order.get(i.key.as_str()).copied());
    run.stage("caption");
    let wrong: Vec<String> = disagreements(&images);
    if let Some(first) = wrong.first() {
        bail!("a caption disagrees with its facts: {first}");
    }
    run.stage("check");
    if let Some(first) = job.subjects().first() {
        run.inputs = job.bands(first).into_iter().collect();
    }
    let statistics = CaptionStatistics::of(&images);
    run.results.insert("statistics".into(), serde_json::to_value(&statistics)?);
    run.results.insert("left out".into(), (all - images.len()).into());
    writer.finish(&manifest, &images)?;
    Ok(Built { images, warnings, statistics })
}

/// Numbers in the captions of `images` that their facts do not bear out, in words.
pub fn disagreements(images: &[CaptionedImage]) -> Vec<String> {
    let all = images.par_iter().flat_map_iter(|image| {
        image
            .check()
            .into_iter()
            .map(|(caption, wrong)| format!("{}: {wrong}; in: {caption}", image.key))
            .collect::<Vec<_>>()
    });
    all.collect()
}

/// The report of captions made.
pub fn report(recipe: &CaptionRecipe, built: &Built, registry: &Registry) -> CaptionReport {
    let statistics = &built.statistics;
    let group = |name: &str, s: &TextStatistics| CaptionGroup {
        name: name.into(),
        figures: [
            ("captions", s.captions.to_string()),
            ("different captions", s.different.to_string()),
            ("different words", s.vocabulary.to_string()),
            ("words a caption, mean", format!("{:.1}", s.mean_words)),
        ]
        .map(|(k, v)| (k.to_owned(), v))
        .into_iter()
        .collect(),
        lengths: s.lengths.iter().map(|(k, v)| (*k, *v)).collect(),
        words: s.words.clone(),
    };
    // Images from all over the set, the same ones every time.
    let step = built.images.len().div_ceil(SHOWN).max(1);
    let examples = built.images.iter().step_by(step).map(|image| {
        let captions = image.short.iter().chain(image.long.first()).cloned().collect();
        // A picture is a help, not a result: one that cannot be drawn is left out.
        let look = image.scene(registry).ok().and_then(|s| quick_look(s.inputs()[0].source().as_ref(), SIDE).ok());
        let png = look.and_then(|l| l.image.to_png().ok()).unwrap_or_default();
        CaptionExample { key: image.key.clone(), captions, png }
    });
    let worded: Vec<String> = statistics.worded_by.iter().map(|(who, n)| format!("{n} by {who}")).collect();
    let about = if recipe.description.is_empty() { String::new() } else { format!("{} ", recipe.description) };
    CaptionReport {
        title: format!("Captions: {}", recipe.name),
        summary: format!(
            "{about}{} images, worded {}. Every number in every caption was checked against the facts.",
            statistics.images,
            worded.join(", ")
        ),
        groups: vec![group("Short captions", &statistics.short), group("Long captions", &statistics.long)],
        examples: examples.collect(),
        warnings: built.warnings.clone(),
        ..CaptionReport::default()
    }
}
