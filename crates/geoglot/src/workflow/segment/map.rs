//! Whole-scene maps from a trained head.

use std::path::Path;

use anyhow::{Context, bail};
use burn::tensor::Device;
use ndarray::{Array2, Array3};

use super::setting::tile_preprocess;
use crate::core::Window;
use crate::models::segmentation::{PredictOptions, Segmenter, SegmenterCard, TileReader, load_segmenter_card};
use crate::models::vision::{ImageTower, load_image_tower};
use crate::raster::Scene;
use crate::workflow::bind::bind;
use crate::workflow::images::{Place, TowerScene};
use crate::workflow::map::{MapRequest, MapResult, MapWriter, area};

/// Whether the model folder holds a segmentation head.
pub fn is_segmenter(folder: &Path) -> bool {
    let text = std::fs::read(folder.join("config.json")).ok();
    let card = text.and_then(|t| serde_json::from_slice::<serde_json::Value>(&t).ok());
    card.is_some_and(|c| c["system"] == "upernet")
}

/// What a segmentation map needs beside [`MapRequest`].
#[derive(Debug, Clone, Default)]
pub struct SegmentMap {
    /// Image tower by name or folder, instead of the one the model names.
    pub tower: Option<String>,
    /// Pixels from one tile to the next; by default half a tile.
    pub stride: Option<usize>,
}

/// A scene, or a part of one, that gives tiles.
pub(super) struct SceneTiles<'a> {
    pub(super) scene: &'a TowerScene,
    /// The part; tiles at its border see what lies around it.
    pub(super) area: Window,
}

impl TileReader for SceneTiles<'_> {
    fn read(
        &self,
        row: usize,
        col: usize,
        side: usize,
    ) -> Result<(Array3<f32>, Array2<bool>), Box<dyn std::error::Error + Send + Sync>> {
        let (row, col) = ((self.area.row + row) as isize, (self.area.col + col) as isize);
        let values = self.scene.read(Place { col, row, width: side, height: side })?;
        Ok((self.scene.prepare(&values)?, values.mask))
    }
}

/// Positions of input and band in `scene` of the model's bands.
fn bands(card: &SegmenterCard, scene: &Scene) -> anyhow::Result<Vec<(usize, usize)>> {
    let mut names: Vec<&str> = card.bands.iter().map(|b| b.input.as_str()).collect();
    names.dedup();
    names.sort_unstable();
    names.dedup();
    let mut taken = vec![(0, 0); card.bands.len()];
    for name in &names {
        // One input is the model's one input, whatever it is called.
        let position = match (scene.inputs(), names.len()) {
            ([_], 1) => 0,
            (inputs, _) => inputs.iter().position(|i| i.name() == *name).with_context(|| {
                let given: Vec<&str> = inputs.iter().map(|i| i.name()).collect();
                format!(
                    "the model needs the inputs {}; the scene has {}: give --scene {name}=PATH",
                    names.join(", "),
                    given.join(", ")
                )
            })?,
        };
        let own: Vec<usize> = (0..card.bands.len()).filter(|&k| card.bands[k].input == *name).collect();
        let wanted: Vec<_> = own.iter().map(|&k| card.bands[k].band.clone()).collect();
        for (k, b) in own.into_iter().zip(bind(name, &wanted, scene.inputs()[position].bands())?) {
            taken[k] = (position, b);
        }
    }
    Ok(taken)
}

/// Maps `scene` with the head in `model`: `classes.tif`, `probabilities.tif` (one layer a class), `confidence.tif` (the best class's
/// probability), a picture and the legend in `out`. `progress` gets pixels done and in all. Memory depends on the tile, the bands and the
/// number of classes, not on the scene's size.
///
/// # Errors
/// A model, tower or scene that does not load, another tower than the head's, bands that do not bind, a full disk.
pub fn map(
    model: &Path,
    scene: Scene,
    request: &MapRequest,
    how: &SegmentMap,
    out: &Path,
    device: &Device,
    mut progress: impl FnMut(usize, usize),
) -> anyhow::Result<MapResult> {
    let card = load_segmenter_card(model)?;
    let name = how.tower.as_deref().unwrap_or(&card.tower);
    let tower: Box<dyn ImageTower> = load_image_tower(name, device)
        .context("the image tower that the model was trained on; name where it lies with --tower NAME-OR-FOLDER")?;
    let segmenter = Segmenter::load(model, tower.as_ref())?;
    let card = &segmenter.card;
    if let Some(stride) = how.stride.filter(|s| *s == 0 || *s > card.tile) {
        bail!("--stride {stride}: give 1 to {} pixels, the side of the model's tiles", card.tile);
    }
    let taken = bands(card, &scene)?;
    let preprocess = tile_preprocess(tower.as_ref(), card.input);
    let scene = TowerScene::new(scene, tower.as_ref(), &preprocess, Some(taken), false)?;
    let area = area(scene.scene(), request)?;
    let mut options = PredictOptions::new(card.tile);
    options.stride = how.stride.unwrap_or(options.stride);
    let grid = scene.grid().crop(area);
    let mut writer = MapWriter::create(out, &grid, card.legend.clone(), "probabilities.tif", request)?;
    let reader = SceneTiles { scene: &scene, area };
    let mut done = 0;
    segmenter.predict(&reader, (area.height, area.width), &options, |block| {
        let p = &block.probabilities;
        let best = |(r, c): (usize, usize)| (0..p.dim().0).max_by(|&a, &b| p[[a, r, c]].total_cmp(&p[[b, r, c]]));
        let confidence = Array2::from_shape_fn(block.mask.dim(), |(r, c)| {
            p.slice(ndarray::s![.., r, c]).iter().copied().fold(0.0, f32::max)
        });
        writer.write(block.window, best, p.view(), confidence.view(), block.mask.view())?;
        done += block.window.area();
        progress(done, area.area());
        anyhow::Ok(())
    })?;
    writer.finish(scene.scene(), card.weights_sha256.clone())
}
