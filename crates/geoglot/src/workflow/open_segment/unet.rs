//! The U-Net that an evaluation compares with, on the folds of the network.

use burn::tensor::Device;
use ndarray::{Array2, Axis};

use super::data::Prepared;
use super::evaluate::Maps;
use super::pair::PairTiles;
use super::tiles::TileSet;
use crate::models::Error;
use crate::models::segmentation::{PredictOptions, sweep};
use crate::models::tsmnet::{InputCard, PairReader};
use crate::nn::segmentation::IGNORE;
use crate::train::Observer;
use crate::train::open_segmentation::{Baseline, ClassTexts, Descriptions, OpenData, OpenRecipe, fit_baseline};

/// A trained U-Net with what its input was normalised by.
pub(super) struct FoldUNet {
    network: Baseline,
    cards: [Option<InputCard>; 2],
    tile: usize,
}

impl FoldUNet {
    /// Trains the U-Net of fold `fold`. `None` when the observer asked to stop.
    ///
    /// # Errors
    /// As [`fit_baseline`]; damaged files.
    pub(super) fn train(
        recipe: &OpenRecipe,
        prepared: &Prepared,
        fold: usize,
        device: &Device,
        observer: &mut dyn Observer,
    ) -> anyhow::Result<Option<Self>> {
        let section = &recipe.model;
        let cards = prepared.cards(fold, section.modality.has())?;
        let tile = section.tile;
        let tiles = TileSet::new(prepared, fold, &cards, (tile, section.stride.unwrap_or((tile / 2).max(1))));
        let parts = &prepared.folds[fold];
        let (train, validation) = (tiles.with(&parts.train), tiles.with(&parts.validation));
        let descriptions = Descriptions {
            texts: Vec::new(),
            train: vec![None; train.len()],
            validation: vec![None; validation.len()],
        };
        let data = OpenData {
            pairs: &tiles,
            train: &train,
            validation: &validation,
            classes: prepared.seen.len(),
            texts: &ClassTexts::None,
            descriptions: &descriptions,
        };
        let bands = [0, 1].map(|m| cards[m].as_ref().map_or(0, |c| c.bands.len()));
        let network = fit_baseline(bands, recipe.baseline.unet, &data, &recipe.train, device, observer)?;
        Ok(network.map(|network| Self { network, cards, tile }))
    }

    /// Number of parameters.
    pub(super) fn parameters(&self) -> usize {
        self.network.parameters
    }

    /// Best class of every pixel of the fold's test images, as positions in the legend.
    ///
    /// # Errors
    /// Damaged files.
    pub(super) fn maps(&self, prepared: &Prepared, fold: usize, device: &Device) -> anyhow::Result<Maps> {
        let (tile, classes) = (self.tile, prepared.seen.len());
        let mut maps: Maps = Vec::with_capacity(prepared.len());
        for (k, test) in prepared.folds[fold].test.iter().enumerate() {
            if test.is_none() {
                maps.push(None);
                continue;
            }
            let pair = prepared.open(k)?;
            let reader = PairTiles { pair: &pair, cards: &self.cards, origin: (0, 0) };
            let score = |row: usize, columns: &[usize]| {
                let mut scored = Vec::with_capacity(columns.len());
                for &col in columns {
                    let read = reader.read(row, col, tile).map_err(Error::Scene)?;
                    let images = [[0, 1].map(|m| read.images[m].as_ref())];
                    let probabilities = self.network.probabilities(&images, tile, device);
                    scored.push((col, probabilities.index_axis_move(Axis(0), 0), read.mask));
                }
                Ok(scored)
            };
            let mut map = Array2::from_elem(pair.size(), IGNORE);
            sweep((tile, classes), pair.size(), &PredictOptions::new(tile), score, |block| {
                let p = &block.probabilities;
                for ((r, c), _) in block.mask.indexed_iter().filter(|(_, valid)| **valid) {
                    let best = (0..classes).max_by(|&a, &b| p[[a, r, c]].total_cmp(&p[[b, r, c]]));
                    map[[block.window.row + r, block.window.col + c]] = best.map_or(IGNORE, |k| prepared.seen[k] as u8);
                }
                anyhow::Ok(())
            })?;
            maps.push(Some(map));
        }
        Ok(maps)
    }
}
