//! UPerNet: pyramid pooling and a feature pyramid network, joined at the finest level.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::fcn::dropped;
use super::{ConvNorm, FcnHead, FeaturePyramid, adaptive_pool, resize};

/// Sizes of a [`UperNet`]. Defaults are the published ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UperNetConfig {
    /// Width D of the four maps.
    pub width: usize,
    /// Number of classes K.
    pub classes: usize,
    /// Channels of the decode head.
    #[serde(default = "channels")]
    pub channels: usize,
    /// Parts a side of the pooled maps.
    #[serde(default = "scales")]
    pub scales: Vec<usize>,
    /// Share of channels dropped before the last layer in training.
    #[serde(default = "dropout")]
    pub dropout: f64,
    /// Channels of the auxiliary head; none: no such head.
    #[serde(default = "auxiliary")]
    pub auxiliary: Option<usize>,
    /// A branch that reads the image itself; none: the published head, which sees it through the tower only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pixels: Option<PixelBranch>,
}

/// Sizes of the branch that reads the image itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PixelBranch {
    /// Bands of the image.
    pub bands: usize,
    /// Channels it is turned into.
    pub channels: usize,
}

fn channels() -> usize {
    512
}

fn scales() -> Vec<usize> {
    vec![1, 2, 3, 6]
}

fn dropout() -> f64 {
    0.1
}

fn auxiliary() -> Option<usize> {
    Some(256)
}

impl UperNetConfig {
    /// The published head for maps of `width` and `classes` classes.
    pub fn new(width: usize, classes: usize) -> Self {
        Self {
            width,
            classes,
            channels: channels(),
            scales: scales(),
            dropout: dropout(),
            auxiliary: auxiliary(),
            pixels: None,
        }
    }

    /// What makes these sizes impossible, if anything.
    pub fn problem(&self) -> Option<String> {
        let pixels = self.pixels.map(|p| p.bands == 0 || p.channels == 0);
        if self.width == 0 || self.channels == 0 || self.auxiliary == Some(0) || pixels == Some(true) {
            return Some("a width of a segmentation head is 0".into());
        }
        if !(2..=255).contains(&self.classes) {
            return Some(format!("{} classes; a segmentation head has 2 to 255", self.classes));
        }
        if self.scales.is_empty() || self.scales.contains(&0) {
            return Some(format!("pooling scales {:?}; give at least one, such as [1, 2, 3, 6]", self.scales));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Some(format!("dropout {}; give a share from 0 to below 1", self.dropout));
        }
        None
    }

    /// Builds the head with initial weights.
    ///
    /// # Panics
    /// When [`UperNetConfig::problem`] says something; configurations from files are checked before.
    pub fn init(&self, device: &Device) -> UperNet {
        if let Some(problem) = self.problem() {
            panic!("{problem}");
        }
        let (d, c) = (self.width, self.channels);
        let conv = |from: usize, kernel: usize| ConvNorm::init([from, c], kernel, device);
        let head = UperHead {
            pooled: self.scales.iter().map(|_| conv(d, 1)).collect(),
            bottleneck: conv(d + self.scales.len() * c, 3),
            laterals: (0..3).map(|_| conv(d, 1)).collect(),
            outputs: (0..3).map(|_| conv(c, 3)).collect(),
            join: conv(4 * c + self.pixels.map_or(0, |p| p.channels), 3),
            classes: Conv2dConfig::new([c, self.classes], [1, 1]).init(device),
            scales: self.scales.clone(),
        };
        UperNet {
            neck: FeaturePyramid::init(d, device),
            head,
            auxiliary: self.auxiliary.map(|channels| FcnHead::init(d, channels, self.classes, device)),
            pixels: self.pixels.map(|p| ConvNorm::init([p.bands, p.channels], 3, device)),
        }
    }
}

/// Factors on channels in training: 0, or 1 / (1 − dropout).
#[derive(Debug, Clone, Default)]
pub struct Dropped {
    /// Of the decode head, `[B, channels]`.
    pub head: Option<Tensor<2>>,
    /// Of the auxiliary head, `[B, channels]`.
    pub auxiliary: Option<Tensor<2>>,
}

/// What a head sees of a batch of images: the tower's maps alone, or the images as well.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Maps `[B, D, h, w]` of four blocks.
    pub maps: [Tensor<4>; 4],
    /// The images, `[B, C, 4h, 4w]`, for a head that reads them (see [`image_for`]).
    pub image: Option<Tensor<4>>,
}

impl From<[Tensor<4>; 4]> for Seen {
    fn from(maps: [Tensor<4>; 4]) -> Self {
        Self { maps, image: None }
    }
}

/// Square images `[B, C, n, n]` as a head reads them beside maps of `side` × `side` patches: means over equal parts, `[B, C, 4·side, 4·side]`.
///
/// # Panics
/// When a size is zero.
pub fn image_for(images: Tensor<4>, side: usize) -> Tensor<4> {
    adaptive_pool(images, 4 * side)
}

/// The decode head on a pyramid of four levels.
#[derive(Module, Debug)]
pub struct UperHead {
    /// One 1×1 convolution for each pooled map.
    pub pooled: Vec<ConvNorm>,
    /// Coarsest map and pooled maps → channels.
    pub bottleneck: ConvNorm,
    /// 1×1 convolutions of the finer levels.
    pub laterals: Vec<ConvNorm>,
    /// 3×3 convolutions of the finer levels after the coarser ones are added.
    pub outputs: Vec<ConvNorm>,
    /// All levels, and what the branch of pixels gives → channels.
    pub join: ConvNorm,
    /// Channels → K.
    pub classes: Conv2d,
    #[module(skip)]
    scales: Vec<usize>,
}

fn size(x: &Tensor<4>) -> (usize, usize) {
    let [_, _, h, w] = x.dims();
    (h, w)
}

impl UperHead {
    /// Levels from fine to coarse → logits `[B, K, H, W]` on the finest one's grid, on which `pixels` lies, too.
    pub fn forward(&self, levels: [Tensor<4>; 4], pixels: Option<Tensor<4>>, drop: Option<Tensor<2>>) -> Tensor<4> {
        let [first, second, third, top] = levels;
        let grid = size(&top);
        let mut parts = vec![top.clone()];
        for (conv, &scale) in self.pooled.iter().zip(&self.scales) {
            parts.push(resize(conv.forward(adaptive_pool(top.clone(), scale)), grid));
        }
        let mut above = self.bottleneck.forward(Tensor::cat(parts, 1));
        let mut sums = vec![above.clone()];
        for (level, lateral) in [first, second, third].into_iter().zip(&self.laterals).rev() {
            let level = lateral.forward(level);
            above = resize(above, size(&level)) + level;
            sums.push(above.clone());
        }
        sums.reverse();
        let finest = size(&sums[0]);
        let last = sums.pop().expect("four levels");
        let mut outputs: Vec<Tensor<4>> =
            sums.into_iter().zip(&self.outputs).map(|(sum, conv)| resize(conv.forward(sum), finest)).collect();
        outputs.push(resize(last, finest));
        outputs.extend(pixels);
        self.classes.forward(dropped(self.join.forward(Tensor::cat(outputs, 1)), drop))
    }
}

/// Pyramid, decode head and auxiliary head.
#[derive(Module, Debug)]
pub struct UperNet {
    /// Maps of one resolution to four levels.
    pub neck: FeaturePyramid,
    /// The decode head.
    pub head: UperHead,
    /// The auxiliary head, for training only.
    pub auxiliary: Option<FcnHead>,
    /// The branch of pixels: bands → channels.
    pub pixels: Option<ConvNorm>,
}

impl UperNet {
    /// Four maps `[B, D, h, w]` (h and w at least 2) → logits `[B, K, 4h, 4w]`.
    ///
    /// # Panics
    /// For maps of another width or smaller than 2 × 2, and for missing images where the head reads them.
    pub fn forward(&self, seen: impl Into<Seen>) -> Tensor<4> {
        let Seen { maps, image } = seen.into();
        self.head.forward(self.neck.forward(maps), self.read_pixels(image), None)
    }

    fn read_pixels(&self, image: Option<Tensor<4>>) -> Option<Tensor<4>> {
        let branch = self.pixels.as_ref()?;
        Some(branch.forward(image.expect("the images, as the head has a branch of pixels")))
    }

    /// As [`UperNet::forward`] with dropped channels, and the auxiliary head's logits `[B, K, h, w]`.
    ///
    /// # Panics
    /// As [`UperNet::forward`].
    pub fn forward_training(&self, seen: impl Into<Seen>, drop: Dropped) -> (Tensor<4>, Option<Tensor<4>>) {
        let Seen { maps, image } = seen.into();
        let third = maps[2].clone();
        let logits = self.head.forward(self.neck.forward(maps), self.read_pixels(image), drop.head);
        (logits, self.auxiliary.as_ref().map(|head| head.forward(third, drop.auxiliary)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logits_have_four_times_the_grid() {
        let device = Device::flex();
        let config = UperNetConfig { channels: 6, auxiliary: Some(4), ..UperNetConfig::new(5, 3) };
        let net = config.init(&device);
        for (h, w) in [(2, 2), (3, 7), (14, 14)] {
            let maps: Vec<Tensor<4>> = (0..4).map(|_| Tensor::ones([2, 5, h, w], &device)).collect();
            let maps: [Tensor<4>; 4] = maps.try_into().unwrap();
            assert_eq!(net.forward(maps.clone()).dims(), [2, 3, 4 * h, 4 * w]);
            let (_, auxiliary) = net.forward_training(maps, Dropped::default());
            assert_eq!(auxiliary.unwrap().dims(), [2, 3, h, w]);
        }
        let config = UperNetConfig { pixels: Some(PixelBranch { bands: 2, channels: 4 }), ..config };
        let (net, maps) = (config.init(&device), [0; 4].map(|_| Tensor::ones([1, 5, 3, 3], &device)));
        let see = |image: Tensor<4>| net.forward(Seen { maps: maps.clone(), image: Some(image_for(image, 3)) });
        let (flat, bright) = (see(Tensor::zeros([1, 2, 24, 24], &device)), see(Tensor::ones([1, 2, 24, 24], &device)));
        assert_eq!(flat.dims(), [1, 3, 12, 12]);
        assert!((flat - bright).abs().max().into_scalar::<f32>() > 0.0);
    }

    #[test]
    fn impossible_sizes_are_named() {
        assert_eq!(UperNetConfig::new(768, 5).problem(), None);
        for (edit, word) in [
            ((|c: &mut UperNetConfig| c.classes = 1) as fn(&mut UperNetConfig), "1 classes"),
            (|c| c.scales.clear(), "scales"),
            (|c| c.dropout = 1.0, "dropout"),
            (|c| c.channels = 0, "0"),
            (|c| c.pixels = Some(PixelBranch { bands: 3, channels: 0 }), "0"),
        ] {
            let mut c = UperNetConfig::new(768, 5);
            edit(&mut c);
            assert!(c.problem().unwrap().contains(word));
        }
        let text = r#"{ "width": 8, "classes": 3 }"#;
        assert_eq!(serde_json::from_str::<UperNetConfig>(text).unwrap(), UperNetConfig::new(8, 3));
    }
}
