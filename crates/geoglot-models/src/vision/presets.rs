//! Published models whose weight files come without a configuration, from `presets.toml`.

use std::path::Path;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value;

use super::{ImagePreprocess, Left, VisionConfig};
use crate::error::{Error, Result};
use crate::geolangbind::Placeholders;

/// A published model: the configuration its weight file lacks.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// Name.
    pub name: String,
    /// One line about it.
    pub about: String,
    /// Names its weight files are published under, by which it is recognised.
    #[serde(default)]
    pub files: Vec<String>,
    /// `model_cfg` and `preprocess_cfg` of OpenCLIP; its text side, too, is read from here.
    open_clip: Option<Value>,
    /// A `config.json` as timm writes it.
    timm: Option<Value>,
    /// Preprocessing instead of the one that follows from the above.
    preprocess: Option<ImagePreprocess>,
    /// Placeholders of an any-band model.
    placeholders: Option<Placeholders>,
    #[serde(default)]
    ignore: Vec<Left>,
    #[serde(default)]
    initial: Vec<Left>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    preset: Vec<Preset>,
}

static TABLE: LazyLock<Vec<Preset>> = LazyLock::new(|| {
    let table: Table = toml::from_str(include_str!("presets.toml")).expect("a table of this crate, read in its tests");
    table.preset
});

/// All presets.
pub fn presets() -> &'static [Preset] {
    &TABLE
}

impl Preset {
    /// A preset by name.
    ///
    /// # Errors
    /// [`Error::Input`] listing the names.
    pub fn named(name: &str) -> Result<&'static Self> {
        TABLE.iter().find(|p| p.name == name).ok_or_else(|| {
            let names: Vec<&str> = TABLE.iter().map(|p| p.name.as_str()).collect();
            Error::Input(format!("no preset `{name}`; known are {}", names.join(", ")))
        })
    }

    /// The preset whose weights are published under this file name.
    pub fn of_file(path: &Path) -> Option<&'static Self> {
        let name = path.file_name()?.to_str()?;
        TABLE.iter().find(|p| p.files.iter().any(|f| f == name))
    }

    /// The image tower's configuration.
    ///
    /// # Errors
    /// [`Error::Config`]; the presets of this crate are read in its tests.
    pub fn config(&self) -> Result<VisionConfig> {
        let path = Path::new(&self.name);
        let mut config = match (&self.open_clip, &self.timm) {
            (Some(json), None) => VisionConfig::from_open_clip(json, path)?,
            (None, Some(json)) => VisionConfig::from_timm(json, false, path)?,
            _ => return Err(Error::config(path, "a preset has either `open_clip` or `timm`")),
        };
        if let Some(preprocess) = &self.preprocess {
            config.preprocess = preprocess.clone();
        }
        if let (Some(placeholders), super::BandNeed::Any(p)) = (self.placeholders, &mut config.bands) {
            *p = placeholders;
        }
        config.ignore.extend(self.ignore.iter().cloned());
        config.initial.extend(self.initial.iter().cloned());
        config.checked(path)
    }

    /// OpenCLIP's configuration of a model with a text side.
    pub fn open_clip(&self) -> Option<&Value> {
        self.open_clip.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::clip::ClipTextConfig;

    #[test]
    fn every_preset_reads() {
        for preset in presets() {
            let config = preset.config().unwrap_or_else(|e| panic!("{}: {e}", preset.name));
            assert!(!preset.about.is_empty() && !config.preprocess.describe().is_empty());
            if let Some(json) = preset.open_clip().filter(|j| j["model_cfg"].get("custom_text").is_none()) {
                ClipTextConfig::from_open_clip(json, Path::new(&preset.name)).unwrap();
            }
            assert_eq!(Preset::named(&preset.name).unwrap().name, preset.name);
            for file in &preset.files {
                assert_eq!(Preset::of_file(Path::new(file)).unwrap().name, preset.name);
            }
        }
        assert!(Preset::named("nothing").unwrap_err().to_string().contains("dofa"));
    }
}
