//! One fold: normalise on its training pixels, train, predict.

use std::path::Path;

use anyhow::Context;
use burn::tensor::Device;
use indexmap::IndexMap;
use ndarray::{Array2, Array3, ArrayView3};

use super::prepare::{Prepared, crop};
use crate::core::{Band, Window, prompt};
use crate::data::{Pixel, Preprocess};
use crate::models::mmlgnet::{
    EncoderConfig, MapOptions, Mapper, Mmlgnet, MmlgnetConfig, ModelCard, SceneReader, load, save, sha256,
};
use crate::models::text::TextTower;
use crate::train::{Ended, Observer, Recipe, RunFolder, TrainingData, embed, fit, history::EpochRecord};

/// The text side of an experiment.
#[derive(Debug, Clone)]
pub struct TextSide {
    /// Embedding space.
    pub space: String,
    /// Templates.
    pub templates: Vec<String>,
    /// Class features, [K, D].
    pub classes: Array2<f32>,
    /// Features of each class's prompts, [prompts, D] each.
    pub prompts: Vec<Array2<f32>>,
}

impl TextSide {
    /// Encodes every prompt of the classes of `prepared`.
    ///
    /// # Errors
    /// Templates without `{c}`, texts the tower refuses.
    pub fn new(recipe: &Recipe, prepared: &Prepared, tower: &dyn TextTower) -> anyhow::Result<Self> {
        let templates = recipe.text.templates.resolve()?;
        let words = prompt::ensemble(&prepared.legend, &templates)?;
        let classes = crate::models::text::class_features(tower, &words)?;
        let prompts = words.iter().map(|w| Ok(tower.encode(w)?)).collect::<anyhow::Result<_>>()?;
        Ok(Self { space: tower.space().name.clone(), templates, classes, prompts })
    }
}

/// A model trained on one fold.
#[derive(Debug)]
pub struct FoldModel {
    /// The network, for inference.
    pub network: Mmlgnet,
    /// What is stored beside its weights.
    pub card: ModelCard,
    /// Normalised values by input, one array a scene.
    pub inputs: IndexMap<String, Vec<Array3<f32>>>,
    /// What happened in training.
    pub history: Vec<EpochRecord>,
    /// How training ended.
    pub ended: Ended,
    /// SHA-256 of the weights.
    pub hash: String,
}

/// Where a fold's model and checkpoint go.
#[derive(Debug, Clone, Copy)]
pub struct FoldPlace<'a> {
    /// Folder of the fold.
    pub folder: &'a Path,
    /// Continue an interrupted training; take a finished model as it is.
    pub resume: bool,
}

/// Identifies a run: its checkpoint is continued only by the same recipe, fold and texts.
fn run_id(recipe: &Recipe, fold: usize, text: &TextSide) -> anyhow::Result<String> {
    let mut bytes = recipe.to_toml()?.into_bytes();
    bytes.extend(fold.to_le_bytes());
    bytes.extend(text.space.as_bytes());
    bytes.extend(text.classes.iter().flat_map(|v| v.to_le_bytes()));
    Ok(sha256(&bytes))
}

/// Normalised values of every used input, with the fitted normalisation.
type Normalised = (IndexMap<String, Vec<Array3<f32>>>, IndexMap<String, Preprocess>);

fn normalise(recipe: &Recipe, prepared: &Prepared, train: &[Pixel]) -> anyhow::Result<Normalised> {
    let mut inputs = IndexMap::new();
    let mut fitted = IndexMap::new();
    for name in recipe.used_inputs() {
        let scenes: Vec<ArrayView3<f32>> = prepared.scenes.iter().map(|s| s.inputs[&name].view()).collect();
        let options = recipe.preprocess.get(&name).cloned().unwrap_or_default();
        let step = Preprocess::fit(&scenes, train, &options).with_context(|| format!("input `{name}`"))?;
        let apply = |scene: &crate::data::LabelledScene| step.apply(scene.inputs[&name].clone(), &scene.mask);
        inputs.insert(name.clone(), prepared.scenes.iter().map(apply).collect::<Result<Vec<_>, _>>()?);
        fitted.insert(name, step);
    }
    Ok((inputs, fitted))
}

fn architecture(recipe: &Recipe, fitted: &IndexMap<String, Preprocess>, embed: usize) -> MmlgnetConfig {
    let encoders = fitted.iter().map(|(name, step)| {
        let encoder = match recipe.is_elevation(name) {
            true => EncoderConfig::elevation(step.outputs()),
            false => EncoderConfig::spectral(step.outputs()),
        };
        (name.clone(), encoder)
    });
    MmlgnetConfig { patch: recipe.model.patch, encoders: encoders.collect(), embed, padding: recipe.model.padding }
}

/// Trains the model of split `fold`, or takes it from `place` when it is finished and `place.resume` says so.
///
/// # Errors
/// Data that cannot be normalised, a loss that diverges, a folder that cannot be written, a checkpoint of another run.
pub fn train_fold(
    recipe: &Recipe,
    prepared: &Prepared,
    fold: usize,
    text: &TextSide,
    place: Option<FoldPlace<'_>>,
    device: &Device,
    observer: &mut dyn Observer,
) -> anyhow::Result<FoldModel> {
    let split = &prepared.splits[fold];
    let (inputs, fitted) = normalise(recipe, prepared, &split.train)?;
    let run = run_id(recipe, fold, text)?;
    if let Some(place) = place.filter(|p| p.resume && p.folder.join("config.json").is_file()) {
        let (network, card) = load(place.folder, device)?;
        if card.training["run"] == run.as_str() {
            let history = serde_json::from_value(card.training["history"].clone())?;
            let hash = card.weights_sha256.clone();
            return Ok(FoldModel { network, card, inputs, history, ended: Ended::Finished, hash });
        }
    }
    let config = architecture(recipe, &fitted, text.classes.ncols());
    let data = TrainingData {
        inputs: &inputs,
        train: &split.train,
        validation: &split.validation,
        text: &text.classes,
        prompts: &text.prompts,
    };
    let keep = place.map(|p| RunFolder { folder: p.folder, run: &run, resume: p.resume });
    let trained = fit(&config, &data, &recipe.train, keep, device, observer)?;
    let bands = |name: &String| -> Vec<Band> { prepared.scenes[0].bands[name].clone() };
    let mut card = ModelCard {
        system: "mmlgnet".into(),
        layout: 1,
        bands: fitted.keys().map(|name| (name.clone(), bands(name))).collect(),
        normalisation: fitted
            .iter()
            .map(|(k, v)| Ok((k.clone(), serde_json::to_value(v)?)))
            .collect::<anyhow::Result<_>>()?,
        architecture: config,
        space: text.space.clone(),
        legend: prepared.legend.clone(),
        templates: text.templates.clone(),
        class_features: Some(text.classes.outer_iter().map(|row| row.to_vec()).collect()),
        split: split.describe(),
        license: "the licence of the training data holds".into(),
        weights_sha256: String::new(),
        training: serde_json::json!({
            "recipe": recipe.name, "seed": recipe.train.seed, "run": run, "best_epoch": trained.best_epoch,
            "validation_oa": trained.validation_oa(), "history": trained.history,
        }),
    };
    let hash = match place {
        Some(place) if trained.ended != Ended::Interrupted => save(place.folder, &trained.network, &card)?,
        _ => sha256(&trained.network.to_bytes()?),
    };
    card.weights_sha256.clone_from(&hash);
    Ok(FoldModel { network: trained.network, card, inputs, history: trained.history, ended: trained.ended, hash })
}

/// A normalised scene in memory.
struct InMemory<'a> {
    inputs: &'a IndexMap<String, Vec<Array3<f32>>>,
    scene: usize,
}

impl SceneReader for InMemory<'_> {
    fn size(&self) -> (usize, usize) {
        let (_, height, width) = self.inputs[0][self.scene].dim();
        (height, width)
    }

    fn read(&self, input: &str, window: Window) -> Result<Array3<f32>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(crop(&self.inputs[input][self.scene], window))
    }
}

impl FoldModel {
    /// Best class of every pixel of a scene, [H, W], as positions in the legend.
    ///
    /// # Errors
    /// Values that are not finite.
    pub fn map(&self, scene: usize, text: &Array2<f32>) -> anyhow::Result<Array2<u16>> {
        let reader = InMemory { inputs: &self.inputs, scene };
        let mapper = Mapper::new(&self.network, &self.card.architecture);
        let mut out = Array2::zeros(reader.size());
        mapper.map(&reader, text.view(), &MapOptions::default(), |block| {
            let w = block.window;
            out.slice_mut(ndarray::s![w.row..w.row_end(), w.col..w.col_end()]).assign(&block.classes);
            Ok(())
        })?;
        Ok(out)
    }

    /// Embeddings of some pixels, [pixels, D].
    ///
    /// # Errors
    /// As [`embed`].
    pub fn embed(&self, pixels: &[Pixel], device: &Device) -> anyhow::Result<Array2<f32>> {
        Ok(embed(&self.network, &self.card.architecture, &self.inputs, pixels, device)?)
    }
}
