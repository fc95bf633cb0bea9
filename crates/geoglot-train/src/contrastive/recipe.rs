//! The recipe of a pre-training.
//!
//! ```toml
//! name = "photos-and-sentinel"
//!
//! [[data.set]]
//! path = "rsicd/dataset_rsicd.json"
//! [[data.set]]
//! path = "EuroSAT_MS"
//! bands = ["B04", "B03", "B02", "B08"]
//!
//! [model]
//! size = 96
//!
//! [text]
//! tower = "minilm"
//!
//! [train]
//! epochs = 20
//!
//! [[distill]]              # any number of teachers
//! teacher = "dinov2-vit-l-14"
//! weight = 1
//! ```

use std::path::{Path, PathBuf};

use geoglot_core::small_file;
use geoglot_data::datasets::Split;
use geoglot_models::geolangbind::Placeholders;
use geoglot_models::vision::{BandNeed, ImagePreprocess, Left, ResizeMode, ValueScale, VisionConfig};
use geoglot_nn::losses::Targets;
use geoglot_nn::transformer::Activation;
use geoglot_nn::vision::resample::Interpolation;
use geoglot_nn::vision::{
    FinalNorm, KernelLayout, PatchKind, Pooling, PositionResampling, VitConfig, WavelengthConfig,
};
use serde::{Deserialize, Serialize};

use super::distill::DistillSection;
use super::error::Result;
use super::groups::ParameterGroup;
use crate::recipe::{Recipe, RecipeError, Templates, read};

/// A pre-training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainRecipe {
    /// Short name, used for folders and titles.
    pub name: String,
    /// What it is.
    #[serde(default)]
    pub description: String,
    /// Image sets.
    pub data: SetsSection,
    /// The image tower.
    #[serde(default)]
    pub model: TowerSection,
    /// The text tower.
    #[serde(default)]
    pub text: PretrainText,
    /// Training options.
    #[serde(default)]
    pub train: PretrainOptions,
    /// Teachers to learn from beside the texts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub distill: Vec<DistillSection>,
    /// Folder of the recipe file, to which paths are relative.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// Image sets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetsSection {
    /// Folder of the sets, relative to the recipe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// Most MiB of images kept in memory; the others are read again each time.
    #[serde(default = "cache")]
    pub cache_mib: usize,
    /// The sets, each one modality.
    pub set: Vec<ImageSet>,
}

fn cache() -> usize {
    2048
}

/// One set of images with captions or classes: one modality.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSet {
    /// Name in messages; the path when none is given.
    #[serde(default)]
    pub name: String,
    /// Folder or list file, as [`geoglot_data::datasets::Dataset::open`] reads it, or a folder of shards ([`geoglot_data::shards`]).
    pub path: String,
    /// Part that trains; `train` when the set is divided, else everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    /// Sensor, where the images do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensor: Option<String>,
    /// Order in which the images store the sensor's bands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<String>,
    /// Bands used, by name; empty for all.
    #[serde(default)]
    pub bands: Vec<String>,
    /// How often a pass over this set belongs to an epoch.
    #[serde(default = "one")]
    pub weight: f64,
}

fn one() -> f64 {
    1.0
}

/// The image tower. Defaults are those of GeoLangBind Base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TowerSection {
    /// Side of the network's input in pixels.
    pub size: usize,
    /// Side of a patch in pixels.
    pub patch: usize,
    /// Width of the tokens.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of the feed-forward parts; 4 times `width` when none is given.
    pub hidden: Option<usize>,
    /// Sizes of the layer that makes kernels from wavelengths.
    pub wavelength: WavelengthConfig,
    /// How values become numbers of about 0–1: `byte`, `sensor-range`, `as-is` or `{ ranges = [[low, high]] }`.
    pub values: ValueScale,
    /// What stands in for the wavelength of bands without one.
    pub placeholders: Placeholders,
    /// Image tower whose weights training begins with: a folder (relative to the recipe), a weight file or a name of `geoglot models list`.
    /// Patch embedding and projection may differ; everything else must fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// Licence written beside the weights.
    pub license: Option<String>,
}

impl Default for TowerSection {
    fn default() -> Self {
        let wavelength = WavelengthConfig {
            embedding: 128,
            weight_tokens: 128,
            heads: 4,
            hidden: 2048,
            layout: KernelLayout::BandRowColumnWidth,
            padding: 0,
        };
        Self {
            size: 224,
            patch: 16,
            width: 768,
            depth: 12,
            heads: 12,
            hidden: None,
            wavelength,
            values: ValueScale::SensorRange,
            placeholders: Placeholders::rgb(),
            start: None,
            license: None,
        }
    }
}

impl TowerSection {
    /// The tower's configuration for a space of width `space`.
    pub fn config(&self, space: usize) -> VisionConfig {
        let side = self.size / self.patch.max(1);
        let vit = VitConfig {
            patch: self.patch,
            embed: PatchKind::Wavelength(self.wavelength),
            grid: (side, side),
            width: self.width,
            depth: self.depth,
            heads: self.heads,
            hidden: self.hidden.unwrap_or(4 * self.width),
            epsilon: 1e-6,
            activation: Activation::Gelu,
            class_token: false,
            class_position: false,
            registers: 0,
            pre_norm: false,
            layer_scale: false,
            norm: FinalNorm::Tokens,
            pooling: Pooling::Map,
            // The text tower is frozen, so that the images' side brings the width.
            projection: (space != self.width).then_some(space),
            projection_bias: true,
            positions: PositionResampling { antialias: true, offset: 0.0 },
        };
        VisionConfig {
            vit,
            bands: BandNeed::Any(self.placeholders),
            preprocess: ImagePreprocess {
                size: (self.size, self.size),
                resize: ResizeMode::Squash,
                resize_to: None,
                interpolation: Interpolation::Bicubic,
                values: self.values.clone(),
                mean: vec![0.5],
                std: vec![0.5],
                by_band: Default::default(),
            },
            ignore: vec![Left {
                names: "^logit_(scale|bias)$".into(),
                why: "scale and bias of the training loss".into(),
            }],
            initial: Vec::new(),
        }
    }
}

/// The text side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PretrainText {
    /// A name of `geoglot models list`, a folder, or `hashed-words`. It stays as it is.
    pub tower: String,
    /// Templates that make texts of the classes of images without captions.
    pub templates: Templates,
}

impl Default for PretrainText {
    fn default() -> Self {
        Self { tower: "minilm".into(), templates: Templates::Set("skyscript".into()) }
    }
}

/// Which loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// Pairwise sigmoid (SigLIP, GeoLangBind).
    #[default]
    Sigmoid,
    /// Symmetric cross-entropy over the batch (CLIP).
    Softmax,
}

/// Options of pre-training. Defaults are the published ones of GeoLangBind, but for batch and epochs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PretrainOptions {
    /// Passes over the data.
    pub epochs: usize,
    /// Images a batch.
    pub batch: usize,
    /// Most batches an epoch; none: all.
    pub steps_per_epoch: Option<usize>,
    /// Largest learning rate of AdamW.
    pub learning_rate: f64,
    /// Steps in which the learning rate rises from 0; then it falls to 0 along half a cosine.
    pub warmup: usize,
    /// Decay of weights with two or more axes, times the learning rate, a step.
    pub weight_decay: f64,
    /// β₁ and β₂ of AdamW.
    pub betas: [f64; 2],
    /// ε of AdamW.
    pub epsilon: f64,
    /// The loss.
    pub loss: Loss,
    /// Which pairs are positives: `diagonal`, or all of the same text (`same-label`).
    pub targets: Targets,
    /// Largest factor on the cosines.
    pub max_scale: f64,
    /// Least and largest share of an image's area that a crop shows.
    pub crop: [f64; 2],
    /// Flips and quarter turns. Captions that name directions ("on the left") are then wrong.
    pub turns: bool,
    /// Images whose gradients are computed together; none: the whole batch. Smaller parts need less memory and give the same gradients, for
    /// one more pass over the batch without gradients (Gao et al. 2021, GradCache).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk: Option<usize>,
    /// Largest norm of all gradients together; larger ones are scaled down to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip: Option<f64>,
    /// Decay of the exponential moving average of the weights, which is then what is saved; none: the weights themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
    /// Computes activations again in the backward pass instead of keeping them: less memory, more time.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub gradient_checkpointing: bool,
    /// Seed of first weights, order, captions and crops.
    pub seed: u64,
    /// Parameters that are trained otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub group: Vec<ParameterGroup>,
}

impl Default for PretrainOptions {
    fn default() -> Self {
        Self {
            epochs: 20,
            batch: 128,
            steps_per_epoch: None,
            learning_rate: 5e-4,
            warmup: 1000,
            weight_decay: 1e-7,
            betas: [0.9, 0.98],
            epsilon: 1e-6,
            loss: Loss::Sigmoid,
            targets: Targets::SameLabel,
            max_scale: 100.0,
            crop: [0.9, 1.0],
            turns: false,
            chunk: None,
            clip: None,
            ema: None,
            gradient_checkpointing: false,
            seed: 0,
            group: Vec::new(),
        }
    }
}

impl PretrainOptions {
    /// Learning rate of `step`, counted from 0, of `steps`: linear warm-up, then half a cosine to 0.
    pub fn rate(&self, step: usize, steps: usize) -> f64 {
        let warmup = self.warmup.min(steps);
        if step < warmup {
            return self.learning_rate * (step + 1) as f64 / warmup as f64;
        }
        let done = (step - warmup) as f64 / (steps - warmup).max(1) as f64;
        self.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos())
    }

    fn problem(&self) -> Option<&'static str> {
        let out_of_range = [
            ("epochs", self.epochs == 0),
            ("batch", self.batch < 2),
            ("steps_per_epoch", self.steps_per_epoch == Some(0)),
            ("learning_rate", !(self.learning_rate > 0.0 && self.learning_rate <= 1.0)),
            ("weight_decay", !(0.0..=10.0).contains(&self.weight_decay)),
            ("betas", self.betas.iter().any(|b| !(0.0..1.0).contains(b))),
            ("epsilon", self.epsilon.is_nan() || self.epsilon <= 0.0),
            ("max_scale", !(1.0..=1e4).contains(&self.max_scale)),
            ("chunk", self.chunk == Some(0)),
            ("clip", self.clip.is_some_and(|c| !(c.is_finite() && c > 0.0))),
            ("ema", self.ema.is_some_and(|e| !(0.0..1.0).contains(&e))),
            ("group.rate", self.group.iter().any(|g| !(0.0..=1000.0).contains(&g.rate))),
            (
                "group.weight_decay",
                self.group.iter().any(|g| g.weight_decay.is_some_and(|d| !(0.0..=10.0).contains(&d))),
            ),
            ("crop", !(self.crop[0] > 0.0 && self.crop[0] <= self.crop[1] && self.crop[1] <= 1.0)),
        ];
        out_of_range.into_iter().find(|(_, wrong)| *wrong).map(|(key, _)| key)
    }
}

impl PretrainRecipe {
    /// Reads a recipe, with overrides `key.path=value` applied before it is checked.
    ///
    /// # Errors
    /// [`RecipeError`] naming the file and the key.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self, RecipeError> {
        let text = small_file::read_text(path, small_file::TEXT)?;
        let folder = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
        Self::parse(&text, &path.display().to_string(), folder, overrides)
    }

    /// As [`PretrainRecipe::load`], from TOML `text`; `origin` names it in messages.
    ///
    /// # Errors
    /// As [`PretrainRecipe::load`].
    pub fn parse(text: &str, origin: &str, folder: PathBuf, overrides: &[String]) -> Result<Self, RecipeError> {
        Ok(Self { folder, ..read(text, origin, overrides, Self::check)? })
    }

    fn check(&self) -> Result<(), String> {
        if self.name.is_empty() || self.name.contains(['/', '\\']) {
            return Err(format!(
                "name = {:?}: give a short name without slashes; it names the output folder",
                self.name
            ));
        }
        if self.data.set.is_empty() {
            return Err("data has no sets; give at least one [[data.set]] with a path".into());
        }
        if let Some(s) = self.data.set.iter().find(|s| !(s.weight > 0.0 && s.weight <= 1000.0)) {
            return Err(format!("data.set `{}`: weight {} is out of range", s.path, s.weight));
        }
        if let Some(key) = self.train.problem() {
            return Err(format!("train.{key} is out of range"));
        }
        for (k, section) in self.distill.iter().enumerate() {
            let label = section.label();
            if let Some(problem) = section.problem() {
                return Err(format!("distill `{label}`: {problem}"));
            }
            if self.distill[..k].iter().any(|s| s.label() == label) {
                return Err(format!("distill: two teachers are called `{label}`; give them different names"));
            }
            if section.cache.is_some() && (self.train.crop != [1.0, 1.0] || self.train.turns) {
                return Err(format!(
                    "distill `{label}`: a cache holds features of whole images; set train.crop = [1, 1] and train.turns = false, or \
                     leave the cache out"
                ));
            }
        }
        if self.model.patch == 0 || !self.model.size.is_multiple_of(self.model.patch) {
            let (size, patch) = (self.model.size, self.model.patch);
            return Err(format!("model.size = {size}: it must be a multiple of model.patch = {patch}"));
        }
        if matches!(self.model.values, ValueScale::Percentiles(..)) {
            return Err(
                "model.values: percentiles change from scene to scene; choose byte, sensor-range or ranges".into()
            );
        }
        let config = self.model.config(1);
        if let Some(problem) = config.vit.problem().or_else(|| config.preprocess.problem()) {
            return Err(format!("model: {problem}"));
        }
        self.text.templates.resolve().map(drop).map_err(|e| e.to_string())
    }

    /// Where `set` lies.
    ///
    /// # Errors
    /// [`RecipeError::Variable`] for `${NAME}` of a variable that is not set.
    pub fn path(&self, set: &ImageSet) -> Result<PathBuf, RecipeError> {
        let root = self.data.root.as_deref().map(Recipe::expand).transpose()?.unwrap_or_default();
        Ok(self.folder.join(root).join(Recipe::expand(&set.path)?))
    }

    /// A path of the recipe that is relative to its folder: a teacher's or a cache's.
    ///
    /// # Errors
    /// [`RecipeError::Variable`] for `${NAME}` of a variable that is not set.
    pub fn beside(&self, path: &str) -> Result<PathBuf, RecipeError> {
        Ok(self.folder.join(Recipe::expand(path)?))
    }

    /// The recipe as TOML, for the record beside a result.
    ///
    /// # Errors
    /// [`RecipeError::Format`] when a value cannot be TOML.
    pub fn to_toml(&self) -> Result<String, RecipeError> {
        toml::to_string(self).map_err(|e| RecipeError::Format { path: self.name.clone(), problem: e.to_string() })
    }
}
