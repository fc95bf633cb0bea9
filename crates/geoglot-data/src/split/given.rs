//! Training and test label rasters given by the user.

use geoglot_core::Legend;
use ndarray::ArrayView2;

use super::blocks::Blocks;
use super::report::finish;
use super::{LabelledPixels, Split, SplitKind, SplitOptions, nearest_distances, validation};
use crate::{Error, Result};

/// The split of two given label rasters a scene. Validation pixels are spatially separate when training and test pixels are, random otherwise.
///
/// # Errors
/// [`Error::Split`] when the rasters differ in number or size, or a pixel is in both; [`Error::Labels`] when either is empty or holds unknown ids.
pub fn given(
    train: &[ArrayView2<u16>],
    test: &[ArrayView2<u16>],
    legend: &Legend,
    ignore: &[u16],
    options: &SplitOptions,
) -> Result<Split> {
    options.check()?;
    let side = |name: &str, e: Error| Error::Split(format!("the {name} labels cannot be used: {e}"));
    let train = LabelledPixels::collect(train, legend, ignore).map_err(|e| side("training", e))?;
    let test = LabelledPixels::collect(test, legend, ignore).map_err(|e| side("test", e))?;
    if train.shapes != test.shapes {
        return Err(Error::Split(format!(
            "training and test labels differ in size: {:?} and {:?} (height, width)",
            train.shapes, test.shapes
        )));
    }
    let distances = nearest_distances(&test.pixels, &train.pixels, &train.shapes);
    let shared = distances.iter().filter(|d| **d == Some(0)).count();
    if shared > 0 {
        return Err(Error::Split(format!(
            "{shared} pixels are in both the training and the test labels; a pixel may be in one of them only"
        )));
    }
    let classes = train.classes.len();
    let mut all = train.clone();
    all.pixels.extend(&test.pixels);
    let spatial = distances.iter().all(|d| d.is_none_or(|d| d >= options.patch));
    let parts = if spatial {
        let blocks = Blocks::new(&train, 4, None, options.patch);
        validation::separate(train.pixels, |p| blocks.of(p), options.patch, &all.shapes, classes, options)
    } else {
        validation::random(train.pixels, classes, options)
    };
    Ok(finish(&all, SplitKind::Given, parts, test.pixels, options.patch))
}
