//! What a split reports about itself.

use serde::{Deserialize, Serialize};

use super::{LabelledPixels, Pixel, Split, SplitKind, ValidationKind, counts, nearest_distances};

/// Counts and measured separation of a split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SplitReport {
    /// Class names.
    pub classes: Vec<String>,
    /// Training pixels per class.
    pub train: Vec<usize>,
    /// Validation pixels per class.
    pub validation: Vec<usize>,
    /// Test pixels per class.
    pub test: Vec<usize>,
    /// Labelled pixels used nowhere per class: in a buffer, or tested classes that nothing trains.
    pub dropped: Vec<usize>,
    /// How the validation pixels were taken.
    pub validation_kind: ValidationKind,
    /// Least Chebyshev distance in pixels between a test centre and a training or validation centre; `None` when they share no scene.
    pub min_distance: Option<usize>,
    /// Share of the test patches that share pixels with a training or validation patch, 0 to 1.
    pub overlap: f64,
    /// Patch side for which `overlap` was measured.
    pub patch: usize,
}

impl SplitReport {
    /// Classes without training pixels.
    pub fn absent_from_train(&self) -> Vec<&str> {
        self.absent(&self.train)
    }

    /// Classes without test pixels.
    pub fn absent_from_test(&self) -> Vec<&str> {
        self.absent(&self.test)
    }

    fn absent(&self, counts: &[usize]) -> Vec<&str> {
        self.classes.iter().zip(counts).filter(|(_, n)| **n == 0).map(|(name, _)| name.as_str()).collect()
    }

    pub(super) fn describe(&self, kind: &SplitKind) -> String {
        let total = |counts: &[usize]| counts.iter().sum::<usize>();
        let mut text = match kind {
            SplitKind::Given => "Training and test pixels as given".to_owned(),
            SplitKind::RandomPerClass => "Random pixels per class (optimistic: patches overlap)".to_owned(),
            SplitKind::Blocks { fold, folds, block, buffer } => {
                format!(
                    "Spatially disjoint blocks of {block} px with a buffer of {buffer} px, fold {} of {folds}",
                    fold + 1
                )
            }
            SplitKind::Regions { fold, folds, buffer } => {
                format!("Whole regions with a buffer of {buffer} px, fold {} of {folds}", fold + 1)
            }
            SplitKind::LeaveSceneOut { test } => {
                let list = test.iter().map(|k| (k + 1).to_string()).collect::<Vec<_>>().join(", ");
                format!("Leave-scene-out, tested on scene {list}")
            }
        };
        text += &format!(
            ": {} training, {} validation ({}) and {} test pixels",
            total(&self.train),
            total(&self.validation),
            self.validation_kind,
            total(&self.test)
        );
        if total(&self.dropped) > 0 {
            text += &format!(", {} left out", total(&self.dropped));
        }
        text += &match self.min_distance {
            None => ". Training and test pixels lie in different scenes.".to_owned(),
            Some(d) => format!(
                ". The nearest training and test centres are {d} px apart; {} of the test patches ({} px) share pixels with a training patch.",
                percent(self.overlap),
                self.patch
            ),
        };
        for (names, side) in [(self.absent_from_train(), "training"), (self.absent_from_test(), "test")] {
            if !names.is_empty() {
                text += &format!(" Classes without {side} pixels: {}.", names.join(", "));
            }
        }
        text
    }
}

fn percent(share: f64) -> String {
    if share == 0.0 { "none".into() } else { format!("{:.1} %", 100.0 * share) }
}

/// Measures a split and puts it together.
pub(super) fn finish(
    all: &LabelledPixels,
    kind: SplitKind,
    (train, validation, validation_kind): (Vec<Pixel>, Vec<Pixel>, ValidationKind),
    test: Vec<Pixel>,
    patch: usize,
) -> Split {
    let classes = all.classes.len();
    let learning: Vec<Pixel> = train.iter().chain(&validation).copied().collect();
    let distances = nearest_distances(&test, &learning, &all.shapes);
    let overlapping = distances.iter().filter(|d| d.is_some_and(|d| d < patch)).count();
    let (n_train, n_validation, n_test) =
        (counts(&train, classes), counts(&validation, classes), counts(&test, classes));
    let dropped = all
        .counts()
        .iter()
        .enumerate()
        .map(|(k, n)| n.saturating_sub(n_train[k] + n_validation[k] + n_test[k]))
        .collect();
    let report = SplitReport {
        classes: all.classes.clone(),
        train: n_train,
        validation: n_validation,
        test: n_test,
        dropped,
        validation_kind,
        min_distance: distances.iter().filter_map(|d| *d).min(),
        overlap: if test.is_empty() { 0.0 } else { overlapping as f64 / test.len() as f64 },
        patch,
    };
    Split { kind, train, validation, test, report }
}
