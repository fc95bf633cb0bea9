//! Pyramids and the semantic head.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{GroupNorm, GroupNormConfig, Linear, PaddingConfig2d};
use burn::tensor::{Device, Tensor};

use super::{linear, map, tokens};
use crate::layers;
use crate::segmentation::{ConvNorm, FeaturePyramid, resize};

/// A group norm of one group on each of four maps, then ×4, ×2, ×1, ×½.
#[derive(Module, Debug)]
pub struct LevelPyramid {
    /// Norms of the four maps.
    pub norms: Vec<GroupNorm>,
    /// Rescaling.
    pub scales: FeaturePyramid,
}

impl LevelPyramid {
    /// For maps of `width` channels.
    pub fn init(width: usize, device: &Device) -> Self {
        let norm = || GroupNormConfig::new(1, width).init(device);
        Self { norms: (0..4).map(|_| norm()).collect(), scales: FeaturePyramid::init(width, device) }
    }

    /// Four maps `[B, C, h, w]` → maps of 4h × 4w, 2h × 2w, h × w and ⌊h/2⌋ × ⌊w/2⌋.
    pub fn forward(&self, maps: [Tensor<4>; 4]) -> [Tensor<4>; 4] {
        let mut norms = self.norms.iter();
        self.scales.forward(maps.map(|m| norms.next().expect("four norms").forward(m)))
    }
}

/// A feature pyramid network (Lin et al. 2017): each level gets what the coarser ones say, bilinearly resized.
#[derive(Module, Debug)]
pub struct Fpn {
    /// Level widths → channels.
    pub laterals: Vec<Linear>,
    /// 3×3 convolutions of the sums.
    pub outputs: Vec<Conv2d>,
}

fn conv3(channels: usize, device: &Device) -> Conv2d {
    let padding = PaddingConfig2d::Explicit(1, 1, 1, 1);
    Conv2dConfig::new([channels, channels], [3, 3]).with_padding(padding).init(device)
}

impl Fpn {
    /// For levels of `widths`, from fine to coarse.
    pub fn init(widths: &[usize], channels: usize, device: &Device) -> Self {
        Self {
            laterals: widths.iter().map(|w| linear(*w, channels, true, device)).collect(),
            outputs: widths.iter().map(|_| conv3(channels, device)).collect(),
        }
    }

    /// Tokens of the levels with their grids → tokens of `channels` on the same grids.
    pub fn forward(&self, levels: Vec<Tensor<3>>, grids: &[(usize, usize)]) -> Vec<Tensor<3>> {
        let mut above: Option<Tensor<4>> = None;
        let mut out = Vec::with_capacity(levels.len());
        for ((level, lateral), &grid) in levels.into_iter().zip(&self.laterals).zip(grids).rev() {
            let own = map(layers::linear(lateral, level), grid);
            let sum = match above {
                Some(coarser) => own + resize(coarser, grid),
                None => own,
            };
            above = Some(sum.clone());
            out.push(sum);
        }
        out.reverse();
        out.into_iter().zip(&self.outputs).map(|(sum, conv)| tokens(conv.forward(sum))).collect()
    }
}

/// The semantic head of panoptic feature pyramids (Kirillov et al. 2019): every level is brought to the finest one's grid step by step,
/// the levels are summed, and a linear layer gives the output's width.
#[derive(Module, Debug)]
pub struct SemanticHead {
    /// Convolutions of the levels: one where nothing or one doubling is needed, else one a doubling.
    pub branches: Vec<Vec<ConvNorm>>,
    /// Channels → output.
    pub output: Linear,
}

impl SemanticHead {
    /// For four levels of `channels`; branches of `hidden` channels.
    pub fn init(channels: usize, hidden: usize, output: usize, device: &Device) -> Self {
        let branch = |steps: usize| -> Vec<ConvNorm> {
            (0..steps).map(|k| ConvNorm::init([if k == 0 { channels } else { hidden }, hidden], 3, device)).collect()
        };
        Self { branches: [1, 1, 2, 3].into_iter().map(branch).collect(), output: linear(hidden, output, true, device) }
    }

    /// Tokens of the levels → tokens `[B, h₀·w₀, output]` on the finest grid.
    pub fn forward(&self, levels: Vec<Tensor<3>>, grids: &[(usize, usize)]) -> Tensor<3> {
        let mut sum: Option<Tensor<4>> = None;
        for (k, (level, branch)) in levels.into_iter().zip(&self.branches).enumerate() {
            let mut x = map(level, grids[k]);
            for (step, conv) in branch.iter().enumerate() {
                x = conv.forward(x);
                // The grid of the next finer level; the finest one stays.
                let to = grids[k.saturating_sub(step + 1)];
                x = resize(x, to);
            }
            sum = Some(match sum {
                Some(sum) => sum + x,
                None => x,
            });
        }
        layers::linear(&self.output, tokens(sum.expect("four levels")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_grids_meet_at_the_finest() {
        let device = Device::flex();
        let grids = [(20, 28), (10, 14), (5, 7), (2, 3)];
        let fpn = Fpn::init(&[3, 3, 5, 3], 4, &device);
        let level = |k: usize, c: usize| Tensor::<3>::ones([2, grids[k].0 * grids[k].1, c], &device);
        let levels = fpn.forward(vec![level(0, 3), level(1, 3), level(2, 5), level(3, 3)], &grids);
        let head = SemanticHead::init(4, 6, 7, &device);
        assert_eq!(head.forward(levels, &grids).dims(), [2, 20 * 28, 7]);
    }
}
