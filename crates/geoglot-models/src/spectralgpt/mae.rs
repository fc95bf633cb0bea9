//! Pre-training on masked tokens (He et al. 2022; SpectralGPT, §"Multi-target reconstruction"): the encoder sees one token in ten, a small
//! decoder draws the others.

use burn::module::{Module, Param};
use burn::nn::{Initializer, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::{Device, Int, Tensor, TensorData};
use geoglot_nn::vision::VitBlock;
use serde::{Deserialize, Serialize};

use super::{SpectralGpt, SpectralGptConfig};

/// Sizes of the decoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaeConfig {
    /// Width of its tokens.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
}

impl Default for MaeConfig {
    /// The published decoder: width 512, 4 blocks, 16 heads.
    fn default() -> Self {
        Self { width: 512, depth: 4, heads: 16 }
    }
}

/// The two losses of a batch, means of squared differences.
#[derive(Debug, Clone)]
pub struct SpectralLoss {
    /// Over the masked tokens' pixels: token to token.
    pub token: Tensor<1>,
    /// Over whole spectral sequences, visible groups included, at the positions where a group is masked: spectrum to spectrum. Numbers are
    /// band means of a patch, so that it is the spectrum's shape that counts and not its texture.
    pub spectral: Tensor<1>,
}

/// Encoder and decoder.
#[derive(Module, Debug)]
pub struct SpectralMae {
    /// What is kept after pre-training.
    pub encoder: SpectralGpt,
    /// Encoder to decoder.
    pub decoder_embed: Linear,
    /// Stands for every masked token, `[1, width]`.
    pub mask_token: Param<Tensor<2>>,
    /// The decoder's positions in space.
    pub decoder_spatial: Param<Tensor<2>>,
    /// The decoder's positions in the spectrum.
    pub decoder_spectral: Param<Tensor<2>>,
    /// The decoder's blocks.
    pub decoder_blocks: Vec<VitBlock>,
    /// Its final norm.
    pub decoder_norm: LayerNorm,
    /// States to pixels.
    pub decoder_pred: Linear,
}

impl MaeConfig {
    /// What makes these sizes impossible, if anything.
    pub fn problem(&self) -> Option<String> {
        self.blocks(&SpectralGptConfig::base()).problem().map(|p| format!("decoder: {p}"))
    }

    fn blocks(&self, encoder: &SpectralGptConfig) -> geoglot_nn::vision::VitConfig {
        let mut blocks = encoder.blocks();
        (blocks.width, blocks.depth, blocks.heads, blocks.hidden) =
            (self.width, self.depth, self.heads, 4 * self.width);
        blocks
    }

    /// Encoder and decoder with initial weights.
    ///
    /// # Panics
    /// When a size is impossible.
    pub fn init(&self, encoder: &SpectralGptConfig, device: &Device) -> SpectralMae {
        if let Some(problem) = self.problem() {
            panic!("{problem}");
        }
        let small = Initializer::Normal { mean: 0.0, std: 0.02 };
        let vit = self.blocks(encoder);
        SpectralMae {
            encoder: encoder.init(device),
            decoder_embed: LinearConfig::new(encoder.width, self.width).init(device),
            mask_token: small.init([1, self.width], device),
            decoder_spatial: small.init([encoder.grid.0 * encoder.grid.1, self.width], device),
            decoder_spectral: small.init([encoder.groups(), self.width], device),
            decoder_blocks: (0..self.depth).map(|_| VitBlock::init(&vit, device)).collect(),
            decoder_norm: LayerNormConfig::new(self.width).with_epsilon(vit.epsilon).init(device),
            decoder_pred: LinearConfig::new(self.width, encoder.token()).init(device),
        }
    }
}

impl SpectralMae {
    /// Losses of images [B, C, H, W] of the learned grid's size; `visible[b]` are the tokens the encoder sees of image b, equally many of
    /// each, ascending.
    ///
    /// # Panics
    /// For another number of lists than images, or lists of different lengths.
    pub fn loss(&self, images: Tensor<4>, visible: &[Vec<usize>]) -> SpectralLoss {
        let device = images.device();
        let (targets, [b, n]) = (self.targets(images.clone()), [images.dims()[0], self.count()]);
        let kept = visible[0].len();
        assert!(visible.len() == b && visible.iter().all(|v| v.len() == kept), "lists of visible tokens");
        let tokens = self.encoder.tokens(images);
        let d = tokens.dims()[2];
        let ints = |v: Vec<i64>| {
            let len = v.len();
            Tensor::<1, Int>::from_data(TensorData::new(v, [len]), &device)
        };
        let rows = visible.iter().enumerate().flat_map(|(i, v)| v.iter().map(move |t| (i * n + t) as i64)).collect();
        let seen = tokens.reshape([b * n, d]).select(0, ints(rows)).reshape([b, kept, d]);
        let states = self.decoder_embed.forward(self.encoder.encode(seen));
        let width = states.dims()[2];
        // The mask token is the last row; every place takes its visible token's row or that one.
        let table = Tensor::cat(vec![states.reshape([b * kept, width]), self.mask_token.val()], 0);
        let mut places = vec![(b * kept) as i64; b * n];
        let mut masked = vec![1f32; b * n];
        for (i, list) in visible.iter().enumerate() {
            for (k, t) in list.iter().enumerate() {
                places[i * n + t] = (i * kept + k) as i64;
                masked[i * n + t] = 0.0;
            }
        }
        let config = self.encoder.config();
        let (groups, cells) = (config.groups(), n / config.groups());
        let positions = self.decoder_spatial.val().reshape([1, cells, width])
            + self.decoder_spectral.val().reshape([groups, 1, width]);
        let all = table.select(0, ints(places)).reshape([b, n, width]) + positions.reshape([1, n, width]);
        let states = self.decoder_blocks.iter().fold(all, |x, block| block.forward(x));
        let drawn = self.decoder_pred.forward(self.decoder_norm.forward(states));
        let error = drawn - targets;
        // Positions where a group is masked: their whole spectrum counts.
        let mut spectra = vec![0f32; b * n];
        for i in 0..b {
            for cell in 0..cells {
                if (0..groups).any(|g| masked[i * n + g * cells + cell] > 0.0) {
                    (0..groups).for_each(|g| spectra[i * n + g * cells + cell] = 1.0);
                }
            }
        }
        let weighted = |values: Tensor<2>, weights: Vec<f32>| {
            let sum: f32 = weights.iter().sum();
            let weights = Tensor::<2>::from_data(TensorData::new(weights, [b, n]), &device);
            (values * weights).sum() / sum.max(1.0)
        };
        let token = error.clone().square().mean_dim(2).reshape([b, n]);
        let pixels = config.patch * config.patch;
        let means = error.reshape([b * n, config.group, pixels]).mean_dim(2).reshape([b * n, config.group]);
        let spectral = means.square().mean_dim(1).reshape([b, n]);
        SpectralLoss { token: weighted(token, masked), spectral: weighted(spectral, spectra) }
    }

    /// Tokens of an image.
    pub fn count(&self) -> usize {
        let config = self.encoder.config();
        config.groups() * config.grid.0 * config.grid.1
    }

    /// Pixels of every token, [B, N, group·P·P], in the order of the patch embedding's kernel.
    fn targets(&self, images: Tensor<4>) -> Tensor<3> {
        let config = self.encoder.config();
        let [b, _, _, _] = images.dims();
        let ((h, w), p, g) = (config.grid, config.patch, config.group);
        let n = self.count();
        images
            .reshape([b * config.groups(), g, h, p, w * p])
            .reshape([b * config.groups(), g, h, p, w, p])
            .permute([0, 2, 4, 1, 3, 5])
            .reshape([b, n, g * p * p])
    }
}
