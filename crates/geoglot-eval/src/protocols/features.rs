//! Vectors of images and texts: unit length, class means, cosines.

use ndarray::{Array1, Array2, ArrayView2, Axis};

use crate::error::{Error, Result, all_finite, in_legend, same_length};

/// Feature vectors, [N, D], with the class of each.
#[derive(Debug, Clone, Copy)]
pub struct Labelled<'a> {
    /// One row an image.
    pub features: ArrayView2<'a, f32>,
    /// Class of each row.
    pub classes: &'a [usize],
}

impl Labelled<'_> {
    /// Checks lengths, classes and values; `what` names the set.
    pub(super) fn check(&self, what: &str, classes: usize, width: usize) -> Result<()> {
        same_length(&format!("classes of the {what}"), self.features.nrows(), self.classes.len())?;
        same_length(&format!("width of the {what} features"), width, self.features.ncols())?;
        in_legend(&format!("classes of the {what}"), self.classes, classes)?;
        all_finite(&format!("{what} features"), self.features)?;
        if self.classes.is_empty() { Err(Error::Empty(format!("the {what} set has no items"))) } else { Ok(()) }
    }
}

/// Rows of length one; rows of zeros stay zero.
pub fn normalised(rows: ArrayView2<f32>) -> Array2<f32> {
    let mut out = rows.to_owned();
    for mut row in out.rows_mut() {
        // Summed in f64: long vectors would lose digits.
        let norm = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt() as f32;
        if norm > 0.0 {
            row /= norm;
        }
    }
    out
}

/// One vector a class, [K, D]: the normalised mean of its normalised prompt embeddings (SkyScript's protocol, as CLIP's).
///
/// `prompts` are the embeddings of all prompts, those of class 0 first; `counts` says how many prompts each class has, as
/// [`ensemble`](geoglot_core::prompt::ensemble) lists them.
///
/// # Errors
/// [`Error::Length`] when the counts do not add up, [`Error::Empty`] for a class without prompts, [`Error::NotFinite`].
pub fn class_features(prompts: ArrayView2<f32>, counts: &[usize]) -> Result<Array2<f32>> {
    same_length("prompt embeddings", counts.iter().sum(), prompts.nrows())?;
    all_finite("prompt embeddings", prompts)?;
    let unit = normalised(prompts);
    let mut means = Array2::zeros((counts.len(), prompts.ncols()));
    let mut start = 0;
    for (k, &count) in counts.iter().enumerate() {
        let own = unit.slice(ndarray::s![start..start + count, ..]);
        let mean: Array1<f32> = own
            .mean_axis(Axis(0))
            .filter(|_| count > 0)
            .ok_or_else(|| Error::Empty(format!("class {k} has no prompts")))?;
        means.row_mut(k).assign(&mean);
        start += count;
    }
    Ok(normalised(means.view()))
}

/// Cosine of every row of `a` with every row of `b`, [A, B].
///
/// # Errors
/// [`Error::Length`] when the widths differ, [`Error::NotFinite`].
pub fn cosines(a: ArrayView2<f32>, b: ArrayView2<f32>) -> Result<Array2<f32>> {
    same_length("width of the vectors", a.ncols(), b.ncols())?;
    all_finite("vectors", a)?;
    all_finite("vectors", b)?;
    Ok(normalised(a).dot(&normalised(b).t()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn class_vectors_are_normalised_means() {
        // The lengths of prompts do not matter.
        let f = class_features(array![[2.0, 0.0], [0.0, 5.0], [0.0, 1.0]].view(), &[2, 1]).unwrap();
        let half = 0.5f32.sqrt();
        for (a, b) in f.iter().zip([half, half, 0.0, 1.0]) {
            assert!((a - b).abs() < 1e-6);
        }
        assert!(class_features(array![[1.0, 0.0]].view(), &[1, 1]).is_err());
        assert!(class_features(array![[1.0, 0.0]].view(), &[1, 0]).unwrap_err().to_string().contains("class 1"));
        assert!(cosines(array![[1.0, f32::NAN]].view(), array![[1.0, 0.0]].view()).is_err());
        assert_eq!(normalised(array![[0.0, 0.0]].view()), array![[0.0, 0.0]]);
    }
}
