//! U-Net (Ronneberger et al. 2015) with batch norm: the plain baseline of dense prediction.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig};
use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{Device, Tensor};

use super::ConvNorm;
use super::pyramid::doubled;

/// Two 3×3 convolutions with batch norm and ReLU.
#[derive(Module, Debug)]
pub struct DoubleConv {
    /// First convolution.
    pub first: ConvNorm,
    /// Second convolution.
    pub second: ConvNorm,
}

impl DoubleConv {
    fn init([from, to]: [usize; 2], device: &Device) -> Self {
        Self { first: ConvNorm::init([from, to], 3, device), second: ConvNorm::init([to, to], 3, device) }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.second.forward(self.first.forward(x))
    }
}

/// Contracting and expanding path with skip connections; widths double and sides halve from level to level.
#[derive(Module, Debug)]
pub struct UNet {
    /// Convolutions of each level, the finest first; the last is the bottom.
    pub down: Vec<DoubleConv>,
    /// Doublings, the coarsest first.
    pub up: Vec<ConvTranspose2d>,
    /// Convolutions after each doubling.
    pub join: Vec<DoubleConv>,
    /// 1×1 convolution to the classes.
    pub out: Conv2d,
}

impl UNet {
    /// A network of `bands` inputs, `width` channels at the finest of `levels` levels, and `classes` outputs.
    ///
    /// # Panics
    /// If a count is zero.
    pub fn init(bands: usize, width: usize, levels: usize, classes: usize, device: &Device) -> Self {
        let at = |level: usize| width << level;
        let from = |level: usize| if level == 0 { bands } else { at(level - 1) };
        let coarse = || (1..levels).rev();
        let double = |level: usize| {
            ConvTranspose2dConfig::new([at(level), at(level - 1)], [2, 2]).with_stride([2, 2]).init(device)
        };
        Self {
            down: (0..levels).map(|level| DoubleConv::init([from(level), at(level)], device)).collect(),
            up: coarse().map(double).collect(),
            join: coarse().map(|level| DoubleConv::init([2 * at(level - 1), at(level - 1)], device)).collect(),
            out: Conv2dConfig::new([width, classes], [1, 1]).init(device),
        }
    }

    /// Levels whose halvings leave a side of `side` pixels whole, at most four.
    pub fn levels(side: usize) -> usize {
        (1..4).take_while(|k| side.is_multiple_of(1 << k)).count() + 1
    }

    /// `[B, bands, H, W]`, sides divisible by 2 to the number of halvings → logits `[B, classes, H, W]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let pool = || MaxPoolOptions::new([2, 2]).with_stride([2, 2]);
        let mut skips: Vec<Tensor<4>> = Vec::new();
        let mut x = x;
        for (level, convolutions) in self.down.iter().enumerate() {
            if level > 0 {
                skips.push(x.clone());
                x = max_pool2d(x, pool());
            }
            x = convolutions.forward(x);
        }
        for (up, join) in self.up.iter().zip(&self.join) {
            let skip = skips.pop().expect("as many doublings as halvings");
            x = join.forward(Tensor::cat(vec![skip, doubled(up, x)], 1));
        }
        self.out.forward(x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Distribution;

    #[test]
    fn sizes_come_back_and_every_level_is_used() {
        let device = Device::flex();
        assert_eq!([48, 36, 10, 7, 64].map(UNet::levels), [4, 3, 2, 1, 4]);
        for (side, levels) in [(16, 3), (8, 4), (5, 1)] {
            let network = UNet::init(3, 4, levels, 5, &device);
            assert_eq!((network.down.len(), network.up.len()), (levels, levels - 1));
            let x = Tensor::<4>::random([2, 3, side, side], Distribution::Normal(0.0, 1.0), &device);
            assert_eq!(network.forward(x).dims(), [2, 5, side, side]);
        }
    }

    #[test]
    fn a_pixel_is_seen_from_far_away_through_the_lower_levels() {
        let device = Device::flex();
        let network = UNet::init(1, 16, 4, 2, &device);
        let answer = |value: f32| {
            let mut x = vec![0f32; 32 * 32];
            x[0] = value;
            let x = Tensor::<1>::from_floats(x.as_slice(), &device).reshape([1, 1, 32, 32]);
            network.forward(x).into_data().iter::<f32>().collect::<Vec<_>>()
        };
        let (a, b) = (answer(0.0), answer(50.0));
        // Two levels of convolutions alone reach 13 pixels. The weights are random: some of the paths to a pixel end in a rectifier.
        let far = (16..32).flat_map(|row| (16..32).map(move |column| 32 * row + column));
        assert!(far.map(|k| (a[k] - b[k]).abs()).sum::<f32>() > 1e-6, "the bottom sees the whole tile");
    }
}
