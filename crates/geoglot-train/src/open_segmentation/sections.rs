//! The parts `[model]`, `[text]` and `[train]` of the recipe.

use geoglot_models::tsmnet::{Fusion, Modality, TextUse, TsmNetConfig, Variant, clip_like};
use geoglot_nn::multimodal::ContextDecoderConfig;
use geoglot_nn::vision::VitConfig;
use serde::{Deserialize, Serialize};

use crate::recipe::Templates;

/// Where a tower comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tower {
    /// A published CLIP by name, folder or file, whose weights both towers begin with; none: fresh weights of the sizes below.
    pub weights: Option<String>,
    /// Patch width in pixels.
    pub patch: usize,
    /// Width of the tokens.
    pub width: usize,
    /// Blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of the global and dense embedding; by default the class texts'.
    pub projection: Option<usize>,
}

impl Default for Tower {
    /// CLIP's ViT-B/16.
    fn default() -> Self {
        Self { weights: None, patch: 16, width: 768, depth: 12, heads: 12, projection: None }
    }
}

/// The network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkSection {
    /// `paper` or `published`.
    pub variant: Variant,
    /// `both`, `optical` or `sar`.
    pub modality: Modality,
    /// `cross`, or `mean` for the fusion switched off.
    pub fusion: Fusion,
    /// `both`, `classes`, `description` or `none`.
    pub text: TextUse,
    /// Side of a tile in pixels, a multiple of the towers' patch.
    pub tile: usize,
    /// Pixels from one training tile of a scene to the next; by default half a tile.
    pub stride: Option<usize>,
    /// The towers.
    pub tower: Tower,
    /// The four blocks tapped; by default those published for the depth.
    pub taps: Option<[usize; 4]>,
    /// Learnable contexts in front of class names; they need CLIP's text tower. By default 8 with it, 0 with others.
    pub contexts: Option<usize>,
    /// Channels of the feature pyramid network.
    pub channels: usize,
    /// Channels of the semantic head.
    pub hidden: usize,
    /// Attention heads of the fusion modules.
    pub fusion_heads: usize,
    /// Channels of the fusion's hidden layers are divided by this.
    pub reduction: usize,
    /// First factors of optical and SAR features.
    pub gates: [f32; 2],
    /// The context decoder.
    pub decoder: ContextDecoderConfig,
    /// Licence written beside the weights.
    pub license: Option<String>,
}

impl Default for NetworkSection {
    fn default() -> Self {
        Self {
            variant: Variant::default(),
            modality: Modality::default(),
            fusion: Fusion::default(),
            text: TextUse::default(),
            tile: 256,
            stride: None,
            tower: Tower::default(),
            taps: None,
            contexts: None,
            channels: 256,
            hidden: 128,
            fusion_heads: 8,
            reduction: 1,
            gates: [0.9, 0.1],
            decoder: ContextDecoderConfig::default(),
            license: None,
        }
    }
}

impl NetworkSection {
    /// The towers' shape without published weights, for class texts of width `embed`.
    pub fn fresh_tower(&self, embed: usize) -> VitConfig {
        let t = &self.tower;
        let grid = (self.tile / t.patch.max(1)).max(1);
        clip_like(t.patch, grid, t.width, t.depth, t.heads, t.projection.unwrap_or(embed))
    }

    /// The network's configuration on towers of the shape `tower`.
    ///
    /// # Errors
    /// Too few blocks for taps.
    pub fn network(
        &self,
        bands: [usize; 2],
        tower: VitConfig,
        (embed, states): (usize, usize),
        contexts: (usize, usize),
        classes: usize,
    ) -> geoglot_models::Result<TsmNetConfig> {
        let taps = match self.taps {
            Some(taps) => taps,
            None => geoglot_models::segmentation::default_taps(tower.depth)?,
        };
        Ok(TsmNetConfig {
            variant: self.variant,
            modality: self.modality,
            fusion: self.fusion,
            text: self.text,
            contexts: contexts.0,
            context_width: contexts.1,
            classes,
            channels: self.channels,
            hidden: self.hidden,
            fusion_heads: self.fusion_heads,
            reduction: self.reduction,
            gates: self.gates,
            decoder: self.decoder,
            ..TsmNetConfig::new(bands, tower, taps, embed, states)
        })
    }
}

/// The text tower.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TextSide {
    /// A name of `geoglot models list`, a folder, or `hashed-words`.
    pub tower: String,
    /// Templates of class names, or the name of a set; not used with learned contexts.
    pub templates: Templates,
    /// Use the legend's prompts beside class names.
    pub prompts: bool,
}

impl Default for TextSide {
    fn default() -> Self {
        Self { tower: "minilm".into(), templates: Templates::Set("none".into()), prompts: false }
    }
}

/// Options of training; defaults are the published ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OpenOptions {
    /// Passes over the training tiles.
    pub epochs: usize,
    /// Tiles a batch.
    pub batch: usize,
    /// Largest learning rate of AdamW.
    pub learning_rate: f64,
    /// The towers learn at this part of it.
    pub tower_factor: f64,
    /// Decay of weights with two or more axes, times the learning rate, a step.
    pub weight_decay: f64,
    /// Steps in which the learning rate rises from nearly 0.
    pub warmup_steps: usize,
    /// Exponent of its fall, (1 − step/steps)^power.
    pub power: f64,
    /// Share of images whose description is left out of the fusion.
    pub description_dropout: f64,
    /// Share of images without one of two modalities.
    pub modality_dropout: f64,
    /// Random flips, quarter turns and shifts.
    pub augment: bool,
    /// Seed of first weights, order, dropout and turns.
    pub seed: u64,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            epochs: 100,
            batch: 10,
            learning_rate: 1e-4,
            tower_factor: 0.1,
            weight_decay: 1e-4,
            warmup_steps: 1500,
            power: 0.9,
            description_dropout: 0.3,
            modality_dropout: 0.1,
            augment: true,
            seed: 0,
        }
    }
}

impl OpenOptions {
    /// Learning rate of `step`, counted from 0, of `steps`. A warm-up longer than half the training is cut to that.
    pub fn rate(&self, step: usize, steps: usize) -> f64 {
        let warmup = self.warmup_steps.min(steps / 2);
        let fall = (1.0 - step as f64 / steps.max(1) as f64).max(0.0).powf(self.power);
        let rise = if step < warmup { (step + 1) as f64 / warmup as f64 } else { 1.0 };
        self.learning_rate * fall * rise
    }

    pub(super) fn problem(&self) -> Option<&'static str> {
        let share = |v: f64| !(0.0..1.0).contains(&v);
        let out_of_range = [
            ("epochs", self.epochs == 0),
            ("batch", self.batch < 2),
            ("learning_rate", !(self.learning_rate > 0.0 && self.learning_rate <= 1.0)),
            ("tower_factor", !(0.0..=10.0).contains(&self.tower_factor)),
            ("weight_decay", !(0.0..=10.0).contains(&self.weight_decay)),
            ("power", !(0.0..=10.0).contains(&self.power)),
            ("description_dropout", share(self.description_dropout)),
            ("modality_dropout", share(self.modality_dropout)),
        ];
        out_of_range.into_iter().find(|(_, wrong)| *wrong).map(|(key, _)| key)
    }
}
