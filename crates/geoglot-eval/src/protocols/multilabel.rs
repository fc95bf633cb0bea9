//! Any number of labels an image: precision, recall, F1 and average precision (BigEarthNet's protocol).

use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

use super::ranking::{by_score, weighted_average_precision};
use super::resample::Resampler;
use super::thresholds::Thresholds;
use crate::bootstrap::{Bootstrap, Unit};
use crate::error::{Error, Result, all_finite, same_length};
use crate::interval::Interval;

/// Precision, recall and F1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Prf {
    /// Share of the labels given that are right.
    pub precision: Option<Interval>,
    /// Share of the true labels that are given.
    pub recall: Option<Interval>,
    /// Harmonic mean of the two.
    pub f1: Option<Interval>,
}

/// Figures of one class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabelScores {
    /// Images that have the label.
    pub support: u64,
    /// Images that were given the label.
    pub predicted: u64,
    /// At its threshold.
    pub prf: Prf,
    /// Average precision over all thresholds.
    pub average_precision: Option<Interval>,
}

/// Figures of a multi-label classification.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Multilabel {
    /// Threshold of each class.
    pub thresholds: Vec<f32>,
    /// Over all decisions.
    pub micro: Prf,
    /// Mean of the classes that have images; undefined precisions count as 0, as in scikit-learn.
    pub macro_average: Prf,
    /// Mean average precision of the classes that have images.
    pub mean_average_precision: Option<Interval>,
    /// By class.
    pub classes: Vec<LabelScores>,
    /// Images scored.
    pub images: usize,
    /// What the intervals resample; pixels stand for images.
    pub resampled: Unit,
    /// How many of them there are.
    pub units: usize,
}

/// True positives, given, true: counts of one class.
type Counts = [u64; 3];

fn precision([hits, given, _]: Counts) -> Option<f64> {
    (given > 0).then(|| hits as f64 / given as f64)
}

fn recall([hits, _, positives]: Counts) -> Option<f64> {
    (positives > 0).then(|| hits as f64 / positives as f64)
}

fn f1([hits, given, positives]: Counts) -> Option<f64> {
    (given + positives > 0).then(|| 2.0 * hits as f64 / (given + positives) as f64)
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0usize), |(s, n), v| (s + v, n + 1));
    (n > 0).then(|| sum / n as f64)
}

/// Scores `scores` [N, L] against `truth` [N, L] at `thresholds`.
///
/// # Errors
/// [`Error::Length`], [`Error::NotFinite`], [`Error::Setting`], [`Error::Empty`] without images.
pub fn multilabel(
    scores: ArrayView2<f32>,
    truth: ArrayView2<bool>,
    thresholds: &Thresholds,
    groups: Option<&[u32]>,
    bootstrap: &Bootstrap,
) -> Result<Multilabel> {
    let (n, labels) = scores.dim();
    same_length("true labels", n, truth.nrows())?;
    same_length("classes of the true labels", labels, truth.ncols())?;
    all_finite("label scores", scores)?;
    if n == 0 || labels == 0 {
        return Err(Error::Empty("there are no images or no classes to score".into()));
    }
    let thresholds = thresholds.of(labels)?;
    let given = Array2::from_shape_fn((n, labels), |(i, k)| scores[(i, k)] >= thresholds[k]);
    let orders: Vec<Vec<usize>> = (0..labels).map(|k| by_score(n, |i| scores[(i, k)])).collect();
    let count = |weights: &[u32]| -> Vec<Counts> {
        let mut counts = vec![[0; 3]; labels];
        for (i, &w) in weights.iter().enumerate().filter(|(_, w)| **w > 0) {
            for (k, c) in counts.iter_mut().enumerate() {
                let (g, t) = (given[(i, k)], truth[(i, k)]);
                let w = u64::from(w);
                c[0] += if g && t { w } else { 0 };
                c[1] += if g { w } else { 0 };
                c[2] += if t { w } else { 0 };
            }
        }
        counts
    };
    let sampler = Resampler::new(n, groups, bootstrap)?;
    // Figures in a row: micro, macro, mAP, then four for each class.
    let figures = sampler.intervals("multilabel", |weights| {
        let counts = count(weights);
        let all = counts.iter().fold([0; 3], |s: Counts, c| [s[0] + c[0], s[1] + c[1], s[2] + c[2]]);
        let ap = |k: usize| weighted_average_precision(&orders[k], |i| scores[(i, k)], |i| truth[(i, k)], weights);
        let aps: Vec<Option<f64>> = (0..labels).map(ap).collect();
        let present = || counts.iter().filter(|c| c[2] > 0);
        let mut out = vec![
            precision(all),
            recall(all),
            f1(all),
            mean(present().map(|c| precision(*c).unwrap_or(0.0))),
            mean(present().map(|c| recall(*c).unwrap_or(0.0))),
            mean(present().map(|c| f1(*c).unwrap_or(0.0))),
            mean(aps.iter().copied().flatten()),
        ];
        for (c, ap) in counts.iter().zip(aps) {
            out.extend([precision(*c), recall(*c), f1(*c), ap]);
        }
        out
    });
    let prf = |at: usize| Prf { precision: figures[at], recall: figures[at + 1], f1: figures[at + 2] };
    let once = count(&vec![1; n]);
    let classes = once.iter().enumerate().map(|(k, c)| LabelScores {
        support: c[2],
        predicted: c[1],
        prf: prf(7 + 4 * k),
        average_precision: figures[10 + 4 * k],
    });
    Ok(Multilabel {
        thresholds,
        micro: prf(0),
        macro_average: prf(3),
        mean_average_precision: figures[6],
        classes: classes.collect(),
        images: n,
        resampled: sampler.unit(),
        units: sampler.units(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn absent_classes_are_left_out() {
        let scores = array![[0.9f32, 0.8, 0.1], [0.2, 0.7, 0.2]];
        let truth = array![[true, false, false], [false, true, false]];
        let quick = Bootstrap { replicates: 10, ..Bootstrap::default() };
        let m = multilabel(scores.view(), truth.view(), &Thresholds::One(0.5), None, &quick).unwrap();
        assert_eq!((m.classes[2].support, m.classes[2].prf.recall), (0, None));
        assert_eq!(m.micro.precision.unwrap().value, 2.0 / 3.0);
        assert_eq!(m.macro_average.precision.unwrap().value, 0.75);
        assert_eq!(m.macro_average.recall.unwrap().value, 1.0);
        assert_eq!(m.mean_average_precision.unwrap().value, 0.75);
        let error = multilabel(scores.view(), array![[true]].view(), &Thresholds::One(0.5), None, &quick).unwrap_err();
        assert!(error.to_string().contains("true labels"));
    }
}
