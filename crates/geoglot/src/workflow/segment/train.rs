//! One head: trained, or taken from a finished run.

use std::path::Path;

use burn::tensor::Device;

use super::data::Prepared;
use super::setting::Setting;
use super::tiles::TileSet;
use crate::models::mmlgnet::sha256;
use crate::models::segmentation::{Segmenter, SegmenterCard, load_segmenter_card, save_segmenter};
use crate::nn::segmentation::UperNet;
use crate::train::history::EpochRecord;
use crate::train::segmentation::{FeatureOptions, Features, HeadData, SegmentRecipe, Tiles, fit_head};
use crate::train::{Ended, Observer, RunFolder};
use crate::workflow::fold::FoldPlace;

/// A head trained on one fold.
pub struct FoldHead {
    /// The head, for inference.
    pub head: UperNet,
    /// What is stored beside its weights.
    pub card: SegmenterCard,
    /// What happened in training.
    pub history: Vec<EpochRecord>,
    /// Epoch of the best validation result.
    pub best_epoch: usize,
    /// How training ended.
    pub ended: Ended,
    /// Tiles that trained.
    pub tiles: usize,
}

/// Where the features of a recipe's tiles are kept.
pub fn feature_options<'a>(recipe: &SegmentRecipe, folder: &'a Path) -> FeatureOptions<'a> {
    FeatureOptions {
        cache: recipe.model.cache,
        memory: recipe.model.cache_mib << 20,
        folder: Some(folder),
        batch: recipe.train.batch,
        pixels: recipe.model.pixels > 0,
    }
}

/// Trains the head of fold `fold`, or takes it from `place` when it is finished and `place.resume` says so.
///
/// # Errors
/// As [`fit_head`]; a folder that cannot be written.
#[allow(clippy::too_many_arguments)]
pub fn train_fold(
    recipe: &SegmentRecipe,
    setting: &Setting,
    prepared: &Prepared,
    tiles: &TileSet<'_>,
    features: &Features<'_>,
    fold: usize,
    place: FoldPlace<'_>,
    device: &Device,
    observer: &mut dyn Observer,
) -> anyhow::Result<FoldHead> {
    let parts = &prepared.folds[fold];
    let (train, validation) = (tiles.labelled(&parts.train), tiles.labelled(&parts.validation));
    let mut identity = recipe.to_toml()?.into_bytes();
    identity.extend(fold.to_le_bytes());
    identity.extend(setting.tower.fingerprint().bytes());
    identity.extend(tiles.identity().bytes());
    identity.extend(train.iter().flat_map(|t| t.labels.iter().copied()));
    let run = sha256(&identity);
    if place.resume && place.folder.join("config.json").is_file() {
        let card = load_segmenter_card(place.folder)?;
        if card.training["run"] == run.as_str() {
            let history = serde_json::from_value(card.training["history"].clone())?;
            let best_epoch = card.training["best_epoch"].as_u64().unwrap_or(0) as usize;
            let Segmenter { head, card, .. } = Segmenter::load(place.folder, setting.tower.as_ref())?;
            return Ok(FoldHead { head, card, history, best_epoch, ended: Ended::Finished, tiles: train.len() });
        }
    }
    let config = recipe.model.head(features.width(), prepared.bands.len(), prepared.legend.len());
    let data = HeadData { features, side: setting.tile, train: &train, validation: &validation };
    let keep = RunFolder { folder: place.folder, run: &run, resume: place.resume };
    let trained = fit_head(&config, &data, &recipe.train, Some(keep), device, observer)?;
    let best = trained.best_epoch.checked_sub(1).and_then(|e| trained.history.get(e));
    let mut card = SegmenterCard {
        system: "upernet".into(),
        layout: 1,
        head: config,
        taps: setting.taps,
        tower: setting.name.clone(),
        tower_fingerprint: setting.tower.fingerprint().to_owned(),
        tile: setting.tile,
        input: setting.input,
        bands: prepared.bands.clone(),
        legend: prepared.legend.clone(),
        split: parts.sentence.clone(),
        license: recipe.model.license.clone().unwrap_or_else(|| "the licence of the training data holds".into()),
        weights_sha256: String::new(),
        training: serde_json::json!({
            "recipe": recipe.name, "seed": recipe.train.seed, "run": run, "best_epoch": trained.best_epoch,
            "validation_oa": best.and_then(|e| e.validation_oa), "validation_miou": best.and_then(|e| e.validation_miou),
            "history": trained.history,
        }),
    };
    if trained.ended != Ended::Interrupted {
        card.weights_sha256 = save_segmenter(place.folder, &trained.head, &card)?;
    }
    Ok(FoldHead {
        head: trained.head,
        card,
        history: trained.history,
        best_epoch: trained.best_epoch,
        ended: trained.ended,
        tiles: train.len(),
    })
}
