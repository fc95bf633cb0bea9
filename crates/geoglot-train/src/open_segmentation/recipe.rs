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

use geoglot_data::datasets::Split;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::sections::{NetworkSection, OpenOptions, TextSide};
use crate::recipe::{Recipe, RecipeError, SceneSection, SplitSection, file, named, read};

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
    /// What `geoglot evaluate` compares with beside random forests.
    #[serde(default, skip_serializing_if = "BaselineSection::is_none")]
    pub baseline: BaselineSection,
    /// Folder of the recipe file, to which paths are relative.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// A baseline trained on the same tiles.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BaselineSection {
    /// Channels at the finest level of a U-Net on stacked optical and SAR; 0: none.
    pub unet: usize,
}

impl BaselineSection {
    /// No baseline asked for.
    pub fn is_none(&self) -> bool {
        self.unet == 0
    }
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
    /// What is added to the cosines of classes held out, in further rounds of asking: a network prefers what it was trained on (calibrated
    /// stacking, Chao et al. 2016).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lift: Vec<f32>,
    /// Scenes with inputs named `optical` and `sar`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scene: Vec<SceneSection>,
    /// A description of a scene by its name: words, `file:PATH` of a text file, or of the `captions.jsonl` of a synthetic scene.
    #[serde(default)]
    pub descriptions: IndexMap<String, String>,
    /// The same scenes under other skies: a name, and the folder that takes the place of `root`. `geoglot ablate` tests there, too, without
    /// training again.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub covers: IndexMap<String, String>,
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

impl OpenRecipe {
    /// Reads a recipe, with overrides `key.path=value` applied before it is checked.
    ///
    /// # Errors
    /// [`RecipeError`] naming the file and the key.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self, RecipeError> {
        let (text, folder) = file(path)?;
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
        named(&self.name)?;
        let (data, model) = (&self.data, &self.model);
        if data.scene.is_empty() == data.folders.is_empty() {
            return Err("data needs one of: [[data.scene]] with inputs and labels, or [[data.folders]]".into());
        }
        for scene in &data.scene {
            if let Some(other) = scene.inputs.keys().find(|k| !["optical", "sar"].contains(&k.as_str())) {
                return Err(format!("data.scene has the input `{other}`; inputs are `optical` and `sar`"));
            }
        }
        if !data.covers.is_empty() && data.root.is_none() {
            return Err("data.covers gives other folders in the place of data.root, which is missing".into());
        }
        if let Some(wrong) = data.lift.iter().find(|l| !(0.0..=2.0).contains(*l)) {
            return Err(format!("data.lift holds {wrong}; cosines are lifted by 0 to 2"));
        }
        if self.baseline.unet > 1024 {
            return Err(format!("baseline.unet = {}; give 0 (none) to 1024 channels", self.baseline.unet));
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

    /// The recipe without what only judges: what its networks are known by.
    pub fn trained(&self) -> Self {
        let data = OpenData { covers: IndexMap::new(), lift: Vec::new(), ..self.data.clone() };
        Self { data, baseline: BaselineSection::default(), ..self.clone() }
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
