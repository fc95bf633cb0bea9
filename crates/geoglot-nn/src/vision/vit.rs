//! The trunk: tokens, blocks, final norm, pooling, projection.

use burn::module::{Module, Param};
use burn::nn::{Initializer, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::{Device, FloatDType, Tensor};
use serde::{Deserialize, Serialize};

use super::pooling::{AttentionPool, AttentionPoolConfig};
use super::{
    PatchProjection, PositionResampling, VitBlock, WavelengthConfig, WavelengthEmbed, patch_grid, resample_positions,
};
use crate::layers;
use crate::transformer::Activation;

/// How patches become tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PatchKind {
    /// A fixed convolution over `channels` bands.
    Fixed {
        /// Number of bands C.
        channels: usize,
        /// Whether it has a bias.
        bias: bool,
    },
    /// A convolution generated from wavelengths, for any bands.
    Wavelength(WavelengthConfig),
}

/// How tokens become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// State of the class token.
    Class,
    /// Mean over the patch tokens.
    Mean,
    /// Attention pooling with a learned query.
    Map,
}

/// Where the final norm stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FinalNorm {
    /// On all tokens, before pooling.
    Tokens,
    /// On the pooled vector (timm's `fc_norm` with average pooling).
    Pooled,
}

/// Sizes and parts of a [`Vit`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VitConfig {
    /// Patch width P in pixels.
    pub patch: usize,
    /// How patches become tokens.
    pub embed: PatchKind,
    /// Rows and columns of the learned position grid.
    pub grid: (usize, usize),
    /// Width of the tokens.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of the feed-forward parts.
    pub hidden: usize,
    /// ε of the layer norms.
    pub epsilon: f64,
    /// Non-linearity of the feed-forward parts.
    #[serde(with = "activation_name")]
    pub activation: Activation,
    /// Whether a class token stands in front.
    #[serde(default)]
    pub class_token: bool,
    /// Whether the class token has a position.
    #[serde(default)]
    pub class_position: bool,
    /// Number of register tokens behind the class token, without positions (Darcet et al. 2024).
    #[serde(default)]
    pub registers: usize,
    /// Whether a norm stands before the blocks (CLIP).
    #[serde(default)]
    pub pre_norm: bool,
    /// Whether blocks scale their residuals (DINOv2).
    #[serde(default)]
    pub layer_scale: bool,
    /// Where the final norm stands.
    pub norm: FinalNorm,
    /// How tokens become one vector.
    pub pooling: Pooling,
    /// Width of a linear layer after pooling; `None` leaves the pooled vector.
    #[serde(default)]
    pub projection: Option<usize>,
    /// Whether that layer has a bias.
    #[serde(default)]
    pub projection_bias: bool,
    /// How positions are resampled for other image sizes.
    #[serde(default)]
    pub positions: PositionResampling,
}

/// Names of activations in configuration files, as Hugging Face has them.
mod activation_name {
    use super::Activation;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(activation: &Activation, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match activation {
            Activation::Gelu => "gelu",
            Activation::GeluTanh => "gelu_pytorch_tanh",
            Activation::QuickGelu => "quick_gelu",
            Activation::Relu => "relu",
        })
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Activation, D::Error> {
        let name = String::deserialize(deserializer)?;
        Activation::from_name(&name).ok_or_else(|| {
            D::Error::custom(format!("activation `{name}` is not gelu, gelu_pytorch_tanh, quick_gelu or relu"))
        })
    }
}

/// Most blocks of a tower; the largest published one has 56.
const MOST_BLOCKS: usize = 1024;
/// Largest of all other sizes.
const MOST_SIZE: usize = 1 << 20;

impl VitConfig {
    /// Width D of the pooled vector.
    pub fn output(&self) -> usize {
        self.projection.unwrap_or(self.width)
    }

    /// Tokens in front of the patches.
    pub fn prefix(&self) -> usize {
        usize::from(self.class_token) + self.registers
    }

    /// Rows of the position table.
    pub fn position_rows(&self) -> usize {
        usize::from(self.class_position) + self.grid.0 * self.grid.1
    }

    /// Rows and columns of the patches of an image.
    pub fn patches(&self, height: usize, width: usize) -> (usize, usize) {
        let padding = match self.embed {
            PatchKind::Fixed { .. } => 0,
            PatchKind::Wavelength(config) => config.padding,
        };
        patch_grid(height, width, self.patch, padding)
    }

    /// What makes these sizes impossible, if anything.
    pub fn problem(&self) -> Option<String> {
        if self.heads == 0 || !self.width.is_multiple_of(self.heads) {
            return Some(format!("width {} is not a multiple of {} heads", self.width, self.heads));
        }
        let sizes =
            [self.patch, self.grid.0, self.grid.1, self.width, self.depth, self.hidden, self.projection.unwrap_or(1)];
        if sizes.contains(&0) {
            return Some(format!("a size is 0: patch, grid, width, depth, hidden, projection are {sizes:?}"));
        }
        // What the tensors of a file do not tell is made before they are compared.
        if self.depth > MOST_BLOCKS || self.registers > MOST_SIZE || sizes.iter().any(|&s| s > MOST_SIZE) {
            return Some(format!(
                "no tower is this large: patch, grid, width, depth, hidden, projection are {sizes:?} with {} registers; at most \
                 {MOST_BLOCKS} blocks and {MOST_SIZE} of everything else",
                self.registers
            ));
        }
        if self.pooling == Pooling::Class && !self.class_token {
            return Some("pooling is `class` but there is no class token".into());
        }
        if self.class_position && !self.class_token {
            return Some("the class token has a position but does not exist".into());
        }
        if let PatchKind::Wavelength(w) = self.embed
            && (w.heads == 0
                || w.embedding == 0
                || !w.embedding.is_multiple_of(2)
                || !w.embedding.is_multiple_of(w.heads))
        {
            return Some(format!("wavelength embedding of width {} in {} heads", w.embedding, w.heads));
        }
        None
    }

    /// Builds the trunk with initial weights.
    ///
    /// # Panics
    /// When [`VitConfig::problem`] says something; configurations from files are checked before.
    pub fn init(&self, device: &Device) -> Vit {
        if let Some(problem) = self.problem() {
            panic!("{problem}");
        }
        let small = Initializer::Normal { mean: 0.0, std: 0.02 };
        let norm = || LayerNormConfig::new(self.width).with_epsilon(self.epsilon).init(device);
        let (patch, wavelength) = match self.embed {
            PatchKind::Fixed { channels, bias } => {
                (Some(PatchProjection::init(channels, self.patch, self.width, bias, device)), None)
            }
            PatchKind::Wavelength(config) => (None, Some(config.init(self.patch, self.width, device))),
        };
        let pool = AttentionPoolConfig {
            width: self.width,
            heads: self.heads,
            hidden: self.hidden,
            epsilon: self.epsilon,
            activation: self.activation,
        };
        let projection = |to| LinearConfig::new(self.width, to).with_bias(self.projection_bias).init(device);
        Vit {
            patch,
            wavelength,
            class_token: self.class_token.then(|| small.init([1, self.width], device)),
            registers: (self.registers > 0).then(|| small.init([self.registers, self.width], device)),
            position: small.init([self.position_rows(), self.width], device),
            pre_norm: self.pre_norm.then(norm),
            blocks: (0..self.depth).map(|_| VitBlock::init(self, device)).collect(),
            norm: norm(),
            pool: (self.pooling == Pooling::Map).then(|| pool.init(device)),
            projection: self.projection.map(projection),
            config: self.clone(),
        }
    }
}

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
    use super::*;

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
