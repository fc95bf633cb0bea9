//! What a training has behind it: its history and its best weights, in memory and in the folder of the run.

use crate::checkpoint::{Checkpoint, State};
use crate::history::{self, EpochRecord};
use crate::{Result, RunFolder, tfevents};

/// Epochs that are over.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// One record an epoch.
    pub history: Vec<EpochRecord>,
    /// Weights of the best epoch; empty where the last ones count.
    best: Vec<f32>,
    best_epoch: usize,
}

impl Past {
    /// The checkpoint to go on from, where there is one and the run asks for it.
    pub fn checkpoint(keep: Option<RunFolder<'_>>) -> Result<Option<Checkpoint>> {
        match keep {
            Some(place) if place.resume => Checkpoint::load(place.folder, place.run),
            _ => Ok(None),
        }
    }

    /// What a checkpoint knows.
    pub fn of(checkpoint: Checkpoint) -> Self {
        Self { best: checkpoint.best, best_epoch: checkpoint.state.best_epoch, history: checkpoint.state.history }
    }

    /// The same for a training whose last weights count.
    pub fn without_best(checkpoint: Checkpoint) -> Self {
        Self { history: checkpoint.state.history, ..Self::default() }
    }

    /// Epoch of the best weights, from 1; 0 before the first.
    pub fn best_epoch(&self) -> usize {
        self.best_epoch
    }

    /// Adds an epoch. Its `weights` are the best so far where `score` is higher than that of the best epoch before, or where nothing is scored.
    pub fn add(
        &mut self,
        record: EpochRecord,
        score: impl Fn(&EpochRecord) -> Option<f64>,
        weights: impl FnOnce() -> Vec<f32>,
    ) {
        let before = self.best_epoch.checked_sub(1).and_then(|e| score(&self.history[e]));
        let now = score(&record);
        self.history.push(record);
        if now.is_none() || now > before {
            self.best_epoch = self.history.len();
            self.best = weights();
        }
    }

    /// Writes checkpoint, history and TensorBoard's events.
    pub fn save(
        &self,
        place: RunFolder<'_>,
        weights: Vec<f32>,
        ema: Option<Vec<f32>>,
        optimizer: Vec<u8>,
    ) -> Result<()> {
        let epochs = self.history.len();
        let (best, best_epoch) = match self.best.is_empty() {
            true => (weights.clone(), epochs),
            false => (self.best.clone(), self.best_epoch),
        };
        let state = State { run: place.run.into(), epochs, best_epoch, history: self.history.clone() };
        Checkpoint { state, weights, best, ema, optimizer }.save(place.folder)?;
        history::write(place.folder, &self.history)?;
        tfevents::write(place.folder, &tfevents::scalars(&self.history))
    }

    /// The best weights, `last` where no epoch was finished, with the history.
    pub fn end(self, last: impl FnOnce() -> Vec<f32>) -> (Vec<f32>, Vec<EpochRecord>, usize) {
        let best = if self.best.is_empty() { last() } else { self.best };
        (best, self.history, self.best_epoch)
    }
}

#[cfg(test)]
mod tests {
    use indexmap::IndexMap;

    use super::*;

    fn record(epoch: usize, score: Option<f64>) -> EpochRecord {
        EpochRecord {
            epoch,
            loss: 1.0,
            validation_oa: score,
            validation_miou: None,
            learning_rate: 0.1,
            logit_scale: 1.0,
            seconds: 1.0,
            parts: IndexMap::new(),
            figures: IndexMap::new(),
        }
    }

    #[test]
    fn the_best_epoch_is_kept_through_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let place = RunFolder { folder: folder.path(), run: "a", resume: true };
        let mut past = Past::default();
        for (k, score) in [0.5, 0.7, 0.6].into_iter().enumerate() {
            past.add(record(k + 1, Some(score)), |r| r.validation_oa, || vec![k as f32]);
            past.save(place, vec![9.0], None, vec![1]).unwrap();
        }
        let checkpoint = Past::checkpoint(Some(place)).unwrap().unwrap();
        assert_eq!((checkpoint.state.best_epoch, &checkpoint.weights), (2, &vec![9.0]));
        let mut past = Past::of(checkpoint);
        past.add(record(4, Some(0.7)), |r| r.validation_oa, || panic!("no better"));
        let (best, history, epoch) = past.end(|| panic!("there is a best"));
        assert_eq!((best, history.len(), epoch), (vec![1.0], 4, 2));
        assert!(Past::checkpoint(Some(RunFolder { resume: false, ..place })).unwrap().is_none());
    }

    #[test]
    fn without_scores_the_last_epoch_counts() {
        let mut past = Past::default();
        past.add(record(1, None), |r| r.validation_oa, || vec![1.0]);
        past.add(record(2, None), |r| r.validation_oa, || vec![2.0]);
        assert_eq!(past.best_epoch(), 2);
        assert_eq!(past.end(Vec::new).0, [2.0]);
        assert_eq!(Past::default().end(|| vec![3.0]).0, [3.0]);
    }
}
