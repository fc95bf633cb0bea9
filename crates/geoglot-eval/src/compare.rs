//! Is one method better than another on the same pixels or folds?

use geoglot_core::Seeds;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::bootstrap::{Bootstrap, Unit, Units};
use crate::error::{Error, Result, in_legend, same_length};
use crate::interval::{Interval, mean_std};
use crate::metrics::ConfusionMatrix;

/// Difference of two methods over paired runs (same folds, same seeds).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PairedDifference {
    /// Mean of first − second, with the bootstrap interval over the pairs.
    pub mean: Interval,
    /// Sample standard deviation of the differences.
    pub std: f64,
    /// Number of pairs.
    pub pairs: usize,
    /// Pairs in which the first is higher.
    pub wins: usize,
}

/// Mean difference `first[i] − second[i]` over paired runs, resampling the pairs.
///
/// With few pairs (five folds) the interval is rough; see [`paired_pixels`] for one over pixels or blocks.
///
/// # Errors
/// [`Error::Length`], [`Error::Empty`], [`Error::Setting`].
pub fn paired_difference(first: &[f64], second: &[f64], settings: &Bootstrap) -> Result<PairedDifference> {
    settings.check()?;
    same_length("paired figures of the second method", first.len(), second.len())?;
    let differences: Vec<f64> = first.iter().zip(second).map(|(a, b)| a - b).collect();
    let Some((mean, std)) = mean_std(&differences) else {
        return Err(Error::Empty("there are no runs to compare; give both methods the same folds and seeds".into()));
    };
    let n = differences.len();
    let mut rng = Seeds::new(settings.seed).stream("bootstrap/pairs");
    let replicates: Vec<_> = (0..settings.replicates)
        .map(|_| Some((0..n).map(|_| differences[rng.random_range(0..n)]).sum::<f64>() / n as f64))
        .collect();
    let mean = Interval::of(Some(mean), replicates, settings.level)
        .ok_or_else(|| Error::Empty("the compared figures are not numbers".into()))?;
    Ok(PairedDifference { mean, std, pairs: n, wins: differences.iter().filter(|d| **d > 0.0).count() })
}

/// Two methods on the same test pixels: differences of accuracies with intervals, and McNemar's test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PixelComparison {
    /// Overall accuracy of first − second.
    pub oa: Option<Interval>,
    /// Average accuracy of first − second.
    pub aa: Option<Interval>,
    /// Kappa of first − second.
    pub kappa: Option<Interval>,
    /// What the intervals resample.
    pub resampled: Unit,
    /// McNemar's test over single pixels.
    pub mcnemar: McNemar,
}

/// Compares two predictions of the same pixels; each resample takes the same pixels or groups for both.
///
/// # Errors
/// [`Error::Length`], [`Error::Class`], [`Error::Setting`], [`Error::Empty`].
pub fn paired_pixels(
    truth: &[usize],
    first: &[usize],
    second: &[usize],
    groups: Option<&[u32]>,
    classes: usize,
    settings: &Bootstrap,
) -> Result<PixelComparison> {
    settings.check()?;
    if truth.is_empty() {
        return Err(Error::Empty("there are no pixels to compare two methods on".into()));
    }
    let mcnemar = McNemar::of(truth, first, second)?;
    for (what, labels) in [("truth", truth), ("first method", first), ("second method", second)] {
        in_legend(what, labels, classes)?;
    }
    if let Some(groups) = groups {
        same_length("group ids", truth.len(), groups.len())?;
    }
    let cells: Vec<usize> =
        truth.iter().zip(first).zip(second).map(|((t, a), b)| (t * classes + a) * classes + b).collect();
    let units = Units::new(&cells, classes.pow(3), groups);
    let difference = |counts: Vec<u64>| {
        let (mut a, mut b) = (vec![0; classes * classes], vec![0; classes * classes]);
        for (cell, n) in counts.into_iter().enumerate().filter(|(_, n)| *n > 0) {
            let (t, p, q) = (cell / (classes * classes), cell / classes % classes, cell % classes);
            a[t * classes + p] += n;
            b[t * classes + q] += n;
        }
        let (a, b) = (ConfusionMatrix::from_counts(classes, a), ConfusionMatrix::from_counts(classes, b));
        let minus = |x: Option<f64>, y: Option<f64>| Some(x? - y?);
        [minus(a.oa(), b.oa()), minus(a.aa(), b.aa()), minus(a.kappa(), b.kappa())]
    };
    let value = difference(units.sum());
    let replicates = units.replicates(settings, "pairs", difference);
    let interval = |k: usize| Interval::of(value[k], replicates.iter().map(|r| r[k]), settings.level);
    Ok(PixelComparison { oa: interval(0), aa: interval(1), kappa: interval(2), resampled: units.unit(), mcnemar })
}

/// McNemar's exact test: do two methods err on equally many pixels, where just one of them errs?
///
/// It takes pixels as independent. Neighbouring ones are not, so on a map the p-value is too small; the interval of [`paired_pixels`] over groups
/// is the one to trust.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct McNemar {
    /// Pixels only the first method has right.
    pub only_first: u64,
    /// Pixels only the second method has right.
    pub only_second: u64,
    /// Two-sided exact (binomial) p-value.
    pub p_value: f64,
}

impl McNemar {
    /// The test on two predictions of the same pixels.
    ///
    /// # Errors
    /// [`Error::Length`].
    pub fn of(truth: &[usize], first: &[usize], second: &[usize]) -> Result<Self> {
        same_length("predictions of the first method", truth.len(), first.len())?;
        same_length("predictions of the second method", truth.len(), second.len())?;
        let (mut only_first, mut only_second) = (0, 0);
        for ((t, a), b) in truth.iter().zip(first).zip(second) {
            only_first += u64::from(a == t && b != t);
            only_second += u64::from(b == t && a != t);
        }
        Ok(Self { only_first, only_second, p_value: sign_test(only_first, only_second) })
    }
}

/// Two-sided exact test that `a` of `a + b` fair coins show heads.
fn sign_test(a: u64, b: u64) -> f64 {
    let (n, few) = (a + b, a.min(b));
    // Terms C(n, i) / 2^n in logarithms: 2^n overflows long before a map's pixels end.
    let mut log = -(n as f64) * std::f64::consts::LN_2;
    let mut tail = log.exp();
    for i in 0..few {
        log += ((n - i) as f64).ln() - ((i + 1) as f64).ln();
        tail += log.exp();
    }
    (2.0 * tail).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sign_test_agrees_with_scipy() {
        // scipy.stats.binomtest(a, a + b).pvalue
        for (a, b, p) in [
            (0, 0, 1.0),
            (5, 5, 1.0),
            (1, 9, 0.021484375),
            (12, 30, 0.007915897334896727),
            (480, 560, 0.014259079095385853),
        ] {
            assert!((sign_test(a, b) - p).abs() < 1e-9 * p.max(1e-3), "{a} {b}: {}", sign_test(a, b));
        }
        assert!(sign_test(30_000, 31_000) > 0.0);
    }

    #[test]
    fn a_method_against_itself_differs_by_nothing() {
        let truth: Vec<usize> = (0..90).map(|i| i % 3).collect();
        let predicted: Vec<usize> = (0..90).map(|i| (i / 2) % 3).collect();
        let same = paired_pixels(&truth, &predicted, &predicted, None, 3, &Bootstrap::default()).unwrap();
        let oa = same.oa.unwrap();
        assert_eq!((oa.value, oa.low, oa.high), (0.0, 0.0, 0.0));
        assert_eq!(same.mcnemar.p_value, 1.0);
    }

    #[test]
    fn a_better_method_is_seen_as_better() {
        let truth: Vec<usize> = (0..1000).map(|i| i % 4).collect();
        let wrong = |share: usize| -> Vec<usize> {
            truth.iter().enumerate().map(|(i, &t)| if i % 100 < share { (t + 1) % 4 } else { t }).collect()
        };
        let groups: Vec<u32> = (0..1000).map(|i| i / 25).collect();
        let c = paired_pixels(&truth, &wrong(10), &wrong(30), Some(&groups), 4, &Bootstrap::default()).unwrap();
        let oa = c.oa.unwrap();
        assert!((oa.value - 0.2).abs() < 1e-12 && oa.excludes_zero(), "{oa:?}");
        assert_eq!((c.mcnemar.only_first, c.mcnemar.only_second), (200, 0));
        assert!(c.mcnemar.p_value < 1e-50);
        let folds = paired_difference(&[0.9, 0.8, 0.85], &[0.7, 0.82, 0.6], &Bootstrap::default()).unwrap();
        assert_eq!((folds.pairs, folds.wins), (3, 2));
        assert!((folds.mean.value - 0.43 / 3.0).abs() < 1e-12);
        assert!(paired_difference(&[], &[], &Bootstrap::default()).is_err());
    }
}
