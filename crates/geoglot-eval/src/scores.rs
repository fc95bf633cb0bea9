//! The scores of one method: accuracies with intervals, over all pixels and by fold.

use serde::{Deserialize, Serialize};

use crate::bootstrap::{Bootstrap, Unit, Units, confusion_replicates};
use crate::error::{Error, Result, same_length};
use crate::interval::{Interval, mean_std};
use crate::metrics::ConfusionMatrix;

/// Accuracies of one method on one set of test pixels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Overall accuracy.
    pub oa: Option<Interval>,
    /// Average accuracy.
    pub aa: Option<Interval>,
    /// Cohen's kappa.
    pub kappa: Option<Interval>,
    /// Mean intersection over union of the classes that occur in truth or prediction.
    #[serde(default)]
    pub mean_iou: Option<Interval>,
    /// Mean F1 of the same classes.
    #[serde(default)]
    pub mean_f1: Option<Interval>,
    /// By class, in the order of the legend.
    pub classes: Vec<ClassScores>,
    /// Counts over all pixels, truth by prediction.
    pub confusion: ConfusionMatrix,
    /// What the intervals resample.
    pub resampled: Unit,
    /// How many of them there are.
    pub units: usize,
    /// Settings of the bootstrap.
    pub bootstrap: Bootstrap,
    /// The same accuracies by fold, without intervals; empty when there is one fold.
    #[serde(default)]
    pub folds: Vec<FoldScores>,
}

/// Accuracies of one class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassScores {
    /// Pixels of the class in the truth.
    pub support: u64,
    /// Pixels predicted as the class.
    pub predicted: u64,
    /// Producer's accuracy (recall).
    pub producers: Option<Interval>,
    /// User's accuracy (precision).
    pub users: Option<Interval>,
    /// F1.
    pub f1: Option<Interval>,
    /// Intersection over union.
    pub iou: Option<Interval>,
}

/// Accuracies of one fold or run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FoldScores {
    /// Number of the fold, from 0.
    pub fold: usize,
    /// Seed of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Test pixels.
    pub pixels: u64,
    /// Overall accuracy.
    pub oa: Option<f64>,
    /// Average accuracy.
    pub aa: Option<f64>,
    /// Cohen's kappa.
    pub kappa: Option<f64>,
}

impl FoldScores {
    /// The accuracies of `matrix` as those of `fold`.
    pub fn of(fold: usize, seed: Option<u64>, matrix: &ConfusionMatrix) -> Self {
        Self { fold, seed, pixels: matrix.total(), oa: matrix.oa(), aa: matrix.aa(), kappa: matrix.kappa() }
    }
}

impl Scores {
    /// Scores predictions against the truth, both as class positions in a legend of `classes` classes.
    ///
    /// `groups` are ids of spatial blocks, regions or tiles (unique over folds and scenes); with them the intervals resample whole groups.
    /// `folds` says in which fold each pixel was tested; the pixels of all folds are pooled for the headline figures.
    ///
    /// # Errors
    /// [`Error::Empty`] without pixels; [`Error::Length`], [`Error::Class`], [`Error::Setting`].
    pub fn of(
        truth: &[usize],
        predicted: &[usize],
        groups: Option<&[u32]>,
        folds: Option<&[usize]>,
        classes: usize,
        bootstrap: &Bootstrap,
    ) -> Result<Self> {
        if truth.is_empty() {
            return Err(Error::Empty(
                "there are no test pixels to score; check the split: every fold needs labelled pixels outside its buffer".into(),
            ));
        }
        let confusion = ConfusionMatrix::of(truth, predicted, classes)?;
        let (replicates, resampled, units) = confusion_replicates(truth, predicted, groups, classes, bootstrap)?;
        let folds = fold_scores(truth, predicted, folds, classes)?;
        Ok(Self::read(confusion, &replicates, (resampled, units), folds, bootstrap))
    }

    /// Scores from one confusion matrix a group (an image, a tile): the intervals resample the groups.
    ///
    /// # Errors
    /// [`Error::Empty`] without pixels; [`Error::Length`] for matrices of other numbers of classes; [`Error::Setting`].
    pub fn of_groups(groups: &[ConfusionMatrix], bootstrap: &Bootstrap) -> Result<Self> {
        bootstrap.check()?;
        let mut confusion = ConfusionMatrix::new(groups.first().map_or(0, ConfusionMatrix::classes));
        groups.iter().try_for_each(|g| confusion.merge(g))?;
        if confusion.total() == 0 {
            return Err(Error::Empty(
                "there are no test pixels to score; check that the test images have labels".into(),
            ));
        }
        let units = Units::of_matrices(groups);
        let classes = confusion.classes();
        let replicates =
            units.replicates(bootstrap, "confusion", |counts| ConfusionMatrix::from_counts(classes, counts));
        Ok(Self::read(confusion, &replicates, (units.unit(), units.len()), Vec::new(), bootstrap))
    }

    fn read(
        confusion: ConfusionMatrix,
        replicates: &[ConfusionMatrix],
        (resampled, units): (Unit, usize),
        folds: Vec<FoldScores>,
        bootstrap: &Bootstrap,
    ) -> Self {
        let interval = |read: &dyn Fn(&ConfusionMatrix) -> Option<f64>| {
            Interval::of(read(&confusion), replicates.iter().map(read), bootstrap.level)
        };
        let by_class = (0..confusion.classes())
            .map(|k| ClassScores {
                support: confusion.support(k),
                predicted: confusion.predicted(k),
                producers: interval(&|m| m.producers(k)),
                users: interval(&|m| m.users(k)),
                f1: interval(&|m| m.f1(k)),
                iou: interval(&|m| m.iou(k)),
            })
            .collect();
        Self {
            oa: interval(&ConfusionMatrix::oa),
            aa: interval(&ConfusionMatrix::aa),
            kappa: interval(&ConfusionMatrix::kappa),
            mean_iou: interval(&ConfusionMatrix::mean_iou),
            mean_f1: interval(&ConfusionMatrix::mean_f1),
            classes: by_class,
            resampled,
            units,
            bootstrap: *bootstrap,
            folds,
            confusion,
        }
    }

    /// Mean and sample standard deviation over the folds of OA, AA and kappa; `None` where undefined in every fold.
    pub fn over_folds(&self) -> [Option<(f64, f64)>; 3] {
        over_runs(&self.folds)
    }
}

/// Mean and sample standard deviation over runs of OA, AA and kappa; runs where a figure is undefined are left out of it.
pub fn over_runs(runs: &[FoldScores]) -> [Option<(f64, f64)>; 3] {
    let of = |read: fn(&FoldScores) -> Option<f64>| mean_std(&runs.iter().filter_map(read).collect::<Vec<_>>());
    [of(|f| f.oa), of(|f| f.aa), of(|f| f.kappa)]
}

fn fold_scores(
    truth: &[usize],
    predicted: &[usize],
    folds: Option<&[usize]>,
    classes: usize,
) -> Result<Vec<FoldScores>> {
    let Some(folds) = folds else { return Ok(Vec::new()) };
    same_length("fold numbers", truth.len(), folds.len())?;
    let mut numbers: Vec<usize> = folds.to_vec();
    numbers.sort_unstable();
    numbers.dedup();
    if numbers.len() < 2 {
        return Ok(Vec::new());
    }
    numbers
        .into_iter()
        .map(|fold| {
            let mut matrix = ConfusionMatrix::new(classes);
            for i in (0..truth.len()).filter(|&i| folds[i] == fold) {
                matrix.add(truth[i], predicted[i], 1)?;
            }
            Ok(FoldScores::of(fold, None, &matrix))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_hold_their_value_and_folds_pool() {
        let truth: Vec<usize> = (0..600).map(|i| i % 3).collect();
        let predicted: Vec<usize> =
            truth.iter().enumerate().map(|(i, &t)| if i * i % 41 < 8 { 0 } else { t }).collect();
        let folds: Vec<usize> = (0..600).map(|i| i / 200).collect();
        let groups: Vec<u32> = (0..600).map(|i| i / 30).collect();
        let s = Scores::of(&truth, &predicted, Some(&groups), Some(&folds), 4, &Bootstrap::default()).unwrap();
        for i in [s.oa, s.aa, s.kappa, s.classes[1].producers, s.classes[0].users].into_iter().flatten() {
            assert!(i.low <= i.value && i.value <= i.high && i.low < i.high, "{i:?}");
        }
        assert_eq!((s.resampled, s.units, s.folds.len()), (Unit::Groups, 20, 3));
        assert_eq!(s.folds.iter().map(|f| f.pixels).sum::<u64>(), 600);
        assert!(s.classes[3].producers.is_none() && s.classes[3].support == 0);
        let mean = s.over_folds()[0].unwrap().0;
        assert!((mean - s.oa.unwrap().value).abs() < 1e-12, "folds of one size average to the pooled figure");
        let back: Scores = serde_json::from_str(&serde_json::to_string(&s).unwrap()).unwrap();
        assert_eq!(back, s);
    }

    #[test]
    fn groups_of_pixels_and_their_matrices_give_the_same_figures() {
        let truth: Vec<usize> = (0..400).map(|i| i % 3).collect();
        let predicted: Vec<usize> = truth.iter().enumerate().map(|(i, &t)| if i % 7 < 2 { 0 } else { t }).collect();
        let groups: Vec<u32> = (0..400).map(|i| i / 40).collect();
        let pixels = Scores::of(&truth, &predicted, Some(&groups), None, 3, &Bootstrap::default()).unwrap();
        let parts = truth.chunks(40).zip(predicted.chunks(40));
        let matrices: Vec<_> = parts.map(|(t, p)| ConfusionMatrix::of(t, p, 3).unwrap()).collect();
        let grouped = Scores::of_groups(&matrices, &Bootstrap::default()).unwrap();
        assert_eq!(grouped, pixels);
        let iou = grouped.mean_iou.unwrap();
        assert!(iou.low < iou.value && iou.value < iou.high && iou.value < grouped.mean_f1.unwrap().value);
        assert!(Scores::of_groups(&[], &Bootstrap::default()).is_err());
        assert!(Scores::of_groups(&[ConfusionMatrix::new(2), ConfusionMatrix::new(3)], &Bootstrap::default()).is_err());
    }

    #[test]
    fn no_pixels_is_an_error_with_a_remedy() {
        let error = Scores::of(&[], &[], None, None, 2, &Bootstrap::default()).unwrap_err().to_string();
        assert!(error.contains("check the split"), "{error}");
    }
}
