//! Token and position tables.

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Int, Tensor};

/// A table of vectors looked up by id: words, positions, segments.
///
/// Unlike burn's own layer its parameter can be longer than needed and be sliced ([`Table::first`]).
#[derive(Module, Debug)]
pub struct Table {
    /// Rows, `[count, width]`.
    pub weight: Param<Tensor<2>>,
}

/// Size of a [`Table`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableConfig {
    /// Number of rows.
    pub count: usize,
    /// Width of a row.
    pub width: usize,
}

impl TableConfig {
    /// Rows from a normal distribution with standard deviation 0.02, as BERT and CLIP start.
    pub fn init(&self, device: &Device) -> Table {
        let initializer = Initializer::Normal { mean: 0.0, std: 0.02 };
        Table { weight: initializer.init([self.count, self.width], device) }
    }
}

impl Table {
    /// Rows of `ids` `[B, N]` as `[B, N, width]`.
    pub fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let [batch, n] = ids.dims();
        let weight = self.weight.val();
        let width = weight.dims()[1];
        weight.select(0, ids.reshape([batch * n])).reshape([batch, n, width])
    }

    /// Rows `start..start + n` as `[1, n, width]`: positions of a sequence.
    pub fn first(&self, start: usize, n: usize) -> Tensor<3> {
        self.weight.val().narrow(0, start, n).unsqueeze::<3>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_up_rows() {
        let device = Device::flex();
        let mut table = TableConfig { count: 3, width: 2 }.init(&device);
        table.weight = table.weight.map(|_| Tensor::from_floats([[0., 1.], [2., 3.], [4., 5.]], &device));
        let rows = table.forward(Tensor::from_ints([[2, 0]], &device));
        assert_eq!(rows.into_data().try_to_vec::<f32>().unwrap(), [4., 5., 0., 1.]);
        assert_eq!(table.first(1, 2).into_data().try_to_vec::<f32>().unwrap(), [2., 3., 4., 5.]);
    }
}
