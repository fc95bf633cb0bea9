//! A trained head as a folder.

use std::collections::BTreeMap;
use std::path::Path;

use geoglot_core::{Band, Legend, atomic};
use geoglot_nn::segmentation::{UperNet, UperNetConfig};
use geoglot_nn::weights::to_bytes;
use serde::{Deserialize, Serialize};

use super::taps::check_taps;
use crate::error::{Error, Result};
use crate::mmlgnet::sha256;
use crate::vision::ImageTower;

pub(super) const WEIGHTS: &str = "model.safetensors";
pub(super) const CARD: &str = "config.json";

/// A band of a named input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputBand {
    /// Name of the scene's input.
    pub input: String,
    /// The band.
    pub band: Band,
}

/// Everything a segmentation model needs beside the weights of its head. Written as `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmenterCard {
    /// Always `upernet`.
    pub system: String,
    /// Version of this file's layout.
    pub layout: u32,
    /// The head.
    pub head: UperNetConfig,
    /// Blocks of the tower it reads, counted from 0.
    pub taps: [usize; 4],
    /// Name or folder of the frozen image tower.
    pub tower: String,
    /// Fingerprint of that tower ([`ImageTower::fingerprint`]): its vectors are the only ones the head understands.
    pub tower_fingerprint: String,
    /// Side of a tile in pixels of the scene.
    pub tile: usize,
    /// Side in pixels of what the tower sees of a tile; a multiple of its patch.
    pub input: usize,
    /// Bands that reach the tower, in its order.
    pub bands: Vec<InputBand>,
    /// The classes, in the order of the head's logits.
    pub legend: Legend,
    /// How training and test pixels were separated.
    pub split: String,
    /// Licence of the weights.
    pub license: String,
    /// SHA-256 of `model.safetensors`, set when saving.
    #[serde(default)]
    pub weights_sha256: String,
    /// How the head was trained: recipe, seed, validation result.
    #[serde(default)]
    pub training: serde_json::Value,
}

impl SegmenterCard {
    /// Parses and checks a card's JSON; `path` names it in messages.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn parse(json: &[u8], path: &Path) -> Result<Self> {
        let fail = |problem: String| Error::config(path, problem);
        let card: Self =
            serde_json::from_slice(json).map_err(|e| fail(format!("is not the card of a segmentation model: {e}")))?;
        if card.system != "upernet" {
            return Err(fail(format!("describes a `{}` model, expected `upernet`", card.system)));
        }
        if card.layout != 1 {
            return Err(fail(format!("has layout {}, this version reads layout 1; update geoglot", card.layout)));
        }
        if let Some(problem) = card.head.problem() {
            return Err(fail(problem));
        }
        if card.legend.len() != card.head.classes {
            return Err(fail(format!(
                "the legend has {} classes, the head {}; the file was changed or is damaged",
                card.legend.len(),
                card.head.classes
            )));
        }
        if let Some(pixels) = card.head.pixels.filter(|p| p.bands != card.bands.len()) {
            let (own, all) = (pixels.bands, card.bands.len());
            return Err(fail(format!(
                "the head reads {own} bands, {all} are listed; the file was changed or is damaged"
            )));
        }
        if card.tile == 0 || card.input == 0 || card.bands.is_empty() {
            return Err(fail("tile, input or bands are empty; the file was changed or is damaged".into()));
        }
        Ok(card)
    }

    /// Checks that `tower` is the one the head was trained on.
    ///
    /// # Errors
    /// [`Error::Input`] naming both fingerprints; taps or sizes the tower does not have.
    pub fn check_tower(&self, tower: &dyn ImageTower) -> Result<()> {
        if tower.fingerprint() != self.tower_fingerprint {
            let short = |text: &str| text.chars().take(12).collect::<String>();
            return Err(Error::Input(format!(
                "this segmentation head was trained on the image tower `{}` (fingerprint {}…); the tower given has fingerprint {}…, \
                 whose features mean something else: give that tower, or train a head on this one",
                self.tower,
                short(&self.tower_fingerprint),
                short(tower.fingerprint())
            )));
        }
        if !self.input.is_multiple_of(tower.patch()) {
            return Err(Error::Input(format!(
                "the model's input of {} px is no multiple of the tower's patch of {} px",
                self.input,
                tower.patch()
            )));
        }
        check_taps(self.taps, tower.depth())
    }
}

/// Writes a model folder: the head's weights first, then the card that names their hash, each atomically. Returns the weights' SHA-256.
///
/// # Errors
/// A folder that cannot be written.
pub fn save_segmenter(folder: &Path, head: &UperNet, card: &SegmenterCard) -> Result<String> {
    let bytes = to_bytes(head, &BTreeMap::new()).map_err(|e| Error::config(folder.join(WEIGHTS), e))?;
    let card = SegmenterCard { weights_sha256: sha256(&bytes), ..card.clone() };
    atomic::write(&folder.join(WEIGHTS), &bytes)?;
    atomic::write_json(&folder.join(CARD), &card)?;
    Ok(card.weights_sha256)
}

/// Reads the card alone.
///
/// # Errors
/// [`Error::Io`], [`Error::Config`].
pub fn load_segmenter_card(folder: &Path) -> Result<SegmenterCard> {
    let path = folder.join(CARD);
    let bytes = std::fs::read(&path).map_err(|e| Error::io(&path, "read", e))?;
    SegmenterCard::parse(&bytes, &path)
}
