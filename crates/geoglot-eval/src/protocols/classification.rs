//! One class an image: zero-shot classification and the scores shared with the probe and the neighbours.

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use super::features::cosines;
use super::resample::{Resampler, share};
use crate::bootstrap::Bootstrap;
use crate::error::{Error, Result, all_finite, in_legend, same_length};
use crate::interval::Interval;
use crate::scores::Scores;

/// Share of images whose class is among the best `k`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TopK {
    /// Number of classes looked at.
    pub k: usize,
    /// The share with its interval.
    pub accuracy: Option<Interval>,
}

/// Predictions of one class an image, scored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Classification {
    /// Accuracy (`oa`, top-1), mean accuracy of the classes (`aa`), kappa, by class, confusion matrix; pixels there are images here.
    pub scores: Scores,
    /// Top-k accuracies.
    pub top: Vec<TopK>,
    /// The best class of each image.
    pub predicted: Vec<usize>,
}

/// Scores [N, K] against the true classes; larger is better, of equal scores the lower class is taken first.
///
/// `groups` are ids of images that belong together (tiles of one scene); the intervals then resample groups. A `k` above the number of classes
/// counts as that number.
///
/// # Errors
/// [`Error::Length`], [`Error::Class`], [`Error::NotFinite`], [`Error::Setting`] for a `k` of 0, [`Error::Empty`] without images.
pub fn score_classes(
    scores: ArrayView2<f32>,
    truth: &[usize],
    groups: Option<&[u32]>,
    top: &[usize],
    bootstrap: &Bootstrap,
) -> Result<Classification> {
    let (n, classes) = scores.dim();
    same_length("true classes", n, truth.len())?;
    in_legend("true classes", truth, classes)?;
    all_finite("class scores", scores)?;
    if n == 0 {
        return Err(Error::Empty("there are no images to score".into()));
    }
    if top.contains(&0) {
        return Err(Error::Setting("top-k needs a k of at least 1".into()));
    }
    let rank = |i: usize| {
        let (row, class) = (scores.row(i), truth[i]);
        let better = |(k, v): (usize, &f32)| *v > row[class] || (*v == row[class] && k < class);
        row.iter().enumerate().filter(|&(k, v)| better((k, v))).count()
    };
    let best = |i: usize| {
        let row = scores.row(i);
        (1..classes).fold(0, |b, k| if row[k] > row[b] { k } else { b })
    };
    let ranks: Vec<usize> = (0..n).map(rank).collect();
    let predicted: Vec<usize> = (0..n).map(best).collect();
    let ones = vec![1.0; n];
    let hits: Vec<Vec<f64>> =
        top.iter().map(|&k| ranks.iter().map(|&r| f64::from(u8::from(r < k))).collect()).collect();
    let sampler = Resampler::new(n, groups, bootstrap)?;
    let figures = sampler.intervals("top-k", |w| hits.iter().map(|h| share(w, h, &ones)).collect());
    let top = top.iter().zip(figures).map(|(&k, accuracy)| TopK { k, accuracy }).collect();
    let scores = Scores::of(truth, &predicted, groups, None, classes, bootstrap)?;
    Ok(Classification { scores, top, predicted })
}

/// Zero-shot classification: each image takes the class whose feature it is nearest to by cosine; top-1 and top-5.
///
/// `images` are [N, D], `classes` [K, D] as [`class_features`](super::class_features) makes them.
///
/// # Errors
/// As [`score_classes`], and [`Error::Length`] when the widths differ.
pub fn zero_shot(
    images: ArrayView2<f32>,
    classes: ArrayView2<f32>,
    truth: &[usize],
    groups: Option<&[u32]>,
    bootstrap: &Bootstrap,
) -> Result<Classification> {
    score_classes(cosines(images, classes)?.view(), truth, groups, &[1, 5], bootstrap)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn ranks_ties_and_faults() {
        let scores = array![[0.9, 0.1, 0.0], [0.5, 0.5, 0.1], [0.1, 0.2, 0.3]];
        let quick = Bootstrap { replicates: 20, ..Bootstrap::default() };
        let c = score_classes(scores.view(), &[0, 1, 0], None, &[1, 2, 9], &quick).unwrap();
        assert_eq!(c.predicted, [0, 0, 2]);
        let top: Vec<f64> = c.top.iter().map(|t| t.accuracy.unwrap().value).collect();
        assert_eq!(top, [1.0 / 3.0, 2.0 / 3.0, 1.0]);
        assert_eq!(c.scores.oa.unwrap().value, top[0]);
        assert!(score_classes(scores.view(), &[0, 1], None, &[1], &quick).is_err());
        assert!(score_classes(scores.view(), &[0, 1, 3], None, &[1], &quick).is_err());
        assert!(score_classes(scores.view(), &[0, 1, 1], None, &[0], &quick).is_err());
        assert!(zero_shot(scores.view(), array![[1.0, 0.0]].view(), &[0; 3], None, &quick).is_err());
    }
}
