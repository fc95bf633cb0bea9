//! Folds of whole regions, where region ids exist (fields, polygons, objects).

use std::collections::BTreeMap;

use ndarray::ArrayView2;

use super::blocks::group_folds;
use super::{LabelledPixels, Split, SplitKind, SplitOptions};
use crate::{Error, Result};

/// `folds` splits in which a region's pixels are never on both sides. `regions` holds one raster a scene, [H, W]; ids are local to their scene.
/// Training pixels closer than `buffer` (`None`: the patch size) to a test pixel are dropped.
///
/// # Errors
/// [`Error::Split`] when rasters do not fit the scenes, a labelled pixel has a negative id (no region), or there are fewer regions than folds.
pub fn region_folds(
    all: &LabelledPixels,
    regions: &[ArrayView2<i32>],
    folds: usize,
    buffer: Option<usize>,
    options: &SplitOptions,
) -> Result<Vec<Split>> {
    options.check()?;
    let shapes: Vec<_> = regions.iter().map(|r| r.dim()).collect();
    if shapes != all.shapes {
        return Err(Error::Split(format!(
            "region rasters of sizes {shapes:?} do not fit label rasters of sizes {:?} (height, width)",
            all.shapes
        )));
    }
    if folds < 2 {
        return Err(Error::Split(format!("{folds} folds; give at least 2, so that something is left to train on")));
    }
    let mut number = BTreeMap::new();
    for p in &all.pixels {
        let id = regions[p.scene][(p.row, p.col)];
        if id < 0 {
            return Err(Error::Split(format!(
                "the labelled pixel at row {}, column {} of scene {} has region id {id} (no region); give every labelled pixel a region, or use blocks",
                p.row,
                p.col,
                p.scene + 1
            )));
        }
        let next = number.len();
        number.entry((p.scene, id)).or_insert(next);
    }
    if number.len() < folds {
        return Err(Error::Split(format!(
            "{} regions are too few for {folds} folds; use fewer folds, or blocks",
            number.len()
        )));
    }
    let buffer = buffer.unwrap_or(options.patch);
    group_folds(
        all,
        |p| number[&(p.scene, regions[p.scene][(p.row, p.col)])],
        number.len(),
        folds,
        buffer,
        |fold| SplitKind::Regions { fold, folds, buffer },
        options,
    )
}
