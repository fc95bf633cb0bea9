//! The tiles of images that hold labels.

use std::sync::{Arc, Mutex, PoisonError};

use ndarray::{Array2, Array3};

use super::data::Prepared;
use super::setting::Setting;
use crate::core::Band;
use crate::nn::segmentation::IGNORE;
use crate::train::segmentation::{LabelledTile, Tiles};
use crate::workflow::images::{Place, TowerScene};
use crate::workflow::tiles::tile_windows;

/// The tiles of all images that train or choose, with the image opened last.
pub struct TileSet<'a> {
    prepared: &'a Prepared,
    setting: &'a Setting,
    bands: Vec<Band>,
    /// Image, first row, first column.
    windows: Vec<(usize, usize, usize)>,
    open: Mutex<Option<(usize, Arc<TowerScene>)>>,
}

impl<'a> TileSet<'a> {
    /// The tiles that hold a training or validation label of some fold.
    pub fn new(prepared: &'a Prepared, setting: &'a Setting) -> Self {
        let mut windows = Vec::new();
        for (k, image) in prepared.images.iter().enumerate() {
            let parts: Vec<&Array2<u8>> =
                prepared.folds.iter().flat_map(|f| [&f.train[k], &f.validation[k]]).flatten().collect();
            for w in tile_windows(image.size.1, image.size.0, setting.tile, setting.stride) {
                let inside = ndarray::s![w.row..w.row_end(), w.col..w.col_end()];
                if parts.iter().any(|p| p.slice(inside).iter().any(|l| *l != IGNORE)) {
                    windows.push((k, w.row, w.col));
                }
            }
        }
        let bands = prepared.bands.iter().map(|b| b.band.clone()).collect();
        Self { prepared, setting, bands, windows, open: Mutex::new(None) }
    }

    /// The tiles that hold labels of a part, with these labels.
    pub fn labelled(&self, part: &[Option<Array2<u8>>]) -> Vec<LabelledTile> {
        let side = self.setting.tile;
        let mut tiles = Vec::new();
        for (tile, &(image, row, col)) in self.windows.iter().enumerate() {
            let Some(plane) = &part[image] else { continue };
            let at = |p: usize| plane.get((row + p / side, col + p % side)).copied().unwrap_or(IGNORE);
            let labels: Vec<u8> = (0..side * side).map(at).collect();
            if labels.iter().any(|l| *l != IGNORE) {
                tiles.push(LabelledTile { tile, labels });
            }
        }
        tiles
    }

    fn image(&self, k: usize) -> anyhow::Result<Arc<TowerScene>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, scene)) = open.as_ref()
            && *at == k
        {
            return Ok(scene.clone());
        }
        let scene = self.prepared.open(k, self.setting)?;
        *open = Some((k, scene.clone()));
        Ok(scene)
    }
}

impl Tiles for TileSet<'_> {
    fn len(&self) -> usize {
        self.windows.len()
    }

    fn bands(&self) -> &[Band] {
        &self.bands
    }

    fn read(&self, i: usize) -> Result<Array3<f32>, Box<dyn std::error::Error + Send + Sync>> {
        let (image, row, col) = self.windows[i];
        let read = || -> anyhow::Result<Array3<f32>> {
            let scene = self.image(image)?;
            let side = self.setting.tile;
            let values = scene.read(Place { row: row as isize, col: col as isize, width: side, height: side })?;
            scene.prepare(&values)
        };
        Ok(read()?)
    }

    fn identity(&self) -> String {
        let images: Vec<&str> = self.prepared.images.iter().map(|i| i.name.as_str()).collect();
        let bands: Vec<String> = self.bands.iter().map(Band::label).collect();
        format!("{images:?} {:?} {bands:?} {} {}", self.windows, self.setting.tile, self.setting.preprocess.describe())
    }
}
