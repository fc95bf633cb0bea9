//! Heads trained elsewhere.

use std::path::Path;

use burn::tensor::Device;
use geoglot_nn::segmentation::{UperNet, UperNetConfig};
use geoglot_nn::weights::{Checkpoint, KeyMap, load_into};

use crate::error::{Error, Result};

/// Loads neck, decode head and, where `config` has one, the auxiliary head from a checkpoint under OpenMMLab's names (`neck.…`,
/// `decode_head.…`, `auxiliary_head.…`); the backbone's tensors are left to [`crate::vision::load_image_tower`].
///
/// # Errors
/// [`Error::Config`] for an impossible configuration; [`Error::Weights`] for missing, unused or misshapen tensors.
pub fn load_published_head(config: &UperNetConfig, path: &Path, device: &Device) -> Result<UperNet> {
    if let Some(problem) = config.problem() {
        return Err(Error::config(path, problem));
    }
    let map = KeyMap::from_toml(include_str!("keymaps/mmseg.toml"))?;
    Ok(load_into(config.init(device), &Checkpoint::open(path)?, &map)?.0)
}
