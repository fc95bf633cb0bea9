//! The encoder as a module.

use burn::module::{Module, Param};
use burn::nn::{Initializer, LayerNorm, LayerNormConfig};
use burn::tensor::{Device, Tensor};
use geoglot_nn::vision::{PatchProjection, VitBlock, resample_positions};

use super::SpectralGptConfig;

/// SpectralGPT's encoder.
#[derive(Module, Debug)]
pub struct SpectralGpt {
    /// One convolution for all groups of bands, `[D, group, P, P]`.
    pub patch: PatchProjection,
    /// Positions in space, `[h·w, D]`.
    pub position_spatial: Param<Tensor<2>>,
    /// Positions in the spectrum, `[groups, D]`.
    pub position_spectral: Param<Tensor<2>>,
    /// Blocks.
    pub blocks: Vec<VitBlock>,
    /// Final norm.
    pub norm: LayerNorm,
    #[module(skip)]
    config: SpectralGptConfig,
}

impl SpectralGptConfig {
    /// An encoder with initial weights.
    ///
    /// # Panics
    /// When [`SpectralGptConfig::problem`] says something.
    pub fn init(&self, device: &Device) -> SpectralGpt {
        if let Some(problem) = self.problem() {
            panic!("{problem}");
        }
        let small = Initializer::Normal { mean: 0.0, std: 0.02 };
        let vit = self.blocks();
        SpectralGpt {
            patch: PatchProjection::init(self.group, self.patch, self.width, true, device),
            position_spatial: small.init([self.grid.0 * self.grid.1, self.width], device),
            position_spectral: small.init([self.groups(), self.width], device),
            blocks: (0..self.depth).map(|_| VitBlock::init(&vit, device)).collect(),
            norm: LayerNormConfig::new(self.width).with_epsilon(vit.epsilon).init(device),
            config: self.clone(),
        }
    }
}

impl SpectralGpt {
    /// Its sizes.
    pub fn config(&self) -> &SpectralGptConfig {
        &self.config
    }

    /// Rows and columns of the tokens of an image.
    pub fn grid(&self, height: usize, width: usize) -> (usize, usize) {
        (height / self.config.patch, width / self.config.patch)
    }

    /// Images [B, C, H, W] to tokens [B, groups·h·w, D] with their positions, spectral groups outermost. Positions of another grid than
    /// the learned one are resampled.
    pub fn tokens(&self, images: Tensor<4>) -> Tensor<3> {
        let ([b, c, height, width], groups) = (images.dims(), self.config.groups());
        let (h, w) = self.grid(height, width);
        // What is left over at the right and lower edge is dropped, as by a convolution of this stride.
        let images = match (h * self.config.patch, w * self.config.patch) == (height, width) {
            true => images,
            false => images.slice([0..b, 0..c, 0..h * self.config.patch, 0..w * self.config.patch]),
        };
        let (height, width) = (h * self.config.patch, w * self.config.patch);
        let tokens = self.patch.forward(images.reshape([b * groups, self.config.group, height, width]));
        let d = self.config.width;
        let how = Default::default();
        let spatial = resample_positions(self.position_spatial.val(), self.config.grid, (h, w), how);
        let positions = spatial.reshape([1, h * w, d]) + self.position_spectral.val().reshape([groups, 1, d]);
        tokens.reshape([b, groups * h * w, d]) + positions.reshape([1, groups * h * w, d])
    }

    /// Tokens [B, N, D] through all blocks and the final norm.
    pub fn encode(&self, tokens: Tensor<3>) -> Tensor<3> {
        self.norm.forward(self.blocks.iter().fold(tokens, |x, block| block.forward(x)))
    }
}
