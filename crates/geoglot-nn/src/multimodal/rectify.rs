//! Rectification of two modalities by each other (TSMNet, section 3.2: MFRM).

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor, activation};

use super::linear;
use crate::layers;

/// Channel and spatial weights computed from both modalities; each gets the other's features under these weights.
#[derive(Module, Debug)]
pub struct Rectify {
    /// Pooled features 4C → hidden.
    pub channel1: Linear,
    /// Hidden → channel weights 2C.
    pub channel2: Linear,
    /// Features 2C → hidden.
    pub spatial1: Linear,
    /// Hidden → spatial weights 2.
    pub spatial2: Linear,
}

impl Rectify {
    /// A module for maps of `width` channels C; the hidden layers have 4C/`reduction` and C/`reduction` units.
    pub fn init(width: usize, reduction: usize, device: &Device) -> Self {
        let hidden = |n: usize| (n / reduction.max(1)).max(1);
        Self {
            channel1: linear(4 * width, hidden(4 * width), true, device),
            channel2: linear(hidden(4 * width), 2 * width, true, device),
            spatial1: linear(2 * width, hidden(width), true, device),
            spatial2: linear(hidden(width), 2, true, device),
        }
    }

    /// Tokens of both modalities, `[B, N, C]` each, rectified: x₁ + ½(w_c + w_s)₂·x₂ and x₂ + ½(w_c + w_s)₁·x₁.
    pub fn forward(&self, x: [Tensor<3>; 2]) -> [Tensor<3>; 2] {
        let [first, second] = x;
        let [b, n, c] = first.dims();
        let both = Tensor::cat(vec![first.clone(), second.clone()], 2);
        let pooled = Tensor::cat(vec![both.clone().mean_dim(1), both.clone().max_dim(1)], 2).reshape([b, 4 * c]);
        let hidden = activation::relu(layers::linear(&self.channel1, pooled));
        let channel = activation::sigmoid(layers::linear(&self.channel2, hidden)).reshape([b, 1, 2 * c]);
        let hidden = activation::relu(layers::linear(&self.spatial1, both));
        let spatial = activation::sigmoid(layers::linear(&self.spatial2, hidden)).reshape([b, n, 2]);
        let weight = |k: usize| (channel.clone().narrow(2, k * c, c) + spatial.clone().narrow(2, k, 1)).mul_scalar(0.5);
        [first.clone() + second.clone() * weight(1), second + first * weight(0)]
    }
}
