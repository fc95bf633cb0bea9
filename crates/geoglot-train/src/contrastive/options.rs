//! How a tower is trained.

use geoglot_nn::losses::Targets;
use serde::{Deserialize, Serialize};

use super::groups::ParameterGroup;

/// Which loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// Pairwise sigmoid (SigLIP, GeoLangBind).
    #[default]
    Sigmoid,
    /// Symmetric cross-entropy over the batch (CLIP).
    Softmax,
}

/// What the transformer's blocks compute in. Weights, optimiser, embedding, pooling, heads and losses are f32 in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// bfloat16, on devices that compute in it.
    Bf16,
}

impl Precision {
    fn is_full(&self) -> bool {
        *self == Self::F32
    }
}

/// Options of pre-training. Defaults are the published ones of GeoLangBind, but for batch and epochs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PretrainOptions {
    /// Passes over the data.
    pub epochs: usize,
    /// Images a batch.
    pub batch: usize,
    /// Most batches an epoch; none: all.
    pub steps_per_epoch: Option<usize>,
    /// Largest learning rate of AdamW.
    pub learning_rate: f64,
    /// Steps in which the learning rate rises from 0; then it falls to 0 along half a cosine.
    pub warmup: usize,
    /// Decay of weights with two or more axes, times the learning rate, a step.
    pub weight_decay: f64,
    /// β₁ and β₂ of AdamW.
    pub betas: [f64; 2],
    /// ε of AdamW.
    pub epsilon: f64,
    /// The loss.
    pub loss: Loss,
    /// Which pairs are positives: `diagonal`, or all of the same text (`same-label`).
    pub targets: Targets,
    /// Largest factor on the cosines.
    pub max_scale: f64,
    /// Least and largest share of an image's area that a crop shows.
    pub crop: [f64; 2],
    /// Flips and quarter turns. Captions that name directions ("on the left") are then wrong.
    pub turns: bool,
    /// Images whose gradients are computed together; none: the whole batch. Smaller parts need less memory and give the same gradients, for
    /// one more pass over the batch without gradients (Gao et al. 2021, GradCache).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk: Option<usize>,
    /// Largest norm of all gradients together; larger ones are scaled down to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip: Option<f64>,
    /// Decay of the exponential moving average of the weights, which is then what is saved; none: the weights themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
    /// Computes activations again in the backward pass instead of keeping them: less memory, more time.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub gradient_checkpointing: bool,
    /// What the blocks compute in.
    #[serde(skip_serializing_if = "Precision::is_full")]
    pub precision: Precision,
    /// Seed of first weights, order, captions and crops.
    pub seed: u64,
    /// Parameters that are trained otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub group: Vec<ParameterGroup>,
}

impl Default for PretrainOptions {
    fn default() -> Self {
        Self {
            epochs: 20,
            batch: 128,
            steps_per_epoch: None,
            learning_rate: 5e-4,
            warmup: 1000,
            weight_decay: 1e-7,
            betas: [0.9, 0.98],
            epsilon: 1e-6,
            loss: Loss::Sigmoid,
            targets: Targets::SameLabel,
            max_scale: 100.0,
            crop: [0.9, 1.0],
            turns: false,
            chunk: None,
            clip: None,
            ema: None,
            gradient_checkpointing: false,
            precision: Precision::F32,
            seed: 0,
            group: Vec::new(),
        }
    }
}

impl PretrainOptions {
    /// Learning rate of `step`, counted from 0, of `steps`: linear warm-up, then half a cosine to 0.
    pub fn rate(&self, step: usize, steps: usize) -> f64 {
        let warmup = self.warmup.min(steps);
        if step < warmup {
            return self.learning_rate * (step + 1) as f64 / warmup as f64;
        }
        let done = (step - warmup) as f64 / (steps - warmup).max(1) as f64;
        self.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos())
    }

    pub(super) fn problem(&self) -> Option<&'static str> {
        let out_of_range = [
            ("epochs", self.epochs == 0),
            ("batch", self.batch < 2),
            ("steps_per_epoch", self.steps_per_epoch == Some(0)),
            ("learning_rate", !(self.learning_rate > 0.0 && self.learning_rate <= 1.0)),
            ("weight_decay", !(0.0..=10.0).contains(&self.weight_decay)),
            ("betas", self.betas.iter().any(|b| !(0.0..1.0).contains(b))),
            ("epsilon", self.epsilon.is_nan() || self.epsilon <= 0.0),
            ("max_scale", !(1.0..=1e4).contains(&self.max_scale)),
            ("chunk", self.chunk == Some(0)),
            ("clip", self.clip.is_some_and(|c| !(c.is_finite() && c > 0.0))),
            ("ema", self.ema.is_some_and(|e| !(0.0..1.0).contains(&e))),
            ("group.rate", self.group.iter().any(|g| !(0.0..=1000.0).contains(&g.rate))),
            (
                "group.weight_decay",
                self.group.iter().any(|g| g.weight_decay.is_some_and(|d| !(0.0..=10.0).contains(&d))),
            ),
            ("crop", !(self.crop[0] > 0.0 && self.crop[0] <= self.crop[1] && self.crop[1] <= 1.0)),
        ];
        out_of_range.into_iter().find(|(_, wrong)| *wrong).map(|(key, _)| key)
    }
}
