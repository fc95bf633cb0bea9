//! The encoder as an image tower.

use std::path::Path;

use burn::nn::LayerNorm;
use burn::tensor::{Device, Tensor};
use geoglot_nn::vision::{Engine, engine};
use ndarray::Array2;
use sha2::{Digest, Sha256};

use super::load;
use super::{SpectralCard, SpectralGpt};
use crate::error::{Error, Result};
use crate::hub::hex;
use crate::text::{SpaceId, normalize_rows};
use crate::vision::{BandNeed, ImageBatch, ImagePreprocess, ImageTower};

/// Which tokens become an image's vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PooledTokens {
    /// All.
    #[default]
    All,
    /// All but the first, which the published classifier drops though there is no class token: for comparison with its numbers.
    AsPublished,
}

/// A frozen SpectralGPT encoder.
pub struct SpectralTower {
    /// Without its blocks, which the engine has.
    network: SpectralGpt,
    engine: Box<dyn Engine>,
    norm: LayerNorm,
    card: SpectralCard,
    space: SpaceId,
    fingerprint: String,
    device: Device,
    pooled: PooledTokens,
}

impl SpectralTower {
    /// Whether `path` is a SpectralGPT encoder: a folder that [`super::save_spectralgpt`] wrote, or a published `.pth`.
    pub fn recognises(path: &Path) -> bool {
        load::recognises(path)
    }

    /// Loads an encoder.
    ///
    /// # Errors
    /// Tensors that are missing, unused or mis-shaped; sizes that cannot be; what reading may say. A pickle is never executed.
    pub fn open(path: &Path, device: &Device) -> Result<Self> {
        let load::Loaded { network, card, sha256 } = load::open(path, device)?;
        let mut hasher = Sha256::new();
        for part in [sha256.as_str(), &serde_json::to_string(&card).expect("a plain structure")] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Ok(Self::new(network, card, hex(&hasher.finalize()), device.clone()))
    }

    /// An encoder of these parts; `fingerprint` stands for weights and configuration.
    pub fn new(mut network: SpectralGpt, card: SpectralCard, fingerprint: String, device: Device) -> Self {
        let engine = engine(std::mem::take(&mut network.blocks));
        let name = format!("spectralgpt@{}", fingerprint.get(..12).unwrap_or(&fingerprint));
        let space = SpaceId::new(name, card.encoder.width);
        let norm = network.norm.clone();
        Self { network, engine, norm, card, space, fingerprint, device, pooled: PooledTokens::All }
    }

    /// Chooses the tokens that become an image's vector.
    pub fn with_pooled(mut self, pooled: PooledTokens) -> Self {
        self.pooled = pooled;
        self
    }

    /// Its configuration.
    pub fn card(&self) -> &SpectralCard {
        &self.card
    }

    fn grid(&self, images: &ImageBatch) -> Result<(usize, usize)> {
        let [b, c, height, width] = images.pixels().dims();
        let (h, w) = self.network.grid(height, width);
        if c != self.card.encoder.bands {
            return Err(Error::Input(format!(
                "images of {c} bands; this encoder reads {} ({})",
                self.card.encoder.bands,
                self.card.bands.names()
            )));
        }
        if b == 0 || h == 0 || w == 0 {
            return Err(Error::Input(format!(
                "{b} images of {height} × {width} px: at least one image of at least one patch ({0} × {0} px) is needed",
                self.card.encoder.patch
            )));
        }
        Ok((h, w))
    }

    /// Normed states [B, groups·h·w, D].
    fn states(&self, images: &ImageBatch) -> Result<(Tensor<3>, (usize, usize))> {
        let grid = self.grid(images)?;
        let tokens = self.network.tokens(images.pixels().clone());
        let tokens = self.engine.run(tokens, &|_| false, &mut |_, _| {});
        Ok((self.norm.forward(tokens), grid))
    }
}

impl ImageTower for SpectralTower {
    fn space(&self) -> &SpaceId {
        &self.space
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn preprocess(&self) -> &ImagePreprocess {
        &self.card.preprocess
    }

    fn bands(&self) -> &BandNeed {
        &self.card.bands
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn patch(&self) -> usize {
        self.card.encoder.patch
    }

    fn depth(&self) -> usize {
        self.card.encoder.depth
    }

    fn describe(&self) -> String {
        let c = &self.card.encoder;
        format!(
            "SpectralGPT encoder: {} blocks, width {}, {} heads, patches of {} px × {} bands, trained at {} × {} px\nspace: {}\nbands: {}\n{}\nengine: {}",
            c.depth,
            c.width,
            c.heads,
            c.patch,
            c.group,
            c.grid.0 * c.patch,
            c.grid.1 * c.patch,
            self.space,
            self.card.bands.names(),
            self.card.preprocess.describe(),
            self.engine.name()
        )
    }

    fn encode(&self, images: &ImageBatch) -> Result<Array2<f32>> {
        let (states, _) = self.states(images)?;
        let [b, n, d] = states.dims();
        let skip = usize::from(self.pooled == PooledTokens::AsPublished && n > 1);
        let pooled = states.narrow(1, skip, n - skip).mean_dim(1);
        let values: Vec<f32> = pooled.into_data().iter::<f32>().collect();
        if values.iter().any(|v| !v.is_finite()) {
            return Err(Error::Input(
                "the encoder gave NaN or infinite values: an image holds such values, or the weights are damaged"
                    .into(),
            ));
        }
        let mut rows = Array2::from_shape_vec((b, d), values).expect("the tensor's own size");
        normalize_rows(&mut rows);
        Ok(rows)
    }

    fn tokens(&self, images: &ImageBatch) -> Result<Tensor<4>> {
        let states = self.patch_features(images)?;
        let length = states.clone().square().sum_dim(3).sqrt().clamp_min(1e-12);
        Ok(states / length)
    }

    /// States of a position, averaged over the groups of bands.
    fn patch_features(&self, images: &ImageBatch) -> Result<Tensor<4>> {
        let (states, (h, w)) = self.states(images)?;
        let [b, _, d] = states.dims();
        Ok(states.reshape([b, self.card.encoder.groups(), h * w, d]).mean_dim(1).reshape([b, h, w, d]))
    }

    fn grouped_features(&self, images: &ImageBatch) -> Result<Tensor<5>> {
        let (states, (h, w)) = self.states(images)?;
        let [b, _, d] = states.dims();
        Ok(states.reshape([b, self.card.encoder.groups(), h, w, d]))
    }

    fn groups(&self) -> usize {
        self.card.encoder.groups()
    }

    fn intermediate(&self, images: &ImageBatch, taps: &[usize]) -> Result<Vec<Tensor<4>>> {
        if let Some(bad) = taps.iter().find(|t| **t >= self.depth()) {
            return Err(Error::Input(format!("block {bad}: this encoder has blocks 0 to {}", self.depth() - 1)));
        }
        let (h, w) = self.grid(images)?;
        let groups = self.card.encoder.groups();
        let mut found = std::collections::HashMap::new();
        self.engine.run(self.network.tokens(images.pixels().clone()), &|i| taps.contains(&i), &mut |i, states| {
            let [b, _, d] = states.dims();
            found.insert(i, states.reshape([b, groups, h * w, d]).mean_dim(1).reshape([b, h, w, d]));
        });
        Ok(taps.iter().map(|t| found[t].clone()).collect())
    }
}
