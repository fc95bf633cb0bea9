//! Features of single pixels for classifiers without an encoder.

use ndarray::{Array2, ArrayView3};
use rayon::prelude::*;

use crate::error::{Error, Result};

/// Band values of each pixel, and for each window size the mean and the standard deviation of every band around it.
///
/// `image` is [C, H, W], `pixels` are (row, column), `windows` odd sizes such as `[3, 5]`; the result is [pixels, C · (1 + 2 · windows)], ordered
/// values, means, deviations by window. Windows are cut at the image's border, values that are not finite are left out of means and deviations.
/// A window no wider than the patch of the model compared with sees no more of a neighbouring block than the model does.
///
/// # Errors
/// [`Error::Setting`] for an even window or a pixel outside the image.
pub fn patch_features(image: ArrayView3<f32>, pixels: &[(usize, usize)], windows: &[usize]) -> Result<Array2<f32>> {
    let (bands, height, width) = image.dim();
    if let Some(window) = windows.iter().find(|w| **w % 2 == 0) {
        return Err(Error::Setting(format!(
            "feature window {window} has no centre pixel; use an odd size such as 3 or 5"
        )));
    }
    if let Some((row, col)) = pixels.iter().find(|(row, col)| *row >= height || *col >= width) {
        return Err(Error::Setting(format!(
            "pixel ({row}, {col}) lies outside the image of {height} × {width} pixels"
        )));
    }
    let columns = bands * (1 + 2 * windows.len());
    let mut features = Array2::zeros((pixels.len(), columns));
    if columns == 0 {
        return Ok(features);
    }
    let rows = features.as_slice_mut().unwrap_or_default();
    rows.par_chunks_mut(columns).zip(pixels).for_each(|(out, &(row, col))| {
        for band in 0..bands {
            out[band] = image[[band, row, col]];
        }
        for (w, window) in windows.iter().enumerate() {
            let reach = window / 2;
            let rows = row.saturating_sub(reach)..(row + reach + 1).min(height);
            let cols = col.saturating_sub(reach)..(col + reach + 1).min(width);
            for band in 0..bands {
                let (mut n, mut sum, mut squares) = (0.0f64, 0.0f64, 0.0f64);
                // Deviations from the centre value keep the sum of squares exact for large offsets.
                let centre = f64::from(image[[band, row, col]]);
                let shift = if centre.is_finite() { centre } else { 0.0 };
                for r in rows.clone() {
                    for c in cols.clone() {
                        let value = f64::from(image[[band, r, c]]) - shift;
                        if value.is_finite() {
                            n += 1.0;
                            sum += value;
                            squares += value * value;
                        }
                    }
                }
                let mean = sum / n;
                let at = bands * (1 + 2 * w) + band;
                out[at] = (mean + shift) as f32;
                out[at + bands] = (squares / n - mean * mean).max(0.0).sqrt() as f32;
            }
        }
    });
    Ok(features)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;

    #[test]
    fn means_and_deviations_are_those_of_the_cut_window() {
        let image = Array3::from_shape_fn((2, 4, 4), |(b, r, c)| (b * 1000 + r * 4 + c) as f32);
        let f = patch_features(image.view(), &[(0, 0), (2, 1)], &[3]).unwrap();
        assert_eq!(f.dim(), (2, 6));
        // Corner: 0, 1, 4, 5. Mean 2.5, variance 17/4.
        assert_eq!(f.row(0).to_vec()[..4], [0.0, 1000.0, 2.5, 1002.5]);
        assert!((f[[0, 4]] - 4.25f32.sqrt()).abs() < 1e-6 && (f[[0, 5]] - 4.25f32.sqrt()).abs() < 1e-6);
        assert_eq!(f[[1, 2]], 9.0);
    }

    #[test]
    fn gaps_are_left_out_and_faults_named() {
        let mut image = Array3::from_elem((1, 3, 3), 2.0f32);
        image[[0, 0, 0]] = f32::NAN;
        let f = patch_features(image.view(), &[(1, 1)], &[3]).unwrap();
        assert_eq!(f.row(0).to_vec(), [2.0, 2.0, 0.0]);
        assert!(patch_features(image.view(), &[(3, 0)], &[3]).is_err());
        assert!(patch_features(image.view(), &[(1, 1)], &[4]).unwrap_err().to_string().contains("odd"));
    }
}
