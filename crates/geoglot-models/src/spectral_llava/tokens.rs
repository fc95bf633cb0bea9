//! How many of a tower's tokens the language model sees.

use ndarray::{Array2, Axis, concatenate, s};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::vision::{ImageBatch, ImageTower};

/// Which tokens stand for an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum ImageTokens {
    /// All: 1024 of SpectralGPT at 128 px.
    All,
    /// One a position, the groups of bands beside each other: 256 of SpectralGPT at 128 px, groups times as wide.
    #[default]
    SpectralConcat,
    /// One a position, averaged over the groups of bands: as many and narrower, but what tells groups apart is lost.
    SpectralMean,
    /// As [`ImageTokens::SpectralConcat`], positions averaged over the cells of a grid of this many rows and columns.
    Pooled(usize),
}

impl ImageTokens {
    /// Number of tokens of an image whose tower gives groups × h × w.
    pub fn count(self, groups: usize, (h, w): (usize, usize)) -> usize {
        match self {
            ImageTokens::All => groups * h * w,
            ImageTokens::SpectralMean | ImageTokens::SpectralConcat => h * w,
            ImageTokens::Pooled(side) => side.min(h) * side.min(w),
        }
    }

    /// Width of a token of `tower`'s images.
    pub fn width(self, tower: &dyn ImageTower) -> usize {
        match self {
            ImageTokens::SpectralConcat | ImageTokens::Pooled(_) => tower.groups() * tower.feature_width(),
            ImageTokens::All | ImageTokens::SpectralMean => tower.feature_width(),
        }
    }

    /// What makes it impossible, if anything.
    pub fn problem(self) -> Option<String> {
        (self == ImageTokens::Pooled(0)).then(|| "image tokens pooled to a grid of 0 × 0".into())
    }
}

/// States [tokens, width] of each image, chosen as `tokens` says.
///
/// # Errors
/// As [`ImageTower::encode`]; states that are not finite.
pub fn image_tokens(tower: &dyn ImageTower, images: &ImageBatch, tokens: ImageTokens) -> Result<Vec<Array2<f32>>> {
    let states = tower.grouped_features(images)?;
    let [b, groups, h, w, d] = states.dims();
    let values: Vec<f32> = states.into_data().iter::<f32>().collect();
    if values.iter().any(|v| !v.is_finite()) {
        return Err(Error::Input(
            "the image tower gave NaN or infinite states: an image holds such values, or the weights are damaged"
                .into(),
        ));
    }
    let image = groups * h * w * d;
    let cells = Array2::from_shape_vec((b * groups * h * w, d), values).expect("the tensor's own size");
    debug_assert_eq!(cells.len(), b * image);
    Ok((0..b)
        .map(|i| {
            let all = cells.slice(s![i * groups * h * w..(i + 1) * groups * h * w, ..]);
            let group = |g: usize| all.slice(s![g * h * w..(g + 1) * h * w, ..]);
            let beside = || {
                let parts: Vec<_> = (0..groups).map(group).collect();
                concatenate(Axis(1), &parts).expect("groups of one size")
            };
            match tokens {
                ImageTokens::All => all.to_owned(),
                ImageTokens::SpectralConcat => beside(),
                ImageTokens::SpectralMean => {
                    (0..groups).fold(Array2::zeros((h * w, d)), |sum, g| sum + group(g)) / groups as f32
                }
                ImageTokens::Pooled(side) => pooled(&beside(), (h, w), (side.min(h), side.min(w))),
            }
        })
        .collect())
}

/// Means over the cells of a grid; every position belongs to one cell.
fn pooled(states: &Array2<f32>, (h, w): (usize, usize), (rows, columns): (usize, usize)) -> Array2<f32> {
    let mut out = Array2::zeros((rows * columns, states.ncols()));
    let mut counts = vec![0f32; rows * columns];
    for y in 0..h {
        for x in 0..w {
            let cell = y * rows / h * columns + x * columns / w;
            let mut row = out.row_mut(cell);
            row += &states.row(y * w + x);
            counts[cell] += 1.0;
        }
    }
    for (mut row, count) in out.outer_iter_mut().zip(counts) {
        row /= count;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_means() {
        let states = Array2::from_shape_fn((12, 1), |(i, _)| i as f32);
        // A grid of 3 × 4 as 1 × 2: columns 0–1 and 2–3.
        assert_eq!(pooled(&states, (3, 4), (1, 2)).into_raw_vec_and_offset().0, [4.5, 6.5]);
        assert_eq!(pooled(&states, (3, 4), (3, 4)), states);
        assert_eq!(ImageTokens::Pooled(8).count(4, (16, 4)), 32);
        assert_eq!((ImageTokens::All.count(4, (16, 16)), ImageTokens::SpectralMean.count(4, (16, 16))), (1024, 256));
        let all = [ImageTokens::SpectralConcat, ImageTokens::SpectralMean, ImageTokens::Pooled(8)];
        assert_eq!(serde_json::to_string(&all).unwrap(), r#"["spectral-concat","spectral-mean",{"pooled":8}]"#);
    }
}
