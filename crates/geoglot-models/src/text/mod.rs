//! Text towers: words to vectors of a named space.
//!
//! A text goes tokeniser → encoder → pooling → L2 norm. The kinds are BERT, MiniLM, RoBERTa and ALBERT ([`bert`]), the
//! text sides of CLIP ([`clip`]) and SigLIP ([`siglip`]), and [`HashedWords`], which needs no weights. Published files load by their own names; the
//! key maps are data (`keymaps/*.toml`). [`CachedTower`] keeps features on disk.
//!
//! ```no_run
//! use burn::tensor::Device;
//! use geoglot_models::text::{class_features, load_text_tower};
//! let tower = load_text_tower("minilm", &Device::flex())?;
//! let classes = [vec!["a satellite image of water".to_owned()], vec!["trees".to_owned(), "a forest".to_owned()]];
//! let features = class_features(tower.as_ref(), &classes)?; // [2, 384], rows of length 1
//! # Ok::<(), geoglot_models::Error>(())
//! ```

pub mod bert;
mod cache;
pub(crate) mod charsmap;
pub mod clip;
mod hashed;
mod pooling;
pub mod siglip;
mod space;
pub(crate) mod spm;
mod tokenize;
pub(crate) mod towers;

use burn::tensor::Device;
use ndarray::Array2;

pub use cache::CachedTower;
pub use clip::PromptEncoder;
pub use hashed::HashedWords;
pub use pooling::{Pooling, normalize_rows};
pub use space::SpaceId;
pub use tokenize::TextTokenizer;
pub use towers::{TowerOptions, load_from_folder};

use crate::error::{Error, Result};
use crate::hub::Hub;

/// A frozen text encoder.
pub trait TextTower: Send + Sync {
    /// The space its features live in.
    fn space(&self) -> &SpaceId;

    /// Width D of the features.
    fn width(&self) -> usize {
        self.space().width
    }

    /// SHA-256 over everything that determines a feature (weights, tokeniser, config, pooling), in hex.
    fn fingerprint(&self) -> &str;

    /// Features `[N, D]` of `texts`, each row of length 1.
    ///
    /// # Errors
    /// What the tokeniser refuses, or weights that give values which are not finite.
    fn encode(&self, texts: &[String]) -> Result<Array2<f32>>;

    /// Width of the token states that [`TextTower::states`] gives.
    fn states_width(&self) -> usize {
        self.width()
    }

    /// Token states `[L, W]` of each text, special tokens included: what an image can attend to. A tower without tokens gives one state,
    /// the text's feature.
    ///
    /// # Errors
    /// As [`TextTower::encode`].
    fn states(&self, texts: &[String]) -> Result<Vec<Array2<f32>>> {
        let features = self.encode(texts)?;
        Ok(features.rows().into_iter().map(|row| row.to_owned().insert_axis(ndarray::Axis(0))).collect())
    }

    /// The texts ready for learnable context vectors, `count` of them between start-of-text and the words (Zhou et al. 2022); `None` for
    /// towers that are no CLIP.
    ///
    /// # Errors
    /// What the tokeniser refuses; [`Error::Input`] for more contexts than the tower's context holds.
    fn prompt_encoder(&self, texts: &[String], count: usize) -> Result<Option<PromptEncoder>> {
        let _ = (texts, count);
        Ok(None)
    }
}

/// Loads a text tower by folder, by registry name (`minilm`, `clip-vit-b-32`, …), by hub repository (`owner/name@revision`),
/// or the built-in `hashed-words`. Never touches the network: see [`Hub::pull`] for fetching.
///
/// # Errors
/// [`Error::NotAvailable`] saying how to get the model, [`Error::UnknownModel`], and what loading may say.
pub fn load_text_tower(path_or_name: &str, device: &Device) -> Result<Box<dyn TextTower>> {
    load_text_tower_with(path_or_name, &TowerOptions::default(), &Hub::from_env()?, device)
}

/// As [`load_text_tower`], with options and an explicit hub.
///
/// # Errors
/// As [`load_text_tower`].
pub fn load_text_tower_with(
    path_or_name: &str,
    options: &TowerOptions,
    hub: &Hub,
    device: &Device,
) -> Result<Box<dyn TextTower>> {
    if matches!(path_or_name, HashedWords::NAME | "hashed-words-384") {
        return Ok(Box::new(HashedWords::new()));
    }
    let resolved = hub.resolve(path_or_name)?;
    let mut options = options.clone();
    options.space = options.space.or(resolved.space);
    options.sha256 = options.sha256.or(resolved.weights_sha256);
    options.preset = options.preset.or(resolved.preset);
    load_from_folder(&resolved.folder, &options, device)
}

/// Features `[K, D]` of K classes, each given by one or many prompts: the normalised mean of the normalised prompt features.
///
/// # Errors
/// [`Error::Input`] for a class without prompts or with prompts that cancel out, and what the tower may say.
pub fn class_features(tower: &dyn TextTower, classes: &[Vec<String>]) -> Result<Array2<f32>> {
    let flat: Vec<String> = classes.iter().flatten().cloned().collect();
    if let Some(empty) = classes.iter().position(Vec::is_empty) {
        return Err(Error::Input(format!("class {empty} has no prompt; give every class at least one")));
    }
    let features = tower.encode(&flat)?;
    let mut out = Array2::zeros((classes.len(), tower.width()));
    let mut at = 0;
    for (k, prompts) in classes.iter().enumerate() {
        for row in features.rows().into_iter().skip(at).take(prompts.len()) {
            out.row_mut(k).scaled_add(1.0 / prompts.len() as f32, &row);
        }
        at += prompts.len();
        if out.row(k).iter().all(|v| *v == 0.0) {
            return Err(Error::Input(format!("the prompts of class {k} cancel out: {prompts:?}")));
        }
    }
    normalize_rows(&mut out);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_the_mean_of_its_prompts() {
        let tower = HashedWords::new();
        let (a, b) = ("water".to_owned(), "a deep river".to_owned());
        let classes = class_features(&tower, &[vec![a.clone()], vec![a.clone(), b.clone()]]).unwrap();
        let prompts = tower.encode(&[a, b]).unwrap();
        assert!(classes.row(0).iter().zip(prompts.row(0)).all(|(x, y)| (x - y).abs() < 1e-6));
        let (x, y) = (classes.row(1).dot(&prompts.row(0)), classes.row(1).dot(&prompts.row(1)));
        assert!((x - y).abs() < 1e-5 && (classes.row(1).dot(&classes.row(1)) - 1.0).abs() < 1e-6);
        assert!(class_features(&tower, &[vec![]]).unwrap_err().to_string().contains("class 0"));
    }

    #[test]
    fn every_key_map_parses() {
        use geoglot_nn::weights::KeyMap;
        for text in
            [include_str!("keymaps/bert.toml"), include_str!("keymaps/albert.toml"), include_str!("keymaps/clip.toml")]
        {
            KeyMap::from_toml(text).unwrap();
        }
    }

    #[test]
    fn spaces_are_told_apart() {
        let hashed = HashedWords::new();
        let other = SpaceId::new("minilm-l6-v2-384", 384);
        let error = hashed.space().expect(&other).unwrap_err().to_string();
        assert!(error.contains("hashed-words-384") && error.contains("minilm"), "{error}");
    }
}
