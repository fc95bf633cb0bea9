//! A trained network as a folder.

use std::collections::BTreeMap;
use std::path::Path;

use geoglot_core::{Band, Legend, atomic};
use geoglot_nn::weights::to_bytes;
use serde::{Deserialize, Serialize};

use super::{TsmNet, TsmNetConfig};
use crate::error::{Error, Result};
use crate::mmlgnet::sha256;
use crate::text::SpaceId;

pub(super) const WEIGHTS: &str = "model.safetensors";
const CARD: &str = "config.json";

/// Names of the two inputs of a scene.
pub const INPUTS: [&str; 2] = ["optical", "sar"];

/// Bands of one input and what makes them numbers around zero.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputCard {
    /// Bands in the network's order.
    pub bands: Vec<Band>,
    /// Median of each band over the training pixels.
    pub center: Vec<f32>,
    /// 1.4826 times the median distance of the training pixels to it: the standard deviation of a normal distribution, which clouds leave alone.
    pub spread: Vec<f32>,
}

/// Spreads from the centre beyond which values are compressed.
const FAR: f32 = 3.0;

impl InputCard {
    /// A band's value as the network sees it: distance to the centre in spreads, logarithmic beyond three, so that clouds are bright without
    /// leaving land no room.
    pub fn scaled(&self, band: usize, value: f32) -> f32 {
        let x = (value - self.center[band]) / self.spread[band];
        if x.abs() <= FAR { x } else { x.signum() * (FAR + (x.abs() - FAR).ln_1p()) }
    }
}

/// The text tower of a network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextCard {
    /// Name or folder.
    pub tower: String,
    /// Its embedding space.
    pub space: SpaceId,
    /// Its fingerprint: no other tower's words mean the same to the network.
    pub fingerprint: String,
    /// Templates of class names, where the network has no learned contexts.
    pub templates: Vec<String>,
}

/// Everything a network needs beside its weights. Written as `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TsmNetCard {
    /// Always `tsmnet`.
    pub system: String,
    /// Version of this file's layout.
    pub layout: u32,
    /// The network.
    pub network: TsmNetConfig,
    /// The text tower, where the network reads text.
    pub text: Option<TextCard>,
    /// Side of a tile in pixels.
    pub tile: usize,
    /// Optical and SAR bands, where the network has them.
    pub inputs: [Option<InputCard>; 2],
    /// Classes trained on.
    pub legend: Legend,
    /// Classes of the labels that were held out of training.
    #[serde(default)]
    pub held_out: Vec<String>,
    /// How training and test pixels were separated.
    pub split: String,
    /// Licence of the weights.
    pub license: String,
    /// SHA-256 of `model.safetensors`, set when saving.
    #[serde(default)]
    pub weights_sha256: String,
    /// How the network was trained.
    #[serde(default)]
    pub training: serde_json::Value,
}

impl TsmNetCard {
    /// Parses and checks a card's JSON; `path` names it in messages.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn parse(json: &[u8], path: &Path) -> Result<Self> {
        let fail = |problem: String| Error::config(path, problem);
        let card: Self =
            serde_json::from_slice(json).map_err(|e| fail(format!("is not the card of a TSMNet model: {e}")))?;
        if card.system != "tsmnet" {
            return Err(fail(format!("describes a `{}` model, expected `tsmnet`", card.system)));
        }
        if card.layout != 1 {
            return Err(fail(format!("has layout {}, this version reads layout 1; update geoglot", card.layout)));
        }
        if let Some(problem) = card.network.problem() {
            return Err(fail(problem));
        }
        for (k, has) in card.network.modality.has().into_iter().enumerate() {
            let bands = card.network.bands[k];
            let whole = |c: &InputCard| [c.bands.len(), c.center.len(), c.spread.len()] == [bands; 3];
            if has && !card.inputs[k].as_ref().is_some_and(whole) {
                return Err(fail(format!(
                    "the input `{}` does not have {bands} bands with centre and spread; the file was changed or is damaged",
                    INPUTS[k]
                )));
            }
        }
        let patch = card.network.tower.patch;
        if card.tile < 2 * patch || !card.tile.is_multiple_of(patch) {
            return Err(fail(format!("a tile of {} px is not two or more patches of {patch} px", card.tile)));
        }
        if card.text.is_none() && (card.network.text.classes() || card.network.scene()) {
            return Err(fail("the network reads text, but no text tower is named".into()));
        }
        if !card.network.open_vocabulary() && card.legend.len() != card.network.classes {
            return Err(fail(format!(
                "the legend has {} classes, the head {}; the file was changed or is damaged",
                card.legend.len(),
                card.network.classes
            )));
        }
        Ok(card)
    }
}

/// Writes a model folder: the weights first, then the card that names their hash, each atomically. Returns the weights' SHA-256.
///
/// # Errors
/// A folder that cannot be written.
pub fn save(folder: &Path, network: &TsmNet, card: &TsmNetCard) -> Result<String> {
    let bytes = to_bytes(network, &BTreeMap::new()).map_err(|e| Error::config(folder.join(WEIGHTS), e))?;
    let card = TsmNetCard { weights_sha256: sha256(&bytes), ..card.clone() };
    atomic::write(&folder.join(WEIGHTS), &bytes)?;
    atomic::write_json(&folder.join(CARD), &card)?;
    Ok(card.weights_sha256)
}

/// Reads the card alone.
///
/// # Errors
/// [`Error::Io`], [`Error::Config`].
pub fn load_card(folder: &Path) -> Result<TsmNetCard> {
    let path = folder.join(CARD);
    let bytes = std::fs::read(&path).map_err(|e| Error::io(&path, "read", e))?;
    TsmNetCard::parse(&bytes, &path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_near_the_centre_are_linear_and_clouds_are_compressed() {
        let card = InputCard { bands: vec![Band::named("B02")], center: vec![0.08], spread: vec![0.04] };
        assert!((card.scaled(0, 0.16) - 2.0).abs() < 1e-5 && (card.scaled(0, 0.0) + 2.0).abs() < 1e-5);
        let (edge, beyond, cloud) = (card.scaled(0, 0.2), card.scaled(0, 0.2001), card.scaled(0, 0.78));
        assert!((edge - 3.0).abs() < 1e-5 && beyond > edge && beyond < 3.01, "no jump: {edge} {beyond}");
        assert!(cloud > beyond && cloud < 7.0, "{cloud}");
        assert_eq!(card.scaled(0, -0.62), -card.scaled(0, 0.78));
    }
}
