//! The confusion matrix and the accuracies read from it.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, in_legend, same_length};

/// Counts of (true class, predicted class), K × K.
///
/// Every accuracy follows from these counts, so matrices of folds, tiles or workers are added and read once.
/// An accuracy whose denominator is zero (a class that never occurs, no pixels at all) is `None`, never 0 or NaN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Vec<u64>>", into = "Vec<Vec<u64>>")]
pub struct ConfusionMatrix {
    classes: usize,
    /// Row-major: `counts[truth * classes + predicted]`.
    counts: Vec<u64>,
}

impl ConfusionMatrix {
    /// A matrix of zeros for `classes` classes.
    pub fn new(classes: usize) -> Self {
        Self { classes, counts: vec![0; classes * classes] }
    }

    /// Counts of two label arrays of one length.
    ///
    /// # Errors
    /// [`Error::Length`] or [`Error::Class`].
    pub fn of(truth: &[usize], predicted: &[usize], classes: usize) -> Result<Self> {
        same_length("predictions", truth.len(), predicted.len())?;
        in_legend("truth", truth, classes)?;
        in_legend("predictions", predicted, classes)?;
        let mut matrix = Self::new(classes);
        for (&t, &p) in truth.iter().zip(predicted) {
            matrix.counts[t * classes + p] += 1;
        }
        Ok(matrix)
    }

    /// A matrix from its rows (truth), each K counts long.
    ///
    /// # Errors
    /// [`Error::Length`] when it is not square.
    pub fn from_rows(rows: Vec<Vec<u64>>) -> Result<Self> {
        let classes = rows.len();
        for (k, row) in rows.iter().enumerate() {
            same_length(&format!("row {k} of the confusion matrix"), classes, row.len())?;
        }
        Ok(Self { classes, counts: rows.concat() })
    }

    pub(crate) fn from_counts(classes: usize, counts: Vec<u64>) -> Self {
        debug_assert_eq!(counts.len(), classes * classes);
        Self { classes, counts }
    }

    /// Adds `count` pixels of true class `truth` predicted as `predicted`.
    ///
    /// # Errors
    /// [`Error::Class`].
    pub fn add(&mut self, truth: usize, predicted: usize, count: u64) -> Result<()> {
        in_legend("truth", &[truth], self.classes)?;
        in_legend("predictions", &[predicted], self.classes)?;
        self.counts[truth * self.classes + predicted] += count;
        Ok(())
    }

    /// Adds another matrix over the same classes, such as that of another fold.
    ///
    /// # Errors
    /// [`Error::Length`] when the number of classes differs.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        same_length("classes of the confusion matrix to add", self.classes, other.classes)?;
        self.counts.iter_mut().zip(&other.counts).for_each(|(a, b)| *a += b);
        Ok(())
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Pixels of true class `truth` predicted as `predicted`.
    pub fn get(&self, truth: usize, predicted: usize) -> u64 {
        self.counts[truth * self.classes + predicted]
    }

    /// The counts, row-major, truth by prediction.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// All pixels.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Pixels whose true class is `class`.
    pub fn support(&self, class: usize) -> u64 {
        self.counts[class * self.classes..(class + 1) * self.classes].iter().sum()
    }

    /// Pixels predicted as `class`.
    pub fn predicted(&self, class: usize) -> u64 {
        self.counts.iter().skip(class).step_by(self.classes).sum()
    }

    /// Overall accuracy: share of pixels predicted right.
    pub fn oa(&self) -> Option<f64> {
        ratio((0..self.classes).map(|k| self.get(k, k)).sum(), self.total())
    }

    /// Average accuracy: mean of the producer's accuracies of the classes that occur in the truth.
    pub fn aa(&self) -> Option<f64> {
        mean((0..self.classes).filter_map(|k| self.producers(k)))
    }

    /// Cohen's kappa: agreement beyond that expected from the marginals.
    ///
    /// `None` when truth and prediction are one and the same class throughout: chance alone then agrees fully.
    pub fn kappa(&self) -> Option<f64> {
        let n = self.total() as f64;
        let observed = self.oa()?;
        let expected: f64 =
            (0..self.classes).map(|k| self.support(k) as f64 / n * (self.predicted(k) as f64 / n)).sum();
        (expected < 1.0).then(|| (observed - expected) / (1.0 - expected))
    }

    /// Producer's accuracy (recall) of `class`.
    pub fn producers(&self, class: usize) -> Option<f64> {
        ratio(self.get(class, class), self.support(class))
    }

    /// User's accuracy (precision) of `class`.
    pub fn users(&self, class: usize) -> Option<f64> {
        ratio(self.get(class, class), self.predicted(class))
    }

    /// F1: harmonic mean of producer's and user's accuracy, 2·TP / (support + predicted).
    pub fn f1(&self, class: usize) -> Option<f64> {
        ratio(2 * self.get(class, class), self.support(class) + self.predicted(class))
    }

    /// Intersection over union of `class`.
    pub fn iou(&self, class: usize) -> Option<f64> {
        let hit = self.get(class, class);
        ratio(hit, self.support(class) + self.predicted(class) - hit)
    }

    /// Mean F1 of the classes that occur in truth or prediction.
    pub fn mean_f1(&self) -> Option<f64> {
        mean((0..self.classes).filter_map(|k| self.f1(k)))
    }

    /// Mean IoU of the classes that occur in truth or prediction.
    pub fn mean_iou(&self) -> Option<f64> {
        mean((0..self.classes).filter_map(|k| self.iou(k)))
    }
}

impl TryFrom<Vec<Vec<u64>>> for ConfusionMatrix {
    type Error = Error;

    fn try_from(rows: Vec<Vec<u64>>) -> Result<Self> {
        Self::from_rows(rows)
    }
}

impl From<ConfusionMatrix> for Vec<Vec<u64>> {
    fn from(matrix: ConfusionMatrix) -> Self {
        // `chunks` refuses a length of zero; a matrix of no classes has no rows.
        matrix.counts.chunks(matrix.classes.max(1)).map(<[u64]>::to_vec).collect()
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0usize), |(sum, n), value| (sum + value, n + 1));
    (n > 0).then(|| sum / n as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_agree_with_scikit_learn() {
        // Written by tests/fixtures/metrics.py.
        let fixture: serde_json::Value =
            serde_json::from_str(include_str!("../tests/fixtures/metrics.json")).expect("the fixture is JSON");
        for case in fixture.as_array().unwrap() {
            let labels = |name: &str| -> Vec<usize> { serde_json::from_value(case[name].clone()).unwrap() };
            let classes = case["classes"].as_u64().unwrap() as usize;
            let m = ConfusionMatrix::of(&labels("truth"), &labels("predicted"), classes).unwrap();
            assert_eq!(serde_json::to_value(&m).unwrap(), case["confusion"]);
            let same = |mine: Option<f64>, name: &str, theirs: &serde_json::Value| match (mine, theirs.as_f64()) {
                (Some(a), Some(b)) => assert!((a - b).abs() < 1e-12, "{name}: {a} against {b}"),
                (a, b) => assert_eq!(a, b, "{name}"),
            };
            same(m.oa(), "oa", &case["oa"]);
            same(m.aa(), "aa", &case["aa"]);
            same(m.kappa(), "kappa", &case["kappa"]);
            for k in 0..classes {
                same(m.producers(k), "producers", &case["producers"][k]);
                same(m.users(k), "users", &case["users"][k]);
                same(m.f1(k), "f1", &case["f1"][k]);
                same(m.iou(k), "iou", &case["iou"][k]);
                assert_eq!(case["support"][k].as_u64().unwrap(), m.support(k));
            }
        }
    }

    #[test]
    fn faults_are_named() {
        let error = ConfusionMatrix::of(&[0, 1], &[0], 2).unwrap_err().to_string();
        assert!(error.contains("predictions: 1 values, expected 2"), "{error}");
        let error = ConfusionMatrix::of(&[0, 2], &[0, 1], 2).unwrap_err().to_string();
        assert!(error.contains("class index 2 at position 1"), "{error}");
        assert!(ConfusionMatrix::new(2).merge(&ConfusionMatrix::new(3)).is_err());
        assert!(serde_json::from_str::<ConfusionMatrix>("[[1,2],[3]]").is_err());
        assert_eq!(ConfusionMatrix::new(3).oa(), None);
    }

    fn labels() -> impl Strategy<Value = (usize, Vec<(usize, usize)>)> {
        (1usize..7).prop_flat_map(|k| (Just(k), proptest::collection::vec((0..k, 0..k), 1..200)))
    }

    proptest! {
        #[test]
        fn accuracies_stay_in_their_bounds((k, pairs) in labels()) {
            let (t, p): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
            let m = ConfusionMatrix::of(&t, &p, k).unwrap();
            prop_assert_eq!(m.total() as usize, pairs.len());
            for value in [m.oa(), m.aa(), m.mean_f1(), m.mean_iou()] {
                prop_assert!((0.0..=1.0).contains(&value.unwrap()));
            }
            if let Some(kappa) = m.kappa() {
                prop_assert!((-1.0..=1.0).contains(&kappa));
                prop_assert!(kappa <= m.oa().unwrap() + 1e-12);
            }
            for c in 0..k {
                if let (Some(iou), Some(f1)) = (m.iou(c), m.f1(c)) {
                    prop_assert!((f1 - 2.0 * iou / (1.0 + iou)).abs() < 1e-12);
                }
            }
        }

        #[test]
        fn neither_pixel_order_nor_class_order_matters((k, mut pairs) in labels(), shift in 0usize..7) {
            let build = |pairs: &[(usize, usize)]| {
                let (t, p): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
                ConfusionMatrix::of(&t, &p, k).unwrap()
            };
            let m = build(&pairs);
            pairs.reverse();
            prop_assert_eq!(&build(&pairs), &m);
            pairs.iter_mut().for_each(|(t, p)| { *t = (*t + shift) % k; *p = (*p + shift) % k });
            let rolled = build(&pairs);
            let close = |a: Option<f64>, b: Option<f64>| match (a, b) {
                (Some(a), Some(b)) => (a - b).abs() < 1e-12,
                (a, b) => a == b,
            };
            prop_assert!(close(rolled.oa(), m.oa()) && close(rolled.aa(), m.aa()) && close(rolled.kappa(), m.kappa()));
            for c in 0..k {
                prop_assert_eq!(rolled.users((c + shift) % k), m.users(c));
            }
        }

        #[test]
        fn folds_add_up((k, pairs) in labels(), cut in 0.0f64..1.0) {
            let (t, p): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
            let at = (cut * t.len() as f64) as usize;
            let mut sum = ConfusionMatrix::of(&t[..at], &p[..at], k).unwrap();
            sum.merge(&ConfusionMatrix::of(&t[at..], &p[at..], k).unwrap()).unwrap();
            prop_assert_eq!(sum, ConfusionMatrix::of(&t, &p, k).unwrap());
        }
    }
}
