//! First weights from a seed.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData};
use rand::{Rng, RngExt};

/// `module` with its convolutions and linear layers drawn from `rng` as PyTorch does: uniform in ±1/√(fan in). Other parameters keep theirs.
pub fn first_weights<M: Module>(module: M, rng: impl Rng) -> M {
    module.map(&mut Uniform::new(rng))
}

/// Draws weights and biases of convolutions and linear layers as PyTorch does: uniform in ±1/√(fan in). Other parameters keep theirs.
pub(crate) struct Uniform<R: Rng> {
    rng: R,
    layer: String,
    bound: f32,
}

impl<R: Rng> Uniform<R> {
    pub(crate) fn new(rng: R) -> Self {
        Self { rng, layer: String::new(), bound: 0.0 }
    }
}

const CONVOLUTIONS: [&str; 2] = ["Struct:Conv2d", "Struct:ConvTranspose2d"];
const LINEAR: &str = "Struct:Linear";

impl<R: Rng> ModuleMapper for Uniform<R> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        if container_type == LINEAR || CONVOLUTIONS.contains(&container_type) {
            self.layer = format!("{container_type}/{name}");
        } else if container_type.starts_with("Struct:") {
            self.layer.clear();
        }
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape: Vec<usize> = param.lazy_shape().iter().copied().collect();
        let kind = self.layer.split('/').next().unwrap_or_default();
        let convolution = CONVOLUTIONS.contains(&kind);
        let fan_in = match shape.as_slice() {
            // PyTorch takes the second axis for transposed convolutions, too.
            [_, rest @ ..] if convolution && rest.len() == 3 => Some(rest.iter().product::<usize>()),
            [inputs, _] if kind == LINEAR => Some(*inputs),
            [_] if convolution || kind == LINEAR => None,
            _ => return param,
        };
        // A layer's bias follows its weight and has the weight's bound.
        if let Some(fan_in) = fan_in {
            self.bound = 1.0 / (fan_in as f32).sqrt();
        }
        let bound = self.bound;
        let values: Vec<f32> =
            (0..shape.iter().product()).map(|_| (self.rng.random::<f32>() * 2.0 - 1.0) * bound).collect();
        let device = param.lazy_device();
        let id = param.id;
        param.transform_for_load(Tensor::from_data(TensorData::new(values, shape), &device), id)
    }
}
