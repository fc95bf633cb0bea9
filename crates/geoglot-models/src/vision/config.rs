//! An image tower as data: architecture, bands, preprocessing, and which published names are left out.

use std::path::Path;

use geoglot_nn::vision::{FinalNorm, PatchKind, VitConfig};
use geoglot_nn::weights::{Checkpoint, KeyMap};
use serde::{Deserialize, Serialize};

use super::{BandNeed, ImagePreprocess};
use crate::error::{Error, Result};

/// Tensors, by a pattern on their names, that loading may leave out, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Left {
    /// Regular expression on the name.
    pub names: String,
    /// Why.
    pub why: String,
}

/// What an image tower is, besides its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VisionConfig {
    /// The network.
    pub vit: VitConfig,
    /// Bands it reads.
    pub bands: BandNeed,
    /// From raster values to network input.
    pub preprocess: ImagePreprocess,
    /// Published tensors that are not part of the tower.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<Left>,
    /// Parameters that keep their initial values when the file lacks them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub initial: Vec<Left>,
}

/// Whose tensor names a file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    OpenClip,
    Timm,
    HuggingFace,
    Own,
}

impl VisionConfig {
    /// Checks sizes, and that bands and patch embedding belong together.
    ///
    /// # Errors
    /// [`Error::Config`] naming `path` and what is wrong.
    pub fn checked(self, path: &Path) -> Result<Self> {
        if let Some(problem) = self.vit.problem().or_else(|| self.preprocess.problem()) {
            return Err(Error::config(path, problem));
        }
        match (self.vit.embed, &self.bands) {
            (PatchKind::Fixed { channels, .. }, BandNeed::Fixed(bands)) if bands.len() == channels => Ok(self),
            (PatchKind::Wavelength(_), BandNeed::Any(_)) => Ok(self),
            (PatchKind::Fixed { channels, .. }, _) => Err(Error::config(
                path,
                format!("the patch embedding reads {channels} fixed channels; `bands` must name as many"),
            )),
            (PatchKind::Wavelength(_), _) => {
                Err(Error::config(path, "a wavelength patch embedding reads any bands; `bands` must be `any`"))
            }
        }
    }

    /// Adapts what only the weights tell: whether the class token has a position.
    pub(super) fn fitted(mut self, checkpoint: &Checkpoint) -> Result<Self> {
        let map = self.key_map(checkpoint)?;
        let position = checkpoint
            .names()
            .find(|name| map.targets(name).is_some_and(|targets| targets.iter().any(|t| t.name == "position")));
        let shape = position.and_then(|name| checkpoint.info(name)).map(|info| &info.shape);
        if let Some(&[.., rows, _]) = shape.map(Vec::as_slice)
            && self.vit.class_token
        {
            let patches = self.vit.grid.0 * self.vit.grid.1;
            if rows == patches || rows == patches + 1 {
                self.vit.class_position = rows == patches + 1;
            }
        }
        Ok(self)
    }

    /// The key map for a file, by the names it has.
    ///
    /// # Errors
    /// [`Error::Config`] when no naming scheme is recognised.
    pub fn key_map(&self, checkpoint: &Checkpoint) -> Result<KeyMap> {
        let has = |part: &str| checkpoint.names().any(|n| n.contains(part));
        let starts = |part: &str| checkpoint.names().any(|n| n.starts_with(part));
        let dialect = if has("visual.conv1.") {
            Dialect::OpenClip
        } else if has("embeddings.patch_embedding") {
            Dialect::HuggingFace
        } else if has("patch_embed.") {
            Dialect::Timm
        } else if starts("patch.weight") || starts("wavelength.") {
            Dialect::Own
        } else {
            let examples: Vec<&str> = checkpoint.names().take(4).collect();
            return Err(Error::config(
                checkpoint.path(),
                format!(
                    "no vision transformer under OpenCLIP's, timm's or Hugging Face's names in this file (it has {}, …)",
                    examples.join(", ")
                ),
            ));
        };
        Ok(KeyMap::from_toml(&self.key_map_text(dialect))?)
    }

    fn key_map_text(&self, dialect: Dialect) -> String {
        let mut text = match dialect {
            Dialect::OpenClip => include_str!("keymaps/open_clip.toml").to_owned(),
            Dialect::HuggingFace => include_str!("keymaps/hugging_face.toml").to_owned(),
            Dialect::Timm => include_str!("keymaps/timm.toml").to_owned(),
            Dialect::Own => "name = \"geoglot-vision\"\n[[rule]]\nfrom = '^.*$'\nto = \"$0\"\n".to_owned(),
        };
        if dialect == Dialect::Timm {
            let prefix = r"^(?:module\.)?(?:visual\.trunk\.|model\.|backbone\.)?";
            let norm = match self.vit.norm {
                FinalNorm::Tokens => "norm",
                FinalNorm::Pooled => "fc_norm",
            };
            text += &format!("\n[[rule]]\nfrom = '{prefix}{norm}\\.(weight|bias)$'\nto = \"norm.$1\"\n");
            text += &match self.vit.projection {
                Some(_) => format!("\n[[rule]]\nfrom = '{prefix}head\\.(weight|bias)$'\nto = \"projection.$1\"\n"),
                None => format!("\n[[ignore]]\nfrom = '{prefix}head\\.'\nwhy = \"the classifier, dropped\"\n"),
            };
        }
        for left in &self.ignore {
            text += &format!("\n[[ignore]]\nfrom = {}\nwhy = {}\n", quoted(&left.names), quoted(&left.why));
        }
        for left in &self.initial {
            text += &format!("\n[[optional]]\nto = {}\nwhy = {}\n", quoted(&left.names), quoted(&left.why));
        }
        text
    }
}

/// A string as TOML.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::presets;

    #[test]
    fn every_key_map_parses() {
        for preset in presets() {
            let config = preset.config().unwrap();
            for dialect in [Dialect::OpenClip, Dialect::Timm, Dialect::HuggingFace, Dialect::Own] {
                KeyMap::from_toml(&config.key_map_text(dialect)).unwrap();
            }
        }
    }
}
