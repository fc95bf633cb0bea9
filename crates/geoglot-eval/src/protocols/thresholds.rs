//! Thresholds that turn scores into labels, chosen on a validation split.

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use super::ranking::by_score;
use crate::error::{Error, Result, same_length};

/// When a score counts as a label: from the threshold upwards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Thresholds {
    /// One for all classes.
    One(f32),
    /// One for each class.
    Each(Vec<f32>),
}

impl Thresholds {
    /// The threshold of each of `classes`.
    ///
    /// # Errors
    /// [`Error::Length`]; [`Error::Setting`] for a threshold that is no number.
    pub fn of(&self, classes: usize) -> Result<Vec<f32>> {
        let each = match self {
            Self::One(t) => vec![*t; classes],
            Self::Each(t) => t.clone(),
        };
        same_length("thresholds", classes, each.len())?;
        match each.iter().find(|t| t.is_nan()) {
            Some(_) => Err(Error::Setting("a threshold is not a number".into())),
            None => Ok(each),
        }
    }
}

/// The cut with the highest F1, between the two scores it lies between; ties go to the higher cut. Without positives nothing is a label.
fn best_cut(scores: &[f32], truth: &[bool]) -> f32 {
    let order = by_score(scores.len(), |i| scores[i]);
    let positives = truth.iter().filter(|t| **t).count();
    let (mut hits, mut best, mut cut) = (0usize, 0.0, f32::INFINITY);
    for (k, &i) in order.iter().enumerate() {
        hits += usize::from(truth[i]);
        let next = order.get(k + 1).map(|&j| scores[j]);
        if next == Some(scores[i]) {
            continue;
        }
        let f1 = 2.0 * hits as f64 / (k + 1 + positives) as f64;
        if f1 > best {
            best = f1;
            let middle = next.map_or(scores[i], |n| n + (scores[i] - n) / 2.0);
            cut = if next.is_some_and(|n| middle <= n) { scores[i] } else { middle };
        }
    }
    cut
}

fn check(scores: ArrayView2<f32>, truth: ArrayView2<bool>) -> Result<()> {
    same_length("labels of the validation split", scores.nrows(), truth.nrows())?;
    same_length("classes of the labels", scores.ncols(), truth.ncols())?;
    crate::error::all_finite("scores of the validation split", scores)?;
    if scores.is_empty() { Err(Error::Empty("the validation split has no items".into())) } else { Ok(()) }
}

/// The one threshold with the highest micro-averaged F1 over `scores` and `truth`, [N, L].
///
/// # Errors
/// [`Error::Length`], [`Error::NotFinite`], [`Error::Empty`].
pub fn best_threshold(scores: ArrayView2<f32>, truth: ArrayView2<bool>) -> Result<Thresholds> {
    check(scores, truth)?;
    let (s, t): (Vec<f32>, Vec<bool>) = scores.iter().copied().zip(truth.iter().copied()).unzip();
    Ok(Thresholds::One(best_cut(&s, &t)))
}

/// The threshold of each class with its highest F1.
///
/// # Errors
/// As [`best_threshold`].
pub fn best_thresholds(scores: ArrayView2<f32>, truth: ArrayView2<bool>) -> Result<Thresholds> {
    check(scores, truth)?;
    let each = scores.columns().into_iter().zip(truth.columns()).map(|(s, t)| best_cut(&s.to_vec(), &t.to_vec()));
    Ok(Thresholds::Each(each.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;
    use proptest::prelude::*;

    fn f1(scores: &[f32], truth: &[bool], cut: f32) -> f64 {
        let hits = scores.iter().zip(truth).filter(|(s, t)| **s >= cut && **t).count();
        let marked = scores.iter().filter(|s| **s >= cut).count();
        let positives = truth.iter().filter(|t| **t).count();
        if marked + positives == 0 { 0.0 } else { 2.0 * hits as f64 / (marked + positives) as f64 }
    }

    #[test]
    fn cuts_lie_between_scores() {
        let scores = array![[0.875f32, 0.25], [0.75, 0.75], [0.25, 0.5]];
        let truth = array![[true, false], [true, true], [false, false]];
        assert_eq!(best_thresholds(scores.view(), truth.view()).unwrap(), Thresholds::Each(vec![0.5, 0.625]));
        assert_eq!(best_threshold(scores.view(), truth.view()).unwrap(), Thresholds::One(0.625));
        let none = array![[false, false], [false, false], [false, false]];
        assert_eq!(best_threshold(scores.view(), none.view()).unwrap(), Thresholds::One(f32::INFINITY));
        assert!(Thresholds::Each(vec![0.1]).of(2).is_err() && Thresholds::One(f32::NAN).of(1).is_err());
    }

    proptest! {
        #[test]
        fn no_cut_is_better(pairs in prop::collection::vec((0u8..12, any::<bool>()), 1..40)) {
            let scores: Vec<f32> = pairs.iter().map(|p| f32::from(p.0) / 7.0).collect();
            let truth: Vec<bool> = pairs.iter().map(|p| p.1).collect();
            let best = f1(&scores, &truth, best_cut(&scores, &truth));
            for cut in &scores {
                prop_assert!(f1(&scores, &truth, *cut) <= best + 1e-12);
            }
        }
    }
}
