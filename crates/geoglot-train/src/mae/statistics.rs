//! Means and deviations of the bands of images that train.

use geoglot_models::vision::{BandNeed, ImagePreprocess};

use super::Result;
use crate::contrastive::Images;

/// `preprocess` with the mean and deviation of each band over (at most 512 of) the images of `sets`.
///
/// # Errors
/// As [`super::pretrain_masked`].
pub fn own_statistics(need: &BandNeed, preprocess: &ImagePreprocess, sets: &[&dyn Images]) -> Result<ImagePreprocess> {
    let plain = |v: f32| vec![v; preprocess.mean.len()];
    let mut found = ImagePreprocess { mean: plain(0.0), std: plain(1.0), ..preprocess.clone() };
    let mut sums = vec![[0f64; 3]; found.mean.len()];
    let total: usize = sets.iter().map(|s| s.len()).sum();
    let step = total.div_ceil(512).max(1);
    for images in sets {
        let bound = found.bind(need, images.bands(), None)?;
        for i in (0..images.len()).step_by(step) {
            let image = bound.apply(images.read(i)?.view())?;
            for (plane, [n, sum, squares]) in image.outer_iter().zip(&mut sums) {
                *n += plane.len() as f64;
                *sum += plane.iter().map(|v| f64::from(*v)).sum::<f64>();
                *squares += plane.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
            }
        }
    }
    found.mean = sums.iter().map(|[n, sum, _]| (sum / n) as f32).collect();
    // A band without any variation stays finite.
    let deviation = |[n, sum, squares]: &[f64; 3]| (squares / n - (sum / n).powi(2)).max(1e-10).sqrt() as f32;
    found.std = sums.iter().map(deviation).collect();
    Ok(found)
}
