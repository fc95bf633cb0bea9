//! The recipe of open-vocabulary segmentation.
//!
//! ```toml
//! kind = "open-segmentation"
//! name = "water-and-woods"
//!
//! [data]
//! legend = "legend.toml"
//! hold_out = ["woodland"]                     # ignored in training, asked for by name in evaluation
//! [data.synonyms]
//! "woodland" = ["forest", "trees"]            # asked for, too
//! [[data.scene]]
//! name = "north"
//! inputs = { optical = "s2.tif:sensor=sentinel-2-l2a", sar = "s1.tif:sensor=sentinel-1" }
//! labels = "labels.tif"
//! [data.descriptions]
//! "north" = "a river between fields"          # words, or file:captions.txt
//!
//! [model]
//! tile = 64
//! [model.tower]
//! patch = 8
//! ```
//! Instead of scenes `[[data.folders]]`: stacked images (`images`, the first `optical_bands` of them optical) or two folders
//! (`optical`, `sar`) with `labels` and `texts` of the same names. Scenes are divided by `[split]`.

use std::path::{Path, PathBuf};

use geoglot_core::small_file;
use geoglot_data::datasets::Split;
use geoglot_models::tsmnet::{Fusion, Modality, TextUse, TsmNetConfig, Variant, clip_like};
use geoglot_nn::multimodal::ContextDecoderConfig;
use geoglot_nn::vision::VitConfig;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::recipe::{Recipe, RecipeError, SceneSection, SplitSection, Templates, read};

/// An experiment of open-vocabulary segmentation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenRecipe {
    /// Always `open-segmentation`.
    pub kind: String,
    /// Short name, used for folders and titles.
    pub name: String,
    /// What it is, for the report.
    #[serde(default)]
    pub description: String,
    /// Images, labels, descriptions.
    pub data: OpenData,
    /// How the pixels of scenes are separated.
    #[serde(default)]
    pub split: SplitSection,
    /// The network.
    #[serde(default)]
    pub model: NetworkSection,
    /// The text tower.
    #[serde(default)]
    pub text: TextSide,
    /// Training options.
    #[serde(default)]
    pub train: OpenOptions,
    /// Folder of the recipe file, to which paths are relative.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// Images, labels and descriptions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenData {
    /// Folder of the data, relative to the recipe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// Legend file, relative to the recipe.
    pub legend: String,
    /// Label ids to leave out beside the legend's `unlabelled`.
    #[serde(default)]
    pub ignore: Vec<u16>,
    /// A user's sensor registry file, relative to the recipe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensors: Option<String>,
    /// Names of classes whose pixels are ignored in training and asked for in evaluation.
    #[serde(default)]
    pub hold_out: Vec<String>,
    /// Other words for a class, asked for in evaluation in its place.
    #[serde(default)]
    pub synonyms: IndexMap<String, Vec<String>>,
    /// Scenes with inputs named `optical` and `sar`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scene: Vec<SceneSection>,
    /// A description of a scene by its name: words, `file:PATH` of a text file, or of the `captions.jsonl` of a synthetic scene.
    #[serde(default)]
    pub descriptions: IndexMap<String, String>,
    /// Folders of images, labels and texts of the same names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub folders: Vec<FolderPairs>,
}

/// Folders of image pairs, label rasters and texts. Files belong together by their path without ending, subfolders included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FolderPairs {
    /// Images that hold optical bands first, then SAR (SWJTU: `img_optical_sar`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<String>,
    /// How many bands of stacked images are optical.
    #[serde(default = "three")]
    pub optical_bands: usize,
    /// Optical images, where they are files of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optical: Option<String>,
    /// SAR images beside them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sar: Option<String>,
    /// Label rasters (`ann`).
    pub labels: String,
    /// Descriptions, one text file an image (`txt`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub texts: Option<String>,
    /// What they are for. Without it, `train_images` of them, drawn by the split's seed, train and the others test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    /// Training images drawn where the folders are not divided.
    #[serde(default = "eight_hundred")]
    pub train_images: usize,
}

fn three() -> usize {
    3
}

fn eight_hundred() -> usize {
    800
}

/// Where a tower comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tower {
    /// A published CLIP by name, folder or file, whose weights both towers begin with; none: fresh weights of the sizes below.
    pub weights: Option<String>,
    /// Patch width in pixels.
    pub patch: usize,
    /// Width of the tokens.
    pub width: usize,
    /// Blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of the global and dense embedding; by default the class texts'.
    pub projection: Option<usize>,
}

impl Default for Tower {
    /// CLIP's ViT-B/16.
    fn default() -> Self {
        Self { weights: None, patch: 16, width: 768, depth: 12, heads: 12, projection: None }
    }
}

/// The network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkSection {
    /// `paper` or `published`.
    pub variant: Variant,
    /// `both`, `optical` or `sar`.
    pub modality: Modality,
    /// `cross`, or `mean` for the fusion switched off.
    pub fusion: Fusion,
    /// `both`, `classes`, `description` or `none`.
    pub text: TextUse,
    /// Side of a tile in pixels, a multiple of the towers' patch.
    pub tile: usize,
    /// Pixels from one training tile of a scene to the next; by default half a tile.
    pub stride: Option<usize>,
    /// The towers.
    pub tower: Tower,
    /// The four blocks tapped; by default those published for the depth.
    pub taps: Option<[usize; 4]>,
    /// Learnable contexts in front of class names; they need CLIP's text tower. By default 8 with it, 0 with others.
    pub contexts: Option<usize>,
    /// Channels of the feature pyramid network.
    pub channels: usize,
    /// Channels of the semantic head.
    pub hidden: usize,
    /// Attention heads of the fusion modules.
    pub fusion_heads: usize,
    /// Channels of the fusion's hidden layers are divided by this.
    pub reduction: usize,
    /// First factors of optical and SAR features.
    pub gates: [f32; 2],
    /// The context decoder.
    pub decoder: ContextDecoderConfig,
    /// Licence written beside the weights.
    pub license: Option<String>,
}

impl Default for NetworkSection {
    fn default() -> Self {
        Self {
            variant: Variant::default(),
            modality: Modality::default(),
            fusion: Fusion::default(),
            text: TextUse::default(),
            tile: 256,
            stride: None,
            tower: Tower::default(),
            taps: None,
            contexts: None,
            channels: 256,
            hidden: 128,
            fusion_heads: 8,
            reduction: 1,
            gates: [0.9, 0.1],
            decoder: ContextDecoderConfig::default(),
            license: None,
        }
    }
}

impl NetworkSection {
    /// The towers' shape without published weights, for class texts of width `embed`.
    pub fn fresh_tower(&self, embed: usize) -> VitConfig {
        let t = &self.tower;
        let grid = (self.tile / t.patch.max(1)).max(1);
        clip_like(t.patch, grid, t.width, t.depth, t.heads, t.projection.unwrap_or(embed))
    }

    /// The network's configuration on towers of the shape `tower`.
    ///
    /// # Errors
    /// Too few blocks for taps.
    pub fn network(
        &self,
        bands: [usize; 2],
        tower: VitConfig,
        (embed, states): (usize, usize),
        contexts: (usize, usize),
        classes: usize,
    ) -> geoglot_models::Result<TsmNetConfig> {
        let taps = match self.taps {
            Some(taps) => taps,
            None => geoglot_models::segmentation::default_taps(tower.depth)?,
        };
        Ok(TsmNetConfig {
            variant: self.variant,
            modality: self.modality,
            fusion: self.fusion,
            text: self.text,
            contexts: contexts.0,
            context_width: contexts.1,
            classes,
            channels: self.channels,
            hidden: self.hidden,
            fusion_heads: self.fusion_heads,
            reduction: self.reduction,
            gates: self.gates,
            decoder: self.decoder,
            ..TsmNetConfig::new(bands, tower, taps, embed, states)
        })
    }
}

/// The text tower.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TextSide {
    /// A name of `geoglot models list`, a folder, or `hashed-words`.
    pub tower: String,
    /// Templates of class names, or the name of a set; not used with learned contexts.
    pub templates: Templates,
    /// Use the legend's prompts beside class names.
    pub prompts: bool,
}

impl Default for TextSide {
    fn default() -> Self {
        Self { tower: "minilm".into(), templates: Templates::Set("none".into()), prompts: false }
    }
}

/// Options of training; defaults are the published ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OpenOptions {
    /// Passes over the training tiles.
    pub epochs: usize,
    /// Tiles a batch.
    pub batch: usize,
    /// Largest learning rate of AdamW.
    pub learning_rate: f64,
    /// The towers learn at this part of it.
    pub tower_factor: f64,
    /// Decay of weights with two or more axes, times the learning rate, a step.
    pub weight_decay: f64,
    /// Steps in which the learning rate rises from nearly 0.
    pub warmup_steps: usize,
    /// Exponent of its fall, (1 − step/steps)^power.
    pub power: f64,
    /// Share of images whose description is left out of the fusion.
    pub description_dropout: f64,
    /// Share of images without one of two modalities.
    pub modality_dropout: f64,
    /// Random flips, quarter turns and shifts.
    pub augment: bool,
    /// Seed of first weights, order, dropout and turns.
    pub seed: u64,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            epochs: 100,
            batch: 10,
            learning_rate: 1e-4,
            tower_factor: 0.1,
            weight_decay: 1e-4,
            warmup_steps: 1500,
            power: 0.9,
            description_dropout: 0.3,
            modality_dropout: 0.1,
            augment: true,
            seed: 0,
        }
    }
}

impl OpenOptions {
    /// Learning rate of `step`, counted from 0, of `steps`. A warm-up longer than half the training is cut to that.
    pub fn rate(&self, step: usize, steps: usize) -> f64 {
        let warmup = self.warmup_steps.min(steps / 2);
        let fall = (1.0 - step as f64 / steps.max(1) as f64).max(0.0).powf(self.power);
        let rise = if step < warmup { (step + 1) as f64 / warmup as f64 } else { 1.0 };
        self.learning_rate * fall * rise
    }

    fn problem(&self) -> Option<&'static str> {
        let share = |v: f64| !(0.0..1.0).contains(&v);
        let out_of_range = [
            ("epochs", self.epochs == 0),
            ("batch", self.batch < 2),
            ("learning_rate", !(self.learning_rate > 0.0 && self.learning_rate <= 1.0)),
            ("tower_factor", !(0.0..=10.0).contains(&self.tower_factor)),
            ("weight_decay", !(0.0..=10.0).contains(&self.weight_decay)),
            ("power", !(0.0..=10.0).contains(&self.power)),
            ("description_dropout", share(self.description_dropout)),
            ("modality_dropout", share(self.modality_dropout)),
        ];
        out_of_range.into_iter().find(|(_, wrong)| *wrong).map(|(key, _)| key)
    }
}

impl OpenRecipe {
    /// Reads a recipe, with overrides `key.path=value` applied before it is checked.
    ///
    /// # Errors
    /// [`RecipeError`] naming the file and the key.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self, RecipeError> {
        let text = small_file::read_text(path, small_file::TEXT)?;
        let folder = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
        Self::parse(&text, &path.display().to_string(), folder, overrides)
    }

    /// As [`OpenRecipe::load`], from TOML `text`; `origin` names it in messages.
    ///
    /// # Errors
    /// As [`OpenRecipe::load`].
    pub fn parse(text: &str, origin: &str, folder: PathBuf, overrides: &[String]) -> Result<Self, RecipeError> {
        Ok(Self { folder, ..read(text, origin, overrides, Self::check)? })
    }

    fn check(&self) -> Result<(), String> {
        if self.kind != "open-segmentation" {
            return Err(format!("kind = {:?}, expected \"open-segmentation\"", self.kind));
        }
        if self.name.is_empty() || self.name.contains(['/', '\\']) {
            return Err(format!(
                "name = {:?}: give a short name without slashes; it names the output folder",
                self.name
            ));
        }
        let (data, model) = (&self.data, &self.model);
        if data.scene.is_empty() == data.folders.is_empty() {
            return Err("data needs one of: [[data.scene]] with inputs and labels, or [[data.folders]]".into());
        }
        for scene in &data.scene {
            if let Some(other) = scene.inputs.keys().find(|k| !["optical", "sar"].contains(&k.as_str())) {
                return Err(format!("data.scene has the input `{other}`; inputs are `optical` and `sar`"));
            }
        }
        for (k, f) in data.folders.iter().enumerate() {
            if f.images.is_some() == (f.optical.is_some() || f.sar.is_some()) {
                return Err(format!("data.folders {}: give either images, or optical and sar", k + 1));
            }
        }
        let patch = model.tower.patch.max(1);
        if model.tile < 2 * patch || !model.tile.is_multiple_of(patch) {
            return Err(format!(
                "model.tile = {}: it must be two or more patches of {patch} px, such as {}",
                model.tile,
                model.tile.next_multiple_of(patch).max(2 * patch)
            ));
        }
        if model.stride.is_some_and(|s| s == 0 || s > model.tile) {
            return Err(format!("model.stride: give 1 to {} pixels, the side of a tile", model.tile));
        }
        self.text.templates.resolve().map_err(|e| e.to_string())?;
        match self.train.problem() {
            Some(key) => Err(format!("train.{key} is out of range")),
            None => Ok(()),
        }
    }

    /// The scenes, legend and split as a recipe of `geoglot train`, which knows how to read and divide them.
    ///
    /// # Errors
    /// [`RecipeError::Format`] for scenes or splits that such a recipe refuses.
    pub fn scenes(&self) -> Result<Recipe, RecipeError> {
        let wrong = |problem: String| RecipeError::Format { path: self.name.clone(), problem };
        let value = |v: &dyn erased::Toml| v.value().map_err(wrong);
        let mut data = toml::Table::new();
        for (key, text) in [("root", &self.data.root), ("sensors", &self.data.sensors)] {
            if let Some(text) = text {
                data.insert(key.into(), text.clone().into());
            }
        }
        data.insert("legend".into(), self.data.legend.clone().into());
        data.insert("ignore".into(), value(&self.data.ignore)?);
        data.insert("scene".into(), value(&self.data.scene)?);
        let mut table = toml::Table::new();
        table.insert("name".into(), self.name.clone().into());
        table.insert("data".into(), data.into());
        table.insert("split".into(), value(&self.split)?);
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

    /// `name` as it is, or as the path of what lies beside the recipe or in the current folder under it.
    ///
    /// # Errors
    /// [`RecipeError::Variable`].
    pub fn named(&self, name: &str) -> Result<String, RecipeError> {
        let name = Recipe::expand(name)?;
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

mod erased {
    /// Anything that can be a TOML value.
    pub trait Toml {
        fn value(&self) -> Result<toml::Value, String>;
    }

    impl<T: serde::Serialize> Toml for T {
        fn value(&self) -> Result<toml::Value, String> {
            toml::Value::try_from(self).map_err(|e| e.to_string())
        }
    }
}
