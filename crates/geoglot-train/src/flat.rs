//! All numbers of a module in one vector, in the order in which the module visits its parameters (running statistics included).

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Tensor, TensorData};

struct Collect(Vec<f32>);

impl ModuleVisitor for Collect {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.extend(param.val().into_data().iter::<f32>());
    }
}

/// Every float parameter and running statistic of `module`.
pub fn flatten<M: Module>(module: &M) -> Vec<f32> {
    let mut collect = Collect(Vec::new());
    module.visit(&mut collect);
    collect.0
}

struct Fill<'a> {
    values: &'a [f32],
    at: usize,
}

impl ModuleMapper for Fill<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let shape = tensor.shape();
        let end = self.at + shape.num_elements();
        let data = TensorData::new(self.values[self.at..end].to_vec(), shape);
        self.at = end;
        let new = Tensor::from_data(data, &tensor.device()).set_require_grad(tensor.is_require_grad());
        Param::from_mapped_value(id, new, mapper)
    }
}

/// The inverse of [`flatten`].
///
/// # Panics
/// When `values` has another length than the module's numbers.
pub fn unflatten<M: Module>(module: M, values: &[f32]) -> M {
    let mut fill = Fill { values, at: 0 };
    let module = module.map(&mut fill);
    assert_eq!(fill.at, values.len(), "numbers of the module and of the vector");
    module
}

struct Number(u64);

impl ModuleMapper for Number {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (_, tensor, mapper) = param.consume();
        self.0 += 1;
        Param::from_mapped_value(ParamId::from(self.0), tensor, mapper)
    }
}

/// Gives the parameters ids 1, 2, … in visiting order, so that an optimiser's saved state finds them in another process.
pub fn number_parameters<M: Module>(module: M) -> M {
    module.map(&mut Number(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::{BatchNormConfig, LinearConfig};
    use burn::tensor::Device;

    #[test]
    fn numbers_survive_the_round_trip() {
        let device = Device::flex().autodiff();
        let linear = LinearConfig::new(3, 2).init(&device);
        let values: Vec<f32> = (0..8).map(|v| v as f32).collect();
        let filled = unflatten(linear, &values);
        assert_eq!(flatten(&filled), values);
        assert!(filled.weight.val().is_require_grad());
    }

    #[test]
    fn running_statistics_belong_to_it() {
        let bn = BatchNormConfig::new(2).init(&Device::flex());
        let values: Vec<f32> = (0..8).map(|v| v as f32).collect();
        let filled = unflatten(bn, &values);
        assert_eq!(flatten(&filled), values);
    }
}
