//! Contrastive losses between vision and text embeddings.
//!
//! S_ij = e^τ · v_i·t_j; v2t is the cross-entropy of each row against its target, t2v that of each column, `both`
//! their mean (MMLGNet paper, section III-C; CLIP). Rows of `v` and `t` are expected L2-normalised.

use burn::config::Config;
use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, activation};
use serde::{Deserialize, Serialize};

/// Which cross-entropies make the loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// Each image finds its text.
    #[serde(rename = "v2t")]
    VisionToText,
    /// Each text finds its image.
    #[serde(rename = "t2v")]
    TextToVision,
    /// The mean of the two.
    #[default]
    #[serde(rename = "both")]
    Both,
}

/// Which pairs of a batch are positives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Targets {
    /// Only i = j, as in the paper.
    Diagonal,
    /// All pairs of equal label, each target row normalised to 1.
    #[default]
    SameLabel,
}

/// Configuration of a [`Temperature`].
#[derive(Config, Debug)]
pub struct TemperatureConfig {
    /// First value of e^τ. Default 1/0.07.
    #[config(default = "1.0 / 0.07")]
    pub scale: f64,
    /// Largest value of e^τ.
    #[config(default = 100.0)]
    pub max: f64,
}

impl TemperatureConfig {
    /// A temperature on `device`.
    pub fn init(&self, device: &Device) -> Temperature {
        Temperature { tau: Param::from_tensor(Tensor::from_floats([self.scale.ln() as f32], device)), max: self.max }
    }
}

/// The learnable temperature: similarities are multiplied by e^τ ≤ max.
#[derive(Module, Debug)]
pub struct Temperature {
    /// τ, `[1]`.
    pub tau: Param<Tensor<1>>,
    max: f64,
}

impl Temperature {
    /// e^τ, clamped, `[1]`. Beyond the clamp τ gets no gradient: see [`Temperature::constrain`].
    pub fn scale(&self) -> Tensor<1> {
        self.tau.val().exp().clamp_max(self.max)
    }

    /// τ itself pulled back under the clamp, to be called after each optimiser step so that it cannot get stuck
    /// where it has no gradient.
    pub fn constrain(self) -> Self {
        // A hair below, so that rounding of e^τ does not land above.
        let limit = self.max.ln() - 1e-6;
        let tau = self.tau.map(|tau| {
            let wanted = tau.is_require_grad();
            // `detach` alone keeps the wish for gradients, and the clamp would be recorded as an operation.
            let value = tau.detach().set_require_grad(false).clamp_max(limit);
            value.set_require_grad(wanted)
        });
        Self { tau, ..self }
    }
}

/// Symmetric contrastive loss over a matrix of scaled similarities.
///
/// - `logits`: S, [B, B], images in rows, texts in columns.
/// - `labels`: class of each pair, `[B]`; not looked at with diagonal targets.
/// - returns the loss, `[1]`.
///
/// # Panics
/// If the matrix is not square or `labels` has another length.
pub fn contrastive_loss(
    logits: Tensor<2>,
    labels: Tensor<1, Int>,
    targets: Targets,
    direction: Direction,
) -> Tensor<1> {
    let [rows, cols] = logits.dims();
    assert_eq!(rows, cols, "a batch has as many texts as images");
    assert_eq!(labels.dims(), [rows], "one label for each pair");
    // The target matrix is symmetric, so it serves rows and columns.
    let target: Tensor<2> = match targets {
        Targets::Diagonal => Tensor::eye(rows, &logits.device()),
        Targets::SameLabel => {
            let same = labels
                .clone()
                .reshape([rows, 1])
                .repeat_dim(1, rows)
                .equal(labels.reshape([1, rows]).repeat_dim(0, rows))
                .float();
            same.clone() / same.sum_dim(1)
        }
    };
    let entropy = |logits: Tensor<2>, target: Tensor<2>| {
        (activation::log_softmax(logits, 1) * target).sum().div_scalar(-(rows as f64))
    };
    match direction {
        Direction::VisionToText => entropy(logits, target),
        Direction::TextToVision => entropy(logits.transpose(), target),
        Direction::Both => (entropy(logits.clone(), target.clone()) + entropy(logits.transpose(), target)) * 0.5,
    }
}

/// [`contrastive_loss`] for the case that all pairs of a class share one prompt, from the [B, K] matrix of images
/// against *classes*.
///
/// - `logits`: Z = e^τ · v_i·p_k, [B, K].
/// - `labels`: class of each image, in 0..K.
/// - returns the loss, `[1]`.
///
/// Repeated prompts are repeated columns of S, so a row's sum over the batch is a sum over classes weighted by their
/// counts n_k, and all positives of a row have one logit. Hence for *both* kinds of target
/// L_v2t = mean_i [log Σ_k n_k e^(Z_ik) − Z_(i,l_i)] and L_t2v = Σ_k n_k/B · log Σ_i e^(Z_ik) − mean_i Z_(i,l_i):
/// with one prompt per class, [`Targets::Diagonal`] and [`Targets::SameLabel`] are the same loss with the same
/// gradients.
///
/// # Panics
/// If `labels` has another length than the batch or names a class that does not exist.
pub fn class_contrastive_loss(logits: Tensor<2>, labels: &[usize], direction: Direction) -> Tensor<1> {
    let [batch, classes] = logits.dims();
    assert_eq!(labels.len(), batch, "one label for each image");
    let device = logits.device();
    let mut counts = vec![0usize; classes];
    let mut chosen = vec![0.0f32; batch * classes];
    for (i, &label) in labels.iter().enumerate() {
        assert!(label < classes, "label {label} of {classes} classes");
        counts[label] += 1;
        chosen[i * classes + label] = 1.0 / batch as f32;
    }
    let vector = |values: Vec<f32>| Tensor::<1>::from_floats(values.as_slice(), &device);
    let positive = (logits.clone() * vector(chosen).reshape([batch, classes])).sum();

    let v2t = |logits: Tensor<2>| {
        // Classes that do not occur in the batch are no negatives: e^(−1e30) = 0.
        let weight = |&n: &usize| if n == 0 { -1e30 } else { (n as f32).ln() };
        let weights = vector(counts.iter().map(weight).collect()).reshape([1, classes]);
        log_sum_exp(logits + weights, 1).mean()
    };
    let t2v = |logits: Tensor<2>| {
        let share = vector(counts.iter().map(|&n| n as f32 / batch as f32).collect());
        (log_sum_exp(logits, 0) * share.reshape([1, classes])).sum()
    };
    let normaliser = match direction {
        Direction::VisionToText => v2t(logits),
        Direction::TextToVision => t2v(logits),
        Direction::Both => (v2t(logits.clone()) + t2v(logits)) * 0.5,
    };
    normaliser - positive
}

/// log Σ e^x along `dim`, which keeps size 1, without overflow.
fn log_sum_exp(x: Tensor<2>, dim: usize) -> Tensor<2> {
    let max = x.clone().max_dim(dim).detach();
    (x - max.clone()).exp().sum_dim(dim).log() + max
}

/// Rows divided by their L2 norm (at least `1e-12`, as in PyTorch): [B, D] → [B, D].
pub fn l2_normalise(x: Tensor<2>) -> Tensor<2> {
    // Clamped before the root, whose slope at zero is infinite.
    let norm = (x.clone() * x.clone()).sum_dim(1).clamp_min(1e-24).sqrt();
    x / norm
}
