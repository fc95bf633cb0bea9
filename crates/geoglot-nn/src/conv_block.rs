//! The convolution block of MMLGNet: f(x) = MaxPool2x2(ReLU(BN(Conv3x3(x, padding 1)))) (paper, section III-A).

use burn::config::Config;
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, PaddingConfig2d};
use burn::tensor::module::{batch_norm_train, max_pool2d};
use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{Device, Tensor, activation};

use crate::ops::{Normalisation, conv_block};

/// Configuration of a [`ConvBlock`].
#[derive(Config, Debug)]
pub struct ConvBlockConfig {
    /// Input and output channels.
    pub channels: [usize; 2],
    /// Whether the convolution has a bias. Batch norm cancels it in training (its gradient is zero, and none is
    /// recorded); it exists so that weights trained elsewhere load.
    #[config(default = true)]
    pub bias: bool,
    /// Share of the newest batch in the running statistics.
    #[config(default = 0.1)]
    pub momentum: f64,
    /// Added to the variance before the square root.
    #[config(default = 1e-5)]
    pub epsilon: f64,
    /// Use the fused operation where the device has one; off, the block is composed of burn's own layers.
    #[config(default = true)]
    pub fused: bool,
}

impl ConvBlockConfig {
    /// A block with PyTorch's default initialisation: uniform in ±1/√(9·channels in).
    ///
    /// # Panics
    /// If a channel count is zero, or momentum or epsilon are out of range.
    pub fn init(&self, device: &Device) -> ConvBlock {
        ConvBlock {
            conv: Conv2dConfig::new(self.channels, [3, 3])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .with_bias(self.bias)
                .init(device),
            bn: BatchNormConfig::new(self.channels[1])
                .with_momentum(self.momentum)
                .with_epsilon(self.epsilon)
                .init(device),
            fused: self.fused,
        }
    }
}

/// One block: [B, C, H, W] → [B, F, H/2, W/2]. Made by [`ConvBlockConfig`].
///
/// Fields are named as in PyTorch (`conv.weight`, `conv.bias`, `bn.weight`, `bn.running_var`, …), so that a PyTorch
/// state loads through burn's adapter.
///
/// Running statistics follow PyTorch. burn's own batch norm differs in two ways, which is why it is not called here:
/// it feeds the *biased* batch variance to the running variance (PyTorch: × n/(n−1)), and its running values lag one
/// update behind when they are read or saved.
#[derive(Module, Debug)]
pub struct ConvBlock {
    /// The 3×3 convolution, [F, C, 3, 3].
    pub conv: Conv2d,
    /// Batch norm over F channels.
    pub bn: BatchNorm,
    #[module(skip)]
    fused: bool,
}

impl ConvBlock {
    /// Applies the block: [B, C, H, W] → [B, F, H/2, W/2], an odd last row or column being dropped by the pool.
    ///
    /// Batch statistics are used, and the running ones updated, when the input or the weights are on an autodiff
    /// device and the batch norm is not frozen; take `module.valid()` for inference.
    ///
    /// # Panics
    /// If the channels do not fit.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        if self.fused
            && let Some(out) = self.forward_fused(x.clone())
        {
            return out;
        }
        self.forward_composed(x)
    }

    fn is_training(&self, x: &Tensor<4>) -> bool {
        let autodiff = x.device().is_autodiff() || self.conv.weight.val().device().is_autodiff();
        autodiff && self.bn.training.is_enabled()
    }

    /// The fused operation, `None` where there is none for the device.
    fn forward_fused(&self, x: Tensor<4>) -> Option<Tensor<4>> {
        let [batch, _, height, width] = x.dims();
        let (gamma, beta) = (self.bn.gamma.val(), self.bn.beta.val());
        let weight = self.conv.weight.val();
        let bias = self.conv.bias.as_ref().map(|bias| bias.val());
        if self.is_training(&x) {
            let epsilon = self.bn.epsilon;
            let normalisation = Normalisation::Batch { gamma, beta, epsilon };
            let (out, statistics) = conv_block(x, weight, normalisation)?;
            let statistics = statistics?;
            let mean = match bias {
                Some(bias) => statistics.mean + bias.detach(),
                None => statistics.mean,
            };
            update_running(&self.bn, mean, statistics.variance, batch * height * width);
            Some(out)
        } else {
            let mean = self.bn.running_mean.value_sync();
            let variance = self.bn.running_var.value_sync();
            let scale = gamma / (variance + self.bn.epsilon).sqrt();
            let centre = match bias {
                Some(bias) => mean - bias,
                None => mean,
            };
            let shift = beta - scale.clone() * centre;
            conv_block(x, weight, Normalisation::Folded { scale, shift }).map(|(out, _)| out)
        }
    }

    /// The same block from burn's own operations: the reference in tests, and the path of other devices.
    pub fn forward_composed(&self, x: Tensor<4>) -> Tensor<4> {
        let training = self.is_training(&x);
        let y = batch_norm(&self.bn, self.conv.forward(x), training);
        max_pool2d(activation::relu(y), MaxPoolOptions::new([2, 2]))
    }
}

/// Batch norm of [B, C, H, W] with PyTorch's running statistics (see [`ConvBlock`]), which `training` updates.
pub(crate) fn batch_norm(bn: &BatchNorm, x: Tensor<4>, training: bool) -> Tensor<4> {
    if !training {
        bn.running_mean.value_sync();
        bn.running_var.value_sync();
        return bn.forward(x);
    }
    let [batch, _, height, width] = x.dims();
    let result = batch_norm_train(x, bn.gamma.val(), bn.beta.val(), bn.epsilon);
    update_running(bn, result.mean, result.variance, batch * height * width);
    result.output
}

/// running ← (1 − momentum)·running + momentum·batch, the variance made unbiased first as in PyTorch.
fn update_running(bn: &BatchNorm, mean: Tensor<1>, variance: Tensor<1>, count: usize) {
    let momentum = bn.momentum;
    let unbiased = count as f64 / (count.max(2) - 1) as f64;
    let device = mean.device();
    for (running, batch, factor) in
        [(&bn.running_mean, mean, momentum), (&bn.running_var, variance, momentum * unbiased)]
    {
        let old = running.value_sync().to_device(&device);
        let new = old * (1.0 - momentum) + batch.detach() * factor;
        running.update(new.detach());
        // Publish at once: `update` alone is seen only by the next update.
        running.value_sync();
    }
}
