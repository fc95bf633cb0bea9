//! The auxiliary head.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::{Device, Tensor};

use super::ConvNorm;

/// One 3×3 convolution with norm and ReLU, then a 1×1 convolution to classes.
#[derive(Module, Debug)]
pub struct FcnHead {
    /// D → channels.
    pub conv: ConvNorm,
    /// Channels → K.
    pub classes: Conv2d,
}

impl FcnHead {
    /// A head of `channels` on maps of `width` for `classes`.
    pub fn init(width: usize, channels: usize, classes: usize, device: &Device) -> Self {
        Self {
            conv: ConvNorm::init([width, channels], 3, device),
            classes: Conv2dConfig::new([channels, classes], [1, 1]).init(device),
        }
    }

    /// A map `[B, D, h, w]` → logits `[B, K, h, w]`; `drop` multiplies channels, `[B, channels]`.
    pub fn forward(&self, map: Tensor<4>, drop: Option<Tensor<2>>) -> Tensor<4> {
        self.classes.forward(dropped(self.conv.forward(map), drop))
    }
}

/// Whole channels multiplied, as PyTorch's `Dropout2d` does.
pub(super) fn dropped(x: Tensor<4>, drop: Option<Tensor<2>>) -> Tensor<4> {
    match drop {
        Some(drop) => {
            let [b, c] = drop.dims();
            x * drop.reshape([b, c, 1, 1])
        }
        None => x,
    }
}
