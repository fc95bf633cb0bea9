//! `[data]`: scenes, labels, legend.

use std::path::{Path, PathBuf};

use geoglot_core::Legend;
use geoglot_raster::SceneArg;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::{Recipe, RecipeError};

/// Scenes and their legend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSection {
    /// Folder of the data, relative to the recipe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// Legend file, relative to the recipe (not to `root`: legends belong to recipes).
    pub legend: String,
    /// Label ids to leave out beside the legend's `unlabelled`.
    #[serde(default)]
    pub ignore: Vec<u16>,
    /// A user's sensor registry file, relative to the recipe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensors: Option<String>,
    /// The scenes; several are tiles of one experiment and have the same inputs.
    pub scene: Vec<SceneSection>,
}

/// One scene or tile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SceneSection {
    /// Name in reports; the number when none is given.
    #[serde(default)]
    pub name: String,
    /// Input name → `path[:key=value,…]`. The first input's grid is the scene's.
    pub inputs: IndexMap<String, String>,
    /// Label raster. With `split.kind = "given"`: the training labels.
    pub labels: String,
    /// Test labels, for `split.kind = "given"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_labels: Option<String>,
    /// Region ids, for `split.kind = "regions"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regions: Option<String>,
}

impl DataSection {
    pub(super) fn check(&self) -> Result<(), String> {
        let Some(first) = self.scene.first() else {
            return Err("data has no scenes; give at least one [[data.scene]] with inputs and labels".into());
        };
        if first.inputs.is_empty() {
            return Err("the first scene has no inputs; give at least one, such as hsi = \"scene.tif\"".into());
        }
        for (k, scene) in self.scene.iter().enumerate() {
            if !scene.inputs.keys().eq(first.inputs.keys()) {
                let names = |s: &SceneSection| s.inputs.keys().cloned().collect::<Vec<_>>().join(", ");
                return Err(format!(
                    "scene {} has the inputs {}, the first has {}; all scenes need the same, in the same order",
                    k + 1,
                    names(scene),
                    names(first)
                ));
            }
        }
        Ok(())
    }
}

impl Recipe {
    /// Replaces `${NAME}` by environment variables. A path that begins with a variable is meant from the current folder, as in every other command.
    ///
    /// # Errors
    /// [`RecipeError::Variable`].
    pub fn expand(text: &str) -> Result<String, RecipeError> {
        let mut out = String::new();
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            let Some(length) = rest[start..].find('}') else { break };
            let name = &rest[start + 2..start + length];
            let value =
                std::env::var(name).map_err(|_| RecipeError::Variable { text: text.into(), name: name.into() })?;
            out.push_str(&rest[..start]);
            out.push_str(&value);
            rest = &rest[start + length + 1..];
        }
        out.push_str(rest);
        if text.starts_with("${")
            && let Ok(absolute) = std::path::absolute(&out)
            && let Some(absolute) = absolute.to_str()
        {
            return Ok(absolute.to_owned());
        }
        Ok(out)
    }

    fn beside(&self, text: &str) -> Result<PathBuf, RecipeError> {
        Ok(self.folder.join(Self::expand(text)?))
    }

    /// The folder that data paths are relative to.
    ///
    /// # Errors
    /// [`RecipeError::Variable`].
    pub fn root(&self) -> Result<PathBuf, RecipeError> {
        self.data.root.as_deref().map_or_else(|| Ok(self.folder.clone()), |root| self.beside(root))
    }

    /// The legend.
    ///
    /// # Errors
    /// An unset variable, a legend that does not load.
    pub fn legend(&self) -> Result<Legend, RecipeError> {
        Ok(Legend::load(&self.beside(&self.data.legend)?)?)
    }

    /// The recipe with absolute paths, to be kept beside what it made.
    ///
    /// # Errors
    /// [`RecipeError::Variable`].
    pub fn rooted(&self) -> Result<Self, RecipeError> {
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path).display().to_string();
        let mut recipe = self.clone();
        recipe.data.root = Some(absolute(self.root()?));
        recipe.data.legend = absolute(self.beside(&self.data.legend)?);
        recipe.data.sensors = self.sensors()?.map(absolute);
        Ok(recipe)
    }

    /// The user's sensor file, if there is one.
    ///
    /// # Errors
    /// [`RecipeError::Variable`].
    pub fn sensors(&self) -> Result<Option<PathBuf>, RecipeError> {
        self.data.sensors.as_deref().map(|s| self.beside(s)).transpose()
    }

    /// A data file as a scene argument, its path made absolute or relative to the working folder.
    ///
    /// # Errors
    /// An unset variable, an argument that does not parse.
    pub fn file(&self, text: &str) -> Result<SceneArg, RecipeError> {
        let mut arg: SceneArg = Self::expand(text)?.parse()?;
        arg.path = self.root()?.join(&arg.path);
        Ok(arg)
    }

    /// The inputs of scene `index`, named. Only those that the model uses.
    ///
    /// # Errors
    /// As [`Recipe::file`].
    pub fn inputs(&self, index: usize) -> Result<Vec<SceneArg>, RecipeError> {
        let used = self.used_inputs();
        let scene = &self.data.scene[index];
        scene
            .inputs
            .iter()
            .filter(|(name, _)| used.contains(name))
            .map(|(name, text)| Ok(SceneArg { name: Some(name.clone()), ..self.file(text)? }))
            .collect()
    }

    /// Name of scene `index` for messages.
    pub fn scene_name(&self, index: usize) -> String {
        let scene = &self.data.scene[index];
        if !scene.name.is_empty() {
            return scene.name.clone();
        }
        let first = scene.inputs.values().next().map(|p| Path::new(p.split(':').next().unwrap_or(p)));
        let stem = first.and_then(Path::file_stem).map(|s| s.to_string_lossy().into_owned());
        stem.unwrap_or_else(|| format!("scene {}", index + 1))
    }
}
