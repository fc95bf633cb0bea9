//! Cross-entropy over pixels.

use burn::tensor::{Tensor, TensorData, activation};

/// Label of pixels that do not count.
pub const IGNORE: u8 = u8::MAX;

/// Mean cross-entropy over the pixels whose label is not [`IGNORE`]: logits `[B, K, H, W]`, labels as `B·H·W` class positions.
/// Zero when every pixel is ignored.
///
/// # Panics
/// When the number of labels is not B·H·W, or a label is K or more.
pub fn pixel_cross_entropy(logits: Tensor<4>, labels: &[u8]) -> Tensor<1> {
    let [b, k, h, w] = logits.dims();
    assert_eq!(labels.len(), b * h * w, "labels of {b} maps of {h} × {w}");
    let mut target = vec![0f32; b * k * h * w];
    let mut count = 0usize;
    for (i, &label) in labels.iter().enumerate().filter(|(_, l)| **l != IGNORE) {
        assert!(usize::from(label) < k, "label {label} of {k} classes");
        let (image, pixel) = (i / (h * w), i % (h * w));
        target[(image * k + usize::from(label)) * h * w + pixel] = 1.0;
        count += 1;
    }
    // A product instead of a gather: its gradient is exact and cheap on every backend.
    let target = Tensor::<4>::from_data(TensorData::new(target, [b, k, h, w]), &logits.device());
    (activation::log_softmax(logits, 1) * target).sum() / -(count.max(1) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn ignored_pixels_do_not_count() {
        let device = Device::flex();
        let logits = Tensor::<1>::from_floats([2.0, 0.0, 1.0, 0.0, 1.0, -1.0], &device).reshape([1, 2, 1, 3]);
        let loss = |labels: &[u8]| pixel_cross_entropy(logits.clone(), labels).into_scalar::<f32>();
        // ln(1 + e^(other − own)) of the first and the last pixel.
        let (first, last) = ((1.0 + (-2f32).exp()).ln(), (1.0 + (-2f32).exp()).ln());
        assert!((loss(&[0, IGNORE, 0]) - (first + last) / 2.0).abs() < 1e-6);
        assert_eq!(loss(&[IGNORE; 3]), 0.0);
    }
}
