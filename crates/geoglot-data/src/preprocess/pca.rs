//! Principal components of the bands.

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};
use smartcore::linalg::basic::arrays::Array as _;
use smartcore::linalg::basic::matrix::DenseMatrix;
use smartcore::linalg::traits::evd::EVDDecomposable;

use crate::{Error, Result};

/// Principal components, each divided by its standard deviation over the training pixels ("whitened").
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pca {
    /// Mean of each scaled band.
    pub mean: Vec<f32>,
    /// Unit vectors over the bands, largest variance first; the entry of largest absolute value is positive.
    pub components: Vec<Vec<f32>>,
    /// Divides each component's value.
    pub divide: Vec<f32>,
    /// Share of the total variance in each component.
    pub explained: Vec<f32>,
}

impl Pca {
    /// Fits `k` components on a table of scaled pixels [N, C].
    pub(super) fn fit(table: ArrayView2<f32>, k: usize) -> Result<Self> {
        let (n, bands) = table.dim();
        let centred = table.mapv(f64::from);
        let mean = centred.mean_axis(ndarray::Axis(0)).expect("the table has pixels");
        let centred = centred - &mean;
        let covariance = centred.t().dot(&centred) / n as f64;
        let failed =
            |e: String| Error::Preprocess(format!("the eigenvectors of the {bands} bands were not found: {e}"));
        let matrix = DenseMatrix::new(bands, bands, covariance.iter().copied().collect(), false)
            .map_err(|e| failed(e.to_string()))?;
        let evd = matrix.evd(true).map_err(|e| failed(e.to_string()))?;
        let mut order: Vec<usize> = (0..bands).collect();
        order.sort_by(|&a, &b| evd.d[b].total_cmp(&evd.d[a]));
        let total: f64 = evd.d.iter().map(|v| v.max(0.0)).sum();
        let largest = evd.d[order[0]].max(0.0);
        let mut pca = Self {
            mean: mean.iter().map(|v| *v as f32).collect(),
            components: vec![],
            divide: vec![],
            explained: vec![],
        };
        for &j in &order[..k] {
            let mut vector: Vec<f64> = (0..bands).map(|b| *evd.V.get((b, j))).collect();
            // Eigenvectors have no sign of their own; fix one, so that refitting gives the same inputs.
            let peak = vector.iter().copied().fold(0.0, |m: f64, v| if v.abs() > m.abs() + 1e-12 { v } else { m });
            if peak < 0.0 {
                vector.iter_mut().for_each(|v| *v = -*v);
            }
            let variance = evd.d[j].max(0.0);
            pca.components.push(vector.into_iter().map(|v| v as f32).collect());
            // A component without variance holds rounding noise: leave it near 0 instead of blowing it up.
            let divide = if variance > 1e-12 * largest { variance.sqrt() } else { largest.sqrt().max(1.0) };
            pca.divide.push(divide as f32);
            pca.explained.push(if total > 0.0 { (variance / total) as f32 } else { 0.0 });
        }
        Ok(pca)
    }

    /// Component `k` as weights on scaled bands and a number to subtract: value = Σ weight·band − shift.
    pub(super) fn row(&self, k: usize) -> (Vec<f32>, f32) {
        let weights: Vec<f32> = self.components[k].iter().map(|w| w / self.divide[k]).collect();
        let shift: f64 = weights.iter().zip(&self.mean).map(|(w, m)| f64::from(*w) * f64::from(*m)).sum();
        (weights, shift as f32)
    }

    pub(super) fn check(&self, bands: usize) -> Result<()> {
        let k = self.components.len();
        let sound = k > 0
            && self.divide.len() == k
            && self.mean.len() == bands
            && self.components.iter().all(|c| c.len() == bands && c.iter().all(|v| v.is_finite()))
            && self.mean.iter().all(|v| v.is_finite())
            && self.divide.iter().all(|v| v.is_finite() && *v != 0.0);
        if sound {
            return Ok(());
        }
        Err(Error::Preprocess(format!(
            "{k} principal components of {bands} bands are damaged: lengths differ or a number is not finite"
        )))
    }
}
