//! The trunk: tokens, blocks, final norm, pooling, projection.

use burn::module::{Module, Param};
use burn::nn::{LayerNorm, Linear};
use burn::tensor::{FloatDType, Tensor};

use super::pooling::AttentionPool;
use super::{PatchProjection, VitBlock, WavelengthEmbed, resample_positions};
use crate::layers;

mod config;

pub use config::{FinalNorm, PatchKind, Pooling, VitConfig};

/// A vision transformer.
#[derive(Module, Debug)]
pub struct Vit {
    /// Fixed patch embedding.
    pub patch: Option<PatchProjection>,
    /// Any-band patch embedding.
    pub wavelength: Option<WavelengthEmbed>,
    /// Class token, `[1, width]`.
    pub class_token: Option<Param<Tensor<2>>>,
    /// Register tokens, `[R, width]`.
    pub registers: Option<Param<Tensor<2>>>,
    /// Positions, `[rows, width]`: the class token's first, if it has one.
    pub position: Param<Tensor<2>>,
    /// Norm before the blocks.
    pub pre_norm: Option<LayerNorm>,
    /// Blocks.
    pub blocks: Vec<VitBlock>,
    /// Final norm.
    pub norm: LayerNorm,
    /// Attention pooling.
    pub pool: Option<AttentionPool>,
    /// Projection after pooling.
    pub projection: Option<Linear>,
    #[module(skip)]
    config: VitConfig,
}

impl Vit {
    /// Sizes and parts.
    pub fn config(&self) -> &VitConfig {
        &self.config
    }

    /// Positions for a patch grid: of the class token, `[1, width]` if it has one, and of the patches, `[h·w, width]`.
    pub fn positions(&self, grid: (usize, usize)) -> (Option<Tensor<2>>, Tensor<2>) {
        let table = self.position.val();
        let first = usize::from(self.config.class_position);
        let patches = table.clone().narrow(0, first, self.config.grid.0 * self.config.grid.1);
        let class = (first == 1).then(|| table.narrow(0, 0, 1));
        (class, resample_positions(patches, self.config.grid, grid, self.config.positions))
    }

    /// Patch tokens `[B, h·w, width]` with positions added, class and register tokens in front, normed where the model does:
    /// what the first block reads, `[B, prefix + h·w, width]`.
    pub fn assemble(&self, patches: Tensor<3>, positions: &(Option<Tensor<2>>, Tensor<2>)) -> Tensor<3> {
        let b = patches.dims()[0];
        let width = self.config.width;
        let mut parts = Vec::with_capacity(3);
        if let Some(token) = &self.class_token {
            let token = match &positions.0 {
                Some(position) => token.val() + position.clone(),
                None => token.val(),
            };
            parts.push(token.unsqueeze::<3>().expand([b, 1, width]));
        }
        if let Some(registers) = &self.registers {
            parts.push(registers.val().unsqueeze::<3>().expand([b, self.config.registers, width]));
        }
        parts.push(patches + positions.1.clone().unsqueeze::<3>());
        let tokens = if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(parts, 1) };
        match &self.pre_norm {
            Some(norm) => layers::norm(norm, self.config.epsilon, tokens),
            None => tokens,
        }
    }

    /// The patch tokens `[B, h·w, width]` of the last block's tokens, after the final norm.
    pub fn patch_tokens(&self, tokens: Tensor<3>) -> Tensor<3> {
        layers::norm(&self.norm, self.config.epsilon, self.behind_prefix(tokens))
    }

    /// The patches' tokens. Taking a part costs a copy of the gradient, so that none is taken where there is no prefix.
    fn behind_prefix(&self, tokens: Tensor<3>) -> Tensor<3> {
        match self.config.prefix() {
            0 => tokens,
            prefix => {
                let n = tokens.dims()[1] - prefix;
                tokens.narrow(1, prefix, n)
            }
        }
    }

    /// One vector an image, `[B, D]`, from the last block's tokens `[B, prefix + h·w, width]`.
    pub fn pool(&self, tokens: Tensor<3>) -> Tensor<2> {
        let [b, _, width] = tokens.dims();
        // A norm acts on each token alone, so that only the pooled ones need it.
        let normed = |tokens: Tensor<3>| match self.config.norm {
            FinalNorm::Tokens => layers::norm(&self.norm, self.config.epsilon, tokens),
            FinalNorm::Pooled => tokens,
        };
        let pooled = match (self.config.pooling, &self.pool) {
            (Pooling::Map, Some(pool)) => pool.forward(normed(self.behind_prefix(tokens))),
            (Pooling::Class, _) => normed(tokens.narrow(1, 0, 1)).reshape([b, width]),
            _ => normed(self.behind_prefix(tokens)).mean_dim(1).reshape([b, width]),
        };
        let pooled = match self.config.norm {
            FinalNorm::Tokens => pooled,
            FinalNorm::Pooled => layers::norm(&self.norm, self.config.epsilon, pooled),
        };
        match &self.projection {
            Some(projection) => layers::linear(projection, pooled),
            None => pooled,
        }
    }

    /// Every patch in the space of the pooled vector, `[B, h·w, D]`, from the last block's tokens: norm, then what pooling
    /// does to a single token, then the projection.
    pub fn dense(&self, tokens: Tensor<3>) -> Tensor<3> {
        let tokens = self.patch_tokens(tokens);
        let tokens = match &self.pool {
            Some(pool) => pool.each(tokens),
            None => tokens,
        };
        match &self.projection {
            Some(projection) => layers::linear(projection, tokens),
            None => tokens,
        }
    }

    /// Patch tokens `[B, h·w, width]` of images `[B, C, H, W]`; `wavelengths` in µm, one a band, for an any-band embedding.
    ///
    /// # Panics
    /// When an any-band trunk gets no wavelengths.
    pub fn embed(&self, images: Tensor<4>, wavelengths: &[f32]) -> Tensor<3> {
        match (&self.patch, &self.wavelength) {
            (Some(patch), _) => patch.forward(images),
            (None, Some(embed)) => embed.forward(images, &embed.kernels(wavelengths)),
            (None, None) => unreachable!("a trunk is built with one of the two"),
        }
    }

    /// Images `[B, C, H, W]` to the last block's tokens `[B, prefix + h·w, width]`, with gradients. Blocks whose weights are of another type than
    /// f32 compute in it; the tokens they get and give are converted.
    pub fn forward(&self, images: Tensor<4>, wavelengths: &[f32]) -> Tensor<3> {
        let [_, _, height, width] = images.dims();
        let positions = self.positions(self.config.patches(height, width));
        let tokens = self.assemble(self.embed(images, wavelengths), &positions);
        let through = |tokens| self.blocks.iter().fold(tokens, |x, block| block.forward(x));
        let (outside, inside) = (tokens.dtype(), self.blocks[0].fc1.weight.val().dtype());
        match outside == inside {
            true => through(tokens),
            false => through(tokens.cast(FloatDType::from(inside))).cast(FloatDType::from(outside)),
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::transformer::Activation;
    use crate::vision::PositionResampling;

    fn config() -> VitConfig {
        VitConfig {
            patch: 4,
            embed: PatchKind::Fixed { channels: 3, bias: true },
            grid: (3, 3),
            width: 8,
            depth: 2,
            heads: 2,
            hidden: 12,
            epsilon: 1e-6,
            activation: Activation::Gelu,
            class_token: true,
            class_position: true,
            registers: 2,
            pre_norm: true,
            layer_scale: true,
            norm: FinalNorm::Tokens,
            pooling: Pooling::Class,
            projection: Some(5),
            projection_bias: false,
            positions: PositionResampling::default(),
        }
    }

    #[test]
    fn shapes_for_any_size() {
        let device = Device::flex();
        let vit = config().init(&device);
        for (h, w) in [(12, 12), (17, 30), (4, 4)] {
            let tokens = vit.forward(Tensor::ones([2, 3, h, w], &device), &[]);
            assert_eq!(tokens.dims(), [2, 3 + (h / 4) * (w / 4), 8]);
            assert_eq!(vit.pool(tokens.clone()).dims(), [2, 5]);
            assert_eq!(vit.dense(tokens).dims(), [2, (h / 4) * (w / 4), 5]);
        }
    }

    #[test]
    fn impossible_sizes_are_named() {
        assert_eq!(config().problem(), None);
        for (edit, word) in [
            ((|c: &mut VitConfig| c.heads = 3) as fn(&mut VitConfig), "heads"),
            (|c| c.depth = 0, "size is 0"),
            (|c| c.class_token = false, "class token"),
        ] {
            let mut c = config();
            edit(&mut c);
            assert!(c.problem().unwrap().contains(word));
        }
    }

    #[test]
    fn a_configuration_survives_json() {
        let text = serde_json::to_string(&config()).unwrap();
        assert_eq!(serde_json::from_str::<VitConfig>(&text).unwrap(), config());
        assert!(serde_json::from_str::<VitConfig>(&text.replace("\"gelu\"", "\"swish\"")).is_err());
    }
}
