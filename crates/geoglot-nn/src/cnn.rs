//! The convolutional patch encoder of MMLGNet (paper, section III-A; models.md, section 1).

use burn::config::Config;
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use thiserror::Error;

use crate::conv_block::{ConvBlock, ConvBlockConfig};

/// Why a [`CnnEncoder`] cannot be built.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CnnError {
    /// The pools leave no pixel.
    #[error(
        "a patch of {patch} pixels has nothing left after {blocks} halvings: use a patch of at least {least} pixels or fewer blocks"
    )]
    PatchTooSmall {
        /// Patch side in pixels.
        patch: usize,
        /// Blocks of the encoder.
        blocks: usize,
        /// Smallest side that works.
        least: usize,
    },
    /// Sizes whose product no computer can hold.
    #[error(
        "{filters} filters over patches of {patch} pixels are more values than can be addressed; the configuration is damaged"
    )]
    TooLarge {
        /// Filters of the last block.
        filters: usize,
        /// Patch side in pixels.
        patch: usize,
    },
    /// A size of zero.
    #[error("{what} of a CNN encoder must be at least 1")]
    Zero {
        /// Which size.
        what: &'static str,
    },
}

/// Configuration of a [`CnnEncoder`].
#[derive(Config, Debug)]
pub struct CnnEncoderConfig {
    /// Input bands C.
    pub bands: usize,
    /// Patch side P in pixels; with three blocks at least 8.
    pub patch: usize,
    /// Filters of the blocks, in order.
    pub filters: Vec<usize>,
    /// Output width.
    pub out: usize,
    /// Whether the convolutions have a bias (see [`ConvBlockConfig::bias`]).
    #[config(default = true)]
    pub bias: bool,
    /// Use the fused operation where the device has one.
    #[config(default = true)]
    pub fused: bool,
}

impl CnnEncoderConfig {
    /// The paper's spectral encoder: 64, 128, 256 filters → 512.
    pub fn hyperspectral(bands: usize, patch: usize) -> Self {
        Self::new(bands, patch, vec![64, 128, 256], 512)
    }

    /// The paper's elevation encoder: 32, 64, 128 filters → 256.
    pub fn lidar(bands: usize, patch: usize) -> Self {
        Self::new(bands, patch, vec![32, 64, 128], 256)
    }

    /// Features after the last block: filters × pixels left.
    ///
    /// # Errors
    /// [`CnnError`] if a size is zero or the patch too small.
    pub fn flattened(&self) -> Result<usize, CnnError> {
        for (what, zero) in [
            ("bands", self.bands == 0),
            ("blocks", self.filters.is_empty()),
            ("filters", self.filters.contains(&0)),
            ("output width", self.out == 0),
        ] {
            if zero {
                return Err(CnnError::Zero { what });
            }
        }
        let blocks = self.filters.len();
        let side = self.patch.checked_shr(blocks as u32).unwrap_or(0);
        if side == 0 {
            return Err(CnnError::PatchTooSmall {
                patch: self.patch,
                blocks,
                least: 1usize.checked_shl(blocks as u32).unwrap_or(usize::MAX),
            });
        }
        let filters = self.filters[blocks - 1];
        let values = filters.checked_mul(side).and_then(|n| n.checked_mul(side));
        values.ok_or(CnnError::TooLarge { filters, patch: self.patch })
    }

    /// An encoder with fresh weights.
    ///
    /// # Errors
    /// [`CnnError`] if a size is zero or the patch too small.
    pub fn init(&self, device: &Device) -> Result<CnnEncoder, CnnError> {
        let flattened = self.flattened()?;
        let mut channels = self.bands;
        let blocks = self
            .filters
            .iter()
            .map(|&filters| {
                let block =
                    ConvBlockConfig::new([channels, filters]).with_bias(self.bias).with_fused(self.fused).init(device);
                channels = filters;
                block
            })
            .collect();
        Ok(CnnEncoder { blocks, fc: LinearConfig::new(flattened, self.out).init(device) })
    }
}

/// Convolution blocks, flatten (channel by channel, as PyTorch), fully connected: [B, C, P, P] → [B, out].
#[derive(Module, Debug)]
pub struct CnnEncoder {
    /// The blocks, each halving the patch.
    pub blocks: Vec<ConvBlock>,
    /// [flattened, out].
    pub fc: Linear,
}

impl CnnEncoder {
    /// Encodes patches: [B, C, P, P] → [B, out].
    ///
    /// # Panics
    /// If bands or patch side are not those of the configuration.
    pub fn forward(&self, patches: Tensor<4>) -> Tensor<2> {
        let mut x = patches;
        for block in &self.blocks {
            x = block.forward(x);
        }
        self.fc.forward(x.flatten(1, 3))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_the_patch() {
        let device = Device::flex();
        for (patch, flattened) in [(8, 256), (11, 256), (15, 256), (16, 1024), (17, 1024)] {
            let config = CnnEncoderConfig::hyperspectral(5, patch);
            assert_eq!(config.flattened(), Ok(flattened));
            let encoder = config.init(&device).unwrap();
            let out = encoder.forward(Tensor::ones([3, 5, patch, patch], &device));
            assert_eq!(out.dims(), [3, 512]);
        }
    }

    #[test]
    fn bad_sizes_are_errors() {
        assert_eq!(
            CnnEncoderConfig::hyperspectral(5, 7).flattened(),
            Err(CnnError::PatchTooSmall { patch: 7, blocks: 3, least: 8 })
        );
        assert_eq!(CnnEncoderConfig::lidar(0, 11).flattened(), Err(CnnError::Zero { what: "bands" }));
        assert!(CnnEncoderConfig::new(1, 11, vec![2; 200], 4).flattened().is_err());
        let huge = CnnEncoderConfig::new(1, usize::MAX, vec![2], 4).flattened();
        assert_eq!(huge, Err(CnnError::TooLarge { filters: 2, patch: usize::MAX }));
    }
}
