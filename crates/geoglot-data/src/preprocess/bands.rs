//! Scaling of single bands.

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How a band's shift and divisor are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case", tag = "method", deny_unknown_fields)]
#[non_exhaustive]
pub enum ScalingMethod {
    /// Mean 0, standard deviation 1.
    #[default]
    MeanStd,
    /// The range of the training pixels to −1…1.
    MinMax,
    /// The range between two percentiles to −1…1, values outside clipped.
    Percentile {
        /// Lower percentile, 0 to 100.
        low: f64,
        /// Upper percentile, 0 to 100.
        high: f64,
    },
    /// Values as they are.
    None,
}

/// (value − `shift`) / `divide` for each band, then clipped to ±`clip` where given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BandScaling {
    /// How the numbers were chosen.
    pub method: ScalingMethod,
    /// Subtracted from each band. Single precision, so that a JSON file gives back the very number.
    pub shift: Vec<f32>,
    /// Divides each band; 1 for a band that does not vary.
    pub divide: Vec<f32>,
    /// Largest absolute value after scaling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<f32>,
}

impl BandScaling {
    /// Fits on a table of pixels [N, C] of finite values, N ≥ 1.
    pub(super) fn fit(table: ArrayView2<f32>, method: ScalingMethod) -> Self {
        let columns = table.columns().into_iter().map(|column| match method {
            ScalingMethod::None => (0.0, 1.0),
            ScalingMethod::MeanStd => {
                let (mean, variance) = welford(column.iter().map(|v| f64::from(*v)));
                (mean, variance.sqrt())
            }
            ScalingMethod::MinMax => halves(
                f64::from(column.fold(f32::INFINITY, |a, b| a.min(*b))),
                f64::from(column.fold(f32::NEG_INFINITY, |a, b| a.max(*b))),
            ),
            ScalingMethod::Percentile { low, high } => {
                let mut values = column.to_vec();
                values.sort_unstable_by(f32::total_cmp);
                halves(percentile(&values, low), percentile(&values, high))
            }
        });
        // A constant band carries nothing; dividing it by rounding noise would blow that noise up.
        let flat = |shift: f64, d: f64| d.is_nan() || d <= 1e-7 * shift.abs().max(1e-30);
        let (shift, divide) =
            columns.map(|(shift, d)| (shift as f32, if flat(shift, d) { 1.0 } else { d as f32 })).unzip();
        let clip = matches!(method, ScalingMethod::Percentile { .. }).then_some(1.0);
        Self { method, shift, divide, clip }
    }

    /// The scaled value of band `b`.
    pub fn scale(&self, b: usize, value: f32) -> f32 {
        let scaled = (value - self.shift[b]) / self.divide[b];
        self.clip.map_or(scaled, |limit| scaled.clamp(-limit, limit))
    }

    pub(super) fn scale_pixel(&self, pixel: &mut [f32]) {
        pixel.iter_mut().enumerate().for_each(|(b, v)| *v = self.scale(b, *v));
    }

    pub(super) fn check(&self) -> Result<()> {
        let n = self.shift.len();
        let sound = n > 0
            && self.divide.len() == n
            && self.shift.iter().all(|v| v.is_finite())
            && self.divide.iter().all(|v| v.is_finite() && *v != 0.0)
            && self.clip.is_none_or(|c| c > 0.0);
        if sound {
            return Ok(());
        }
        Err(Error::Preprocess(format!(
            "band scaling with {n} shifts and {} divisors is damaged: both must be finite, equally many, and no divisor 0",
            self.divide.len()
        )))
    }
}

/// Centre and half width of a range.
fn halves(low: f64, high: f64) -> (f64, f64) {
    ((low + high) / 2.0, (high - low) / 2.0)
}

/// Mean and population variance, by Welford's update (1962): stable for large means.
fn welford(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (mut n, mut mean, mut m2) = (0.0, 0.0, 0.0);
    for v in values {
        n += 1.0;
        let delta = v - mean;
        mean += delta / n;
        m2 += delta * (v - mean);
    }
    (mean, if n > 0.0 { m2 / n } else { 0.0 })
}

/// Percentile of sorted values, linear between neighbours.
fn percentile(sorted: &[f32], p: f64) -> f64 {
    let position = (p / 100.0).clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let (low, part) = (position.floor() as usize, position.fract());
    let next = sorted[(low + 1).min(sorted.len() - 1)];
    f64::from(sorted[low]) * (1.0 - part) + f64::from(next) * part
}
