//! Learned positions for images of another size than the trained one.

use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::resample::{Axis, Interpolation};

/// How a grid of learned positions becomes one of another size. Always bicubic; the libraries differ in the rest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct PositionResampling {
    /// Whether the kernel widens when shrinking. timm, OpenCLIP and DINOv2 with registers: yes; Hugging Face's CLIP, SigLIP and
    /// DINOv2, and the original DINOv2: no.
    #[serde(default)]
    pub antialias: bool,
    /// Added to the target size before the scale is computed: 0.1 in the original DINOv2 code, else 0. Only without antialias.
    #[serde(default)]
    pub offset: f64,
}

/// Positions `[h·w, D]` of a grid `from` = (h, w) as `[h'·w', D]` of a grid `to` = (h', w'). Equal grids are returned as
/// they are; otherwise the result carries no gradient.
pub fn resample_positions(
    positions: Tensor<2>,
    from: (usize, usize),
    to: (usize, usize),
    how: PositionResampling,
) -> Tensor<2> {
    if from == to {
        return positions;
    }
    let width = positions.dims()[1];
    let device = positions.device();
    let values: Vec<f32> = positions.into_data().iter::<f32>().collect();
    let rows = resample_position_values(&values, width, from, to, how);
    Tensor::from_data(TensorData::new(rows, [to.0 * to.1, width]), &device)
}

/// As [`resample_positions`], for the numbers of a table of `width` columns.
///
/// # Panics
/// When there are not h·w·`width` numbers, or a size is zero.
pub fn resample_position_values(
    values: &[f32],
    width: usize,
    from: (usize, usize),
    to: (usize, usize),
    how: PositionResampling,
) -> Vec<f32> {
    assert_eq!(values.len(), from.0 * from.1 * width, "positions of a grid {from:?} of width {width}");
    if from == to {
        return values.to_vec();
    }
    let axis = |input: usize, output: usize| {
        if how.antialias {
            Axis::antialiased(Interpolation::Bicubic, input, output)
        } else {
            let scale = (how.offset != 0.0).then(|| input as f64 / (output as f64 + how.offset));
            Axis::plain(Interpolation::Bicubic, input, output, scale)
        }
    };
    let columns = axis(from.1, to.1).apply(values, from.0, from.1, width);
    axis(from.0, to.0).apply(&columns, 1, from.0, to.1 * width)
}
