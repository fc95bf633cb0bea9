//! Where tiles and patches of a scene lie.

use anyhow::bail;

use super::images::Place;
use crate::core::{Affine, Grid, Window};
use crate::models::vision::{ImagePreprocess, ResizeMode};

/// Starts of tiles along a side: every `stride`, and one flush with the end when the rest would be left out.
fn starts(size: usize, tile: usize, stride: usize) -> impl Iterator<Item = usize> + Clone {
    let last = size.saturating_sub(tile);
    let flush = (!last.is_multiple_of(stride) && stride <= tile).then_some(last);
    (0..=last).step_by(stride).chain(flush)
}

/// Windows of `tile` × `tile` pixels every `stride` pixels, row by row. With a stride up to the tile's size the whole scene is covered:
/// the last column and row are moved inwards to its border. Scenes smaller than a tile are one window on that side.
pub fn tile_windows(width: usize, height: usize, tile: usize, stride: usize) -> impl Iterator<Item = Window> + Clone {
    let columns = starts(width, tile, stride);
    starts(height, tile, stride)
        .flat_map(move |row| columns.clone().map(move |col| Window::new(col, row, tile.min(width), tile.min(height))))
}

/// The order in which tiles are read so that no block of the file is decoded again and again: groups of `columns` pixels, each from top to
/// bottom. `col` is the first column of a tile by its number, row by row.
pub(super) fn reading_order(count: usize, col: impl Fn(usize) -> isize, columns: isize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_cached_key(|&k| col(k).max(0) / columns.max(1));
    order
}

/// Number of [`tile_windows`].
pub fn tile_count(width: usize, height: usize, tile: usize, stride: usize) -> usize {
    let along = |size: usize| {
        let last = size.saturating_sub(tile);
        last / stride + 1 + usize::from(!last.is_multiple_of(stride) && stride <= tile)
    };
    along(width) * along(height)
}

/// How the patches of neighbouring tiles make one regular grid over a scene.
///
/// Tiles begin `span` pixels apart, which is what the patches of one tile cover. Where a tower's patches do not fill its input (27 patches
/// of 14 px are 378 of 384 px) or its preprocessing cuts out the centre, tiles overlap by the rest.
#[derive(Debug, Clone, PartialEq)]
pub struct PatchGrid {
    tile: usize,
    /// Patches of a tile: rows, columns.
    per_tile: (usize, usize),
    /// Pixels of the scene that a patch covers: rows, columns.
    size: (f64, f64),
    /// First row and column of a tile that its patches cover.
    offset: (usize, usize),
    /// Rows and columns of a tile that its patches cover.
    span: (usize, usize),
}

impl PatchGrid {
    /// The grid of tiles of `tile` × `tile` pixels for a tower with patches of `patch` pixels, `per_tile` (rows, columns) of them.
    ///
    /// # Errors
    /// A tile size whose patches do not cover whole pixels of the scene; the message names one that does.
    pub fn new(
        preprocess: &ImagePreprocess,
        patch: usize,
        tile: usize,
        per_tile: (usize, usize),
    ) -> anyhow::Result<Self> {
        let (h, w) = preprocess.size;
        // Pixels of the scene a pixel of the network's input stands for, and what is cut off in front.
        let (scale, cut, whole) = match preprocess.resize {
            ResizeMode::Keep => ((1.0, 1.0), (0.0, 0.0), tile.next_multiple_of(patch)),
            ResizeMode::Squash => ((tile as f64 / h as f64, tile as f64 / w as f64), (0.0, 0.0), h),
            ResizeMode::Shortest => {
                let short = preprocess.resize_to.unwrap_or(h.min(w));
                let (rows, cols) = (short.max(h), short.max(w));
                let scale = (tile as f64 / rows as f64, tile as f64 / cols as f64);
                let cut = |have: usize, want: usize| ((have - want) as f64 / 2.0).round_ties_even();
                (scale, (cut(rows, h) * scale.0, cut(cols, w) * scale.1), short)
            }
        };
        let size = (patch as f64 * scale.0, patch as f64 * scale.1);
        let span = (per_tile.0 as f64 * size.0, per_tile.1 as f64 * size.1);
        let is_whole = |v: f64| (v - v.round()).abs() < 1e-6;
        if ![span.0, span.1, cut.0, cut.1].into_iter().all(is_whole) || size.0 < 1.0 || size.1 < 1.0 {
            bail!(
                "patches of a tile of {tile} px cover {:.2} × {:.2} px each and {:.2} × {:.2} px together, which is no whole number of \
                 pixels (at least one a patch is needed); --tile {whole} fits this model",
                size.1,
                size.0,
                span.1,
                span.0
            );
        }
        let round = |v: (f64, f64)| (v.0.round() as usize, v.1.round() as usize);
        Ok(Self { tile, per_tile, size, offset: round(cut), span: round(span) })
    }

    /// Rows and columns of tiles that cover a scene.
    fn tiles(&self, grid: &Grid) -> (usize, usize) {
        (grid.height.div_ceil(self.span.0), grid.width.div_ceil(self.span.1))
    }

    /// Number of tiles that cover a scene.
    pub fn tile_count(&self, grid: &Grid) -> usize {
        let (rows, cols) = self.tiles(grid);
        rows * cols
    }

    /// Tile number `k` of a scene, row by row: its rectangle, and its patches that lie in the scene: (index in the tile's tokens, window).
    pub fn tile(&self, grid: &Grid, k: usize) -> (Place, Vec<(usize, Window)>) {
        let (_, across) = self.tiles(grid);
        let (row, col) = (k / across, k % across);
        let place = Place {
            col: (col * self.span.1) as isize - self.offset.1 as isize,
            row: (row * self.span.0) as isize - self.offset.0 as isize,
            width: self.tile,
            height: self.tile,
        };
        let mut patches = Vec::new();
        for r in 0..self.per_tile.0 {
            for c in 0..self.per_tile.1 {
                if let Some(window) = self.window(grid, row * self.per_tile.0 + r, col * self.per_tile.1 + c) {
                    patches.push((r * self.per_tile.1 + c, window));
                }
            }
        }
        (place, patches)
    }

    /// The pixels of the patch in a row and column of the scene's patch grid; `None` outside the scene.
    pub fn window(&self, grid: &Grid, row: usize, col: usize) -> Option<Window> {
        let side = |k: usize, size: f64, all: usize| {
            let start = (k as f64 * size).round() as usize;
            let end = (((k + 1) as f64 * size).round() as usize).min(all);
            (start < end).then(|| (start, end - start))
        };
        let (y, height) = side(row, self.size.0, grid.height)?;
        let (x, width) = side(col, self.size.1, grid.width)?;
        Some(Window::new(x, y, width, height))
    }

    /// The grid of a raster with one pixel a patch.
    pub fn raster(&self, grid: &Grid) -> Grid {
        let t = grid.transform;
        let side = |all: usize, size: f64| (1..).find(|&k| (k as f64 * size).round() as usize >= all).unwrap_or(1);
        Grid {
            crs: grid.crs.clone(),
            transform: Affine {
                dx: t.dx * self.size.1,
                ry: t.ry * self.size.1,
                rx: t.rx * self.size.0,
                dy: t.dy * self.size.0,
                ..t
            },
            width: side(grid.width, self.size.1),
            height: side(grid.height, self.size.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::vision::ValueScale;
    use crate::nn::vision::resample::Interpolation;

    #[test]
    fn tiles_are_read_in_groups_of_columns() {
        let columns = [0, 4, 8, 0, 4, 8];
        assert_eq!(reading_order(6, |k| columns[k], 8), [0, 1, 3, 4, 2, 5]);
        assert_eq!(reading_order(6, |k| columns[k] - 1, 100), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn tiles_cover_the_scene_and_stay_inside() {
        for (width, height, tile, stride) in
            [(10, 7, 4, 4), (10, 7, 4, 3), (8, 8, 4, 4), (3, 9, 4, 2), (1, 1, 4, 4), (12, 5, 5, 1)]
        {
            let windows: Vec<Window> = tile_windows(width, height, tile, stride).collect();
            assert_eq!(windows.len(), tile_count(width, height, tile, stride));
            let unique: std::collections::HashSet<_> = windows.iter().collect();
            assert_eq!(unique.len(), windows.len());
            let grid = Grid::unreferenced(width, height);
            assert!(windows.iter().all(|w| grid.check(*w).is_ok()));
            let covered = |x: usize, y: usize| {
                windows.iter().any(|w| (w.col..w.col_end()).contains(&x) && (w.row..w.row_end()).contains(&y))
            };
            assert!((0..width).all(|x| (0..height).all(|y| covered(x, y))), "{width}×{height} {tile}/{stride}");
        }
        // A stride above the tile's size is a sample.
        assert_eq!(tile_windows(10, 1, 2, 5).count(), 2);
        assert_eq!(tile_count(10, 1, 2, 5), 2);
    }

    fn preprocess(size: usize, resize: ResizeMode, resize_to: Option<usize>) -> ImagePreprocess {
        ImagePreprocess {
            size: (size, size),
            resize,
            resize_to,
            interpolation: Interpolation::Bicubic,
            values: ValueScale::AsIs,
            mean: vec![0.0],
            std: vec![1.0],
            by_band: Default::default(),
        }
    }

    #[test]
    fn patches_of_all_tiles_make_one_grid() {
        let grid = Grid { transform: Affine::north_up(100.0, 200.0, 10.0, 10.0), ..Grid::unreferenced(500, 300) };
        for (preprocess, patch, tile, n) in [
            (preprocess(224, ResizeMode::Squash, None), 16, 224, 14),
            (preprocess(224, ResizeMode::Squash, None), 16, 112, 14),
            (preprocess(384, ResizeMode::Squash, None), 14, 384, 27),
            (preprocess(224, ResizeMode::Shortest, Some(256)), 14, 256, 16),
            (preprocess(224, ResizeMode::Keep, None), 14, 70, 5),
        ] {
            let patches = PatchGrid::new(&preprocess, patch, tile, (n, n)).unwrap();
            let mut seen = ndarray::Array2::<u8>::zeros((300, 500));
            for k in 0..patches.tile_count(&grid) {
                let (place, windows) = patches.tile(&grid, k);
                let (inside, (left, top)) = place.inside(&grid).unwrap();
                for (_, w) in windows {
                    assert!(inside.intersection(&w) == Some(w), "{w:?} of {inside:?}, which begins at {left}, {top}");
                    seen.slice_mut(ndarray::s![w.row..w.row_end(), w.col..w.col_end()]).mapv_inplace(|v| v + 1);
                }
            }
            assert!(seen.iter().all(|v| *v == 1), "every pixel lies in one patch");
            let raster = patches.raster(&grid);
            assert_eq!(raster.pixel_size().0, 10.0 * patches.size.1);
            assert!(patches.window(&grid, raster.height - 1, raster.width - 1).is_some());
            assert!(patches.window(&grid, raster.height, 0).is_none());
        }
        let error = PatchGrid::new(&self::preprocess(384, ResizeMode::Squash, None), 14, 224, (27, 27)).unwrap_err();
        assert!(error.to_string().contains("--tile 384"), "{error}");
        assert!(PatchGrid::new(&self::preprocess(224, ResizeMode::Squash, None), 16, 7, (14, 14)).is_err());
    }
}
