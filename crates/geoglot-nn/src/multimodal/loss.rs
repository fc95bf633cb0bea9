//! Overlap loss.

use burn::tensor::{Tensor, TensorData, activation};

use crate::segmentation::IGNORE;

/// 1 − the mean over classes of (2·Σp·g + 1) / (Σp² + Σg + 1), sums over all pixels of the batch whose label is not [`IGNORE`]
/// (Milletari et al. 2016): logits `[B, K, H, W]`, labels as `B·H·W` class positions.
///
/// # Panics
/// When the number of labels is not B·H·W, or a label is K or more.
pub fn dice_loss(logits: Tensor<4>, labels: &[u8]) -> Tensor<1> {
    let [b, k, h, w] = logits.dims();
    assert_eq!(labels.len(), b * h * w, "labels of {b} maps of {h} × {w}");
    let mut target = vec![0f32; b * k * h * w];
    let mut valid = vec![0f32; b * h * w];
    let mut counts = vec![0f32; k];
    for (i, &label) in labels.iter().enumerate().filter(|(_, l)| **l != IGNORE) {
        assert!(usize::from(label) < k, "label {label} of {k} classes");
        target[(i / (h * w) * k + usize::from(label)) * h * w + i % (h * w)] = 1.0;
        valid[i] = 1.0;
        counts[usize::from(label)] += 1.0;
    }
    let device = logits.device();
    let target = Tensor::<4>::from_data(TensorData::new(target, [b, k, h, w]), &device);
    let valid = Tensor::<4>::from_data(TensorData::new(valid, [b, 1, h, w]), &device);
    let p = activation::softmax(logits, 1) * valid;
    let by_class = |t: Tensor<4>| t.sum_dim(0).sum_dim(2).sum_dim(3).reshape([k]);
    let overlap = by_class(p.clone() * target).mul_scalar(2.0) + 1.0;
    let sizes = by_class(p.square()) + Tensor::<1>::from_floats(counts.as_slice(), &device) + 1.0;
    (overlap / sizes).mean().mul_scalar(-1.0) + 1.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn certainty_is_rewarded_and_ignored_pixels_do_not_count() {
        let device = Device::flex();
        let logits = |v: f32| Tensor::<1>::from_floats([v, -v, -v, v], &device).reshape([1, 2, 1, 2]);
        let loss = |v: f32, labels: &[u8]| dice_loss(logits(v), labels).into_scalar::<f32>();
        assert!(loss(20.0, &[0, 1]).abs() < 1e-6);
        assert!((loss(-20.0, &[0, 1]) - (1.0 - 1.0 / 3.0)).abs() < 1e-6);
        // Class 0: (2 + 1)/(1 + 1 + 1), class 1: 1/1.
        assert!(loss(20.0, &[0, IGNORE]).abs() < 1e-6);
    }
}
