//! Sizes and parts of the trunk.

use burn::nn::{Initializer, LayerNormConfig, LinearConfig};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::Vit;
use crate::transformer::Activation;
use crate::vision::pooling::AttentionPoolConfig;
use crate::vision::{PatchProjection, PositionResampling, VitBlock, WavelengthConfig, patch_grid};

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
