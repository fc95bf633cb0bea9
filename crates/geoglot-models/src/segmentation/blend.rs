//! Whole scenes, tile by tile, with blended seams.

use burn::tensor::{Tensor, TensorData};
use geoglot_core::Window;
use ndarray::{Array2, Array3, Axis, s};

use super::Segmenter;
use crate::error::{Error, Result};
use crate::vision::ImageBatch;

/// Gives tiles of a scene.
pub trait TileReader {
    /// The tile of `side` × `side` pixels whose first row and column these are, as the tower sees it, `[C, input, input]`, and where the
    /// scene has data in it, `[side, side]`. What reaches beyond the scene has none.
    ///
    /// # Errors
    /// Damaged files.
    fn read(
        &self,
        row: usize,
        col: usize,
        side: usize,
    ) -> Result<(Array3<f32>, Array2<bool>), Box<dyn std::error::Error + Send + Sync>>;
}

/// How a scene is gone over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PredictOptions {
    /// Pixels from one tile to the next, at most the tile's side; less means more overlap and more work.
    pub stride: usize,
    /// Tiles that go through the network together.
    pub batch: usize,
    /// Bytes of probabilities held at once; wide scenes are gone over in strips of columns.
    pub memory: usize,
}

impl PredictOptions {
    /// Half overlap, 8 tiles at once, 128 MiB.
    pub fn new(tile: usize) -> Self {
        Self { stride: (tile / 2).max(1), batch: 8, memory: 128 << 20 }
    }
}

/// Finished pixels.
#[derive(Debug, Clone)]
pub struct Block {
    /// Where they lie in the scene.
    pub window: Window,
    /// Probability of each class, [K, H, W]; zeros where there is no data.
    pub probabilities: Array3<f32>,
    /// Where the scene has data, [H, W].
    pub mask: Array2<bool>,
}

/// Starts of tiles along a side: every `stride`, and one flush with the end.
fn starts(size: usize, tile: usize, stride: usize) -> Vec<usize> {
    let last = size.saturating_sub(tile);
    let mut starts: Vec<usize> = (0..last).step_by(stride).collect();
    starts.push(last);
    starts
}

/// sin²(π(x + ½)/n): neighbouring tiles at half a tile's distance add up to one.
fn cosine_weights(tile: usize) -> Vec<f32> {
    (0..tile).map(|x| (std::f32::consts::PI * (x as f32 + 0.5) / tile as f32).sin().powi(2)).collect()
}

/// Sums of one strip of columns, from a first row on.
struct Strip {
    columns: std::ops::Range<usize>,
    first: usize,
    sums: Array3<f32>,
    weights: Array2<f32>,
    mask: Array2<bool>,
}

impl Strip {
    fn new(columns: std::ops::Range<usize>, classes: usize, tile: usize) -> Self {
        let width = columns.len();
        Self {
            columns,
            first: 0,
            sums: Array3::zeros((classes, tile, width)),
            weights: Array2::zeros((tile, width)),
            mask: Array2::from_elem((tile, width), false),
        }
    }

    /// Adds what a tile that begins in the strip's first row and in column `col` says, where it lies in the strip.
    fn add(&mut self, col: usize, probabilities: ndarray::ArrayView3<f32>, mask: &Array2<bool>, weights: &[f32]) {
        let tile = weights.len();
        for c in 0..tile {
            let Some(to) = (col + c).checked_sub(self.columns.start).filter(|to| *to < self.columns.len()) else {
                continue;
            };
            for r in 0..tile {
                let weight = weights[r] * weights[c];
                self.weights[[r, to]] += weight;
                self.mask[[r, to]] |= mask[[r, c]];
                for k in 0..probabilities.dim().0 {
                    self.sums[[k, r, to]] += weight * probabilities[[k, r, c]];
                }
            }
        }
    }

    /// Takes the first `rows` rows, which no further tile reaches.
    fn finish(&mut self, rows: usize) -> Block {
        let (classes, tile, width) = self.sums.dim();
        let window = Window::new(self.columns.start, self.first, width, rows);
        let mut probabilities = self.sums.slice(s![.., ..rows, ..]).to_owned();
        for mut class in probabilities.axis_iter_mut(Axis(0)) {
            class.zip_mut_with(&self.weights.slice(s![..rows, ..]), |p, &w| *p = if w > 0.0 { *p / w } else { 0.0 });
        }
        let mask = self.mask.slice(s![..rows, ..]).to_owned();
        let shifted = |from: usize| (from + rows < tile).then_some(from + rows);
        for r in 0..tile {
            for c in 0..width {
                let from = shifted(r);
                self.weights[[r, c]] = from.map_or(0.0, |f| self.weights[[f, c]]);
                self.mask[[r, c]] = from.is_some_and(|f| self.mask[[f, c]]);
                for k in 0..classes {
                    self.sums[[k, r, c]] = from.map_or(0.0, |f| self.sums[[k, f, c]]);
                }
            }
        }
        self.first += rows;
        Block { window, probabilities, mask }
    }
}

/// A tile's first column, its scores [K, tile, tile] and where it has data.
pub type Scored = (usize, Array3<f32>, Array2<bool>);

/// Goes over a scene of `size` (rows, columns) in square tiles and hands out every pixel once, in blocks of `classes` layers. `score` gets a
/// first row and first columns; overlapping tiles are averaged with weights that fall along half a cosine to nearly zero at their borders.
///
/// # Errors
/// What `score` and `done` say; [`Error::Input`] for a stride of 0 or above the tile's side.
pub fn sweep<E: From<Error>>(
    (tile, classes): (usize, usize),
    (height, width): (usize, usize),
    options: &PredictOptions,
    mut score: impl FnMut(usize, &[usize]) -> Result<Vec<Scored>>,
    mut done: impl FnMut(Block) -> Result<(), E>,
) -> Result<(), E> {
    if options.stride == 0 || options.stride > tile {
        let stride = options.stride;
        return Err(Error::Input(format!("stride {stride}: give 1 to {tile} pixels, the tile's side")).into());
    }
    let weights = cosine_weights(tile);
    let (rows, columns) = (starts(height, tile, options.stride), starts(width, tile, options.stride));
    let strip = (options.memory / (4 * classes * tile)).max(2 * tile).min(width);
    for start in (0..width).step_by(strip) {
        let mut strip = Strip::new(start..(start + strip).min(width), classes, tile);
        let inside: Vec<usize> =
            columns.iter().copied().filter(|c| *c < strip.columns.end && c + tile > strip.columns.start).collect();
        for (k, &row) in rows.iter().enumerate() {
            for some in inside.chunks(options.batch.max(1)) {
                for (col, scores, mask) in score(row, some)? {
                    strip.add(col, scores.view(), &mask, &weights);
                }
            }
            let next = rows.get(k + 1).copied().unwrap_or(height);
            // The last tiles may reach beyond a scene that is smaller than a tile.
            done(strip.finish(next - row))?;
        }
    }
    Ok(())
}

impl Segmenter<'_> {
    /// Goes over a scene of `height` × `width` pixels and hands out every pixel once, in blocks. Overlapping tiles are averaged with
    /// weights that fall along half a cosine to nearly zero at their borders; tiles without any data are not looked at.
    ///
    /// # Errors
    /// What reading, the network and `done` say; [`Error::Input`] for a stride of 0 or above the tile's side.
    pub fn predict<E: From<Error>>(
        &self,
        reader: &dyn TileReader,
        size: (usize, usize),
        options: &PredictOptions,
        done: impl FnMut(Block) -> Result<(), E>,
    ) -> Result<(), E> {
        let shape = (self.card.tile, self.card.head.classes);
        sweep(shape, size, options, |row, columns| self.score_tiles(reader, row, columns), done)
    }

    fn score_tiles(&self, reader: &dyn TileReader, row: usize, columns: &[usize]) -> Result<Vec<Scored>> {
        let mut tiles = Vec::new();
        for &col in columns {
            let (pixels, mask) = reader.read(row, col, self.card.tile).map_err(Error::Scene)?;
            if mask.iter().any(|valid| *valid) {
                tiles.push((col, pixels, mask));
            }
        }
        let Some((_, first, _)) = tiles.first() else { return Ok(Vec::new()) };
        let (c, h, w) = first.dim();
        let values: Vec<f32> = tiles.iter().flat_map(|(_, pixels, _)| pixels.iter().copied()).collect();
        let pixels = Tensor::from_data(TensorData::new(values, [tiles.len(), c, h, w]), self.tower.device());
        let bands = self.card.bands.iter().map(|b| b.band.clone()).collect();
        let probabilities = self.probabilities(&ImageBatch::preprocessed(pixels, bands))?;
        let each = tiles.into_iter().zip(probabilities.outer_iter());
        Ok(each.map(|((col, _, mask), probabilities)| (col, probabilities.to_owned(), mask)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_overlapping_weights_add_up_to_one() {
        let w = cosine_weights(8);
        assert!((0..4).all(|x| (w[x] + w[x + 4] - 1.0).abs() < 1e-6 && w[x] > 0.0));
    }

    #[test]
    fn tiles_cover_every_row() {
        for (size, tile, stride) in [(10, 4, 2), (10, 4, 3), (4, 4, 2), (3, 4, 2), (9, 4, 4), (1, 4, 1)] {
            let starts = starts(size, tile, stride);
            assert!((0..size).all(|x| starts.iter().any(|s| (*s..s + tile).contains(&x))), "{size} {tile} {stride}");
            assert!(starts.windows(2).all(|w| w[0] < w[1] && w[1] - w[0] <= stride));
        }
    }
}
