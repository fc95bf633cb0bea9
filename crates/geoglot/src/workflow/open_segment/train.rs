//! One network: trained, or taken from a finished run.

use anyhow::bail;
use burn::tensor::Device;

use super::data::Prepared;
use super::text::TextWords;
use super::tiles::TileSet;
use crate::models::hub::Hub;
use crate::models::mmlgnet::sha256;
use crate::models::tsmnet::{TsmNetCard, TsmNetModel, begin_with, initial, load_card, published_tower, save};
use crate::models::vision::{ImageOptions, TowerFiles};
use crate::train::history::EpochRecord;
use crate::train::open_segmentation::{Descriptions, OpenData, OpenRecipe, fit_network};
use crate::train::{Ended, Observer, RunFolder};
use crate::workflow::fold::FoldPlace;

/// A network trained on one fold.
pub struct FoldNetwork {
    /// The network, ready for use.
    pub model: TsmNetModel,
    /// What happened in training.
    pub history: Vec<EpochRecord>,
    /// Epoch of the best validation result.
    pub best_epoch: usize,
    /// How training ended.
    pub ended: Ended,
    /// Tiles that trained.
    pub tiles: usize,
}

/// Trains the network of fold `fold`, or takes it from `place` when it is finished and `place.resume` says so.
///
/// # Errors
/// As [`fit_network`]; towers that do not load; a folder that cannot be written.
pub fn train_fold(
    recipe: &OpenRecipe,
    prepared: &Prepared,
    words: &TextWords,
    fold: usize,
    place: FoldPlace<'_>,
    device: &Device,
    observer: &mut dyn Observer,
) -> anyhow::Result<FoldNetwork> {
    let section = &recipe.model;
    let cards = prepared.cards(fold, section.modality.has())?;
    let stride = section.stride.unwrap_or((section.tile / 2).max(1));
    let tiles = TileSet::new(prepared, fold, &cards, (section.tile, stride));
    let parts = &prepared.folds[fold];
    let (train, validation) = (tiles.with(&parts.train), tiles.with(&parts.validation));
    let (embed, states) = words.widths();
    let files = match &section.tower.weights {
        Some(name) => Some(TowerFiles::resolve(&recipe.named(name)?, &ImageOptions::default(), &Hub::from_env()?)?),
        None => None,
    };
    let tower = match &files {
        Some(files) => published_tower(files, section.tile)?,
        None => section.fresh_tower(embed),
    };
    let legend = prepared.seen_legend()?;
    let bands = [0, 1].map(|m| cards[m].as_ref().map_or(0, |c| c.bands.len()));
    let config = section.network(bands, tower, (embed, states), words.contexts, legend.len())?;
    if let Some(problem) = config.problem() {
        bail!("model: {problem}");
    }
    let mut identity = recipe.trained().to_toml()?.into_bytes();
    identity.extend(fold.to_le_bytes());
    identity.extend(tiles.identity().bytes());
    identity.extend(words.card.iter().flat_map(|c| c.fingerprint.bytes()));
    identity.extend(files.iter().flat_map(|f| f.sha256.bytes()));
    let run = sha256(&identity);
    if place.resume && place.folder.join("config.json").is_file() {
        let card = load_card(place.folder)?;
        if card.training["run"] == run.as_str() {
            let history = serde_json::from_value(card.training["history"].clone())?;
            let best_epoch = card.training["best_epoch"].as_u64().unwrap_or(0) as usize;
            let model = TsmNetModel::load(place.folder, device)?;
            return Ok(FoldNetwork { model, history, best_epoch, ended: Ended::Finished, tiles: train.len() });
        }
    }
    let texts = words.class_texts(&legend, section.text.classes())?;
    let descriptions = Descriptions {
        texts: words.told.clone(),
        train: if words.told.is_empty() { vec![None; train.len()] } else { tiles.texts(&train) },
        validation: if words.told.is_empty() { vec![None; validation.len()] } else { tiles.texts(&validation) },
    };
    let data = OpenData {
        pairs: &tiles,
        train: &train,
        validation: &validation,
        classes: legend.len(),
        texts: &texts,
        descriptions: &descriptions,
    };
    let mut start = initial(&config, device, recipe.train.seed);
    let license = files.as_ref().and_then(|f| f.license.clone());
    if let Some(files) = files {
        start = begin_with(start, files, device)?;
    }
    let keep = RunFolder { folder: place.folder, run: &run, resume: place.resume };
    let trained = fit_network(start, &data, &recipe.train, Some(keep), device, observer)?;
    let best = trained.best_epoch.checked_sub(1).and_then(|e| trained.history.get(e));
    let held = (0..prepared.legend.len()).filter(|k| !prepared.seen.contains(k));
    let mut card = TsmNetCard {
        system: "tsmnet".into(),
        layout: 1,
        network: config,
        text: words.card.clone(),
        tile: section.tile,
        inputs: cards.clone(),
        legend,
        held_out: held.map(|k| prepared.legend.classes[k].name.clone()).collect(),
        split: parts.sentence.clone(),
        license: section.license.clone().or(license).unwrap_or_else(|| "the licence of the training data holds".into()),
        weights_sha256: String::new(),
        training: serde_json::json!({
            "recipe": recipe.name, "seed": recipe.train.seed, "run": run, "best_epoch": trained.best_epoch,
            "validation_oa": best.and_then(|e| e.validation_oa), "validation_miou": best.and_then(|e| e.validation_miou),
            "history": trained.history,
        }),
    };
    if trained.ended != Ended::Interrupted {
        card.weights_sha256 = save(place.folder, &trained.network, &card)?;
    }
    Ok(FoldNetwork {
        model: TsmNetModel::new(trained.network, card, device.clone()),
        history: trained.history,
        best_epoch: trained.best_epoch,
        ended: trained.ended,
        tiles: train.len(),
    })
}
