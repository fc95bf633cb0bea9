//! The network.

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::tensor::{Device, Tensor, activation};
use geoglot_nn::losses::{Temperature, TemperatureConfig};
use geoglot_nn::multimodal::{
    ContextDecoder, Description, Fpn, Fuse, FuseConfig, LevelPyramid, Masks, Rectify, SemanticHead, TextFusion, map,
    tokens,
};
use geoglot_nn::vision::{Engine, Vit};

use super::config::{Fusion, Modality, TsmNetConfig, Variant};

/// Temperature of the score map and of the object loss.
pub const TEMPERATURE: f64 = 0.07;

/// One modality: bands to three channels, tower, pyramid.
#[derive(Module, Debug)]
pub struct Branch {
    /// 1×1 convolution to three channels; none for three bands.
    pub lift: Option<Conv2d>,
    /// CLIP's vision transformer.
    pub vit: Vit,
    /// Four tapped blocks to four scales.
    pub pyramid: LevelPyramid,
}

/// What one modality gives: six layers as tokens, and the patch grid.
#[derive(Debug, Clone)]
pub struct Layers {
    /// ×4, ×2, ×1, ×½ `[B, N, W]`, global `[B, 1, P]`, dense `[B, h·w, P]`.
    pub tokens: Vec<Tensor<3>>,
    /// Rows and columns of the patches.
    pub grid: (usize, usize),
}

/// Grids of the six layers over patches of `grid`.
pub fn grids((h, w): (usize, usize)) -> [(usize, usize); 6] {
    [(4 * h, 4 * w), (2 * h, 2 * w), (h, w), (h / 2, w / 2), (1, 1), (h, w)]
}

impl Branch {
    fn init(config: &TsmNetConfig, bands: usize, device: &Device) -> Self {
        Self {
            lift: (bands != 3).then(|| Conv2dConfig::new([bands, 3], [1, 1]).init(device)),
            vit: config.tower.init(device),
            pyramid: LevelPyramid::init(config.tower.width, device),
        }
    }

    /// Images `[B, C, H, W]` to six layers; `engine` runs the blocks in inference, without it they are run with gradients.
    pub fn forward(&self, images: Tensor<4>, taps: [usize; 4], engine: Option<&dyn Engine>) -> Layers {
        let [_, _, height, width] = images.dims();
        let grid = self.vit.config().patches(height, width);
        let images = match &self.lift {
            Some(lift) => lift.forward(images),
            None => images,
        };
        let tokens_in = self.vit.assemble(self.vit.embed(images, &[]), &self.vit.positions(grid));
        let mut tapped: [Option<Tensor<3>>; 4] = Default::default();
        let mut keep = |i: usize, x: Tensor<3>| {
            for (slot, _) in tapped.iter_mut().zip(taps).filter(|(_, tap)| *tap == i) {
                *slot = Some(x.clone());
            }
        };
        let last = match engine {
            Some(engine) => engine.run(tokens_in, &|i| taps.contains(&i), &mut keep),
            None => self.vit.blocks.iter().enumerate().fold(tokens_in, |x, (i, block)| {
                let x = block.forward(x);
                keep(i, x.clone());
                x
            }),
        };
        let prefix = self.vit.config().prefix();
        let maps = tapped.map(|x| {
            let x = x.expect("taps are blocks of the tower");
            let n = x.dims()[1] - prefix;
            map(x.narrow(1, prefix, n), grid)
        });
        let mut levels: Vec<Tensor<3>> = self.pyramid.forward(maps).into_iter().map(tokens).collect();
        levels.push(self.vit.pool(last.clone()).unsqueeze_dim(1));
        levels.push(self.vit.dense(last));
        Layers { tokens: levels, grid }
    }
}

/// Rectification and fusion of one layer.
#[derive(Module, Debug)]
pub struct FusionLevel {
    /// Factors of optical and SAR features, `[2]`.
    pub gates: Param<Tensor<1>>,
    /// What stands for a modality that is missing, `[2, C]`.
    pub absent: Param<Tensor<2>>,
    /// MFRM.
    pub rectify: Rectify,
    /// MFFM.
    pub fuse: Fuse,
}

impl FusionLevel {
    fn init(config: &TsmNetConfig, width: usize, device: &Device) -> Self {
        let fuse = FuseConfig {
            width,
            heads: config.fusion_heads,
            reduction: config.reduction,
            depthwise: config.variant == Variant::Paper,
        };
        Self {
            gates: Param::from_tensor(Tensor::from_floats(config.gates, device)),
            absent: Initializer::Zeros.init([2, width], device),
            rectify: Rectify::init(width, config.reduction, device),
            fuse: fuse.init(device),
        }
    }
}

/// Both modalities as one: what has to be computed once an image, whatever words are asked for.
#[derive(Debug, Clone)]
pub struct Fused {
    /// ×4, ×2, ×1, ×½, `[B, N, W]`.
    pub levels: Vec<Tensor<3>>,
    /// Global embedding, `[B, 1, D]`.
    pub global: Tensor<3>,
    /// Dense embedding, `[B, h·w, D]`.
    pub dense: Tensor<3>,
    /// Rows and columns of the patches.
    pub grid: (usize, usize),
}

/// What the network says.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Similarities (cosines) of every position and class, or a fixed head's logits: `[B, N, 4h, 4w]`.
    pub map: Tensor<4>,
    /// Factor that makes logits of `map`, `[1]`.
    pub scale: Tensor<1>,
    /// Score map of patches and class texts, cosines, `[B, N, h, w]`.
    pub score: Option<Tensor<4>>,
    /// Scene loss.
    pub alignment: Option<Tensor<1>>,
}

/// Optical and SAR images with class names and descriptions to maps of any classes.
#[derive(Module, Debug)]
pub struct TsmNet {
    /// Optical branch.
    pub optical: Option<Branch>,
    /// SAR branch.
    pub sar: Option<Branch>,
    /// Fusion of six layers, of all of them by one module (published), or none.
    pub fusion: Vec<FusionLevel>,
    /// Towers' embedding → width of the class texts, where they differ.
    pub to_text: Option<Linear>,
    /// Learnable contexts of class names, `[P, width]`.
    pub contexts: Option<Param<Tensor<2>>>,
    /// Class texts read the image.
    pub decoder: Option<ContextDecoder>,
    /// Four levels of one width.
    pub neck: Fpn,
    /// Levels and descriptions.
    pub scene: Option<TextFusion>,
    /// Levels to one map.
    pub head: SemanticHead,
    /// Scale of the cosines.
    pub temperature: Option<Temperature>,
    #[module(skip)]
    config: TsmNetConfig,
}

impl TsmNetConfig {
    /// Builds the network with initial weights from the device's generator; see [`super::initial`] for weights from a seed.
    ///
    /// # Panics
    /// When [`TsmNetConfig::problem`] says something; configurations from files are checked before.
    pub fn init(&self, device: &Device) -> TsmNet {
        if let Some(problem) = self.problem() {
            panic!("{problem}");
        }
        let [optical, sar] = self.modality.has();
        let (w, p, d) = (self.tower.width, self.tower.output(), self.embed);
        let fusion: Vec<usize> = match (self.modality, self.fusion, self.variant) {
            (Modality::Both, Fusion::Cross, Variant::Paper) => vec![w, w, w, w, p, p],
            (Modality::Both, Fusion::Cross, Variant::Published) => vec![w],
            _ => Vec::new(),
        };
        let extra = match (self.text.classes(), self.variant) {
            (false, _) => 0,
            (true, Variant::Paper) => d,
            (true, Variant::Published) => self.classes,
        };
        let contexts =
            || Initializer::Normal { mean: 0.0, std: 0.02 }.init([self.contexts, self.context_width], device);
        let output = if self.open_vocabulary() { d } else { self.classes };
        TsmNet {
            optical: optical.then(|| Branch::init(self, self.bands[0], device)),
            sar: sar.then(|| Branch::init(self, self.bands[1], device)),
            fusion: fusion.into_iter().map(|width| FusionLevel::init(self, width, device)).collect(),
            to_text: (p != d && self.text.classes()).then(|| LinearConfig::new(p, d).init(device)),
            contexts: (self.contexts > 0 && self.text.classes()).then(contexts),
            decoder: self.text.classes().then(|| self.decoder.init(d, device)),
            neck: Fpn::init(&[w, w, w + extra, w], self.channels, device),
            scene: self.scene().then(|| TextFusion::init(self.channels, self.states, d, self.fusion_heads, device)),
            head: SemanticHead::init(self.channels, self.hidden, output, device),
            temperature: self.open_vocabulary().then(|| TemperatureConfig::new().init(device)),
            config: self.clone(),
        }
    }
}

/// Rows divided by their length: cosines are products of such rows.
fn unit(x: Tensor<3>) -> Tensor<3> {
    let length = x.clone().square().sum_dim(2).clamp_min(1e-24).sqrt();
    x / length
}

/// 1 where the image has the modality, `[B, 1, 1]`.
fn flags(present: &[[bool; 2]], modality: usize, device: &Device) -> Tensor<3> {
    let values: Vec<f32> = present.iter().map(|p| f32::from(u8::from(p[modality]))).collect();
    Tensor::<1>::from_floats(values.as_slice(), device).reshape([present.len(), 1, 1])
}

impl TsmNet {
    /// Sizes and parts.
    pub fn config(&self) -> &TsmNetConfig {
        &self.config
    }

    /// Optical and SAR layers as one. `present` says for each image which modalities it has: what stands for a missing one is learned. A
    /// modality that no image has need not be encoded.
    ///
    /// # Panics
    /// When no modality of the network is given.
    pub fn fuse(&self, layers: [Option<Layers>; 2], present: &[[bool; 2]]) -> Fused {
        let grid = layers.iter().flatten().next().expect("one modality at least").grid;
        let grids = grids(grid);
        let mut each = layers.map(|l| l.map(|l| l.tokens.into_iter()));
        let mut fused: Vec<Tensor<3>> = (0..6)
            .map(|k| {
                let mut next = |m: usize| each[m].as_mut().and_then(Iterator::next);
                let x = [next(0), next(1)];
                self.fuse_layer(k, x, present, grids[k])
            })
            .collect();
        let text = |x: Tensor<3>| match &self.to_text {
            Some(layer) => layer.forward(x),
            None => x,
        };
        let dense = text(fused.pop().expect("six layers"));
        let global = text(fused.pop().expect("six layers"));
        Fused { levels: fused, global, dense, grid }
    }

    fn fuse_layer(
        &self,
        k: usize,
        x: [Option<Tensor<3>>; 2],
        present: &[[bool; 2]],
        grid: (usize, usize),
    ) -> Tensor<3> {
        if self.config.modality != Modality::Both {
            return x.into_iter().flatten().next().expect("one modality");
        }
        let published = self.config.variant == Variant::Published;
        let level = match published {
            true if k < 4 => self.fusion.first(),
            true => None,
            false => self.fusion.get(k),
        };
        let device = x.iter().flatten().next().expect("one modality").device();
        let zeros = x.iter().flatten().next().expect("one modality").zeros_like();
        let all = |m: usize| present.iter().all(|p| p[m]);
        let full: [Tensor<3>; 2] = [0, 1].map(|m| {
            let own = x[m].clone();
            match (own, level) {
                (Some(x), _) if all(m) => x,
                (own, Some(level)) => {
                    let here = flags(present, m, &device);
                    let stand_in = level.absent.val().narrow(0, m, 1).unsqueeze::<3>() + zeros.clone();
                    match own {
                        Some(x) => x * here.clone() + stand_in * (here * -1.0 + 1.0),
                        None => stand_in,
                    }
                }
                (own, None) => own.unwrap_or_else(|| zeros.clone()) * flags(present, m, &device),
            }
        });
        let [optical, sar] = full;
        let Some(level) = level else {
            // Weighted by the gates in the published code, else the mean of what is there.
            let weight = if published && self.config.fusion == Fusion::Cross { self.config.gates } else { [1.0, 1.0] };
            let given: Vec<f32> = present
                .iter()
                .map(|p| (0..2).map(|m| if p[m] { weight[m] } else { 0.0 }).sum::<f32>().max(1e-6))
                .collect();
            let sum = optical.mul_scalar(weight[0]) + sar.mul_scalar(weight[1]);
            return sum / Tensor::<1>::from_floats(given.as_slice(), &device).reshape([present.len(), 1, 1]);
        };
        let gate = |m: usize| level.gates.val().narrow(0, m, 1).reshape([1, 1, 1]);
        if published {
            let [g0, g1] = self.config.gates;
            let scaled = |x: [Tensor<3>; 2]| {
                let [a, b] = x;
                [a.mul_scalar(g0), b.mul_scalar(g1)]
            };
            return level.fuse.forward(scaled(level.rectify.forward(scaled([optical, sar]))), grid);
        }
        level.fuse.forward(level.rectify.forward([optical * gate(0), sar * gate(1)]), grid)
    }

    /// Maps of the fused layers for class texts `[N, D]` and descriptions.
    ///
    /// # Panics
    /// When the network reads class texts and none are given, or a fixed head's classes are not N.
    pub fn answer(
        &self,
        fused: Fused,
        classes: Option<Tensor<2>>,
        description: Option<&Description>,
        masks: &mut Masks<'_>,
    ) -> Answer {
        let Fused { mut levels, global, dense, grid } = fused;
        let grids = grids(grid);
        let b = dense.dims()[0];
        let mut score = None;
        let mut words = None;
        if let Some(decoder) = &self.decoder {
            let classes = classes.expect("the network reads class texts");
            let [n, d] = classes.dims();
            let memory = Tensor::cat(vec![global, dense.clone()], 1);
            let texts = unit(decoder.forward(classes.unsqueeze::<3>().expand([b, n, d]), memory, masks));
            let cosines = unit(dense).matmul(texts.clone().swap_dims(1, 2));
            let extra = match self.config.variant {
                // As many channels as there are classes would tie the pyramid to one vocabulary: the class text each patch expects says
                // the same for any.
                Variant::Paper => activation::softmax(cosines.clone().div_scalar(TEMPERATURE), 2).matmul(texts.clone()),
                Variant::Published => cosines.clone(),
            };
            levels[2] = Tensor::cat(vec![levels[2].clone(), extra], 2);
            score = Some(map(cosines, grid));
            words = Some(texts);
        }
        let mut levels = self.neck.forward(levels, &grids[..4]);
        let mut alignment = None;
        if let (Some(scene), Some(description)) = (&self.scene, description) {
            alignment = scene.alignment(&levels, description);
            levels = scene.fuse(levels, description);
        }
        let out = self.head.forward(levels, &grids[..4]);
        let (out, scale) = match (&self.temperature, words) {
            (Some(temperature), Some(words)) => (unit(out).matmul(words.swap_dims(1, 2)), temperature.scale()),
            _ => {
                let one = Tensor::ones([1], &out.device());
                (out, one)
            }
        };
        Answer { map: map(out, grids[0]), scale, score, alignment }
    }
}
