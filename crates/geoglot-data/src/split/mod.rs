//! Which labelled pixels train a model, which stop it, which judge it.
//!
//! Patches of neighbouring pixels overlap, so a random split of one scene shows the test pixels to the model during training. The default is
//! therefore spatial: [`block_folds`] keeps every training centre at least one patch size away from every test centre (Chebyshev distance, the
//! one in which square patches touch). Every [`Split`] measures and reports what its separation really is.

mod assign;
mod blocks;
mod distance;
mod given;
mod random;
mod regions;
mod report;
mod scenes;
mod validation;

use geoglot_core::{Legend, Seeds};
use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

pub use blocks::{BlockOptions, block_folds};
pub use distance::{chebyshev, nearest_distances};
pub use given::given;
pub use random::{PerClass, random_per_class};
pub use regions::region_folds;
pub use report::SplitReport;
pub use scenes::leave_scene_out;
pub use validation::ValidationKind;

/// One labelled pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pixel {
    /// Index of the scene or tile.
    pub scene: usize,
    /// Row in the scene.
    pub row: usize,
    /// Column in the scene.
    pub col: usize,
    /// Index of the class in the legend (not its id).
    pub class: usize,
}

/// Every labelled pixel of one or several scenes.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelledPixels {
    /// The pixels, by scene, row, column.
    pub pixels: Vec<Pixel>,
    /// Class names, by class index.
    pub classes: Vec<String>,
    /// Height and width of each scene.
    pub shapes: Vec<(usize, usize)>,
}

impl LabelledPixels {
    /// Collects the labelled pixels of `labels` (one raster a scene, [H, W]), leaving out `legend.unlabelled` and the ids in `ignore`.
    ///
    /// # Errors
    /// [`Error::Labels`] when a raster holds ids that neither the legend nor `ignore` has, or nothing is labelled.
    pub fn collect(labels: &[ArrayView2<u16>], legend: &Legend, ignore: &[u16]) -> Result<Self> {
        Self::collect_where(labels, legend, ignore, |_, _, _| true)
    }

    /// [`LabelledPixels::collect`] of the pixels for which `valid(scene, row, col)` holds, such as those with data.
    ///
    /// # Errors
    /// As [`LabelledPixels::collect`].
    pub fn collect_where(
        labels: &[ArrayView2<u16>],
        legend: &Legend,
        ignore: &[u16],
        valid: impl Fn(usize, usize, usize) -> bool,
    ) -> Result<Self> {
        const UNKNOWN: usize = usize::MAX;
        const SKIP: usize = usize::MAX - 1;
        let mut class_of = vec![UNKNOWN; usize::from(u16::MAX) + 1];
        for (index, class) in legend.classes.iter().enumerate() {
            class_of[usize::from(class.id)] = index;
        }
        for &id in ignore.iter().chain([&legend.unlabelled]) {
            class_of[usize::from(id)] = SKIP;
        }
        let mut unknown = std::collections::BTreeMap::<u16, usize>::new();
        let mut pixels = Vec::new();
        for (scene, raster) in labels.iter().enumerate() {
            for ((row, col), &id) in raster.indexed_iter() {
                match class_of[usize::from(id)] {
                    SKIP => {}
                    UNKNOWN => *unknown.entry(id).or_default() += 1,
                    class if valid(scene, row, col) => pixels.push(Pixel { scene, row, col, class }),
                    _ => {}
                }
            }
        }
        if !unknown.is_empty() {
            let list =
                unknown.iter().take(8).map(|(id, n)| format!("{id} ({n} pixels)")).collect::<Vec<_>>().join(", ");
            let known = legend.classes.iter().map(|c| c.id.to_string()).collect::<Vec<_>>().join(", ");
            return Err(Error::Labels(format!(
                "the label raster holds ids that the legend does not have: {list}; the legend has {known}. \
                 Add them to the legend, or list them as ids to ignore"
            )));
        }
        if pixels.is_empty() {
            return Err(Error::Labels(format!(
                "no pixel is labelled: all are {} (\"no label\"), ignored or without data",
                legend.unlabelled
            )));
        }
        Ok(Self { pixels, classes: legend.names(), shapes: labels.iter().map(|l| l.dim()).collect() })
    }

    /// Pixels per class.
    pub fn counts(&self) -> Vec<usize> {
        counts(&self.pixels, self.classes.len())
    }
}

/// Pixels per class index.
pub fn counts(pixels: &[Pixel], classes: usize) -> Vec<usize> {
    let mut n = vec![0; classes];
    for pixel in pixels {
        n[pixel.class] += 1;
    }
    n
}

/// What every kind of split needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SplitOptions {
    /// Side of the patches in pixels: patches overlap when their centres are closer than this.
    pub patch: usize,
    /// Share of the training pixels set aside for early stopping, 0 to 0.5.
    pub validation: f64,
    /// Root seed.
    pub seed: u64,
}

impl Default for SplitOptions {
    fn default() -> Self {
        Self { patch: 11, validation: 0.15, seed: 0 }
    }
}

impl SplitOptions {
    fn check(&self) -> Result<()> {
        if self.patch == 0 {
            return Err(Error::Split("the patch size is 0; give at least 1 (11 in the MMLGNet paper)".into()));
        }
        if !(0.0..=0.5).contains(&self.validation) {
            return Err(Error::Split(format!(
                "the validation share is {}; give a number from 0 to 0.5 (a part of the training pixels)",
                self.validation
            )));
        }
        Ok(())
    }

    fn seeds(&self) -> Seeds {
        Seeds::new(self.seed)
    }
}

/// How training and test pixels were separated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SplitKind {
    /// Training and test label rasters given by the user.
    Given,
    /// A number of pixels per class drawn at random, all others tested. Optimistic: patches overlap.
    RandomPerClass,
    /// Square blocks dealt to folds, with a buffer around the test pixels.
    Blocks {
        /// Fold tested, from 0.
        fold: usize,
        /// Number of folds.
        folds: usize,
        /// Side of a block in pixels.
        block: usize,
        /// Least Chebyshev distance in pixels between training and test centres.
        buffer: usize,
    },
    /// Whole regions (fields, polygons, objects) dealt to folds.
    Regions {
        /// Fold tested, from 0.
        fold: usize,
        /// Number of folds.
        folds: usize,
        /// Least Chebyshev distance in pixels between training and test centres.
        buffer: usize,
    },
    /// Some scenes train, others test.
    LeaveSceneOut {
        /// Indices of the scenes tested.
        test: Vec<usize>,
    },
}

/// Training, validation and test pixels, with what was measured about their separation.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// How the pixels were separated.
    pub kind: SplitKind,
    /// Pixels that the model learns from.
    pub train: Vec<Pixel>,
    /// A part of the training side, for early stopping; never test pixels.
    pub validation: Vec<Pixel>,
    /// Pixels that judge the model.
    pub test: Vec<Pixel>,
    /// Counts, distances, overlap.
    pub report: SplitReport,
}

impl Split {
    /// One paragraph for a report: kind, sizes, distance, overlap, absent classes.
    pub fn describe(&self) -> String {
        self.report.describe(&self.kind)
    }

    /// The split with at most `per_class` training pixels of each class, drawn by `seed`; validation and test pixels stay.
    ///
    /// Densely labelled scenes hold far more training pixels than an epoch needs.
    pub fn with_at_most(mut self, per_class: usize, seed: u64) -> Self {
        use rand::seq::SliceRandom;
        let mut rng = Seeds::new(seed).stream("split/at-most");
        let mut order: Vec<usize> = (0..self.train.len()).collect();
        order.shuffle(&mut rng);
        let mut taken = vec![0; self.report.classes.len()];
        order.retain(|&k| {
            taken[self.train[k].class] += 1;
            taken[self.train[k].class] <= per_class
        });
        order.sort_unstable();
        self.train = order.into_iter().map(|k| self.train[k]).collect();
        self.report.train = counts(&self.train, self.report.classes.len());
        self
    }
}

#[cfg(test)]
mod tests;
