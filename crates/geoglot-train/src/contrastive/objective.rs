//! The pairwise sigmoid loss.

use burn::tensor::{Device, Tensor, TensorData, activation};
use geoglot_nn::losses::Targets;

/// Which pairs of a batch are positives, as +1 and −1, [B, B]: those on the diagonal, and with [`Targets::SameLabel`] all
/// pairs whose text is the same; captions occur several times, and a true pair must not be called a negative.
pub fn pairs(texts: &[usize], targets: Targets, device: &Device) -> Tensor<2> {
    let n = texts.len();
    let positive = |i: usize, j: usize| i == j || (targets == Targets::SameLabel && texts[i] == texts[j]);
    let values: Vec<f32> = (0..n * n).map(|k| if positive(k / n, k % n) { 1.0 } else { -1.0 }).collect();
    Tensor::from_data(TensorData::new(values, [n, n]), device)
}

/// −(1/B) Σ_ij log σ(z_ij·s_ij) (SigLIP, Zhai et al. 2023, §3.2), `[1]`.
///
/// - `logits`: s = e^t·v·w + b, [B, B], images in rows, texts in columns;
/// - `pairs`: z, [B, B], +1 on pairs that belong together, −1 elsewhere.
pub fn sigmoid_loss(logits: Tensor<2>, pairs: Tensor<2>) -> Tensor<1> {
    let rows = logits.dims()[0] as f32;
    activation::log_sigmoid(logits * pairs).sum() / -rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_is_that_of_the_formula() {
        let device = Device::flex();
        let s = [2.0f32, -1.0, 0.5, 40.0, -3.0, 0.0, -60.0, 1.0, 0.25];
        let logits = Tensor::<2>::from_data(TensorData::new(s.to_vec(), [3, 3]), &device);
        for (targets, same) in [(Targets::Diagonal, false), (Targets::SameLabel, true)] {
            let texts = [5usize, 9, 5];
            let loss: f32 = sigmoid_loss(logits.clone(), pairs(&texts, targets, &device)).into_scalar();
            let expected: f64 = (0..9)
                .map(|k| {
                    let positive = k / 3 == k % 3 || (same && texts[k / 3] == texts[k % 3]);
                    let x = f64::from(s[k]) * if positive { 1.0 } else { -1.0 };
                    // −log σ(x) without overflow.
                    (-x).max(0.0) + (-x.abs()).exp().ln_1p()
                })
                .sum::<f64>()
                / 3.0;
            assert!((f64::from(loss) - expected).abs() < 1e-4, "{targets:?}: {loss}, expected {expected}");
        }
    }
}
