//! The pixels every method of a report is scored on.

use serde::{Deserialize, Serialize};

use crate::bootstrap::Bootstrap;
use crate::compare::{PairedDifference, PixelComparison, paired_difference, paired_pixels};
use crate::error::Result;
use crate::scores::Scores;

/// Test pixels of all folds: what is true, and which pixels belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestPixels {
    /// True class of each pixel, as position in the legend.
    pub truth: Vec<usize>,
    /// Spatial block, region or tile of each pixel, unique over scenes; the intervals then resample these instead of pixels.
    pub groups: Option<Vec<u32>>,
    /// Fold in which each pixel is tested.
    pub folds: Option<Vec<usize>>,
    /// Number of classes of the legend.
    pub classes: usize,
}

/// One method against another on the same pixels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The method taken first.
    pub first: String,
    /// The method subtracted from it.
    pub second: String,
    /// Differences over the pooled test pixels.
    pub pixels: PixelComparison,
    /// Difference of OA over the folds, where there are at least two.
    pub folds: Option<PairedDifference>,
}

impl TestPixels {
    /// Scores one method's predictions.
    ///
    /// # Errors
    /// As [`Scores::of`].
    pub fn score(&self, predicted: &[usize], bootstrap: &Bootstrap) -> Result<Scores> {
        Scores::of(&self.truth, predicted, self.groups.as_deref(), self.folds.as_deref(), self.classes, bootstrap)
    }

    /// Compares two methods, each a name with its predictions.
    ///
    /// # Errors
    /// As [`paired_pixels`].
    pub fn compare(
        &self,
        first: (&str, &[usize]),
        second: (&str, &[usize]),
        bootstrap: &Bootstrap,
    ) -> Result<Comparison> {
        let pixels = paired_pixels(&self.truth, first.1, second.1, self.groups.as_deref(), self.classes, bootstrap)?;
        // One replicate is enough for the scores by fold.
        let quick = Bootstrap { replicates: 1, ..*bootstrap };
        let by_fold = |predicted: &[usize]| -> Result<Vec<f64>> {
            Ok(self.score(predicted, &quick)?.folds.iter().filter_map(|f| f.oa).collect())
        };
        let (a, b) = (by_fold(first.1)?, by_fold(second.1)?);
        let folds = if a.is_empty() { None } else { Some(paired_difference(&a, &b, bootstrap)?) };
        Ok(Comparison { first: first.0.into(), second: second.0.into(), pixels, folds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_are_paired() {
        let truth: Vec<usize> = (0..300).map(|i| i % 3).collect();
        let good = truth.clone();
        let bad: Vec<usize> = truth.iter().enumerate().map(|(i, &t)| if i < 50 { (t + 1) % 3 } else { t }).collect();
        let pixels = TestPixels {
            groups: Some((0..300).map(|i| i / 20).collect()),
            folds: Some((0..300).map(|i| i / 100).collect()),
            classes: 3,
            truth,
        };
        let c = pixels.compare(("a", &good), ("b", &bad), &Bootstrap::default()).unwrap();
        let folds = c.folds.unwrap();
        assert_eq!((folds.pairs, folds.wins), (3, 1));
        assert!((folds.mean.value - 0.5 / 3.0).abs() < 1e-12);
        assert!((c.pixels.oa.unwrap().value - 50.0 / 300.0).abs() < 1e-12);
    }
}
