//! Bilinear resizing and adaptive pooling as products with small matrices.

use burn::tensor::{Device, Tensor, TensorData};

use crate::vision::resample::{Axis, Interpolation};

/// `[N, M, input]` → `[N, output, M]` by a matrix `[input, output]`: one axis resampled, the last two exchanged.
fn along_last(x: Tensor<4>, matrix: Tensor<2>) -> Tensor<4> {
    let [b, c, rows, columns] = x.dims();
    let output = matrix.dims()[1];
    x.reshape([b * c * rows, columns]).matmul(matrix).reshape([b, c, rows, output]).swap_dims(2, 3)
}

fn both(x: Tensor<4>, rows: Tensor<2>, columns: Tensor<2>) -> Tensor<4> {
    along_last(along_last(x, columns), rows)
}

fn matrix(input: usize, weights: impl Iterator<Item = (usize, Vec<f64>)>, device: &Device) -> Tensor<2> {
    let rows: Vec<(usize, Vec<f64>)> = weights.collect();
    let output = rows.len();
    let mut values = vec![0f32; input * output];
    for (o, (first, weights)) in rows.into_iter().enumerate() {
        for (k, w) in weights.into_iter().enumerate() {
            values[(first + k) * output + o] = w as f32;
        }
    }
    Tensor::from_data(TensorData::new(values, [input, output]), device)
}

/// Maps `[B, C, h, w]` on another grid `(rows, columns)`, bilinear with `align_corners=False`: `[B, C, rows, columns]`.
///
/// # Panics
/// When a size is zero.
pub fn resize(x: Tensor<4>, size: (usize, usize)) -> Tensor<4> {
    let [_, _, h, w] = x.dims();
    assert!(h > 0 && w > 0 && size.0 > 0 && size.1 > 0, "maps of {h} × {w} to {size:?}: a size is zero");
    if (h, w) == size {
        return x;
    }
    let device = x.device();
    let axis = |input: usize, output: usize| {
        let axis = Axis::plain(Interpolation::Bilinear, input, output, None);
        matrix(input, axis.first.into_iter().zip(axis.weights), &device)
    };
    both(x, axis(h, size.0), axis(w, size.1))
}

/// Means over `scale` × `scale` nearly equal parts of each map: `[B, C, h, w]` → `[B, C, scale, scale]`, as PyTorch's
/// `adaptive_avg_pool2d`.
///
/// # Panics
/// When a size is zero.
pub fn adaptive_pool(x: Tensor<4>, scale: usize) -> Tensor<4> {
    let [_, _, h, w] = x.dims();
    assert!(h > 0 && w > 0 && scale > 0, "maps of {h} × {w} in {scale} parts: a size is zero");
    let device = x.device();
    let axis = |input: usize| {
        let part = |k: usize| {
            let (first, end) = (k * input / scale, ((k + 1) * input).div_ceil(scale));
            (first, vec![1.0 / (end - first) as f64; end - first])
        };
        matrix(input, (0..scale).map(part), &device)
    };
    both(x, axis(h), axis(w))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(t: Tensor<4>) -> Vec<f32> {
        t.into_data().iter::<f32>().collect()
    }

    #[test]
    fn resizing_keeps_planes_and_its_own_size() {
        let device = Device::flex();
        let x = Tensor::<1>::from_floats([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], &device).reshape([1, 1, 2, 3]);
        assert_eq!(values(resize(x.clone(), (2, 3))), values(x.clone()));
        // torch.nn.functional.interpolate(x, (4, 3), mode="bilinear")
        let expected = [0.0, 1.0, 2.0, 0.75, 1.75, 2.75, 2.25, 3.25, 4.25, 3.0, 4.0, 5.0];
        assert_eq!(values(resize(x.clone(), (4, 3))), expected);
        assert_eq!(resize(x, (1, 7)).dims(), [1, 1, 1, 7]);
    }

    #[test]
    fn parts_overlap_as_in_pytorch() {
        let device = Device::flex();
        let x = Tensor::<1>::from_floats([1.0, 2.0, 3.0, 4.0, 5.0], &device).reshape([1, 1, 1, 5]);
        // adaptive_avg_pool2d(x, (1, 3)) of five columns: 0–1, 1–3, 3–4; the one row serves every part.
        assert_eq!(values(adaptive_pool(x.clone(), 3))[..3], [1.5, 3.0, 4.5]);
        assert_eq!(values(adaptive_pool(x, 1)), [3.0]);
    }
}
