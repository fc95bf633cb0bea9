//! The `[[evaluate]]` sections of image–text recipes.

use std::path::Path;
use std::sync::Arc;

use anyhow::bail;

use super::protocols::{Protocol, ProtocolRequest};
use crate::core::Registry;
use crate::data::datasets::DatasetOptions;
use crate::eval::Bootstrap;
use crate::eval::protocols::ProbeOptions;
use crate::train::contrastive::{EvaluateKind, EvaluateSection, PretrainRecipe};
use crate::train::segmentation::SegmentRecipe;

/// What a section asks for.
pub(super) enum Measurement {
    /// A protocol on a data set.
    Protocol(Box<ProtocolRequest>),
    /// A decode head.
    Dense(Box<SegmentRecipe>),
}

/// A section with its paths and templates resolved, for the model in `folder`.
///
/// # Errors
/// Variables that are not set, a data set that is not there, a segmentation recipe that cannot be used.
pub(super) fn measurement(
    recipe: &PretrainRecipe,
    section: &EvaluateSection,
    folder: &Path,
    seed: u64,
    registry: &Registry,
) -> anyhow::Result<Measurement> {
    let protocol = match section.protocol {
        EvaluateKind::ZeroShot => Protocol::ZeroShot,
        EvaluateKind::Retrieval => Protocol::Retrieval,
        EvaluateKind::Multilabel => Protocol::Multilabel,
        EvaluateKind::Probe => Protocol::Probe,
        EvaluateKind::Knn => Protocol::Knn,
        EvaluateKind::Segmentation => {
            let path = recipe.beside(section.recipe.as_deref().unwrap_or_default())?;
            let tower = toml::Value::from(std::path::absolute(folder)?.display().to_string());
            let set = [format!("model.tower={tower}"), format!("train.seed={seed}")];
            return Ok(Measurement::Dense(Box::new(SegmentRecipe::load(&path, &set)?)));
        }
    };
    let data = recipe.below_root(section.data.as_deref().unwrap_or_default())?;
    if !data.exists() {
        bail!("{}: no such data set", data.display());
    }
    Ok(Measurement::Protocol(Box::new(ProtocolRequest {
        protocol,
        model: folder.display().to_string(),
        data,
        dataset: DatasetOptions {
            sensor: section.sensor.clone(),
            layout: section.layout.clone(),
            registry: Arc::new(registry.clone()),
            ..DatasetOptions::default()
        },
        split: section.split,
        templates: section.templates.as_ref().unwrap_or(&recipe.text.templates).resolve()?,
        text_model: Some(recipe.text.tower.clone()),
        batch: 32,
        threshold: None,
        neighbours: 5,
        probe: ProbeOptions::default(),
        divide: (0.1, 0.2),
        bootstrap: Bootstrap::default(),
        scenes: Vec::new(),
        prompts: Vec::new(),
        tsne: false,
        save_embeddings: false,
    })))
}
