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
//!
//! [[evaluate]]             # for `geoglot ablate`
//! protocol = "zero-shot"
//! data = "AID"
//! ```

use std::path::{Path, PathBuf};

use geoglot_data::datasets::Split;
use geoglot_models::vision::ValueScale;
use serde::{Deserialize, Serialize};

use super::distill_section::DistillSection;
use super::error::Result;
use super::measure::{EvaluateSection, VariantSection};
use super::options::PretrainOptions;
use super::tower::TowerSection;
use crate::recipe::{Recipe, RecipeError, Templates, file, named, read};

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
    /// What is measured in training and by `geoglot ablate`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evaluate: Vec<EvaluateSection>,
    /// Variants `geoglot ablate` compares besides those that follow from the teachers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ablation: Vec<VariantSection>,
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

impl PretrainRecipe {
    /// Reads a recipe, with overrides `key.path=value` applied before it is checked.
    ///
    /// # Errors
    /// [`RecipeError`] naming the file and the key.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self, RecipeError> {
        let (text, folder) = file(path)?;
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
        named(&self.name)?;
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
            if (section.cache.is_some() || section.stored) && (self.train.crop != [1.0, 1.0] || self.train.turns) {
                return Err(format!(
                    "distill `{label}`: a cache, and shards, hold features of whole images; set train.crop = [1, 1] and \
                     train.turns = false, or leave `cache` and `stored` out"
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
        for (k, section) in self.evaluate.iter().enumerate() {
            let label = section.label();
            if let Some(problem) = section.problem() {
                return Err(format!("evaluate `{label}`: {problem}"));
            }
            if self.evaluate[..k].iter().any(|s| s.label() == label) {
                return Err(format!("evaluate: two measurements are called `{label}`; give them different names"));
            }
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
        self.below_root(&set.path)
    }

    /// A path of the recipe that is relative to `data.root`.
    ///
    /// # Errors
    /// [`RecipeError::Variable`] for `${NAME}` of a variable that is not set.
    pub fn below_root(&self, path: &str) -> Result<PathBuf, RecipeError> {
        let root = self.data.root.as_deref().map(Recipe::expand).transpose()?.unwrap_or_default();
        Ok(self.folder.join(root).join(Recipe::expand(path)?))
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
