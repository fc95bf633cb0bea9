//! Recipes: one TOML file that says everything about an experiment.
//!
//! ```toml
//! name = "my-scene"
//!
//! [data]
//! legend = "legend.toml"
//! [[data.scene]]
//! inputs = { hsi = "hsi.tif:sensor=enmap", lidar = "dsm.tif" }
//! labels = "labels.tif"
//!
//! [split]
//! kind = "blocks"
//! folds = 5
//!
//! [text]
//! tower = "minilm"
//!
//! [train]
//! epochs = 100
//! ```
//! Paths are relative to `data.root`, which is relative to the recipe's folder; `${NAME}` is replaced by an environment variable (a path that begins
//! with one is relative to the current folder). Every value can be
//! overridden, in lists by number or name: `--set train.epochs=20`, `--set data.scene.0.labels=other.tif`.

mod data;
mod error;
mod kind;
mod overrides;
mod split;
mod train;

use std::path::{Path, PathBuf};

use geoglot_data::PreprocessOptions;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

pub use data::{DataSection, SceneSection};
pub use error::RecipeError;
pub use kind::Kind;
pub use overrides::read;
pub(crate) use overrides::{file, named};
pub use split::{Kind as SplitKind, SplitSection};
pub use train::{PromptUse, Schedule, TrainOptions};

/// An experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Short name, used for folders and titles.
    pub name: String,
    /// What it is, for the report.
    #[serde(default)]
    pub description: String,
    /// Scenes, labels, legend.
    pub data: DataSection,
    /// How training and test pixels are separated.
    #[serde(default)]
    pub split: SplitSection,
    /// Normalisation of each input; inputs not named get mean 0 and standard deviation 1 a band.
    #[serde(default)]
    pub preprocess: IndexMap<String, PreprocessOptions>,
    /// The network.
    #[serde(default)]
    pub model: ModelSection,
    /// The text tower and the prompts' templates.
    #[serde(default)]
    pub text: TextSection,
    /// Training options.
    #[serde(default)]
    pub train: TrainOptions,
    /// What `geoglot ablate` compares.
    #[serde(default)]
    pub ablation: AblationSection,
    /// Folder of the recipe file, to which paths are relative.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// The network: which inputs, which patches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSection {
    /// Patch width in pixels, odd.
    pub patch: usize,
    /// What patches at the scene's edge see beyond it.
    pub padding: geoglot_models::mmlgnet::Padding,
    /// Inputs used, such as `["hsi"]` for the spectral branch alone; empty for all.
    pub inputs: Vec<String>,
    /// Inputs read by the elevation encoder (32, 64, 128 filters → 256); others get the spectral one (64, 128, 256 → 512).
    /// Empty: inputs named lidar, dsm, dtm, dem or elevation.
    pub elevation: Vec<String>,
}

impl Default for ModelSection {
    fn default() -> Self {
        Self { patch: 11, padding: Default::default(), inputs: Vec::new(), elevation: Vec::new() }
    }
}

/// The text side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TextSection {
    /// A name of `geoglot models list`, a folder, or `hashed-words`.
    pub tower: String,
    /// Templates, each with `{c}` where the class's words go, or the name of a set: land-cover, mmlgnet, skyscript, none.
    pub templates: Templates,
}

impl Default for TextSection {
    fn default() -> Self {
        Self { tower: "minilm".into(), templates: Templates::Set("land-cover".into()) }
    }
}

/// A named set of templates or a list of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Templates {
    /// `land-cover`, `mmlgnet`, `skyscript`, `none`.
    Set(String),
    /// The templates themselves.
    List(Vec<String>),
}

impl Templates {
    /// The templates.
    ///
    /// # Errors
    /// An unknown set, or a template without `{c}`.
    pub fn resolve(&self) -> geoglot_core::Result<Vec<String>> {
        match self {
            Self::Set(name) => geoglot_core::prompt::named(name),
            Self::List(list) => {
                list.iter().try_for_each(|t| geoglot_core::prompt::fill(t, "x").map(drop))?;
                Ok(list.clone())
            }
        }
    }
}

/// What the ablations of the paper's tables compare.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AblationSection {
    /// Text towers of table IV.
    pub towers: Vec<String>,
    /// Seeds; every variant is trained once a seed and fold. Empty: the recipe's seed.
    pub seeds: Vec<u64>,
    /// For figure 2: the elevation input and its channel sets by name, such as `{ DSM = ["DSM"], DTM = ["DTM"], "DSM+DTM" = ["DSM", "DTM"] }`.
    pub elevation_channels: IndexMap<String, Vec<String>>,
}

impl Recipe {
    /// Reads a recipe, with overrides `key.path=value` applied before it is checked.
    ///
    /// # Errors
    /// [`RecipeError`] naming the file and the key.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self, RecipeError> {
        let (text, folder) = file(path)?;
        Self::parse(&text, &path.display().to_string(), folder, overrides)
    }

    /// As [`Recipe::load`], from TOML `text`; `origin` names it in messages.
    ///
    /// # Errors
    /// As [`Recipe::load`].
    pub fn parse(text: &str, origin: &str, folder: PathBuf, overrides: &[String]) -> Result<Self, RecipeError> {
        Ok(Self { folder, ..read(text, origin, overrides, Self::check)? })
    }

    fn check(&self) -> Result<(), String> {
        named(&self.name)?;
        self.data.check()?;
        let known: Vec<&str> = self.data.scene[0].inputs.keys().map(String::as_str).collect();
        let named = self.model.inputs.iter().chain(&self.model.elevation).chain(self.preprocess.keys());
        if let Some(unknown) = named.into_iter().find(|n| !known.contains(&n.as_str())) {
            return Err(format!("`{unknown}` is not an input; the scenes have: {}", known.join(", ")));
        }
        if self.model.patch.is_multiple_of(2) {
            return Err(format!(
                "model.patch = {}: it must be odd, so that a patch has a centre pixel",
                self.model.patch
            ));
        }
        self.text.templates.resolve().map_err(|e| e.to_string())?;
        self.split.check(&self.data)?;
        self.train.check()
    }

    /// The inputs the model uses, in the order of the scenes' inputs.
    pub fn used_inputs(&self) -> Vec<String> {
        let all = self.data.scene[0].inputs.keys();
        all.filter(|n| self.model.inputs.is_empty() || self.model.inputs.contains(n)).cloned().collect()
    }

    /// True when `input` is read by the elevation encoder.
    pub fn is_elevation(&self, input: &str) -> bool {
        if self.model.elevation.is_empty() {
            matches!(input, "lidar" | "dsm" | "dtm" | "dem" | "elevation")
        } else {
            self.model.elevation.iter().any(|n| n == input)
        }
    }

    /// The recipe as TOML, for the record beside a result.
    ///
    /// # Errors
    /// [`RecipeError::Format`] when a value cannot be TOML.
    pub fn to_toml(&self) -> Result<String, RecipeError> {
        toml::to_string(self).map_err(|e| RecipeError::Format { path: self.name.clone(), problem: e.to_string() })
    }
}

#[cfg(test)]
mod tests;
