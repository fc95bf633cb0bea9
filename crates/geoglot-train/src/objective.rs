//! Contrastive loss against the whole vocabulary of classes, each class counted once.
//!
//! The paper's softmax over the texts of a batch holds the text of class k as often as the batch holds patches of class k. With one text a class its
//! minimum is e^(Z_ik) ∝ p(k | x_i) / p(k): the most similar class is then the one that makes the patch most *likely*, as if all classes were
//! equally frequent. That favours rare classes (average accuracy) at the cost of overall accuracy. With each class counted once the minimum is
//! e^(Z_ik) ∝ p(k | x_i), and the most similar class is the most probable one.

use burn::tensor::{Tensor, activation::log_softmax};
use geoglot_nn::losses::Direction;

/// The symmetric loss of images against classes.
///
/// - `logits`: Z = e^τ · v_i·t_k, [B, K].
/// - `labels`: class of each image, in 0..K.
/// - v2t: mean over images of −log softmax over classes; t2v: mean over images of −log softmax over the batch of the image's class, which is the
///   paper's mean over the texts of the batch. Returns the loss, `[1]`.
///
/// # Panics
/// If `labels` has another length than the batch or names a class that does not exist.
pub fn vocabulary_loss(logits: Tensor<2>, labels: &[usize], direction: Direction) -> Tensor<1> {
    let [batch, classes] = logits.dims();
    assert_eq!(labels.len(), batch, "one label for each image");
    let mut pairs = vec![0.0f32; batch * classes];
    labels.iter().enumerate().for_each(|(i, &label)| pairs[i * classes + label] = 1.0 / batch as f32);
    let pairs = Tensor::<1>::from_floats(pairs.as_slice(), &logits.device()).reshape([batch, classes]);
    let along = |dim| -(log_softmax(logits.clone(), dim) * pairs.clone()).sum();
    match direction {
        Direction::VisionToText => along(1),
        Direction::TextToVision => along(0),
        Direction::Both => (along(1) + along(0)) * 0.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn value(direction: Direction) -> f32 {
        let logits = Tensor::<2>::from_floats([[1.0, 0.0, 2.0], [0.0, 3.0, -1.0], [0.5, 0.0, 0.0]], &Device::flex());
        vocabulary_loss(logits, &[0, 1, 0], direction).into_scalar()
    }

    #[test]
    fn the_loss_is_the_formula() {
        let nll = |row: &[f64], k: usize| row.iter().map(|z| z.exp()).sum::<f64>().ln() - row[k];
        let v2t = (nll(&[1.0, 0.0, 2.0], 0) + nll(&[0.0, 3.0, -1.0], 1) + nll(&[0.5, 0.0, 0.0], 0)) / 3.0;
        let first = [1.0, 0.0, 0.5];
        let t2v = (nll(&first, 0) + nll(&first, 2) + nll(&[0.0, 3.0, 0.0], 1)) / 3.0;
        assert!((f64::from(value(Direction::VisionToText)) - v2t).abs() < 1e-6);
        assert!((f64::from(value(Direction::TextToVision)) - t2v).abs() < 1e-6);
        assert!((f64::from(value(Direction::Both)) - (v2t + t2v) / 2.0).abs() < 1e-6);
    }

    #[test]
    fn similarities_become_posterior_probabilities() {
        // Patches that all look alike, two thirds of them of class 0: the minimum of v2t must be the share of the classes.
        let device = Device::flex().autodiff();
        let mut z = Tensor::<2>::zeros([1, 2], &device).require_grad();
        for _ in 0..400 {
            let loss = vocabulary_loss(z.clone().repeat_dim(0, 3), &[0, 0, 1], Direction::VisionToText);
            let gradient = z.grad(&loss.backward()).expect("a gradient");
            z = Tensor::from_inner(z.inner() - gradient.inner()).require_grad();
        }
        let p: Vec<f32> = burn::tensor::activation::softmax(z, 1).into_data().iter::<f32>().collect();
        assert!((p[0] - 2.0 / 3.0).abs() < 1e-3, "{p:?}");
    }
}
