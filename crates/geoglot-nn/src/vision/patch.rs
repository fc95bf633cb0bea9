//! Images to patch tokens.

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::ops::PadMode;
use burn::tensor::{Device, Tensor};

use crate::{layers, ops};

/// Rows and columns of the patches of an image: windows of `patch` pixels side by side, what is left over dropped, after
/// `padding` pixels of zeros on every side.
pub fn patch_grid(height: usize, width: usize, patch: usize, padding: usize) -> (usize, usize) {
    ((height + 2 * padding) / patch, (width + 2 * padding) / patch)
}

/// Patches of `[B, C, H, W]` as rows `[B·h·w, C·P·P]`.
pub(super) fn patches(images: Tensor<4>, patch: usize, padding: usize) -> Tensor<2> {
    let [b, c, height, width] = images.dims();
    let (h, w) = patch_grid(height, width, patch, padding);
    let images = match padding {
        0 => images,
        n => images.pad((n, n, n, n), PadMode::Constant(0.0)),
    };
    if let Some(rows) = ops::patches(&images, patch) {
        return rows;
    }
    images
        .slice([0..b, 0..c, 0..h * patch, 0..w * patch])
        .reshape([b, c, h, patch, w, patch])
        .permute([0, 2, 4, 1, 3, 5])
        .reshape([b * h * w, c * patch * patch])
}

/// A convolution whose stride is its kernel size: the patch embedding of Dosovitskiy et al. 2021, §3.1.
#[derive(Module, Debug)]
pub struct PatchProjection {
    /// Kernel, `[D, C, P, P]`.
    pub weight: Param<Tensor<4>>,
    /// Bias, `[D]`; CLIP has none.
    pub bias: Option<Param<Tensor<1>>>,
}

impl PatchProjection {
    /// A projection with initial weights.
    pub fn init(channels: usize, patch: usize, width: usize, bias: bool, device: &Device) -> Self {
        let fan_in = channels * patch * patch;
        let initializer = Initializer::Normal { mean: 0.0, std: (fan_in as f64).powf(-0.5) };
        Self {
            weight: initializer.init([width, channels, patch, patch], device),
            bias: bias.then(|| Initializer::Zeros.init([width], device)),
        }
    }

    /// Images `[B, C, H, W]` to tokens `[B, h·w, D]`.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<3> {
        let [d, c, p, _] = self.weight.dims();
        let b = images.dims()[0];
        let rows = patches(images, p, 0);
        let n = rows.dims()[0] / b.max(1);
        let weight = self.weight.val().reshape([d, c * p * p]).transpose();
        layers::project(rows, weight, self.bias.as_ref().map(|b| b.val())).reshape([b, n, d])
    }
}
