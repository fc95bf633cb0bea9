//! First weights from a seed.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor, TensorData};
use geoglot_core::Seeds;
use rand::{Rng, RngExt};

use super::config::TsmNetConfig;
use super::network::TsmNet;
use crate::initial::Uniform;

/// A network with fresh weights, which depend on the configuration and the seed only: linear layers and convolutions uniform in
/// ±1/√(fan in), tokens, positions and contexts normal with standard deviation 0.02, the patch embedding with 1/√(fan in).
///
/// # Panics
/// When [`TsmNetConfig::problem`] says something.
pub fn initial(config: &TsmNetConfig, device: &Device, seed: u64) -> TsmNet {
    let seeds = Seeds::new(seed);
    let network = config.init(device).map(&mut Uniform::new(seeds.stream("tsmnet/init")));
    network.map(&mut Normal { rng: seeds.stream("tsmnet/tokens"), path: Vec::new() })
}

struct Normal<R: Rng> {
    rng: R,
    path: Vec<String>,
}

impl<R: Rng> ModuleMapper for Normal<R> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape: Vec<usize> = param.lazy_shape().iter().copied().collect();
        let parent = self.path.len().checked_sub(2).map(|k| self.path[k].as_str());
        let deviation = match (self.path.last().map(String::as_str), parent) {
            (Some("class_token" | "position" | "contexts" | "registers"), _) => 0.02,
            (Some("weight"), Some("patch")) => (shape[1..].iter().product::<usize>() as f32).powf(-0.5),
            _ => return param,
        };
        let mut normal = || (0..12).map(|_| self.rng.random::<f32>()).sum::<f32>() - 6.0;
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| normal() * deviation).collect();
        let (device, id) = (param.lazy_device(), param.id);
        param.transform_for_load(Tensor::from_data(TensorData::new(values, shape), &device), id)
    }
}
