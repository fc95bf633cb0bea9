//! Sizes of a SpectralGPT encoder, its bands and statistics.

use std::collections::BTreeMap;

use geoglot_nn::transformer::Activation;
use geoglot_nn::vision::resample::Interpolation;
use geoglot_nn::vision::{FinalNorm, PatchKind, Pooling, PositionResampling, VitConfig};
use serde::{Deserialize, Serialize};

use crate::vision::{BandNeed, FixedBand, ImagePreprocess, ResizeMode, ValueScale};

/// Name, centre wavelength in µm, mean and standard deviation (in units of 10⁻⁴ reflectance, over fMoW-Sentinel: Cong et al. 2022) of each
/// Sentinel-2 band that the encoder reads, in its order.
#[allow(clippy::excessive_precision)] // As published.
const BANDS: [(&str, f32, f32, f32); 12] = [
    ("B01", 0.443, 1370.1915, 633.1517),
    ("B02", 0.492, 1184.3824, 650.2843),
    ("B03", 0.560, 1120.7712, 712.1251),
    ("B04", 0.665, 1136.2603, 965.2312),
    ("B05", 0.704, 1263.7395, 948.982),
    ("B06", 0.741, 1645.4032, 1108.0665),
    ("B07", 0.783, 1846.8704, 1258.3639),
    ("B08", 0.833, 1762.5953, 1233.1492),
    ("B8A", 0.865, 1972.6242, 1364.3869),
    ("B09", 0.945, 582.7263, 472.3797),
    ("B11", 1.614, 1732.1636, 1310.37),
    ("B12", 2.202, 1247.9187, 1087.602),
];

/// The bands the published encoders read.
pub fn sentinel2_bands() -> BandNeed {
    BandNeed::Fixed(BANDS.iter().map(|b| FixedBand { name: b.0.into(), wavelength: b.1 }).collect())
}

/// Reflectance standardised band by band, images resized to `size` pixels a side.
pub fn sentinel2_preprocess(size: usize) -> ImagePreprocess {
    ImagePreprocess {
        size: (size, size),
        resize: ResizeMode::Squash,
        resize_to: None,
        interpolation: Interpolation::Bilinear,
        values: ValueScale::AsIs,
        mean: BANDS.iter().map(|b| b.2 / 1e4).collect(),
        std: BANDS.iter().map(|b| b.3 / 1e4).collect(),
        by_band: BTreeMap::new(),
    }
}

/// What an encoder of some of the bands reads, and how images of `size` pixels a side are prepared for it: all twelve bands where `names` is
/// empty.
///
/// # Errors
/// Names that are not among the twelve, or given twice.
pub fn sentinel2_subset(names: &[String], size: usize) -> Result<(BandNeed, ImagePreprocess), String> {
    let (BandNeed::Fixed(bands), whole) = (sentinel2_bands(), sentinel2_preprocess(size)) else {
        unreachable!("the twelve bands are fixed");
    };
    if names.is_empty() {
        return Ok((BandNeed::Fixed(bands), whole));
    }
    let place = |name: &String| {
        bands.iter().position(|b| b.name == *name).ok_or_else(|| {
            let known: Vec<&str> = BANDS.iter().map(|b| b.0).collect();
            format!("no band `{name}`; expected some of {}", known.join(", "))
        })
    };
    let places = names.iter().map(place).collect::<Result<Vec<usize>, _>>()?;
    if let Some(k) = (1..places.len()).find(|k| places[..*k].contains(&places[*k])) {
        return Err(format!("`{}` is named twice", names[k]));
    }
    let pick = |of: &[f32]| places.iter().map(|&i| of[i]).collect();
    let preprocess = ImagePreprocess { mean: pick(&whole.mean), std: pick(&whole.std), ..whole.clone() };
    Ok((BandNeed::Fixed(places.iter().map(|&i| bands[i].clone()).collect()), preprocess))
}

/// Sizes of the encoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpectralGptConfig {
    /// Number of bands, a multiple of `group`.
    pub bands: usize,
    /// Bands of a token.
    pub group: usize,
    /// Pixels of a token's side.
    pub patch: usize,
    /// Rows and columns of the learned positions.
    pub grid: (usize, usize),
    /// Width of the tokens.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of the feed-forward parts.
    pub hidden: usize,
}

impl SpectralGptConfig {
    /// The published encoder of this width, and its number of heads: Base 768, Large 1024, Huge 1280.
    pub fn heads_of(width: usize) -> Option<usize> {
        match width {
            768 => Some(12),
            1024 | 1280 => Some(16),
            _ => None,
        }
    }

    /// SpectralGPT Base for images of 128 px.
    pub fn base() -> Self {
        Self { bands: 12, group: 3, patch: 8, grid: (16, 16), width: 768, depth: 12, heads: 12, hidden: 3072 }
    }

    /// Groups of bands.
    pub fn groups(&self) -> usize {
        self.bands / self.group.max(1)
    }

    /// Numbers of a token's pixels.
    pub fn token(&self) -> usize {
        self.group * self.patch * self.patch
    }

    /// What makes these sizes impossible, if anything.
    pub fn problem(&self) -> Option<String> {
        if self.group == 0 || self.bands == 0 || !self.bands.is_multiple_of(self.group) {
            return Some(format!("{} bands in groups of {}", self.bands, self.group));
        }
        self.blocks().problem()
    }

    /// The blocks and positions as those of a plain vision transformer.
    pub(super) fn blocks(&self) -> VitConfig {
        VitConfig {
            patch: self.patch,
            embed: PatchKind::Fixed { channels: self.group, bias: true },
            grid: self.grid,
            width: self.width,
            depth: self.depth,
            heads: self.heads,
            hidden: self.hidden,
            epsilon: 1e-6,
            activation: Activation::Gelu,
            class_token: false,
            class_position: false,
            registers: 0,
            pre_norm: false,
            layer_scale: false,
            norm: FinalNorm::Tokens,
            pooling: Pooling::Mean,
            projection: None,
            projection_bias: false,
            positions: PositionResampling::default(),
        }
    }
}
