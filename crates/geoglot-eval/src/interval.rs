//! A value with its interval, and percentiles.

use serde::{Deserialize, Serialize};

/// A value and the bounds of its confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The value on the data as they are.
    pub value: f64,
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
}

impl Interval {
    /// The value with the central `level` share (0.95) of its bootstrap `replicates`; undefined replicates are left out.
    ///
    /// `None` when the value itself is undefined. Without any defined replicate the interval is the value alone.
    pub fn of(value: Option<f64>, replicates: impl IntoIterator<Item = Option<f64>>, level: f64) -> Option<Self> {
        let value = value?;
        let mut sorted: Vec<f64> = replicates.into_iter().flatten().filter(|v| v.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let tail = (1.0 - level) / 2.0;
        let (low, high) = match (percentile(&sorted, tail), percentile(&sorted, 1.0 - tail)) {
            (Some(low), Some(high)) => (low, high),
            _ => (value, value),
        };
        Some(Self { value, low, high })
    }

    /// Mean over runs that differ in their seed alone, with the 95 % interval of Student's t; `None` when empty, the value alone for one run.
    pub fn of_runs(values: &[f64]) -> Option<Self> {
        let (value, std) = mean_std(values)?;
        let half = match values.len() {
            1 => 0.0,
            n => student(n - 1) * std / (n as f64).sqrt(),
        };
        Some(Self { value, low: value - half, high: value + half })
    }

    /// True when the interval lies wholly above or wholly below zero.
    pub fn excludes_zero(self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

/// The 97.5 % quantile of Student's t with `freedom` degrees of freedom: a table up to 9, then Cornish and Fisher's expansion (Abramowitz and
/// Stegun 26.7.5), whose error is below 1e-4 there.
fn student(freedom: usize) -> f64 {
    const TABLE: [f64; 9] = [12.70620, 4.30265, 3.18245, 2.77645, 2.57058, 2.44691, 2.36462, 2.30600, 2.26216];
    const Z: f64 = 1.959_963_984_540_054;
    if let Some(t) = freedom.checked_sub(1).and_then(|k| TABLE.get(k)) {
        return *t;
    }
    let n = freedom as f64;
    let terms = [
        (Z.powi(3) + Z) / 4.0,
        (5.0 * Z.powi(5) + 16.0 * Z.powi(3) + 3.0 * Z) / 96.0,
        (3.0 * Z.powi(7) + 19.0 * Z.powi(5) + 17.0 * Z.powi(3) - 15.0 * Z) / 384.0,
    ];
    Z + terms[0] / n + terms[1] / n.powi(2) + terms[2] / n.powi(3)
}

/// The `share` (0–1) percentile of ascending `sorted`, linear between order statistics as in numpy; `None` when empty.
pub fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = share.clamp(0.0, 1.0) * last as f64;
    let (low, part) = (at.floor() as usize, at.fract());
    let high = (low + 1).min(last);
    Some(sorted[low] + (sorted[high] - sorted[low]) * part)
}

/// Mean and sample standard deviation (n − 1; 0 for one value); `None` when empty.
pub fn mean_std(values: &[f64]) -> Option<(f64, f64)> {
    let n = values.len() as f64;
    if values.is_empty() {
        return None;
    }
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    Some((mean, if values.len() > 1 { (squares / (n - 1.0)).sqrt() } else { 0.0 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_numpy() {
        // numpy.percentile([1, 2, 4, 8], [0, 2.5, 50, 97.5, 100])
        let sorted = [1.0, 2.0, 4.0, 8.0];
        for (share, expected) in [(0.0, 1.0), (0.025, 1.075), (0.5, 3.0), (0.975, 7.7), (1.0, 8.0)] {
            assert!((percentile(&sorted, share).unwrap() - expected).abs() < 1e-12);
        }
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn intervals_over_runs_are_students() {
        // scipy.stats.t.interval(0.95, 2, loc=2, scale=1 / sqrt(3))
        let three = Interval::of_runs(&[1.0, 2.0, 3.0]).unwrap();
        assert!((three.low + 0.484_138).abs() < 1e-5 && (three.high - 4.484_138).abs() < 1e-5, "{three:?}");
        let one = Interval::of_runs(&[0.3]).unwrap();
        assert_eq!((one.low, one.value, one.high), (0.3, 0.3, 0.3));
        assert_eq!(Interval::of_runs(&[]), None);
        // scipy.stats.t.ppf(0.975, n)
        for (n, expected) in [(1, 12.7062), (9, 2.262157), (10, 2.228139), (15, 2.131450), (40, 2.021075)] {
            assert!((student(n) - expected).abs() < 2e-4, "{n}: {}", student(n));
        }
    }

    #[test]
    fn undefined_replicates_are_left_out() {
        let i = Interval::of(Some(0.5), [Some(0.4), None, Some(0.6), Some(f64::NAN)], 1.0).unwrap();
        assert_eq!((i.low, i.high), (0.4, 0.6));
        assert_eq!(Interval::of(None, [Some(0.4)], 0.95), None);
        assert_eq!(mean_std(&[1.0, 3.0]), Some((2.0, 2f64.sqrt())));
    }
}
