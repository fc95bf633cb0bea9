//! The order in which samples are seen.

use geoglot_core::Seeds;
use rand::seq::SliceRandom;

use crate::{Error, Result};

/// Batches that are sorted by length together.
const SORTED: usize = 50;

/// Shuffled batches of sample indices. The order of an epoch depends on the seed and the epoch's number only, so that a resumed training sees what an
/// uninterrupted one would have seen.
#[derive(Debug, Clone)]
pub struct BatchSampler {
    /// Sample indices by class; one list of all samples when not balanced.
    groups: Vec<Vec<usize>>,
    samples: usize,
    batch: usize,
    seed: u64,
}

impl BatchSampler {
    /// Every one of `samples` samples once an epoch, in batches of `batch` (the last may be smaller).
    ///
    /// # Errors
    /// [`Error::Patches`] when there are no samples or the batch size is 0.
    pub fn new(samples: usize, batch: usize, seed: u64) -> Result<Self> {
        Self::with_groups(vec![(0..samples).collect()], samples, batch, seed)
    }

    /// As many samples an epoch as `classes` has entries, each class in equal numbers: large classes are thinned, small ones repeated, every sample of
    /// a class being seen before one is seen again. `classes[k]` is the class of sample k.
    ///
    /// # Errors
    /// As [`BatchSampler::new`].
    pub fn balanced(classes: &[usize], batch: usize, seed: u64) -> Result<Self> {
        let mut groups = vec![Vec::new(); classes.iter().max().map_or(0, |m| m + 1)];
        for (sample, &class) in classes.iter().enumerate() {
            groups[class].push(sample);
        }
        groups.retain(|g| !g.is_empty());
        Self::with_groups(groups, classes.len(), batch, seed)
    }

    fn with_groups(groups: Vec<Vec<usize>>, samples: usize, batch: usize, seed: u64) -> Result<Self> {
        if samples == 0 || batch == 0 {
            return Err(Error::Patches(format!("batches of {batch} from {samples} samples; both must be at least 1")));
        }
        Ok(Self { groups, samples, batch, seed })
    }

    /// Batches an epoch.
    pub fn len(&self) -> usize {
        self.samples.div_ceil(self.batch)
    }

    /// False: there is at least one batch.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The batches of epoch `epoch`.
    pub fn epoch(&self, epoch: usize) -> Vec<Vec<usize>> {
        let mut rng = Seeds::new(self.seed).stream(&format!("batches/{epoch}"));
        let mut order = Vec::with_capacity(self.samples);
        // Which groups get one sample more, where the number does not divide, changes from epoch to epoch.
        let mut turn: Vec<usize> = (0..self.groups.len()).collect();
        turn.shuffle(&mut rng);
        for (k, &g) in turn.iter().enumerate() {
            let share = self.samples / turn.len() + usize::from(k < self.samples % turn.len());
            let mut group = self.groups[g].clone();
            for drawn in 0..share {
                if drawn % group.len() == 0 {
                    group.shuffle(&mut rng);
                }
                order.push(group[drawn % group.len()]);
            }
        }
        order.shuffle(&mut rng);
        order.chunks(self.batch).map(<[usize]>::to_vec).collect()
    }

    /// The batches of epoch `epoch`, each of samples of nearly one length (`lengths[k]` is that of sample k): fifty batches are sorted at a time.
    pub fn epoch_by_length(&self, epoch: usize, lengths: &[usize]) -> Vec<Vec<usize>> {
        let mut batches = Vec::with_capacity(self.len());
        for some in self.epoch(epoch).concat().chunks_mut(SORTED * self.batch) {
            some.sort_by_key(|&k| lengths[k]);
            batches.extend(some.chunks(self.batch).map(<[usize]>::to_vec));
        }
        batches.shuffle(&mut Seeds::new(self.seed).stream(&format!("lengths/{epoch}")));
        batches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_shows_every_sample_once_and_can_be_replayed() {
        let sampler = BatchSampler::new(103, 10, 7).unwrap();
        let first = sampler.epoch(3);
        assert_eq!((first.len(), sampler.len(), first[10].len()), (11, 11, 3));
        let mut all: Vec<usize> = first.concat();
        all.sort_unstable();
        assert_eq!(all, (0..103).collect::<Vec<_>>());
        assert_eq!(BatchSampler::new(103, 10, 7).unwrap().epoch(3), first);
        assert_ne!(sampler.epoch(4), first);
        assert!(BatchSampler::new(0, 10, 7).is_err() && BatchSampler::new(10, 0, 7).is_err());
    }

    #[test]
    fn batches_by_length_hold_like_samples_in_any_order() {
        let sampler = BatchSampler::new(420, 4, 7).unwrap();
        let lengths: Vec<usize> = (0..420).map(|k| if k % 3 == 0 { 90 } else { 20 }).collect();
        let batches = sampler.epoch_by_length(1, &lengths);
        let mut all = batches.concat();
        all.sort_unstable();
        assert_eq!(all, (0..420).collect::<Vec<_>>());
        let mixed = batches.iter().filter(|b| b.iter().any(|&k| lengths[k] != lengths[b[0]])).count();
        // One where the lengths meet in each of three sorted parts, at most.
        assert!(mixed <= 3, "{mixed}");
        let long: Vec<usize> = (0..batches.len()).filter(|&i| lengths[batches[i][0]] == 90).collect();
        assert!(long[0] < 15 && long[long.len() - 1] > 90, "{long:?}");
        assert_eq!(sampler.epoch_by_length(1, &lengths), batches);
        assert_ne!(sampler.epoch_by_length(2, &lengths), batches);
    }

    #[test]
    fn balancing_equalises_the_classes() {
        let classes: Vec<usize> = (0..100)
            .map(|k| {
                if k < 80 {
                    0
                } else if k < 97 {
                    2
                } else {
                    5
                }
            })
            .collect();
        let order = BatchSampler::balanced(&classes, 16, 1).unwrap().epoch(0).concat();
        let count = |c: usize| order.iter().filter(|k| classes[**k] == c).count();
        assert_eq!(order.len(), 100);
        assert!([0, 2, 5].iter().all(|c| (33..=34).contains(&count(*c))));
        // Three samples shared 33 or 34 times: each 11 or 12 times.
        assert!((97..100).all(|s| (11..=12).contains(&order.iter().filter(|k| **k == s).count())));
    }
}
