//! Spatially disjoint blocks with a buffer: the default.

use serde::{Deserialize, Serialize};

use super::assign::{balanced, histograms};
use super::distance::outside_buffer;
use super::report::finish;
use super::{LabelledPixels, Pixel, Split, SplitKind, SplitOptions, validation};
use crate::{Error, Result};

/// How the scenes are cut into blocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BlockOptions {
    /// Number of folds; every labelled pixel is tested in exactly one.
    pub folds: usize,
    /// Side of a block in pixels. `None`: the largest of 6, 5, 4, 3, 2 and 1 patch sizes that gives at least five blocks with labels a fold.
    pub block: Option<usize>,
    /// Least Chebyshev distance in pixels between training and test centres. `None`: the patch size, so that no patches overlap.
    pub buffer: Option<usize>,
}

impl Default for BlockOptions {
    fn default() -> Self {
        Self { folds: 5, block: None, buffer: None }
    }
}

/// A grid of square blocks over every scene.
pub(super) struct Blocks {
    pub side: usize,
    /// First block number and blocks a row of each scene.
    scenes: Vec<(usize, usize)>,
    pub count: usize,
}

impl Blocks {
    /// Blocks of `side`, or of the size that suits `folds`.
    pub fn new(all: &LabelledPixels, folds: usize, side: Option<usize>, patch: usize) -> Self {
        let of_side = |side: usize| {
            let (mut scenes, mut count) = (Vec::new(), 0);
            for (height, width) in &all.shapes {
                let a_row = width.div_ceil(side);
                scenes.push((count, a_row));
                count += a_row * height.div_ceil(side);
            }
            Self { side, scenes, count }
        };
        match side {
            Some(side) => of_side(side),
            None => (2..=6)
                .rev()
                .map(|k| of_side(k * patch))
                .find(|blocks| blocks.occupied(&all.pixels) >= 5 * folds)
                .unwrap_or_else(|| of_side(patch)),
        }
    }

    /// Number of the block of a pixel.
    pub fn of(&self, pixel: &Pixel) -> usize {
        let (first, a_row) = self.scenes[pixel.scene];
        first + pixel.row / self.side * a_row + pixel.col / self.side
    }

    /// How many blocks hold labelled pixels.
    fn occupied(&self, pixels: &[Pixel]) -> usize {
        let mut seen = vec![false; self.count];
        pixels.iter().for_each(|p| seen[self.of(p)] = true);
        seen.into_iter().filter(|s| *s).count()
    }
}

/// `folds` splits, each testing the blocks of one fold and training on those of the others. Blocks are dealt so that every fold holds every class
/// in like shares as far as the map allows. Training pixels closer than the buffer to a test pixel are dropped; no test pixel is.
///
/// # Errors
/// [`Error::Split`] for fewer than two folds, fewer blocks with labels than folds, or a fold whose buffer leaves nothing to train on.
pub fn block_folds(all: &LabelledPixels, blocks: &BlockOptions, options: &SplitOptions) -> Result<Vec<Split>> {
    options.check()?;
    let folds = blocks.folds;
    if folds < 2 {
        return Err(Error::Split(format!("{folds} folds; give at least 2, so that something is left to train on")));
    }
    if blocks.block == Some(0) {
        return Err(Error::Split("the block size is 0; give a number of pixels, at least the patch size".into()));
    }
    let buffer = blocks.buffer.unwrap_or(options.patch);
    let grid = Blocks::new(all, folds, blocks.block, options.patch);
    let occupied = grid.occupied(&all.pixels);
    if occupied < folds {
        return Err(Error::Split(format!(
            "only {occupied} blocks of {} px hold labels, too few for {folds} folds; use smaller blocks or fewer folds",
            grid.side
        )));
    }
    let make_kind = |fold| SplitKind::Blocks { fold, folds, block: grid.side, buffer };
    group_folds(all, |p| grid.of(p), grid.count, folds, buffer, make_kind, options)
}

/// Deals groups of pixels to folds and makes one split a fold.
pub(super) fn group_folds(
    all: &LabelledPixels,
    group_of: impl Fn(&Pixel) -> usize,
    groups: usize,
    folds: usize,
    buffer: usize,
    kind: impl Fn(usize) -> SplitKind,
    options: &SplitOptions,
) -> Result<Vec<Split>> {
    let classes = all.classes.len();
    let table = histograms(all.pixels.iter().map(|p| (group_of(p), p.class)), groups, classes);
    // Groups without labels need no fold.
    let full: Vec<usize> = (0..groups).filter(|&g| table[g].iter().any(|n| *n > 0.0)).collect();
    let dealt =
        balanced(&full.iter().map(|&g| table[g].clone()).collect(), folds, &mut options.seeds().stream("split/folds"));
    let mut fold_of = vec![usize::MAX; groups];
    for (&g, &f) in full.iter().zip(&dealt) {
        fold_of[g] = f;
    }
    (0..folds)
        .map(|fold| {
            let (test, train): (Vec<Pixel>, Vec<Pixel>) =
                all.pixels.iter().partition(|p| fold_of[group_of(p)] == fold);
            let train = outside_buffer(train, &test, buffer, &all.shapes);
            if test.is_empty() || train.is_empty() {
                return Err(Error::Split(format!(
                    "fold {} has {} training and {} test pixels after the buffer of {buffer} px; use larger blocks, a smaller buffer or fewer folds",
                    fold + 1,
                    train.len(),
                    test.len()
                )));
            }
            let parts = validation::separate(train, &group_of, buffer, &all.shapes, classes, options);
            Ok(finish(all, kind(fold), parts, test, options.patch))
        })
        .collect()
}
