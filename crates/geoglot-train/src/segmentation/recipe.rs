//! The recipe of a segmentation head.
//!
//! ```toml
//! kind = "segmentation"
//! name = "my-land-cover"
//!
//! [data]
//! legend = "legend.toml"
//! [[data.scene]]
//! inputs = { s2 = "s2.tif:sensor=sentinel-2-l2a", s1 = "s1.tif:sensor=sentinel-1" }
//! labels = "labels.tif"
//!
//! [model]
//! tower = "geolangbind-b"
//! tile = 224
//!
//! [train]
//! epochs = 50
//! ```
//! Instead of scenes: `[[data.pairs]]` (folders of images and of label rasters of the same names) or `dataset = "m-cashew-plant"` (a GEO-Bench
//! folder). Scenes are divided by `[split]`, as in the recipes of `geoglot train`; pairs and sets of images come divided.

use std::path::{Path, PathBuf};

use geoglot_data::datasets::Split;
use geoglot_nn::segmentation::{PixelBranch, UperNetConfig};
use serde::{Deserialize, Serialize};

use crate::recipe::{Recipe, RecipeError, SceneSection, SplitSection, file, named, read};

/// A segmentation experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentRecipe {
    /// Always `segmentation`.
    pub kind: String,
    /// Short name, used for folders and titles.
    pub name: String,
    /// What it is, for the report.
    #[serde(default)]
    pub description: String,
    /// Images and labels.
    pub data: SegmentationData,
    /// How the pixels of scenes are separated.
    #[serde(default)]
    pub split: SplitSection,
    /// Tower and head.
    pub model: DecoderSection,
    /// Training options.
    #[serde(default)]
    pub train: SegmentOptions,
    /// Folder of the recipe file, to which paths are relative.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// Images and labels: scenes, or pairs of files, or one published set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentationData {
    /// Folder of the data, relative to the recipe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// Legend file, relative to the recipe; published sets have their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legend: Option<String>,
    /// Label ids to leave out beside the legend's `unlabelled`.
    #[serde(default)]
    pub ignore: Vec<u16>,
    /// A user's sensor registry file, relative to the recipe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensors: Option<String>,
    /// Scenes with label rasters, as in the recipes of `geoglot train`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scene: Vec<SceneSection>,
    /// Folders of images and labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pairs: Vec<FilePairs>,
    /// Folder of a GEO-Bench segmentation set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// Partition of that set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<String>,
    /// Sensor of the images of pairs and sets, where it cannot be told from them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensor: Option<String>,
    /// Bands used, by name; empty for all. For pairs and sets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bands: Vec<String>,
}

/// A folder of images and one of label rasters, which have the same names without ending.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilePairs {
    /// Folder of the images, relative to `root`.
    pub images: String,
    /// Folder of the label rasters, relative to `root`.
    pub labels: String,
    /// What they are for.
    pub split: Split,
}

/// The frozen tower and the head on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecoderSection {
    /// Image tower: a name of `geoglot models list`, a folder or a weight file (looked for beside the recipe, then in the current folder).
    pub tower: String,
    /// Side of a tile in pixels of the scene; by default what the tower was trained at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tile: Option<usize>,
    /// Side in pixels of what the tower sees of a tile, a multiple of its patch; by default what it was trained at. More gives finer maps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<usize>,
    /// Pixels from one training tile to the next; by default half a tile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<usize>,
    /// The four blocks tapped, counted from 0; by default those published for the tower's depth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taps: Option<[usize; 4]>,
    /// Channels of the decode head.
    #[serde(default = "channels")]
    pub channels: usize,
    /// Parts a side of the pooled maps.
    #[serde(default = "scales")]
    pub scales: Vec<usize>,
    /// Share of channels dropped before the last layer.
    #[serde(default = "dropout")]
    pub dropout: f64,
    /// Channels of the auxiliary head; 0 for none.
    #[serde(default = "auxiliary")]
    pub auxiliary: usize,
    /// Channels of a branch that reads the tile's own pixels beside the tower's maps; 0 for none, as published.
    #[serde(default)]
    pub pixels: usize,
    /// Run the tower once over all tiles and train on what it said; without it the tower runs in every step, and images can be turned.
    #[serde(default = "yes")]
    pub cache: bool,
    /// Most MiB of features kept in memory; more go to a file in the output folder.
    #[serde(default = "cache_mib")]
    pub cache_mib: usize,
    /// Licence written beside the weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
}

fn channels() -> usize {
    512
}

fn scales() -> Vec<usize> {
    vec![1, 2, 3, 6]
}

fn dropout() -> f64 {
    0.1
}

fn auxiliary() -> usize {
    256
}

fn yes() -> bool {
    true
}

fn cache_mib() -> usize {
    1024
}

impl DecoderSection {
    /// The head for maps of `width`, images of `bands` and `classes` classes.
    pub fn head(&self, width: usize, bands: usize, classes: usize) -> UperNetConfig {
        UperNetConfig {
            channels: self.channels,
            scales: self.scales.clone(),
            dropout: self.dropout,
            auxiliary: (self.auxiliary > 0).then_some(self.auxiliary),
            pixels: (self.pixels > 0).then_some(PixelBranch { bands, channels: self.pixels }),
            ..UperNetConfig::new(width, classes)
        }
    }
}

/// Options of training. Warm-up, schedule and auxiliary weight are the published ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SegmentOptions {
    /// Passes over the training tiles.
    pub epochs: usize,
    /// Tiles a batch.
    pub batch: usize,
    /// Largest learning rate of AdamW.
    pub learning_rate: f64,
    /// Learning rate at the end.
    pub least_rate: f64,
    /// Epochs in which the learning rate rises from 0; then it falls along half a cosine.
    pub warmup: usize,
    /// Decay of weights with two or more axes, times the learning rate, a step.
    pub weight_decay: f64,
    /// Weight of the auxiliary head's loss.
    pub auxiliary_weight: f64,
    /// Random flips and quarter turns of the images; needs `model.cache = false`.
    pub augment: bool,
    /// Seed of first weights, order, dropout and turns.
    pub seed: u64,
}

impl Default for SegmentOptions {
    fn default() -> Self {
        Self {
            epochs: 50,
            batch: 8,
            learning_rate: 1e-3,
            least_rate: 1e-6,
            warmup: 3,
            weight_decay: 0.01,
            auxiliary_weight: 0.4,
            augment: false,
            seed: 0,
        }
    }
}

impl SegmentOptions {
    /// Learning rate of `step`, counted from 0, when an epoch has `per_epoch` steps.
    pub fn rate(&self, step: usize, per_epoch: usize) -> f64 {
        let (warmup, all) = (self.warmup.min(self.epochs) * per_epoch, self.epochs * per_epoch);
        if step < warmup {
            return self.learning_rate * (step + 1) as f64 / warmup as f64;
        }
        let done = ((step - warmup) as f64 / (all - warmup).max(1) as f64).min(1.0);
        let least = self.least_rate.min(self.learning_rate);
        least + (self.learning_rate - least) * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
    }

    fn problem(&self) -> Option<&'static str> {
        let out_of_range = [
            ("epochs", self.epochs == 0),
            ("batch", self.batch < 2),
            ("learning_rate", !(self.learning_rate > 0.0 && self.learning_rate <= 1.0)),
            ("least_rate", !(0.0..=1.0).contains(&self.least_rate)),
            ("weight_decay", !(0.0..=10.0).contains(&self.weight_decay)),
            ("auxiliary_weight", !(0.0..=10.0).contains(&self.auxiliary_weight)),
        ];
        out_of_range.into_iter().find(|(_, wrong)| *wrong).map(|(key, _)| key)
    }
}

impl SegmentRecipe {
    /// Reads a recipe, with overrides `key.path=value` applied before it is checked.
    ///
    /// # Errors
    /// [`RecipeError`] naming the file and the key.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self, RecipeError> {
        let (text, folder) = file(path)?;
        Self::parse(&text, &path.display().to_string(), folder, overrides)
    }

    /// As [`SegmentRecipe::load`], from TOML `text`; `origin` names it in messages.
    ///
    /// # Errors
    /// As [`SegmentRecipe::load`].
    pub fn parse(text: &str, origin: &str, folder: PathBuf, overrides: &[String]) -> Result<Self, RecipeError> {
        Ok(Self { folder, ..read(text, origin, overrides, Self::check)? })
    }

    fn check(&self) -> Result<(), String> {
        if self.kind != "segmentation" {
            return Err(format!("kind = {:?}, expected \"segmentation\"", self.kind));
        }
        named(&self.name)?;
        let (data, model) = (&self.data, &self.model);
        let sources = [!data.scene.is_empty(), !data.pairs.is_empty(), data.dataset.is_some()];
        if sources.iter().filter(|s| **s).count() != 1 {
            return Err("data needs one of: [[data.scene]] with inputs and labels, [[data.pairs]] with images and labels, or dataset".into());
        }
        if data.dataset.is_none() && data.legend.is_none() {
            return Err("data.legend is missing: the file that says which class an id of the label rasters is".into());
        }
        if !data.pairs.is_empty() && !data.pairs.iter().any(|p| p.split == Split::Train) {
            return Err("no [[data.pairs]] has split = \"train\"".into());
        }
        if model.tile == Some(0) || model.input == Some(0) || model.stride == Some(0) {
            return Err("model.tile, model.input and model.stride are at least 1 pixel".into());
        }
        if let Some(problem) = model.head(1, 1, 2).problem() {
            return Err(format!("model: {problem}"));
        }
        if self.train.augment && model.cache {
            return Err("train.augment turns images, and model.cache keeps what the tower says of unturned ones; set model.cache = false".into());
        }
        match self.train.problem() {
            Some(key) => Err(format!("train.{key} is out of range")),
            None => Ok(()),
        }
    }

    /// The scenes, legend and split as a recipe of `geoglot train`, which knows how to read and divide them.
    ///
    /// # Errors
    /// [`RecipeError::Format`] for scenes or splits that such a recipe refuses, and for data that are no scenes.
    pub fn scenes(&self) -> Result<Recipe, RecipeError> {
        let wrong = |problem: String| RecipeError::Format { path: self.name.clone(), problem };
        let mut data = toml::Table::new();
        for (key, text) in [("root", &self.data.root), ("legend", &self.data.legend), ("sensors", &self.data.sensors)] {
            if let Some(text) = text {
                data.insert(key.into(), text.clone().into());
            }
        }
        data.insert("ignore".into(), value(&self.data.ignore).map_err(wrong)?);
        data.insert("scene".into(), value(&self.data.scene).map_err(wrong)?);
        let mut table = toml::Table::new();
        table.insert("name".into(), self.name.clone().into());
        table.insert("data".into(), data.into());
        table.insert("split".into(), value(&self.split).map_err(wrong)?);
        let text = toml::to_string(&table).map_err(|e| wrong(e.to_string()))?;
        Recipe::parse(&text, &self.name, self.folder.clone(), &[])
    }

    /// A path of `data`, with environment variables replaced, relative to `data.root`.
    ///
    /// # Errors
    /// [`RecipeError::Variable`].
    pub fn path(&self, text: &str) -> Result<PathBuf, RecipeError> {
        let root = self.data.root.as_deref().map(Recipe::expand).transpose()?.unwrap_or_default();
        Ok(self.folder.join(root).join(Recipe::expand(text)?))
    }

    /// A path beside the recipe, with environment variables replaced.
    ///
    /// # Errors
    /// [`RecipeError::Variable`].
    pub fn beside(&self, text: &str) -> Result<PathBuf, RecipeError> {
        Ok(self.folder.join(Recipe::expand(text)?))
    }

    /// The tower's name, or its path where one lies beside the recipe or in the current folder.
    ///
    /// # Errors
    /// [`RecipeError::Variable`].
    pub fn tower(&self) -> Result<String, RecipeError> {
        let name = Recipe::expand(&self.model.tower)?;
        let found = [self.folder.join(&name), PathBuf::from(&name)].into_iter().find(|path| path.exists());
        Ok(found.map_or(name, |path| std::path::absolute(&path).unwrap_or(path).display().to_string()))
    }

    /// The recipe as TOML, for the record beside a result.
    ///
    /// # Errors
    /// [`RecipeError::Format`] when a value cannot be TOML.
    pub fn to_toml(&self) -> Result<String, RecipeError> {
        toml::to_string(self).map_err(|e| RecipeError::Format { path: self.name.clone(), problem: e.to_string() })
    }
}

fn value(v: &impl Serialize) -> Result<toml::Value, String> {
    toml::Value::try_from(v).map_err(|e| e.to_string())
}
