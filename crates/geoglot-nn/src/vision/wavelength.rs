//! Patch embedding whose kernels are generated from the bands' centre wavelengths (DOFA, Xiong et al. 2024; GeoLangBind,
//! §"Wavelength-aware dynamic encoder"): any number of bands, in any order.

use std::sync::Mutex;

use burn::module::{Module, Param};
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::patch::{patch_grid, patches};
use crate::layers;
use crate::transformer::{Activation, EncoderBlock, EncoderBlockConfig, NormPlacement};

/// The generated numbers are multiplied by this.
const SCALE: f32 = 0.01;

/// How a checkpoint's generated numbers are to be read as a kernel. The two are incompatible, and a file does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KernelLayout {
    /// A band's numbers are `[P, P, D]`: GeoLangBind, and DOFA since its 100-epoch release.
    BandRowColumnWidth,
    /// All numbers are read as `[D, C, P, P]`: the first DOFA release.
    WidthBandRowColumn,
}

/// Sizes of a [`WavelengthEmbed`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WavelengthConfig {
    /// Width d of the wavelength embedding.
    #[serde(default = "embedding")]
    pub embedding: usize,
    /// Number of weight tokens.
    #[serde(default = "weight_tokens")]
    pub weight_tokens: usize,
    /// Heads of the generator's encoder layer.
    #[serde(default = "heads")]
    pub heads: usize,
    /// Feed-forward width of the generator's encoder layer.
    #[serde(default = "hidden")]
    pub hidden: usize,
    /// How generated numbers become kernels.
    pub layout: KernelLayout,
    /// Zeros around the image: 1 in DOFA, 0 in GeoLangBind.
    pub padding: usize,
}

fn embedding() -> usize {
    128
}
fn weight_tokens() -> usize {
    128
}
fn heads() -> usize {
    4
}
fn hidden() -> usize {
    2048
}

/// Generates the patch embedding's kernel and bias from wavelengths.
#[derive(Module, Debug)]
pub struct WavelengthEmbed {
    /// First layer on the wavelength embedding, d → d.
    pub fc1: Linear,
    /// Second layer, d → d.
    pub fc2: Linear,
    /// Learned tokens in front of the bands, `[T, d]`.
    pub weight_tokens: Param<Tensor<2>>,
    /// Learned token behind the bands, whose state gives the bias, `[1, d]`.
    pub bias_token: Param<Tensor<2>>,
    /// One post-norm encoder layer, without positions: the order of the bands cannot matter.
    pub encoder: EncoderBlock,
    /// A band's state to its part of the kernel, d → P·P·D.
    pub kernel: Linear,
    /// The bias token's state to the bias, d → D.
    pub bias: Linear,
    patch: usize,
    width: usize,
    #[module(skip)]
    config: WavelengthConfig,
}

/// Generated kernel and bias of one set of bands.
#[derive(Debug, Clone)]
pub struct PatchKernels {
    /// Kernel as a matrix, `[C·P·P, D]`.
    pub matrix: Tensor<2>,
    /// Bias, `[1, D]`.
    pub bias: Tensor<2>,
}

impl WavelengthConfig {
    /// Builds the layer for patches of `patch` pixels and tokens of `width`.
    pub fn init(&self, patch: usize, width: usize, device: &Device) -> WavelengthEmbed {
        let d = self.embedding;
        let linear = |to| LinearConfig::new(d, to).init(device);
        let token = Initializer::Normal { mean: 0.0, std: 0.02 };
        let encoder = EncoderBlockConfig {
            width: d,
            heads: self.heads,
            hidden: self.hidden,
            epsilon: 1e-5,
            activation: Activation::Gelu,
            norm: NormPlacement::After,
        };
        WavelengthEmbed {
            fc1: linear(d),
            fc2: linear(d),
            weight_tokens: token.init([self.weight_tokens, d], device),
            bias_token: token.init([1, d], device),
            encoder: encoder.init(device),
            kernel: linear(patch * patch * width),
            bias: linear(width),
            patch,
            width,
            config: *self,
        }
    }
}

impl WavelengthEmbed {
    /// Sizes, layout and padding.
    pub fn config(&self) -> &WavelengthConfig {
        &self.config
    }

    /// Kernel and bias for bands with these centre wavelengths in µm (C ≥ 1), in the images' band order.
    pub fn kernels(&self, wavelengths: &[f32]) -> PatchKernels {
        let device = self.bias_token.device();
        let (c, t, p, d) = (wavelengths.len(), self.config.weight_tokens, self.patch, self.width);
        let encoded = sine_cosine(wavelengths.iter().map(|w| w * 1000.0), self.config.embedding, &device);
        let bands = encoded.clone()
            + layers::activated(&self.fc2, Activation::Relu, layers::activated(&self.fc1, Activation::Relu, encoded));
        let sequence = Tensor::cat(vec![self.weight_tokens.val(), bands.clone(), self.bias_token.val()], 0);
        let states = self.encoder.forward(sequence.unsqueeze::<3>(), None).squeeze_dim::<2>(0);
        let generated = layers::linear(&self.kernel, states.clone().narrow(0, t, c) + bands) * SCALE;
        let matrix = match self.config.layout {
            KernelLayout::BandRowColumnWidth => generated.reshape([c * p * p, d]),
            KernelLayout::WidthBandRowColumn => generated.reshape([d, c * p * p]).transpose(),
        };
        PatchKernels { matrix, bias: layers::linear(&self.bias, states.narrow(0, t + c, 1)) * SCALE }
    }

    /// Images `[B, C, H, W]` to tokens `[B, h·w, D]` with kernels made for their bands.
    pub fn forward(&self, images: Tensor<4>, kernels: &PatchKernels) -> Tensor<3> {
        let b = images.dims()[0];
        let rows = patches(images, self.patch, self.config.padding);
        let n = rows.dims()[0] / b.max(1);
        let bias = kernels.bias.clone().reshape([self.width]);
        layers::project(rows, kernels.matrix.clone(), Some(bias)).reshape([b, n, self.width])
    }

    /// Rows and columns of the patches of an image.
    pub fn grid(&self, height: usize, width: usize) -> (usize, usize) {
        patch_grid(height, width, self.patch, self.config.padding)
    }
}

/// [sin(p·ω), cos(p·ω)] with ω_k = 10000^(−k/(d/2)), `[positions, d]`; in f32, as the published models were trained.
pub fn sine_cosine(positions: impl Iterator<Item = f32>, d: usize, device: &Device) -> Tensor<2> {
    let half = d / 2;
    let omega: Vec<f32> = (0..half).map(|k| 1.0 / 10000f32.powf(k as f32 / half as f32)).collect();
    let mut values = Vec::new();
    for p in positions {
        values.extend(omega.iter().map(|w| (p * w).sin()));
        values.extend(omega.iter().map(|w| (p * w).cos()));
    }
    let rows = values.len() / d;
    Tensor::from_data(TensorData::new(values, [rows, d]), device)
}

/// Kernels by set of wavelengths: they depend on nothing else, so that a sensor's are computed once.
#[derive(Debug, Default)]
pub struct KernelCache {
    entries: Mutex<Vec<(Vec<u32>, PatchKernels)>>,
}

/// Sensors whose kernels are kept; the least recently used goes first. A 200-band kernel takes about 150 MB.
const SENSORS: usize = 8;

impl KernelCache {
    /// The kernels of `embed` for `wavelengths`, from the cache or computed now. A cache belongs to one module.
    pub fn get(&self, embed: &WavelengthEmbed, wavelengths: &[f32]) -> PatchKernels {
        let key: Vec<u32> = wavelengths.iter().map(|w| w.to_bits()).collect();
        let mut entries = self.entries.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let entry = match entries.iter().position(|(k, _)| *k == key) {
            Some(at) => entries.remove(at),
            None => {
                if entries.len() == SENSORS {
                    entries.remove(0);
                }
                (key, embed.kernels(wavelengths))
            }
        };
        let kernels = entry.1.clone();
        entries.push(entry);
        kernels
    }

    /// Number of sensors in the cache.
    pub fn len(&self) -> usize {
        self.entries.lock().unwrap_or_else(std::sync::PoisonError::into_inner).len()
    }

    /// Whether nothing was computed yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Distribution;

    fn embed(layout: KernelLayout, padding: usize) -> WavelengthEmbed {
        let device = Device::flex();
        device.seed(7);
        WavelengthConfig { embedding: 16, weight_tokens: 4, heads: 2, hidden: 32, layout, padding }.init(4, 6, &device)
    }

    #[test]
    fn the_order_of_the_bands_does_not_matter_and_any_number_goes() {
        let device = Device::flex();
        let embed = embed(KernelLayout::BandRowColumnWidth, 0);
        for c in [1usize, 2, 3, 13, 202] {
            let waves: Vec<f32> = (0..c).map(|i| 0.4 + 0.01 * i as f32).collect();
            let images = Tensor::<4>::random([2, c, 9, 13], Distribution::Normal(0., 1.), &device);
            let tokens = embed.forward(images.clone(), &embed.kernels(&waves));
            assert_eq!(tokens.dims(), [2, 6, 6]);
            let reversed: Vec<f32> = waves.iter().rev().copied().collect();
            let other = embed.forward(images.flip([1]), &embed.kernels(&reversed));
            let difference: f32 = (tokens - other).abs().max().into_scalar();
            assert!(difference < 1e-5, "{c} bands: {difference}");
        }
    }

    #[test]
    fn layout_and_padding_are_told_apart() {
        let device = Device::flex();
        let images = Tensor::<4>::random([1, 3, 8, 8], Distribution::Normal(0., 1.), &device);
        let waves = [0.665, 0.56, 0.49];
        let tokens = |layout, padding| {
            let embed = embed(layout, padding);
            assert_eq!(embed.grid(8, 8), (2, 2));
            embed.forward(images.clone(), &embed.kernels(&waves))
        };
        let plain = tokens(KernelLayout::BandRowColumnWidth, 0);
        for other in [tokens(KernelLayout::WidthBandRowColumn, 0), tokens(KernelLayout::BandRowColumnWidth, 1)] {
            let difference: f32 = (plain.clone() - other).abs().max().into_scalar();
            assert!(difference > 1e-4, "{difference}");
        }
    }

    #[test]
    fn kernels_are_computed_once_a_sensor() {
        let embed = embed(KernelLayout::BandRowColumnWidth, 0);
        let cache = KernelCache::default();
        assert!(cache.is_empty());
        for _ in 0..3 {
            cache.get(&embed, &[0.665, 0.56]);
            cache.get(&embed, &[0.842]);
        }
        assert_eq!(cache.len(), 2);
        for i in 0..20 {
            cache.get(&embed, &[i as f32]);
        }
        assert_eq!(cache.len(), SENSORS);
    }
}
