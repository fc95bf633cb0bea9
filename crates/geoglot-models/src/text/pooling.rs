//! From token states to one vector a text.

use burn::tensor::{Int, Tensor};
use ndarray::{Array2, ArrayViewMut1, Axis};
use serde::{Deserialize, Serialize};

/// How a BERT's token states become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Pooling {
    /// Mean over the text's own tokens (padding left out), as sentence-transformers does.
    Mean,
    /// State of the first token.
    Cls,
}

impl Pooling {
    /// The name used in cache keys and space names.
    pub fn name(self) -> &'static str {
        match self {
            Pooling::Mean => "mean",
            Pooling::Cls => "cls",
        }
    }

    /// States `[B, N, D]` with mask `[B, N]` (1 on tokens) to vectors `[B, D]`, not normalised.
    pub fn forward(self, states: Tensor<3>, mask: Tensor<2, Int>) -> Tensor<2> {
        let [b, n, d] = states.dims();
        match self {
            Pooling::Cls => states.slice([0..b, 0..1]).reshape([b, d]),
            Pooling::Mean => {
                let weights = mask.float();
                let count = weights.clone().sum_dim(1); // [B, 1]; at least one token a text
                let sum = (states * weights.reshape([b, n, 1])).sum_dim(1).reshape([b, d]);
                sum / count
            }
        }
    }
}

/// Scales every row of `[N, D]` to length 1; a zero row stays zero.
pub fn normalize_rows(features: &mut Array2<f32>) {
    features.axis_iter_mut(Axis(0)).for_each(normalize);
}

/// Scales one vector to length 1, summing in f64; a zero vector stays zero.
pub(crate) fn normalize(mut row: ArrayViewMut1<f32>) {
    let length = row.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
    if length > 0.0 {
        row.mapv_inplace(|v| (f64::from(v) / length) as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn the_mean_leaves_padding_out() {
        let device = Device::flex();
        let states = Tensor::<3>::from_floats([[[1., 2.], [3., 4.], [100., 100.]]], &device);
        let mask = Tensor::from_ints([[1, 1, 0]], &device);
        let mean = Pooling::Mean.forward(states.clone(), mask.clone()).into_data().try_to_vec::<f32>().unwrap();
        assert_eq!(mean, [2., 3.]);
        let cls = Pooling::Cls.forward(states, mask).into_data().try_to_vec::<f32>().unwrap();
        assert_eq!(cls, [1., 2.]);
    }

    #[test]
    fn a_zero_row_stays_zero() {
        let mut rows = ndarray::array![[3.0, 4.0], [0.0, 0.0]];
        normalize_rows(&mut rows);
        assert_eq!(rows, ndarray::array![[0.6, 0.8], [0.0, 0.0]]);
    }
}
