//! Convolution, batch norm, ReLU.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, PaddingConfig2d};
use burn::tensor::{Device, Tensor, activation};

use crate::conv_block::batch_norm;

/// ReLU(BN(Conv(x))), size kept: `[B, C, H, W]` → `[B, F, H, W]`. Parameters are called `conv.weight`, `bn.weight`, `bn.running_mean`, …
/// Running statistics follow PyTorch (see [`crate::conv_block::ConvBlock`]).
#[derive(Module, Debug)]
pub struct ConvNorm {
    /// The convolution, without bias: batch norm would cancel it.
    pub conv: Conv2d,
    /// Batch norm over F channels.
    pub bn: BatchNorm,
}

impl ConvNorm {
    /// A layer of `channels` inputs and outputs with an odd square kernel.
    ///
    /// # Panics
    /// If a count is zero.
    pub fn init(channels: [usize; 2], kernel: usize, device: &Device) -> Self {
        let padding = kernel / 2;
        Self {
            conv: Conv2dConfig::new(channels, [kernel, kernel])
                .with_padding(PaddingConfig2d::Explicit(padding, padding, padding, padding))
                .with_bias(false)
                .init(device),
            bn: BatchNormConfig::new(channels[1]).init(device),
        }
    }

    /// Applies the layer. Batch statistics are used, and the running ones updated, when the weights are on an autodiff device; take
    /// `module.valid()` for inference.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let training = self.conv.weight.val().device().is_autodiff() && self.bn.training.is_enabled();
        activation::relu(batch_norm(&self.bn, self.conv.forward(x), training))
    }
}
