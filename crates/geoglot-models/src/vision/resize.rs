//! Image resizing: Pillow's on bytes, torchvision's antialiased one on floats.

use geoglot_nn::vision::resample::{Axis, Interpolation};
use ndarray::{Array3, ArrayView3};

/// Resizes `[C, H, W]` to `[C, height, width]` with antialiasing, in floating point.
pub(super) fn resize(image: ArrayView3<f32>, height: usize, width: usize, interpolation: Interpolation) -> Array3<f32> {
    let (c, h, w) = image.dim();
    if (h, w) == (height, width) {
        return image.to_owned();
    }
    let values: Vec<f32> = image.iter().copied().collect();
    let rows = Axis::antialiased(interpolation, w, width).apply(&values, c * h, w, 1);
    let all = Axis::antialiased(interpolation, h, height).apply(&rows, c, h, width);
    Array3::from_shape_vec((c, height, width), all).expect("sizes of the axes")
}

/// Bits after the binary point of Pillow's weights for 8-bit images.
const PRECISION: u32 = 32 - 8 - 2;

/// As [`resize`] for whole numbers 0–255, to the very bytes Pillow gives: weights in fixed point, each pass rounded to bytes.
pub(super) fn resize_bytes(
    image: ArrayView3<f32>,
    height: usize,
    width: usize,
    interpolation: Interpolation,
) -> Array3<f32> {
    let (c, h, w) = image.dim();
    let mut bytes: Vec<u8> = image.iter().map(|v| *v as u8).collect();
    if w != width {
        bytes = pass(&Axis::antialiased(interpolation, w, width), &bytes, c * h, w, 1);
    }
    if h != height {
        bytes = pass(&Axis::antialiased(interpolation, h, height), &bytes, c, h, width);
    }
    Array3::from_shape_vec((c, height, width), bytes.into_iter().map(f32::from).collect()).expect("sizes of the axes")
}

/// One pass along the middle axis of `[outer, input, inner]`.
fn pass(axis: &Axis, values: &[u8], outer: usize, input: usize, inner: usize) -> Vec<u8> {
    let fixed = |w: &f64| {
        let scaled = w * f64::from(1u32 << PRECISION);
        (if *w < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32
    };
    let weights: Vec<Vec<i32>> = axis.weights.iter().map(|row| row.iter().map(fixed).collect()).collect();
    let output = axis.first.len();
    let mut out = vec![0u8; outer * output * inner];
    for o in 0..outer {
        let source = &values[o * input * inner..(o + 1) * input * inner];
        for i in 0..output {
            for x in 0..inner {
                let mut sum = 1i32 << (PRECISION - 1);
                for (k, w) in weights[i].iter().enumerate() {
                    sum += w * i32::from(source[(axis.first[i] + k) * inner + x]);
                }
                out[(o * output + i) * inner + x] = (sum >> PRECISION).clamp(0, 255) as u8;
            }
        }
    }
    out
}
