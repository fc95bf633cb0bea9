//! First weights: from a seed, or from a published CLIP.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor, TensorData};
use geoglot_core::Seeds;
use geoglot_nn::vision::{PatchKind, VitConfig};
use geoglot_nn::weights::load_into;
use rand::{Rng, RngExt};

use super::config::TsmNetConfig;
use super::network::TsmNet;
use crate::error::{Error, Result};
use crate::initial::Uniform;
use crate::vision::TowerFiles;

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

/// The shape of towers that begin with a published CLIP's weights, for tiles of `tile` pixels: positions on the tile's own grid.
///
/// # Errors
/// [`Error::Config`] for a tower that is no CLIP of three bands.
pub fn published_tower(files: &TowerFiles, tile: usize) -> Result<VitConfig> {
    let vit = files.config.vit.clone();
    if !matches!(vit.embed, PatchKind::Fixed { channels: 3, .. }) || vit.projection.is_none() {
        return Err(Error::config(
            files.checkpoint.path(),
            "is no image tower of three channels with a projection, as CLIP's are; leave model.tower.weights away for fresh weights",
        ));
    }
    if !tile.is_multiple_of(vit.patch) || tile < 2 * vit.patch {
        return Err(Error::Input(format!("model.tile = {tile}: it must be two or more patches of {} px", vit.patch)));
    }
    let side = tile / vit.patch;
    Ok(VitConfig { grid: (side, side), ..vit })
}

/// `network` with both towers' weights from a published CLIP, positions resampled to the network's grid, where they learn on.
///
/// # Errors
/// [`Error::Weights`] for tensors that are missing, unused or mis-shaped.
pub fn begin_with(mut network: TsmNet, files: TowerFiles, device: &Device) -> Result<TsmNet> {
    let (loaded, _) = load_into(files.config.vit.init(device), &files.checkpoint, &files.map)?;
    for branch in [&mut network.optical, &mut network.sar].into_iter().flatten() {
        let (class, patches) = loaded.positions(branch.vit.config().grid);
        let position = class.into_iter().chain([patches]).collect();
        branch.vit.position = Param::from_tensor(Tensor::cat(position, 0).detach());
        branch.vit.patch = loaded.patch.clone();
        branch.vit.class_token = loaded.class_token.clone();
        branch.vit.registers = loaded.registers.clone();
        branch.vit.pre_norm = loaded.pre_norm.clone();
        branch.vit.blocks = loaded.blocks.clone();
        branch.vit.norm = loaded.norm.clone();
        branch.vit.pool = loaded.pool.clone();
        branch.vit.projection = loaded.projection.clone();
    }
    Ok(network)
}
