//! The architecture as data.

use geoglot_nn::cnn::CnnEncoderConfig;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::error::{MmlgnetError, Result};

/// What stands beyond the scene's edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Padding {
    /// The scene mirrored at its edge pixels, which are not repeated.
    #[default]
    Reflect,
    /// Zeros, after normalisation.
    Zero,
}

/// One encoder: convolution blocks, flatten, linear layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderConfig {
    /// Channels of the input after preprocessing.
    pub channels: usize,
    /// Filters of the convolution blocks.
    pub filters: Vec<usize>,
    /// Width of the encoder's feature vector.
    pub width: usize,
}

impl EncoderConfig {
    /// The paper's spectral encoder: 64, 128, 256 filters → 512.
    pub fn spectral(channels: usize) -> Self {
        Self { channels, filters: vec![64, 128, 256], width: 512 }
    }

    /// The paper's elevation encoder: 32, 64, 128 filters → 256.
    pub fn elevation(channels: usize) -> Self {
        Self { channels, filters: vec![32, 64, 128], width: 256 }
    }
}

/// Architecture of MMLGNet. One encoder an input, in the order in which their features are concatenated; a single-modality network is one with a
/// single encoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MmlgnetConfig {
    /// Patch width in pixels, odd; the paper's is 11.
    pub patch: usize,
    /// Encoders by input name, such as `hsi`, `lidar`.
    pub encoders: IndexMap<String, EncoderConfig>,
    /// Width D of the text space.
    pub embed: usize,
    /// What patches at the scene's edge see beyond it.
    #[serde(default)]
    pub padding: Padding,
}

impl MmlgnetConfig {
    /// The paper's network: spectral encoders for inputs of the given names and channels, elevation encoders for the others.
    ///
    /// Inputs named `lidar`, `dsm`, `dtm`, `dem` or `elevation` get the elevation encoder, all others the spectral one.
    pub fn paper(inputs: impl IntoIterator<Item = (String, usize)>, embed: usize) -> Self {
        let encoder = |name: &str, channels| {
            if matches!(name, "lidar" | "dsm" | "dtm" | "dem" | "elevation") {
                EncoderConfig::elevation(channels)
            } else {
                EncoderConfig::spectral(channels)
            }
        };
        let encoders = inputs.into_iter().map(|(name, channels)| (name.clone(), encoder(&name, channels))).collect();
        Self { patch: 11, encoders, embed, padding: Padding::default() }
    }

    /// Pixels on each side of a patch's centre.
    pub fn margin(&self) -> usize {
        self.patch / 2
    }

    /// A lower bound on the number of weights: convolutions and linear layers.
    pub(super) fn least_weights(&self) -> f64 {
        let encoder = |e: &EncoderConfig| {
            let inputs = std::iter::once(&e.channels).chain(&e.filters);
            let blocks: f64 = inputs.zip(&e.filters).map(|(&from, &to)| 9.0 * from as f64 * to as f64).sum();
            let flattened = e.cnn(self.patch).flattened().unwrap_or(0);
            blocks + (flattened as f64 + self.embed as f64) * e.width as f64
        };
        self.encoders.values().map(encoder).sum()
    }

    /// Checks sizes.
    ///
    /// # Errors
    /// [`MmlgnetError::Config`] or [`MmlgnetError::Encoder`] saying which size is wrong.
    pub fn check(&self) -> Result<()> {
        if self.patch.is_multiple_of(2) {
            return Err(MmlgnetError::Config(format!(
                "the patch is {} pixels wide; it must be odd, so that it has a centre",
                self.patch
            )));
        }
        if self.encoders.is_empty() {
            return Err(MmlgnetError::Config("there is no encoder; give at least one input".into()));
        }
        if self.embed == 0 {
            return Err(MmlgnetError::Config("the embedding width is 0".into()));
        }
        for (input, encoder) in &self.encoders {
            encoder
                .cnn(self.patch)
                .flattened()
                .map_err(|source| MmlgnetError::Encoder { input: input.clone(), source })?;
        }
        Ok(())
    }
}

impl EncoderConfig {
    pub(super) fn cnn(&self, patch: usize) -> CnnEncoderConfig {
        CnnEncoderConfig::new(self.channels, patch, self.filters.clone(), self.width)
    }
}
