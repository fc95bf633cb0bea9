//! `[train]`: options of the training loop.

use geoglot_nn::losses::{Direction, Targets};
use serde::{Deserialize, Serialize};

/// Options of training. The defaults are the paper's where it states them and was not measured to do worse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainOptions {
    /// Most epochs (paper: 100).
    pub epochs: usize,
    /// Patches a batch (paper: 128).
    pub batch: usize,
    /// Most batches an epoch, drawn by seed and epoch; none: all. Densely labelled scenes hold far more pixels than an epoch needs.
    pub steps_per_epoch: Option<usize>,
    /// Adam's learning rate.
    pub learning_rate: f64,
    /// How the learning rate changes.
    pub schedule: Schedule,
    /// L2 penalty of Adam; 0 as in the paper.
    pub weight_decay: f64,
    /// Epochs without a better validation result before training stops (paper: 15).
    pub patience: usize,
    /// Which cross-entropies make the loss: `v2t`, `t2v`, `both`.
    pub direction: Direction,
    /// Which pairs are positives: `diagonal` (paper) or `same-label`.
    pub targets: Targets,
    /// What a training patch is compared with: all classes of the legend, or the texts of its batch (the paper), which are its class's ensemble
    /// feature or one prompt of its class drawn anew each epoch. `targets` matters for sampled prompts only.
    pub prompts: PromptUse,
    /// Random flips and quarter turns of training patches.
    pub augment: bool,
    /// Share of the fused features dropped in training.
    pub dropout: f64,
    /// Decay of the exponential moving average of the weights that is validated and saved; none: the weights themselves.
    pub ema: Option<f64>,
    /// Batches with equal expected class counts instead of the pixels' own.
    pub balanced: bool,
    /// Seed of initialisation, order and augmentation.
    pub seed: u64,
}

/// How the learning rate changes over the epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// Not at all (paper).
    #[default]
    Constant,
    /// Half a cosine from the learning rate to 0 over all epochs.
    Cosine,
}

/// The text side of a training pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PromptUse {
    /// The class's feature, the normalised mean of its prompts. Pairs of one class then have the same text, and the targets `diagonal` and
    /// `same-label` give the same loss (see [`geoglot_nn::losses::class_contrastive_loss`]).
    Class,
    /// One prompt of the class, drawn for each patch and epoch.
    Sampled,
    /// The features of all classes, each once instead of once a patch, which makes the most similar class the most probable one
    /// (see [`crate::vocabulary_loss`]).
    #[default]
    Vocabulary,
}

impl TrainOptions {
    /// Learning rate in `epoch`, counted from 0.
    pub fn rate(&self, epoch: usize) -> f64 {
        match self.schedule {
            Schedule::Constant => self.learning_rate,
            Schedule::Cosine => {
                let done = epoch as f64 / self.epochs as f64;
                self.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
            }
        }
    }
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            epochs: 100,
            batch: 128,
            steps_per_epoch: None,
            learning_rate: 1e-3,
            schedule: Schedule::Constant,
            weight_decay: 0.0,
            patience: 15,
            direction: Direction::Both,
            targets: Targets::SameLabel,
            prompts: PromptUse::Vocabulary,
            augment: true,
            dropout: 0.0,
            ema: None,
            balanced: false,
            seed: 0,
        }
    }
}

impl TrainOptions {
    pub(super) fn check(&self) -> Result<(), String> {
        let out_of_range = [
            ("epochs", self.epochs == 0),
            ("batch", self.batch < 2),
            ("steps_per_epoch", self.steps_per_epoch == Some(0)),
            ("patience", self.patience == 0),
            ("learning_rate", !(self.learning_rate > 0.0 && self.learning_rate <= 1.0)),
            ("weight_decay", !(0.0..=1.0).contains(&self.weight_decay)),
            ("dropout", !(0.0..1.0).contains(&self.dropout)),
            ("ema", self.ema.is_some_and(|d| !(0.0..1.0).contains(&d))),
        ];
        match out_of_range.iter().find(|(_, wrong)| *wrong) {
            Some((key, _)) => Err(format!("train.{key} is out of range")),
            None => Ok(()),
        }
    }
}
