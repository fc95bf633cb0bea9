//! A trained model as a folder: `config.json` and `model.safetensors`.

use std::path::Path;

use burn::tensor::Device;
use geoglot_core::{Band, Legend, atomic, small_file};
use indexmap::IndexMap;
use ndarray::Array2;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::config::MmlgnetConfig;
use super::error::{MmlgnetError, Result};
use super::network::Mmlgnet;

/// Most bytes of the weights: far more than any network of the paper has.
const MOST_WEIGHTS: u64 = 1 << 30;

/// Everything a model needs beside its weights. Written as `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelCard {
    /// Always `mmlgnet`.
    pub system: String,
    /// Version of this file's layout.
    pub layout: u32,
    /// The architecture.
    pub architecture: MmlgnetConfig,
    /// Id of the embedding space: the text tower the vectors live with.
    pub space: String,
    /// Bands of each input in the model's order, with wavelengths, before preprocessing.
    pub bands: IndexMap<String, Vec<Band>>,
    /// Statistics that turn physical values into network inputs, by input, as the data crate writes them.
    pub normalisation: IndexMap<String, serde_json::Value>,
    /// Classes trained on, with their prompts.
    pub legend: Legend,
    /// Prompt templates.
    pub templates: Vec<String>,
    /// Text features of the legend's classes, one row of D values each, so that a map needs no text tower.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_features: Option<Vec<Vec<f32>>>,
    /// How training and test pixels were separated.
    pub split: String,
    /// Licence of the weights.
    pub license: String,
    /// SHA-256 of `model.safetensors`, set when saving.
    #[serde(default)]
    pub weights_sha256: String,
    /// How the model was trained: recipe, seed, validation result.
    #[serde(default)]
    pub training: serde_json::Value,
}

impl ModelCard {
    /// Parses and checks a card's JSON; `path` names it in messages.
    ///
    /// # Errors
    /// [`MmlgnetError::Folder`] naming the file, [`MmlgnetError::Config`] or [`MmlgnetError::Encoder`] for impossible sizes.
    pub fn parse(json: &[u8], path: &Path) -> Result<Self> {
        let fail = |problem: String| MmlgnetError::Folder { path: path.to_owned(), problem };
        let card: Self =
            serde_json::from_slice(json).map_err(|e| fail(format!("is not the card of an MMLGNet model: {e}")))?;
        if card.system != "mmlgnet" {
            return Err(fail(format!("describes a `{}` model, expected `mmlgnet`", card.system)));
        }
        if card.layout != 1 {
            return Err(fail(format!("has layout {}, this version reads layout 1; update geoglot", card.layout)));
        }
        card.architecture.check()?;
        card.class_features()?;
        Ok(card)
    }

    /// Class text features, [K, D], if the card holds them.
    ///
    /// # Errors
    /// [`MmlgnetError::Config`] when rows have other lengths than D or their number is not that of the classes.
    pub fn class_features(&self) -> Result<Option<Array2<f32>>> {
        let Some(rows) = &self.class_features else { return Ok(None) };
        let width = self.architecture.embed;
        if rows.len() != self.legend.len() || rows.iter().any(|r| r.len() != width) {
            return Err(MmlgnetError::Config(format!(
                "class features must be {} rows of {width} values, one a class of the legend; found {} rows",
                self.legend.len(),
                rows.len()
            )));
        }
        let flat: Vec<f32> = rows.iter().flatten().copied().collect();
        Ok(Some(Array2::from_shape_vec((rows.len(), width), flat).expect("lengths checked")))
    }
}

const WEIGHTS: &str = "model.safetensors";
const CARD: &str = "config.json";

/// SHA-256 of `bytes` in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// Writes a model folder: weights first, then the card that names their hash, each atomically. Returns the weights' SHA-256.
///
/// # Errors
/// [`MmlgnetError::Core`] naming the file.
pub fn save(folder: &Path, network: &Mmlgnet, card: &ModelCard) -> Result<String> {
    save_bytes(folder, &network.to_bytes()?, card)
}

/// As [`save`], from the bytes of [`Mmlgnet::to_bytes`].
///
/// # Errors
/// As [`save`].
pub fn save_bytes(folder: &Path, weights: &[u8], card: &ModelCard) -> Result<String> {
    let card = ModelCard { weights_sha256: sha256(weights), ..card.clone() };
    atomic::write(&folder.join(WEIGHTS), weights)?;
    atomic::write_json(&folder.join(CARD), &card)?;
    Ok(card.weights_sha256)
}

/// Reads the card alone.
///
/// # Errors
/// [`MmlgnetError::Folder`] naming the file and what is wrong.
pub fn load_card(folder: &Path) -> Result<ModelCard> {
    let path = folder.join(CARD);
    let fail = |problem: String| MmlgnetError::Folder { path: path.clone(), problem };
    let text = small_file::read(&path, small_file::TEXT)
        .map_err(|e| fail(format!("{}; a model is a folder with {CARD} and {WEIGHTS}", e.problem())))?;
    ModelCard::parse(&text, &path)
}

/// Reads a model folder, checking hash, tensor names and shapes.
///
/// # Errors
/// [`MmlgnetError::Folder`], [`MmlgnetError::Weights`], [`MmlgnetError::Config`].
pub fn load(folder: &Path, device: &Device) -> Result<(Mmlgnet, ModelCard)> {
    let card = load_card(folder)?;
    let path = folder.join(WEIGHTS);
    let fail = |problem: String| MmlgnetError::Folder { path: path.clone(), problem };
    let bytes = small_file::read(&path, MOST_WEIGHTS).map_err(|e| fail(e.problem()))?;
    let found = sha256(&bytes);
    if found != card.weights_sha256 {
        return Err(fail(format!(
            "has SHA-256 {found}, {CARD} says {}; the files do not belong together or one is damaged: copy the model again",
            card.weights_sha256
        )));
    }
    let least = card.architecture.least_weights();
    if least > bytes.len() as f64 {
        return Err(fail(format!(
            "holds {} bytes, {CARD} describes a network of {least:.0} weights or more; the files do not belong together",
            bytes.len()
        )));
    }
    let network = card.architecture.init(device, 0)?.load_weights(&path)?;
    Ok((network, card))
}
