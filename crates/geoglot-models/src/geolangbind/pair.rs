//! Both towers of an image–text model with the scale and bias of its loss.

use std::path::Path;

use burn::tensor::Device;
use geoglot_nn::weights::Checkpoint;
use ndarray::Array2;

use crate::error::{Error, Result};
use crate::text::towers::find_weights;
use crate::text::{TextTower, TowerOptions, load_from_folder};
use crate::vision::{ImageOptions, ImageTower, Preset, load_image_tower_from};

/// An image tower and the text tower of its space.
pub struct ImageTextModel {
    /// Images to vectors.
    pub image: Box<dyn ImageTower>,
    /// Words to vectors.
    pub text: Box<dyn TextTower>,
    scale: f32,
    bias: Option<f32>,
}

impl ImageTextModel {
    /// Loads both towers and the loss's scale and bias from one folder, with the configuration of a published model ([`Preset`]) where one
    /// is named.
    ///
    /// # Errors
    /// What loading either tower may say, and [`Error::Space`] when they do not live in one space.
    pub fn load(folder: &Path, preset: Option<&str>, device: &Device) -> Result<Self> {
        let named = || preset.map(str::to_owned);
        let image =
            load_image_tower_from(folder, &ImageOptions { preset: named(), ..ImageOptions::default() }, device)?;
        let text = load_from_folder(folder, &TowerOptions { preset: named(), ..TowerOptions::default() }, device)?;
        let checkpoint = Checkpoint::open(find_weights(folder, preset.map(Preset::named).transpose()?)?)?;
        let scalar = |name: &str| -> Result<Option<f32>> {
            let Some(found) = checkpoint.names().find(|n| n.rsplit('.').next() == Some(name)) else { return Ok(None) };
            let values = checkpoint.read_f32(found)?;
            let [value] = values[..] else {
                return Err(Error::config(folder, format!("`{found}` holds {} numbers, expected 1", values.len())));
            };
            Ok(Some(value))
        };
        let scale = scalar("logit_scale")?
            .ok_or_else(|| Error::config(folder, "the weights have no `logit_scale`: not an image–text model"))?;
        let bias = scalar("logit_bias")?;
        Self::new(Box::new(image), text, scale.exp(), bias)
    }

    /// A model of loaded towers. `bias` is `None` for a softmax (CLIP) loss.
    ///
    /// # Errors
    /// [`Error::Space`] when the towers do not live in one space.
    pub fn new(image: Box<dyn ImageTower>, text: Box<dyn TextTower>, scale: f32, bias: Option<f32>) -> Result<Self> {
        image.space().expect(text.space())?;
        Ok(Self { image, text, scale, bias })
    }

    /// Logits `[B, K]` = scale·v·w + bias of image vectors `[B, D]` and text vectors `[K, D]`.
    pub fn logits(&self, images: &Array2<f32>, texts: &Array2<f32>) -> Array2<f32> {
        images.dot(&texts.t()) * self.scale + self.bias.unwrap_or(0.0)
    }

    /// Probabilities `[B, K]`: one sigmoid a pair for a model with a bias (SigLIP, GeoLangBind), a softmax over the texts for one
    /// without (CLIP).
    pub fn probabilities(&self, images: &Array2<f32>, texts: &Array2<f32>) -> Array2<f32> {
        let mut logits = self.logits(images, texts);
        match self.bias {
            Some(_) => logits.mapv_inplace(|s| 1.0 / (1.0 + (-s).exp())),
            None => {
                for mut row in logits.rows_mut() {
                    let top = row.fold(f32::NEG_INFINITY, |m, v| m.max(*v));
                    row.mapv_inplace(|v| (v - top).exp());
                    let sum = row.sum();
                    row.mapv_inplace(|v| v / sum);
                }
            }
        }
        logits
    }
}
