//! Four maps of one resolution become a pyramid.

use burn::module::Module;
use burn::nn::conv::{ConvTranspose2d, ConvTranspose2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{Device, Tensor, activation};

use crate::conv_block::batch_norm;

/// ×4: transposed convolution, batch norm, GELU, transposed convolution; ×2: transposed convolution; ×1: as it is; ×½: max pooling.
#[derive(Module, Debug)]
pub struct FeaturePyramid {
    /// First doubling of the first map.
    pub quadruple1: ConvTranspose2d,
    /// Norm between its doublings.
    pub quadruple_norm: BatchNorm,
    /// Second doubling of the first map.
    pub quadruple2: ConvTranspose2d,
    /// Doubling of the second map.
    pub double: ConvTranspose2d,
}

impl FeaturePyramid {
    /// A pyramid of maps of `width` channels.
    pub fn init(width: usize, device: &Device) -> Self {
        let up = || ConvTranspose2dConfig::new([width, width], [2, 2]).with_stride([2, 2]).init(device);
        Self {
            quadruple1: up(),
            quadruple_norm: BatchNormConfig::new(width).init(device),
            quadruple2: up(),
            double: up(),
        }
    }

    /// Four maps `[B, D, h, w]` → maps of 4h × 4w, 2h × 2w, h × w and ⌊h/2⌋ × ⌊w/2⌋.
    pub fn forward(&self, maps: [Tensor<4>; 4]) -> [Tensor<4>; 4] {
        let [first, second, third, fourth] = maps;
        let training = self.double.weight.val().device().is_autodiff() && self.quadruple_norm.training.is_enabled();
        let first = batch_norm(&self.quadruple_norm, doubled(&self.quadruple1, first), training);
        let first = doubled(&self.quadruple2, activation::gelu(first));
        let pool = MaxPoolOptions::new([2, 2]).with_stride([2, 2]);
        [first, doubled(&self.double, second), third, max_pool2d(fourth, pool)]
    }
}

/// A transposed convolution of kernel and stride 2: its outputs do not overlap, so that it is one matrix product.
pub(super) fn doubled(layer: &ConvTranspose2d, x: Tensor<4>) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    let f = layer.channels[1];
    let weight = layer.weight.val().reshape([c, f * 4]);
    let tokens = x.permute([0, 2, 3, 1]).reshape([b * h * w, c]).matmul(weight);
    let out = tokens.reshape([b, h, w, f, 2, 2]).permute([0, 3, 1, 4, 2, 5]).reshape([b, f, 2 * h, 2 * w]);
    match &layer.bias {
        Some(bias) => out + bias.val().reshape([1, f, 1, 1]),
        None => out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubling_is_the_transposed_convolution() {
        let device = Device::flex();
        device.seed(3);
        let layer = ConvTranspose2dConfig::new([3, 5], [2, 2]).with_stride([2, 2]).init(&device);
        let x = Tensor::<1, burn::tensor::Int>::arange(0..2 * 3 * 4 * 2, &device).float().reshape([2, 3, 4, 2]) / 10.0;
        let (ours, burns) = (doubled(&layer, x.clone()), layer.forward(x));
        assert_eq!(ours.dims(), [2, 5, 8, 4]);
        let most: f32 = (ours - burns).abs().max().into_scalar();
        assert!(most < 1e-5, "{most}");
    }

    #[test]
    fn odd_grids_are_rounded_down() {
        let device = Device::flex();
        let pyramid = FeaturePyramid::init(3, &device);
        let maps: Vec<Tensor<4>> = (0..4).map(|_| Tensor::ones([1, 3, 5, 7], &device)).collect();
        let sizes = pyramid.forward(maps.try_into().unwrap()).map(|m| m.dims());
        assert_eq!(sizes, [[1, 3, 20, 28], [1, 3, 10, 14], [1, 3, 5, 7], [1, 3, 2, 3]]);
    }
}
