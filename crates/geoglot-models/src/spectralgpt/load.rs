//! Published checkpoints and geoglot's own folders.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Device;
use geoglot_nn::weights::{Checkpoint, KeyMap, load_into, save};
use serde::{Deserialize, Serialize};

use super::{SpectralGpt, SpectralGptConfig, sentinel2_bands, sentinel2_preprocess};
use crate::error::{Error, Result};
use crate::hub::sha256_of_file;
use crate::text::towers::read_json;
use crate::vision::{BandNeed, ImagePreprocess};

/// From the published names to ours.
const MAP: &str = include_str!("keys.toml");

/// geoglot's `config.json` of an encoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpectralCard {
    /// `spectralgpt`.
    pub system: String,
    /// Format of this file.
    pub layout: u32,
    /// Sizes.
    pub encoder: SpectralGptConfig,
    /// Bands it reads.
    pub bands: BandNeed,
    /// From raster values to network input.
    pub preprocess: ImagePreprocess,
    /// Licence of the weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
}

impl SpectralCard {
    /// A card of these parts.
    pub fn new(encoder: SpectralGptConfig, bands: BandNeed, preprocess: ImagePreprocess) -> Self {
        Self { system: "spectralgpt".into(), layout: 1, encoder, bands, preprocess, license: None }
    }
}

/// An encoder's files, read.
pub(super) struct Loaded {
    pub network: SpectralGpt,
    pub card: SpectralCard,
    /// SHA-256 of the weights.
    pub sha256: String,
}

/// Whether `path` is an encoder: a folder with geoglot's card, or a published checkpoint.
pub(super) fn recognises(path: &Path) -> bool {
    if path.is_dir() {
        let json = read_json(&path.join("config.json"));
        return json.is_ok_and(|j| j.get("system").and_then(|s| s.as_str()) == Some("spectralgpt"));
    }
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("pth"))
        && Checkpoint::open(path).is_ok_and(|c| c.info("pos_embed_temporal").is_some())
}

pub(super) fn open(path: &Path, device: &Device) -> Result<Loaded> {
    let (card, weights, map) = if path.is_dir() {
        let config = path.join("config.json");
        let bad = |problem: String| Error::config(&config, problem);
        let card = SpectralCard::deserialize(read_json(&config)?).map_err(|e| bad(e.to_string()))?;
        if card.system != "spectralgpt" || card.layout != 1 {
            return Err(bad(format!(
                "a `{}` of layout {}; expected `spectralgpt` of layout 1",
                card.system, card.layout
            )));
        }
        let bands = match &card.bands {
            BandNeed::Fixed(bands) => bands.len(),
            BandNeed::Any(_) => 0,
        };
        if bands != card.encoder.bands {
            return Err(bad(format!("names {bands} bands, the encoder reads {}", card.encoder.bands)));
        }
        let problem = card.encoder.problem().or_else(|| card.preprocess.problem());
        if let Some(problem) = problem {
            return Err(bad(problem));
        }
        (card, path.join("model.safetensors"), KeyMap::identity())
    } else {
        let checkpoint = Checkpoint::open(path)?;
        let encoder = published(&checkpoint)?;
        let size = encoder.grid.0 * encoder.patch;
        let card = SpectralCard::new(encoder, sentinel2_bands(), sentinel2_preprocess(size));
        (card, path.to_owned(), KeyMap::from_toml(MAP)?)
    };
    let checkpoint = Checkpoint::open(&weights)?;
    let (network, _) = load_into(card.encoder.init(device), &checkpoint, &map)?;
    Ok(Loaded { network, card, sha256: sha256_of_file(&weights)? })
}

/// The sizes that a published checkpoint's tensors tell.
fn published(checkpoint: &Checkpoint) -> Result<SpectralGptConfig> {
    let bad = |problem: String| {
        Error::config(checkpoint.path(), format!("{problem}: not a SpectralGPT checkpoint as published"))
    };
    let shape = |name: &str| {
        let info = checkpoint.info(name).ok_or_else(|| bad(format!("no tensor `{name}`")))?;
        Ok::<_, Error>(info.shape.clone())
    };
    let kernel = shape("patch_embed.proj.weight")?;
    let &[width, 1, group, patch, columns] = kernel.as_slice() else {
        return Err(bad(format!("the patch embedding has the shape {kernel:?}")));
    };
    let (spatial, spectral) = (shape("pos_embed_spatial")?, shape("pos_embed_temporal")?);
    let (&[1, cells, _], &[1, groups, _]) = (spatial.as_slice(), spectral.as_slice()) else {
        return Err(bad(format!("positions have the shapes {spatial:?} and {spectral:?}")));
    };
    let side = cells.isqrt();
    let block = |name: &str| {
        let rest = name.strip_prefix("blocks.")?;
        rest.split('.').next()?.parse::<usize>().ok()
    };
    let depth = checkpoint.names().filter_map(block).max().map_or(0, |last| last.saturating_add(1));
    let hidden = shape("blocks.0.mlp.fc1.weight")?.first().copied().unwrap_or(0);
    let heads = SpectralGptConfig::heads_of(width).or_else(|| width.is_multiple_of(64).then_some(width / 64));
    let heads = heads.ok_or_else(|| bad(format!("width {width}; the published encoders have 768, 1024 or 1280")))?;
    let bands = groups.checked_mul(group).ok_or_else(|| bad(format!("{groups} groups of {group} bands")))?;
    let config = SpectralGptConfig { bands, group, patch, grid: (side, side), width, depth, heads, hidden };
    if bands != 12 || patch != columns || side * side != cells {
        return Err(bad(format!("{bands} bands, patches of {patch} × {columns} px, {cells} positions")));
    }
    match config.problem() {
        Some(problem) => Err(bad(problem)),
        None => Ok(config),
    }
}

/// Writes an encoder as a folder that [`super::SpectralTower::open`] reads; returns the weights' SHA-256.
///
/// # Errors
/// A folder that cannot be written.
pub fn save_spectralgpt(folder: &Path, network: &SpectralGpt, card: &SpectralCard) -> Result<String> {
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create", e))?;
    let weights = folder.join("model.safetensors");
    save(network, &weights, &BTreeMap::new())?;
    geoglot_core::atomic::write_json(&folder.join("config.json"), card)?;
    sha256_of_file(&weights)
}
