//! Model folders, and what another program needs to train the same thing.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use burn::tensor::Device;
use geoglot_core::atomic;
use geoglot_models::mmlgnet::sha256;
use geoglot_models::text::SpaceId;
use geoglot_models::vision::{TowerCard, TowerFiles, VisionConfig};
use geoglot_nn::vision::Vit;
use geoglot_nn::weights::to_bytes;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;

use super::batches::{PretrainData, epoch_plan};
use super::error::{PretrainError, Result};
use super::fit::Inputs;
use super::model::Contrast;
use super::options::PretrainOptions;

fn refused(e: impl std::fmt::Display) -> PretrainError {
    PretrainError::Input(format!("the weights cannot be written as safetensors: {e}"))
}

/// The tower's weights under our names with `logit_scale` (t) and, where the loss has one, `logit_bias` (b).
fn weights(vit: &Vit, scale: f32, bias: Option<f32>) -> Result<Vec<u8>> {
    let bytes = to_bytes(vit, &BTreeMap::new()).map_err(refused)?;
    let file = SafeTensors::deserialize(&bytes).map_err(refused)?;
    let (scale, bias) = (scale.to_le_bytes(), bias.map(f32::to_le_bytes));
    let mut all: Vec<(String, TensorView<'_>)> = file.tensors();
    let scalars = [("logit_scale", Some(&scale)), ("logit_bias", bias.as_ref())];
    for (name, bytes) in scalars.into_iter().filter_map(|(n, b)| Some((n, b?))) {
        all.push((name.into(), TensorView::new(Dtype::F32, vec![1], bytes).map_err(refused)?));
    }
    safetensors::serialize(all, None::<HashMap<String, String>>).map_err(refused)
}

/// Writes a model folder (`model.safetensors`, then `config.json`) that [`geoglot_models::vision::load_image_tower`] loads as a tower
/// of `space`. Returns the weights' SHA-256.
///
/// # Errors
/// A folder that cannot be written.
pub fn save_tower(
    folder: &Path,
    model: &Contrast,
    config: &VisionConfig,
    space: &SpaceId,
    license: Option<&str>,
) -> Result<String> {
    let bytes = weights(&model.vit, model.log_scale(), model.bias())?;
    let card = TowerCard {
        system: "vision-tower".into(),
        layout: 1,
        space: Some(space.name.clone()),
        license: license.map(str::to_owned),
        tower: config.clone(),
        merged: None,
    };
    atomic::write(&folder.join("model.safetensors"), &bytes).map_err(crate::Error::from)?;
    atomic::write_json(&folder.join("config.json"), &card).map_err(crate::Error::from)?;
    Ok(sha256(&bytes))
}

/// Writes what a training begins from (weights of `start` or random ones) into `folder`: `start.safetensors` (first weights, linear layers as [outputs, inputs]),
/// `texts.safetensors` (`texts`, [N, D]) and `plan.json` (options, files, wavelengths; for each step the learning rate and the
/// batch with its images, texts and crops).
///
/// # Errors
/// As [`super::pretrain`] before its first step.
pub fn export_start(
    folder: &Path,
    start: Option<&TowerFiles>,
    config: &VisionConfig,
    data: &PretrainData<'_>,
    options: &PretrainOptions,
    device: &Device,
) -> Result<()> {
    data.check(config.vit.output())?;
    let inputs = Inputs::bind(config, data)?;
    let model = Contrast::begin(&config.vit, options, start, device)?;
    let weights = weights(&model.vit, model.log_scale(), model.bias())?;
    let values: Vec<u8> = data.texts.iter().flat_map(|v| v.to_le_bytes()).collect();
    let shape = vec![data.texts.nrows(), data.texts.ncols()];
    let view = TensorView::new(Dtype::F32, shape, &values).map_err(refused)?;
    let texts = safetensors::serialize([("texts", view)], None::<HashMap<String, String>>).map_err(refused)?;
    let mut plan = Vec::new();
    for epoch in 0..options.epochs {
        plan.extend(epoch_plan(data, options, epoch)?);
    }
    let modalities = data.modalities.iter().zip(&inputs.wavelengths).map(|(m, waves)| {
        let files: Vec<String> = (0..m.images.len()).map(|i| m.images.path(i).display().to_string()).collect();
        json!({ "name": m.name, "wavelengths": waves, "files": files })
    });
    let steps = plan.iter().enumerate().map(|(k, batch)| {
        json!({ "rate": options.rate(k, plan.len()), "modality": batch.modality, "items": batch.items, "texts": batch.texts,
                "crops": batch.crops.iter().map(|c| json!([c.area, c.row, c.column, c.turn])).collect::<Vec<_>>() })
    });
    let content = json!({
        "options": options, "tower": config, "modalities": modalities.collect::<Vec<_>>(), "steps": steps.collect::<Vec<_>>(),
    });
    let write = |name: &str, bytes: &[u8]| atomic::write(&folder.join(name), bytes).map_err(crate::Error::from);
    write("start.safetensors", &weights)?;
    write("texts.safetensors", &texts)?;
    Ok(write("plan.json", content.to_string().as_bytes())?)
}
