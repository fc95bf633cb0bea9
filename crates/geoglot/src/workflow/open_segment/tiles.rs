//! Tiles of a recipe's images.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use ndarray::{Array2, Array3, s};

use super::data::{Fold, Parts, Prepared};
use super::pair::normalised;
use crate::core::Window;
use crate::models::tsmnet::InputCard;
use crate::nn::segmentation::IGNORE;
use crate::train::open_segmentation::{Draw, Pair, Pairs};
use crate::workflow::images::Place;
use crate::workflow::tiles::tile_windows;

/// Bytes of normalised images kept in memory; more are read again for every tile.
const KEPT: usize = 1 << 30;

/// Optical and SAR values around zero.
type Values = [Option<Array3<f32>>; 2];

/// The tiles of a fold.
pub struct TileSet<'a> {
    prepared: &'a Prepared,
    fold: &'a Fold,
    cards: &'a [Option<InputCard>; 2],
    side: usize,
    /// Largest move of a training tile in pixels.
    shift: usize,
    /// Position among the classes that train, by position in the legend.
    seen: Vec<u8>,
    /// Image, first row, first column.
    windows: Vec<(usize, usize, usize)>,
    kept: Vec<OnceLock<Arc<Values>>>,
    keep: bool,
}

impl<'a> TileSet<'a> {
    /// The tiles that hold a training or validation label of the fold.
    pub fn new(
        prepared: &'a Prepared,
        fold: usize,
        cards: &'a [Option<InputCard>; 2],
        (side, stride): (usize, usize),
    ) -> Self {
        let fold = &prepared.folds[fold];
        let mut seen = vec![IGNORE; prepared.legend.len()];
        prepared.seen.iter().zip(0u8..).for_each(|(&k, position)| seen[k] = position);
        let counts = |l: &u8| *l != IGNORE && seen[usize::from(*l)] != IGNORE;
        let mut windows = Vec::new();
        for (k, image) in prepared.images.iter().enumerate() {
            let parts: Vec<&Array2<u8>> = [&fold.train[k], &fold.validation[k]].into_iter().flatten().collect();
            for w in tile_windows(image.size.1, image.size.0, side, stride) {
                let inside = s![w.row..w.row_end(), w.col..w.col_end()];
                if parts.iter().any(|p| p.slice(inside).iter().any(counts)) {
                    windows.push((k, w.row, w.col));
                }
            }
        }
        let bands: usize = cards.iter().flatten().map(|c| c.bands.len()).sum();
        let pixels: usize = prepared.images.iter().map(|i| i.size.0 * i.size.1).sum();
        let kept = prepared.images.iter().map(|_| OnceLock::new()).collect();
        Self { prepared, fold, cards, side, shift: stride / 2, seen, windows, kept, keep: 4 * bands * pixels <= KEPT }
    }

    /// Numbers of the tiles with labels of a part.
    pub fn with(&self, part: &Parts) -> Vec<usize> {
        let labelled = |&t: &usize| {
            let (image, row, col) = self.windows[t];
            self.labels(part, image, row, col).iter().any(|l| *l != IGNORE)
        };
        (0..self.windows.len()).filter(labelled).collect()
    }

    /// The description of each of these tiles.
    pub fn texts(&self, tiles: &[usize]) -> Vec<Option<usize>> {
        tiles.iter().map(|&t| self.prepared.images[self.windows[t].0].text).collect()
    }

    /// What tells these tiles from others.
    pub fn identity(&self) -> String {
        let names: Vec<&str> = self.prepared.images.iter().map(|i| i.name.as_str()).collect();
        let texts: HashMap<usize, Option<usize>> = (0..names.len()).map(|k| (k, self.prepared.text(k))).collect();
        let mut texts: Vec<_> = texts.into_iter().collect();
        texts.sort_unstable();
        format!("{names:?} {:?} {:?} {texts:?} {:?}", self.windows, self.seen, self.cards)
    }

    fn labels(&self, part: &Parts, image: usize, row: usize, col: usize) -> Vec<u8> {
        let Some(plane) = &part[image] else { return vec![IGNORE; self.side * self.side] };
        let at = |p: usize| match plane.get((row + p / self.side, col + p % self.side)) {
            Some(&l) if l != IGNORE => self.seen[usize::from(l)],
            _ => IGNORE,
        };
        (0..self.side * self.side).map(at).collect()
    }

    fn values(&self, image: usize, row: usize, col: usize) -> anyhow::Result<Values> {
        let place = Place { row: row as isize, col: col as isize, width: self.side, height: self.side };
        let size = self.prepared.images[image].size;
        let inside = row + self.side <= size.0 && col + self.side <= size.1;
        if !self.keep || !inside {
            return Ok(normalised(self.prepared.open(image)?.read(place)?, self.cards));
        }
        let whole = match self.kept[image].get() {
            Some(whole) => whole,
            None => {
                let pair = self.prepared.open(image)?;
                let values = normalised(pair.read(pair.scene().grid().window().into())?, self.cards);
                self.kept[image].get_or_init(|| Arc::new(values))
            }
        };
        let w = Window::new(col, row, self.side, self.side);
        let part = s![.., w.row..w.row_end(), w.col..w.col_end()];
        // Zeros are what normalisation makes of missing values: a tile of nothing else is one without the modality.
        let cut = |v: &Array3<f32>| Some(v.slice(part).to_owned()).filter(|v| v.iter().any(|x| *x != 0.0));
        Ok([0, 1].map(|m| whole[m].as_ref().and_then(cut)))
    }

    fn pair(&self, part: &Parts, image: usize, row: usize, col: usize, draw: Draw) -> anyhow::Result<Pair> {
        let mut images = self.values(image, row, col)?;
        let mut labels: Vec<f32> = self.labels(part, image, row, col).into_iter().map(f32::from).collect();
        draw.turn.apply(&mut labels, self.side);
        for values in images.iter_mut().flatten() {
            for mut plane in values.outer_iter_mut() {
                let mut copy: Vec<f32> = plane.iter().copied().collect();
                draw.turn.apply(&mut copy, self.side);
                plane.iter_mut().zip(copy).for_each(|(p, v)| *p = v);
            }
        }
        Ok(Pair { images, labels: labels.into_iter().map(|l| l as u8).collect() })
    }
}

impl Pairs for TileSet<'_> {
    fn side(&self) -> usize {
        self.side
    }

    fn train(&self, i: usize, draw: Draw) -> Result<Pair, Box<dyn std::error::Error + Send + Sync>> {
        let (image, row, col) = self.windows[i];
        let size = self.prepared.images[image].size;
        let moved = |at: usize, by: f32, size: usize| {
            let to = at as f32 + (by * self.shift as f32).round();
            to.clamp(0.0, size.saturating_sub(self.side) as f32) as usize
        };
        let (row, col) = (moved(row, draw.shift[0], size.0), moved(col, draw.shift[1], size.1));
        Ok(self.pair(&self.fold.train, image, row, col, draw)?)
    }

    fn validation(&self, i: usize) -> Result<Pair, Box<dyn std::error::Error + Send + Sync>> {
        let (image, row, col) = self.windows[i];
        Ok(self.pair(&self.fold.validation, image, row, col, Draw::none())?)
    }
}
