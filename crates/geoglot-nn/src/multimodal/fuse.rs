//! Fusion of two rectified modalities (TSMNet, section 3.2: MFFM).

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{LayerNorm, Linear, PaddingConfig2d};
use burn::tensor::{Device, Tensor, activation};

use super::{EPSILON, layer_norm, linear, map, tokens};
use crate::layers;

/// Sizes of a [`Fuse`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FuseConfig {
    /// Channels C.
    pub width: usize,
    /// Attention heads; C/`reduction` is a multiple of them.
    pub heads: usize,
    /// C/`reduction` channels are exchanged.
    pub reduction: usize,
    /// Whether the joined features pass a depth-wise 3×3 convolution, as in the paper.
    pub depthwise: bool,
}

/// One modality's side of the exchange.
#[derive(Module, Debug)]
pub struct Side {
    /// C → kept and exchanged channels.
    pub enter: Linear,
    /// Exchanged channels → keys and values.
    pub keys: Linear,
    /// Kept and attended channels → C.
    pub leave: Linear,
    /// Norm of the sum with the input.
    pub norm: LayerNorm,
}

/// Efficient cross-attention between two modalities, then a joint projection with a depth-wise branch.
#[derive(Module, Debug)]
pub struct Fuse {
    /// Optical and SAR.
    pub sides: Vec<Side>,
    /// 2C → C, the residual of the join.
    pub residual: Linear,
    /// 2C → C, first layer of the branch.
    pub branch1: Linear,
    /// Depth-wise 3×3 convolution of the branch.
    pub depthwise: Option<Conv2d>,
    /// C → C, last layer of the branch.
    pub branch2: Linear,
    /// Norm of the fused features.
    pub norm: LayerNorm,
    heads: usize,
}

impl FuseConfig {
    /// Builds the module.
    ///
    /// # Panics
    /// When C/`reduction` is no multiple of `heads`.
    pub fn init(&self, device: &Device) -> Fuse {
        let c = self.width;
        let inner = c / self.reduction.max(1);
        assert!(
            self.heads > 0 && inner > 0 && inner.is_multiple_of(self.heads),
            "{inner} channels in {} heads",
            self.heads
        );
        let side = || Side {
            enter: linear(c, 2 * inner, true, device),
            keys: linear(inner, 2 * inner, false, device),
            leave: linear(2 * inner, c, true, device),
            norm: layer_norm(c, device),
        };
        let depthwise = || {
            let padding = PaddingConfig2d::Explicit(1, 1, 1, 1);
            Conv2dConfig::new([c, c], [3, 3]).with_padding(padding).with_groups(c).init(device)
        };
        Fuse {
            sides: vec![side(), side()],
            residual: linear(2 * c, c, false, device),
            branch1: linear(2 * c, c, true, device),
            depthwise: self.depthwise.then(depthwise),
            branch2: linear(c, c, true, device),
            norm: layer_norm(c, device),
            heads: self.heads,
        }
    }
}

impl Fuse {
    /// Tokens of both modalities, `[B, h·w, C]` each, as one, `[B, h·w, C]`.
    ///
    /// Each modality asks with its own channels for the other's context, softmax(kᵀv·scale) over the keys' channels: linear in the
    /// number of positions (Shen et al. 2021).
    pub fn forward(&self, x: [Tensor<3>; 2], grid: (usize, usize)) -> Tensor<3> {
        let [b, n, _] = x[0].dims();
        let heads = self.heads;
        let mut kept = Vec::with_capacity(2);
        let mut asking = Vec::with_capacity(2);
        let mut contexts = Vec::with_capacity(2);
        for (side, x) in self.sides.iter().zip(&x) {
            let entered = activation::relu(layers::linear(&side.enter, x.clone()));
            let inner = entered.dims()[2] / 2;
            let by_head = |t: Tensor<3>| t.reshape([b, n, heads, inner / heads]).swap_dims(1, 2);
            let exchanged = entered.clone().narrow(2, inner, inner);
            let keys = layers::linear(&side.keys, exchanged.clone());
            let (k, v) = (by_head(keys.clone().narrow(2, 0, inner)), by_head(keys.narrow(2, inner, inner)));
            let scale = (inner as f64 / heads as f64).powf(-0.5);
            contexts.push(activation::softmax(k.swap_dims(2, 3).matmul(v).mul_scalar(scale), 2));
            asking.push(by_head(exchanged));
            kept.push(entered.narrow(2, 0, inner));
        }
        contexts.swap(0, 1);
        let mut out = Vec::with_capacity(2);
        for (((side, x), (kept, asking)), context) in
            self.sides.iter().zip(x).zip(kept.into_iter().zip(asking)).zip(contexts)
        {
            let inner = kept.dims()[2];
            let attended = asking.matmul(context).swap_dims(1, 2).reshape([b, n, inner]);
            let left = layers::added(&side.leave, Tensor::cat(vec![kept, attended], 2), x);
            out.push(layers::norm(&side.norm, EPSILON, left));
        }
        let both = Tensor::cat(out, 2);
        let branch = layers::linear(&self.branch1, both.clone());
        let branch = match &self.depthwise {
            Some(conv) => tokens(conv.forward(map(branch, grid))),
            None => branch,
        };
        let residual = layers::linear(&self.residual, both);
        let joined = layers::added(&self.branch2, activation::relu(branch), residual);
        layers::norm(&self.norm, EPSILON, joined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::multimodal::Rectify;

    #[test]
    fn any_grid_is_fused_to_its_own_shape() {
        let device = Device::flex();
        let fuse = FuseConfig { width: 8, heads: 2, reduction: 1, depthwise: true }.init(&device);
        let rectify = Rectify::init(8, 2, &device);
        for (h, w) in [(1, 1), (3, 5), (4, 4)] {
            let x = || Tensor::<3>::ones([2, h * w, 8], &device);
            assert_eq!(fuse.forward(rectify.forward([x(), x() * 2.0]), (h, w)).dims(), [2, h * w, 8]);
        }
    }

    #[test]
    fn each_side_reads_the_other() {
        let device = Device::flex();
        let fuse = FuseConfig { width: 4, heads: 1, reduction: 1, depthwise: false }.init(&device);
        let x = Tensor::<3>::random([1, 4, 4], burn::tensor::Distribution::Normal(0., 1.), &device);
        let out = |y: Tensor<3>| fuse.forward([x.clone(), y], (2, 2));
        let change: f32 = (out(x.clone()) - out(x.clone() * -1.0)).abs().max().into_scalar();
        assert!(change > 1e-3, "{change}");
    }
}
