//! Published files to image towers.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use geoglot_nn::weights::{Checkpoint, KeyMap, load_into};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::tower::{ImageTower, VitTower};
use super::{MergeRecord, Preset, VisionConfig};
use crate::error::{Error, Result};
use crate::hub::{Hub, Registry, hex, sha256_of_file};
use crate::spectralgpt::SpectralTower;
use crate::text::SpaceId;
use crate::text::towers::{find_weights, read_json, space_name};

/// What a folder or file does not say by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageOptions {
    /// A [`Preset`] to use instead of the configuration beside the weights.
    pub preset: Option<String>,
    /// Name of the space; by default the registry's for weights it knows, else folder name and weight hash.
    pub space: Option<String>,
    /// Hash the weights must have.
    pub sha256: Option<String>,
    /// Keeps the classifier of a timm model: vectors are its logits.
    pub keep_head: bool,
}

/// geoglot's own `config.json` of an image tower.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TowerCard {
    /// `vision-tower`.
    pub system: String,
    /// Format of this file.
    pub layout: u32,
    /// Name of the embedding space.
    #[serde(default)]
    pub space: Option<String>,
    /// Licence of the weights.
    #[serde(default)]
    pub license: Option<String>,
    /// The tower.
    pub tower: VisionConfig,
    /// What it was merged from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged: Option<MergeRecord>,
}

/// A tower's files, checked and opened, before its network is made.
#[derive(Debug)]
pub struct TowerFiles {
    /// What the tower is.
    pub config: VisionConfig,
    /// The space its vectors live in.
    pub space: SpaceId,
    /// Whether configuration, registry or options name the space; if not, it is named after folder and hash.
    pub space_known: bool,
    /// SHA-256 of the weights.
    pub sha256: String,
    /// Licence of the weights, where it is known.
    pub license: Option<String>,
    /// The weights.
    pub checkpoint: Checkpoint,
    /// From their names to the network's.
    pub map: KeyMap,
}

/// Loads an image tower by folder, weight file, registry name (`siglip-vit-b-16`, …) or hub repository. Never touches the network.
///
/// # Errors
/// [`Error::NotAvailable`] saying how to get the model, [`Error::UnknownModel`], and what loading may say.
pub fn load_image_tower(path_or_name: &str, device: &Device) -> Result<Box<dyn ImageTower>> {
    load_image_tower_with(path_or_name, &ImageOptions::default(), &Hub::from_env()?, device)
}

/// As [`load_image_tower`], with options and an explicit hub.
///
/// # Errors
/// As [`load_image_tower`].
pub fn load_image_tower_with(
    path_or_name: &str,
    options: &ImageOptions,
    hub: &Hub,
    device: &Device,
) -> Result<Box<dyn ImageTower>> {
    let path = Path::new(path_or_name);
    if options.preset.is_none() && SpectralTower::recognises(path) {
        return Ok(Box::new(SpectralTower::open(path, device)?));
    }
    Ok(Box::new(TowerFiles::resolve(path_or_name, options, hub)?.load(device)?))
}

/// Loads the image tower in a folder, or of a weight file with the configuration beside it or in a preset.
///
/// The configuration is, in this order: the preset asked for; geoglot's `config.json`; `open_clip_config.json`; `config.json` of
/// timm or Hugging Face; the preset that knows the file's name.
///
/// # Errors
/// Everything that can be wrong with the files, each error naming the file, and tensors that are missing, unused or mis-shaped.
pub fn load_image_tower_from(path: &Path, options: &ImageOptions, device: &Device) -> Result<VitTower> {
    TowerFiles::open(path, options)?.load(device)
}

impl TowerFiles {
    /// The files of a folder, weight file, registry name or hub repository, found as [`load_image_tower_with`] finds them.
    ///
    /// # Errors
    /// As [`load_image_tower`].
    pub fn resolve(path_or_name: &str, options: &ImageOptions, hub: &Hub) -> Result<Self> {
        let path = Path::new(path_or_name);
        if path.is_file() {
            return Self::open(path, options);
        }
        let resolved = hub.resolve(path_or_name)?;
        let mut options = options.clone();
        options.preset = options.preset.or(resolved.preset);
        options.space = options.space.or(resolved.space);
        options.sha256 = options.sha256.or(resolved.weights_sha256);
        let files = Self::open(&resolved.folder, &options)?;
        Ok(Self { license: files.license.or(resolved.licence), ..files })
    }

    /// The files in a folder, or a weight file with what lies beside it, as [`load_image_tower_from`] reads them.
    ///
    /// # Errors
    /// As [`load_image_tower_from`], but for tensors that are missing or mis-shaped.
    pub fn open(path: &Path, options: &ImageOptions) -> Result<Self> {
        let preset = options.preset.as_deref().map(Preset::named).transpose()?;
        let (folder, weights) = if path.is_dir() {
            (path.to_owned(), find_weights(path, preset)?)
        } else {
            (path.parent().map(Path::to_owned).unwrap_or_default(), path.to_owned())
        };
        // Nothing of other bytes than those expected is looked at.
        let sha256 = sha256_of_file(&weights)?;
        if let Some(expected) = options.sha256.as_ref().filter(|e| **e != sha256) {
            return Err(Error::Hash { path: weights, expected: expected.clone(), found: sha256 });
        }
        let Described { config, space, license } = match preset {
            Some(preset) => preset.config()?.into(),
            None => configuration(&folder, &weights, options)?,
        };
        let checkpoint = Checkpoint::open(&weights)?;
        let config = config.fitted(&checkpoint)?;
        let map = config.key_map(&checkpoint)?;
        let name = options.space.clone().or(space);
        let known = name.is_some() || Registry::builtin().space_of_weights(&sha256).is_some();
        let suffix = if options.keep_head { "logits" } else { "" };
        let space = SpaceId::new(space_name(name.as_deref(), &folder, &sha256, suffix), config.vit.output());
        Ok(Self { config, space, space_known: known, sha256, license, checkpoint, map })
    }

    /// The network.
    ///
    /// # Errors
    /// [`Error::Weights`] for tensors that are missing, unused or mis-shaped.
    pub fn load(self, device: &Device) -> Result<VitTower> {
        let Self { config, space, sha256, checkpoint, map, .. } = self;
        let (vit, _) = load_into(config.vit.init(device), &checkpoint, &map)?;
        let mut hasher = Sha256::new();
        for part in [sha256.as_str(), &serde_json::to_string(&config).expect("a plain structure")] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let fingerprint = hex(&hasher.finalize());
        Ok(VitTower::new(vit, config, space, fingerprint, device.clone()))
    }
}

/// What the files beside the weights say.
struct Described {
    config: VisionConfig,
    space: Option<String>,
    license: Option<String>,
}

impl From<VisionConfig> for Described {
    fn from(config: VisionConfig) -> Self {
        Self { config, space: None, license: None }
    }
}

/// The configuration of the weights, the name of their space and their licence where it says so.
fn configuration(folder: &Path, weights: &Path, options: &ImageOptions) -> Result<Described> {
    let file = |name: &str| Some(folder.join(name)).filter(|p: &PathBuf| p.is_file());
    let config = match file("config.json") {
        Some(path) => Some((read_json(&path)?, path)),
        None => None,
    };
    if let Some((json, path)) = &config
        && json.get("system").is_some()
    {
        let card = TowerCard::deserialize(json).map_err(|e| Error::config(path, e.to_string()))?;
        if card.system != "vision-tower" || card.layout != 1 {
            return Err(Error::config(
                path,
                format!("describes a `{}` of layout {}; expected `vision-tower` of layout 1", card.system, card.layout),
            ));
        }
        return Ok(Described { config: card.tower.checked(path)?, space: card.space, license: card.license });
    }
    if let Some(path) = file("open_clip_config.json") {
        return Ok(VisionConfig::from_open_clip(&read_json(&path)?, &path)?.into());
    }
    if let Some((json, path)) = &config {
        if json.get("architecture").is_some_and(Value::is_string) {
            return Ok(VisionConfig::from_timm(json, options.keep_head, path)?.into());
        }
        let processor = file("preprocessor_config.json").map(|p| read_json(&p)).transpose()?;
        return Ok(VisionConfig::from_hugging_face(json, processor.as_ref(), path)?.into());
    }
    match Preset::of_file(weights) {
        Some(preset) => Ok(preset.config()?.into()),
        None => {
            let names: Vec<&str> = super::presets().iter().map(|p| p.name.as_str()).collect();
            Err(Error::config(
                weights,
                format!(
                    "no config.json or open_clip_config.json beside these weights, and their name is none of a published model; \
                     say which it has the shape of with FOLDER:preset=NAME, NAME one of {}",
                    names.join(", ")
                ),
            ))
        }
    }
}
