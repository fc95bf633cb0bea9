//! Pre-training of SpectralGPT on masked tokens: nine of ten are hidden, and drawn from the rest (SpectralGPT, §III).
//!
//! Everything drawn at random depends on seed and epoch only; a run continued from a checkpoint ends with the same weights.

mod statistics;

use std::path::Path;
use std::time::Instant;

use burn::module::Module;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor, TensorData};
use geoglot_core::Seeds;
use geoglot_data::{BatchSampler, Symmetry};
use geoglot_models::spectralgpt::{MaeConfig, SpectralGpt, SpectralGptConfig, SpectralMae, sentinel2_subset};
use geoglot_models::vision::{BandNeed, BoundPreprocess, ImagePreprocess};
use geoglot_nn::ops::adam::FusedAdamConfig;
use indexmap::IndexMap;
use ndarray::{Array3, s};
use rand::RngExt;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;
use crate::contrastive::{Crop, ImageSet, Images, PretrainError, SetsSection};
use crate::flat::{flatten, number_parameters};
use crate::history::EpochRecord;
use crate::optimise::{clip, record, restore};
use crate::past::Past;
use crate::recipe::{Recipe, RecipeError, file, named, read};
use crate::{Ended, Observer, RunFolder};

pub use statistics::own_statistics;

type Result<T, E = PretrainError> = std::result::Result<T, E>;

/// A pre-training on masked tokens: `kind = "masked"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskedRecipe {
    /// Short name, used for folders and titles.
    pub name: String,
    /// `masked`.
    pub kind: String,
    /// What it is.
    #[serde(default)]
    pub description: String,
    /// Image sets; captions and classes are not used.
    pub data: SetsSection,
    /// Sizes.
    #[serde(default)]
    pub model: MaskedModel,
    /// Training options.
    #[serde(default)]
    pub train: MaskedOptions,
    /// Folder of the recipe file, to which paths are relative.
    #[serde(skip)]
    pub folder: std::path::PathBuf,
}

/// Sizes of encoder and decoder; the defaults are SpectralGPT Base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaskedModel {
    /// Side of an image in pixels.
    pub size: usize,
    /// Side of a patch in pixels.
    pub patch: usize,
    /// Bands of a token.
    pub group: usize,
    /// Sentinel-2 bands that are read, by name; all twelve when none are given. Three (`["B02", "B03", "B04"]`) make an encoder of colours alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bands: Vec<String>,
    /// Whether bands are standardised by the mean and deviation of the images that train instead of those the published encoders use
    /// (fMoW-Sentinel's).
    pub own_statistics: bool,
    /// Width of the tokens.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// The decoder.
    pub decoder: MaeConfig,
}

impl Default for MaskedModel {
    fn default() -> Self {
        Self {
            size: 128,
            patch: 8,
            group: 3,
            bands: Vec::new(),
            own_statistics: false,
            width: 768,
            depth: 12,
            heads: 12,
            decoder: MaeConfig::default(),
        }
    }
}

impl MaskedModel {
    /// The encoder of Sentinel-2's 12 bands, or of those chosen.
    pub fn encoder(&self) -> SpectralGptConfig {
        let side = self.size / self.patch.max(1);
        SpectralGptConfig {
            bands: if self.bands.is_empty() { 12 } else { self.bands.len() },
            group: self.group,
            patch: self.patch,
            grid: (side, side),
            width: self.width,
            depth: self.depth,
            heads: self.heads,
            hidden: 4 * self.width,
        }
    }
}

/// How it is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaskedOptions {
    /// Passes over the images.
    pub epochs: usize,
    /// Images of a step.
    pub batch: usize,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Steps in which it rises from zero; then it falls as half a cosine.
    pub warmup: usize,
    /// Decay of matrices.
    pub weight_decay: f64,
    /// Hidden share of the tokens.
    pub mask: f64,
    /// Weight of the spectrum-to-spectrum loss beside the token-to-token one.
    pub spectral: f64,
    /// Least and largest share of an image's area that a crop has.
    pub crop: [f64; 2],
    /// Largest norm of the gradients.
    pub clip: Option<f64>,
    /// Seed.
    pub seed: u64,
}

impl Default for MaskedOptions {
    fn default() -> Self {
        Self {
            epochs: 200,
            batch: 16,
            learning_rate: 4e-4,
            warmup: 100,
            weight_decay: 0.05,
            mask: 0.9,
            spectral: 1.0,
            crop: [0.4, 1.0],
            clip: Some(1.0),
            seed: 0,
        }
    }
}

/// Learning rate at `step` of `steps`: a line up in `warmup` steps, then half a cosine down.
pub(crate) fn warm_cosine(rate: f64, warmup: usize, step: usize, steps: usize) -> f64 {
    let warmup = warmup.min(steps);
    if step < warmup {
        return rate * (step + 1) as f64 / warmup as f64;
    }
    let done = (step - warmup) as f64 / (steps - warmup).max(1) as f64;
    rate * 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos())
}

impl MaskedRecipe {
    /// Reads a recipe, with overrides `key.path=value` applied before it is checked.
    ///
    /// # Errors
    /// [`RecipeError`] naming the file and the key.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self, RecipeError> {
        let (text, folder) = file(path)?;
        Self::parse(&text, &path.display().to_string(), folder, overrides)
    }

    /// As [`MaskedRecipe::load`], from TOML `text`; `origin` names it in messages.
    ///
    /// # Errors
    /// As [`MaskedRecipe::load`].
    pub fn parse(
        text: &str,
        origin: &str,
        folder: std::path::PathBuf,
        overrides: &[String],
    ) -> Result<Self, RecipeError> {
        Ok(Self { folder, ..read(text, origin, overrides, |r: &Self| r.problem().map_or(Ok(()), Err))? })
    }

    /// The recipe as TOML.
    ///
    /// # Errors
    /// None in practice.
    pub fn to_toml(&self) -> Result<String, RecipeError> {
        toml::to_string(self).map_err(|e| RecipeError::Format { path: self.name.clone(), problem: e.to_string() })
    }

    /// The path of a set.
    ///
    /// # Errors
    /// [`RecipeError::Variable`].
    pub fn path(&self, set: &ImageSet) -> Result<std::path::PathBuf, RecipeError> {
        let root = self.data.root.as_deref().map(Recipe::expand).transpose()?.unwrap_or_default();
        Ok(self.folder.join(root).join(Recipe::expand(&set.path)?))
    }

    fn problem(&self) -> Option<String> {
        if let Err(problem) = named(&self.name) {
            return Some(problem);
        }
        if self.data.set.is_empty() {
            return Some("data has no sets; give at least one [[data.set]] with a path".into());
        }
        let t = &self.train;
        let out_of_range = [
            ("epochs", t.epochs == 0),
            ("batch", t.batch == 0),
            ("learning_rate", !(t.learning_rate > 0.0 && t.learning_rate <= 1.0)),
            ("weight_decay", !(0.0..=10.0).contains(&t.weight_decay)),
            ("mask", !(t.mask > 0.0 && t.mask < 1.0)),
            ("spectral", !(0.0..=100.0).contains(&t.spectral)),
            ("crop", !(t.crop[0] > 0.0 && t.crop[0] <= t.crop[1] && t.crop[1] <= 1.0)),
            ("clip", t.clip.is_some_and(|c| !(c.is_finite() && c > 0.0))),
        ];
        if let Some((key, _)) = out_of_range.iter().find(|o| o.1) {
            return Some(format!("train.{key} is out of range"));
        }
        let encoder = self.model.encoder();
        if !self.model.size.is_multiple_of(self.model.patch.max(1)) {
            return Some(format!("model.size {} is no multiple of model.patch {}", self.model.size, self.model.patch));
        }
        if let Some(problem) = sentinel2_subset(&self.model.bands, self.model.size).err() {
            return Some(format!("model.bands: {problem}"));
        }
        encoder.problem().or_else(|| self.model.decoder.problem()).map(|p| format!("model: {p}"))
    }
}

/// A trained encoder.
#[derive(Debug)]
pub struct Masked {
    /// The encoder, for inference.
    pub encoder: SpectralGpt,
    /// What happened.
    pub history: Vec<EpochRecord>,
    /// How training ended.
    pub ended: Ended,
}

/// Trains on the images of `sets`, prepared by `preprocess`.
///
/// # Errors
/// Bands that are missing, images that cannot be read, a loss that is no number, a checkpoint of another run.
#[allow(clippy::too_many_arguments)]
pub fn pretrain_masked(
    model: &MaskedModel,
    (need, preprocess): (&BandNeed, &ImagePreprocess),
    sets: &[&dyn Images],
    options: &MaskedOptions,
    keep: Option<RunFolder<'_>>,
    device: &Device,
    observer: &mut dyn Observer,
) -> Result<Masked> {
    let checkpoint = Past::checkpoint(keep)?;
    let bind = |images: &&dyn Images| Ok(preprocess.bind(need, images.bands(), None)?);
    let bound = sets.iter().map(bind).collect::<Result<Vec<BoundPreprocess>>>()?;
    let all: Vec<(usize, usize)> =
        sets.iter().enumerate().flat_map(|(s, images)| (0..images.len()).map(move |i| (s, i))).collect();
    let seeds = Seeds::new(options.seed);
    let sampler = BatchSampler::new(all.len(), options.batch, seeds.value("mae/order")).map_err(crate::Error::from)?;
    let device = device.clone().autodiff();
    device.seed(seeds.value("mae/init"));
    let mae = number_parameters(model.decoder.init(&model.encoder(), &device));
    let adam = FusedAdamConfig::new().with_beta_2(0.95).with_decoupled_decay(options.weight_decay).build();
    let mut run = Run { mae, optimizer: ModuleOptimizer::from(adam), past: Past::default() };
    if let (Some(place), Some(checkpoint)) = (keep, checkpoint) {
        let (mae, optimizer) = restore(run.mae, run.optimizer, &checkpoint, &Checkpoint::path(place.folder))?;
        run = Run { mae, optimizer, past: Past::without_best(checkpoint) };
    }
    let steps = sampler.len() * options.epochs;
    let mut ended = Ended::Finished;
    'training: for epoch in run.past.history.len()..options.epochs {
        let start = Instant::now();
        let mut sums = [0f64; 2];
        let turns = Symmetry::draw(seeds.value("mae/turn"), epoch, all.len());
        let batches = sampler.epoch(epoch);
        for (number, batch) in batches.iter().enumerate() {
            let mut rng = seeds.stream(&format!("mae/{epoch}/{number}"));
            let (mut values, mut visible) = (Vec::new(), Vec::new());
            let (side, count) = (model.size, run.mae.count());
            let kept = ((count as f64 * (1.0 - options.mask)).round() as usize).max(1);
            for &item in batch {
                let (s, i) = all[item];
                let [least, most] = options.crop;
                let area = least + (most - least) * rng.random::<f64>();
                let crop = Crop { area, row: rng.random(), column: rng.random(), turn: 0 };
                let mut image = ready(&bound[s], sets[s].read(i)?, crop)?;
                image.outer_iter_mut().for_each(|mut plane| {
                    turns[item].apply(plane.as_slice_mut().expect("a contiguous plane"), side);
                });
                values.extend(image);
                let mut order: Vec<usize> = (0..count).collect();
                order.shuffle(&mut rng);
                order.truncate(kept);
                order.sort_unstable();
                visible.push(order);
            }
            let bands = values.len() / (batch.len() * side * side);
            let images = Tensor::from_data(TensorData::new(values, [batch.len(), bands, side, side]), &device);
            let loss = run.mae.loss(images, &visible);
            let total = loss.token.clone() + loss.spectral.clone() * options.spectral;
            let parts = [loss.token, loss.spectral].map(|l| l.into_scalar::<f32>());
            let value = total.clone().into_scalar::<f32>();
            let gradients = GradientsParams::from_grads(total.backward(), &run.mae);
            let (gradients, norm) = clip(gradients, &run.mae, options.clip.unwrap_or(f64::INFINITY));
            if !(value.is_finite() && norm.is_finite()) {
                let paths = batch.iter().take(4).map(|&k| sets[all[k].0].path(all[k].1).display().to_string());
                return Err(PretrainError::Diverged {
                    what: if value.is_finite() { "norm of the gradients" } else { "loss" },
                    value: if value.is_finite() { norm } else { value },
                    epoch: epoch + 1,
                    batch: number + 1,
                    images: paths.collect::<Vec<_>>().join(", "),
                    modality: "Sentinel-2".into(),
                });
            }
            let rate = warm_cosine(options.learning_rate, options.warmup, epoch * batches.len() + number, steps);
            run.mae = run.optimizer.step(rate, run.mae, gradients);
            sums.iter_mut().zip(parts).for_each(|(s, p)| *s += f64::from(p));
            observer.batch(epoch + 1, number + 1, batches.len(), value);
            if observer.stop() {
                ended = Ended::Interrupted;
                break 'training;
            }
        }
        let [token, spectral] = sums.map(|s| s / batches.len() as f64);
        run.past.history.push(EpochRecord {
            epoch: epoch + 1,
            loss: token + options.spectral * spectral,
            validation_oa: None,
            validation_miou: None,
            learning_rate: warm_cosine(options.learning_rate, options.warmup, epoch * batches.len(), steps),
            logit_scale: 1.0,
            seconds: start.elapsed().as_secs_f64(),
            parts: IndexMap::from([("token".to_owned(), token), ("spectral".to_owned(), spectral)]),
            figures: IndexMap::new(),
        });
        observer.epoch(&run.past.history[epoch], options.epochs);
        if let Some(place) = keep {
            run.save(place)?;
        }
    }
    Ok(Masked { encoder: run.mae.valid().encoder, history: run.past.history, ended })
}

struct Run {
    mae: SpectralMae,
    optimizer: ModuleOptimizer,
    past: Past,
}

impl Run {
    fn save(&self, place: RunFolder<'_>) -> Result<()> {
        let optimizer = record(&self.optimizer, &Checkpoint::path(place.folder))?;
        Ok(self.past.save(place, flatten(&self.mae), None, optimizer)?)
    }
}

/// A crop of an image as network input.
fn ready(bound: &BoundPreprocess, image: Array3<f32>, crop: Crop) -> Result<Array3<f32>> {
    let (_, h, w) = image.dim();
    let [row, column, rows, columns] = crop.window(h, w);
    let window = image.slice(s![.., row..row + rows, column..column + columns]);
    Ok(bound.apply(window)?)
}
