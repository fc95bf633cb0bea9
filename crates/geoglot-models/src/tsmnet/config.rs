//! Sizes and parts of the network.

use geoglot_nn::multimodal::ContextDecoderConfig;
use geoglot_nn::transformer::Activation;
use geoglot_nn::vision::{FinalNorm, PatchKind, Pooling, PositionResampling, VitConfig};
use serde::{Deserialize, Serialize};

use crate::segmentation::check_taps;

/// Which network is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// The paper's: a module of its own for each of the six layers, depth-wise branches, learnable gates, classes by cosine.
    #[default]
    Paper,
    /// The published code's: one shared module for four layers, no depth-wise branch, fixed gates applied twice, no scene fusion, and a
    /// head of as many logits as there were training classes.
    Published,
}

/// Sensors the network has towers for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Modality {
    /// Optical and SAR; one may be missing when the network is used.
    #[default]
    Both,
    /// Optical alone.
    Optical,
    /// SAR alone.
    Sar,
}

impl Modality {
    /// Whether there are an optical and a SAR tower.
    pub fn has(self) -> [bool; 2] {
        [self != Self::Sar, self != Self::Optical]
    }
}

/// How two modalities become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fusion {
    /// Rectification and cross-attention.
    #[default]
    Cross,
    /// The mean of what is there: the fusion network switched off.
    Mean,
}

/// Which text the network reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TextUse {
    /// No text: a head of fixed logits.
    None,
    /// Class names.
    Classes,
    /// Descriptions of scenes, with a head of fixed logits.
    Description,
    /// Class names and descriptions.
    #[default]
    Both,
}

impl TextUse {
    /// Whether class names are read.
    pub fn classes(self) -> bool {
        matches!(self, Self::Classes | Self::Both)
    }

    /// Whether descriptions are read.
    pub fn description(self) -> bool {
        matches!(self, Self::Description | Self::Both)
    }
}

/// Sizes and parts of a [`super::TsmNet`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TsmNetConfig {
    /// Paper's or published code's network.
    #[serde(default)]
    pub variant: Variant,
    /// Sensors.
    #[serde(default)]
    pub modality: Modality,
    /// How they are fused.
    #[serde(default)]
    pub fusion: Fusion,
    /// Text read.
    #[serde(default)]
    pub text: TextUse,
    /// Optical and SAR bands.
    pub bands: [usize; 2],
    /// Shape of each tower: three channels, class token, projection.
    pub tower: VitConfig,
    /// The four blocks tapped, counted from 0.
    pub taps: [usize; 4],
    /// Width D of class texts.
    pub embed: usize,
    /// Width of a description's token states.
    pub states: usize,
    /// Learnable context vectors in front of class names; 0 for fixed class texts.
    #[serde(default)]
    pub contexts: usize,
    /// Width of a context vector: the text tower's.
    #[serde(default)]
    pub context_width: usize,
    /// Classes of a head of fixed logits; not used by the cosine head.
    #[serde(default)]
    pub classes: usize,
    /// Channels of the feature pyramid network.
    #[serde(default = "channels")]
    pub channels: usize,
    /// Channels of the semantic head's branches.
    #[serde(default = "hidden")]
    pub hidden: usize,
    /// Attention heads of the fusion modules.
    #[serde(default = "heads")]
    pub fusion_heads: usize,
    /// Channels of the fusion modules' hidden layers are divided by this.
    #[serde(default = "one")]
    pub reduction: usize,
    /// The context decoder.
    #[serde(default)]
    pub decoder: ContextDecoderConfig,
    /// First factors of optical and SAR features, learnable for each layer.
    #[serde(default = "gates")]
    pub gates: [f32; 2],
}

fn channels() -> usize {
    256
}

fn hidden() -> usize {
    128
}

fn heads() -> usize {
    8
}

fn one() -> usize {
    1
}

fn gates() -> [f32; 2] {
    [0.9, 0.1]
}

/// A vision transformer of CLIP's form: no patch bias, class token with position, norm before the blocks.
pub fn clip_like(patch: usize, grid: usize, width: usize, depth: usize, heads: usize, projection: usize) -> VitConfig {
    VitConfig {
        patch,
        embed: PatchKind::Fixed { channels: 3, bias: false },
        grid: (grid, grid),
        width,
        depth,
        heads,
        hidden: 4 * width,
        epsilon: 1e-5,
        activation: Activation::QuickGelu,
        class_token: true,
        class_position: true,
        registers: 0,
        pre_norm: true,
        layer_scale: false,
        norm: FinalNorm::Tokens,
        pooling: Pooling::Class,
        projection: Some(projection),
        projection_bias: false,
        positions: PositionResampling { antialias: true, offset: 0.0 },
    }
}

impl TsmNetConfig {
    /// The paper's network on towers of the shape `tower` for `bands` optical and SAR bands; class texts of width `embed`, token states of
    /// width `states`.
    pub fn new(bands: [usize; 2], tower: VitConfig, taps: [usize; 4], embed: usize, states: usize) -> Self {
        Self {
            variant: Variant::Paper,
            modality: Modality::Both,
            fusion: Fusion::Cross,
            text: TextUse::Both,
            bands,
            tower,
            taps,
            embed,
            states,
            contexts: 0,
            context_width: 0,
            classes: 0,
            channels: channels(),
            hidden: hidden(),
            fusion_heads: heads(),
            reduction: one(),
            decoder: ContextDecoderConfig::default(),
            gates: gates(),
        }
    }

    /// Whether classes are compared with text by cosine, so that any words give a map.
    pub fn open_vocabulary(&self) -> bool {
        self.variant == Variant::Paper && self.text.classes()
    }

    /// Whether descriptions are aligned and fused.
    pub fn scene(&self) -> bool {
        self.variant == Variant::Paper && self.text.description()
    }

    /// What makes these sizes impossible, if anything.
    pub fn problem(&self) -> Option<String> {
        if let Some(problem) = self.tower.problem().or_else(|| self.decoder.problem()) {
            return Some(problem);
        }
        if let Err(e) = check_taps(self.taps, self.tower.depth) {
            return Some(e.to_string());
        }
        let PatchKind::Fixed { channels: 3, .. } = self.tower.embed else {
            return Some("the towers read three channels through a fixed patch embedding".into());
        };
        let Some(dense) = self.tower.projection else {
            return Some("the towers need a projection: its width is that of the global and dense embedding".into());
        };
        let sizes = [self.embed, self.states, self.channels, self.hidden, self.reduction, self.fusion_heads];
        if sizes.contains(&0) || sizes.iter().any(|s| *s > 1 << 16) {
            return Some(format!("embed, states, channels, hidden, reduction, fusion_heads are {sizes:?}"));
        }
        for (has, (bands, name)) in self.modality.has().into_iter().zip(self.bands.into_iter().zip(["optical", "SAR"]))
        {
            if has && !(1..=4096).contains(&bands) {
                return Some(format!("{bands} {name} bands; give 1 to 4096"));
            }
        }
        let fits = |n: usize| (n / self.reduction).is_multiple_of(self.fusion_heads) && n >= self.reduction;
        if self.modality == Modality::Both && self.fusion == Fusion::Cross && !(fits(self.tower.width) && fits(dense)) {
            return Some(format!(
                "fusion_heads = {} does not divide the towers' widths {} and {dense} by reduction {}",
                self.fusion_heads, self.tower.width, self.reduction
            ));
        }
        if self.scene() && !self.channels.is_multiple_of(self.fusion_heads) {
            return Some(format!(
                "fusion_heads = {} does not divide {} channels of the pyramid",
                self.fusion_heads, self.channels
            ));
        }
        if !self.open_vocabulary() && !(2..=255).contains(&self.classes) {
            return Some(format!("{} classes; a head of fixed logits has 2 to 255", self.classes));
        }
        if self.contexts > 0 && self.context_width == 0 {
            return Some("learnable contexts need the width of the text tower's states".into());
        }
        None
    }
}
