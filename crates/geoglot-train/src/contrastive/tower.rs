//! The image tower of a recipe.

use geoglot_models::geolangbind::Placeholders;
use geoglot_models::vision::{BandNeed, ImagePreprocess, Left, ResizeMode, ValueScale, VisionConfig};
use geoglot_nn::transformer::Activation;
use geoglot_nn::vision::resample::Interpolation;
use geoglot_nn::vision::{
    FinalNorm, KernelLayout, PatchKind, Pooling, PositionResampling, VitConfig, WavelengthConfig,
};
use serde::{Deserialize, Serialize};

/// The image tower. Defaults are those of GeoLangBind Base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TowerSection {
    /// Side of the network's input in pixels.
    pub size: usize,
    /// Side of a patch in pixels.
    pub patch: usize,
    /// Width of the tokens.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of the feed-forward parts; 4 times `width` when none is given.
    pub hidden: Option<usize>,
    /// Sizes of the layer that makes kernels from wavelengths.
    pub wavelength: WavelengthConfig,
    /// How values become numbers of about 0–1: `byte`, `sensor-range`, `as-is` or `{ ranges = [[low, high]] }`.
    pub values: ValueScale,
    /// What stands in for the wavelength of bands without one.
    pub placeholders: Placeholders,
    /// Image tower whose weights training begins with: a folder (relative to the recipe), a weight file or a name of `geoglot models list`.
    /// Patch embedding and projection may differ; everything else must fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// Licence written beside the weights.
    pub license: Option<String>,
}

impl Default for TowerSection {
    fn default() -> Self {
        let wavelength = WavelengthConfig {
            embedding: 128,
            weight_tokens: 128,
            heads: 4,
            hidden: 2048,
            layout: KernelLayout::BandRowColumnWidth,
            padding: 0,
        };
        Self {
            size: 224,
            patch: 16,
            width: 768,
            depth: 12,
            heads: 12,
            hidden: None,
            wavelength,
            values: ValueScale::SensorRange,
            placeholders: Placeholders::rgb(),
            start: None,
            license: None,
        }
    }
}

impl TowerSection {
    /// The tower's configuration for a space of width `space`.
    pub fn config(&self, space: usize) -> VisionConfig {
        let side = self.size / self.patch.max(1);
        let vit = VitConfig {
            patch: self.patch,
            embed: PatchKind::Wavelength(self.wavelength),
            grid: (side, side),
            width: self.width,
            depth: self.depth,
            heads: self.heads,
            hidden: self.hidden.unwrap_or(4 * self.width),
            epsilon: 1e-6,
            activation: Activation::Gelu,
            class_token: false,
            class_position: false,
            registers: 0,
            pre_norm: false,
            layer_scale: false,
            norm: FinalNorm::Tokens,
            pooling: Pooling::Map,
            // The text tower is frozen, so that the images' side brings the width.
            projection: (space != self.width).then_some(space),
            projection_bias: true,
            positions: PositionResampling { antialias: true, offset: 0.0 },
        };
        VisionConfig {
            vit,
            bands: BandNeed::Any(self.placeholders),
            preprocess: ImagePreprocess {
                size: (self.size, self.size),
                resize: ResizeMode::Squash,
                resize_to: None,
                interpolation: Interpolation::Bicubic,
                values: self.values.clone(),
                mean: vec![0.5],
                std: vec![0.5],
                by_band: Default::default(),
            },
            ignore: vec![Left {
                names: "^logit_(scale|bias)$".into(),
                why: "scale and bias of the training loss".into(),
            }],
            initial: Vec::new(),
        }
    }
}
