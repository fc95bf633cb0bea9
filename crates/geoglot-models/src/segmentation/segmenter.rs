//! Tower and head together.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, activation};
use geoglot_core::Seeds;
use geoglot_nn::segmentation::{UperNet, UperNetConfig, resize};
use geoglot_nn::weights::{Checkpoint, KeyMap, load_into};
use ndarray::Array4;

use super::card::{SegmenterCard, WEIGHTS, load_segmenter_card};
use super::taps::seen;
use crate::error::{Error, Result};
use crate::initial::Uniform;
use crate::mmlgnet::sha256;
use crate::vision::{ImageBatch, ImageTower};

/// A head with fresh weights, which depend on the configuration and the seed only.
///
/// # Panics
/// When [`UperNetConfig::problem`] says something.
pub fn initial_head(config: &UperNetConfig, device: &Device, seed: u64) -> UperNet {
    config.init(device).map(&mut Uniform::new(Seeds::new(seed).stream("upernet/init")))
}

/// A frozen image tower with a trained head.
pub struct Segmenter<'a> {
    /// The tower.
    pub tower: &'a dyn ImageTower,
    /// The head, for inference.
    pub head: UperNet,
    /// What belongs to them.
    pub card: SegmenterCard,
}

impl<'a> Segmenter<'a> {
    /// Reads the head of a model folder for its tower, checking hash, tensor names, shapes and the tower's fingerprint.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Config`], [`Error::Hash`], [`Error::Weights`]; [`Error::Input`] for another tower.
    pub fn load(folder: &Path, tower: &'a dyn ImageTower) -> Result<Self> {
        let card = load_segmenter_card(folder)?;
        card.check_tower(tower)?;
        let path = folder.join(WEIGHTS);
        let bytes = std::fs::read(&path).map_err(|e| Error::io(&path, "read", e))?;
        let found = sha256(&bytes);
        if found != card.weights_sha256 {
            return Err(Error::Hash { path, expected: card.weights_sha256, found });
        }
        let head = card.head.init(tower.device());
        let head = load_into(head, &Checkpoint::open(&path)?, &KeyMap::identity())?.0;
        Ok(Self { tower, head, card })
    }

    /// Probabilities `[B, K, tile, tile]` of prepared tiles.
    ///
    /// # Errors
    /// As `tapped`; [`Error::Input`] for values that are not finite.
    pub fn probabilities(&self, images: &ImageBatch) -> Result<Array4<f32>> {
        let seen = seen(self.tower, images, self.card.taps, self.card.head.pixels.is_some())?;
        let logits = resize(self.head.forward(seen), (self.card.tile, self.card.tile));
        let probabilities = activation::softmax(logits, 1);
        let dims = probabilities.dims();
        let values: Vec<f32> = probabilities.into_data().iter::<f32>().collect();
        if values.iter().any(|v| !v.is_finite()) {
            return Err(Error::Input(
                "the segmentation gave NaN or infinite values: an image holds such values, or the weights are damaged"
                    .into(),
            ));
        }
        Ok(Array4::from_shape_vec(dims, values).expect("the tensor's own size"))
    }
}
