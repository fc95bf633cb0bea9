//! Bootstrap over images, or over groups of images, for figures that are no accuracies of a confusion matrix.

use geoglot_core::Seeds;
use rand::RngExt;
use rayon::prelude::*;

use crate::bootstrap::{Bootstrap, Unit};
use crate::error::{Result, same_length};
use crate::interval::Interval;

/// The images of a test set as units of a bootstrap.
pub(super) struct Resampler {
    items: usize,
    /// Items of each group; `None` where items are resampled.
    groups: Option<Vec<Vec<usize>>>,
    settings: Bootstrap,
}

impl Resampler {
    /// Groups are resampled when there are at least two.
    pub(super) fn new(items: usize, groups: Option<&[u32]>, settings: &Bootstrap) -> Result<Self> {
        settings.check()?;
        let groups = match groups {
            None => None,
            Some(ids) => {
                same_length("group ids", items, ids.len())?;
                let mut sorted: std::collections::BTreeMap<u32, Vec<usize>> = std::collections::BTreeMap::new();
                ids.iter().enumerate().for_each(|(i, id)| sorted.entry(*id).or_default().push(i));
                Some(sorted.into_values().collect::<Vec<_>>()).filter(|g| g.len() > 1)
            }
        };
        Ok(Self { items, groups, settings: *settings })
    }

    pub(super) fn unit(&self) -> Unit {
        if self.groups.is_some() { Unit::Groups } else { Unit::Pixels }
    }

    pub(super) fn units(&self) -> usize {
        self.groups.as_ref().map_or(self.items, Vec::len)
    }

    /// Several figures with their intervals: `read` makes them from how often each item was drawn (once each for the values themselves).
    pub(super) fn intervals(
        &self,
        name: &str,
        read: impl Fn(&[u32]) -> Vec<Option<f64>> + Sync,
    ) -> Vec<Option<Interval>> {
        let values = read(&vec![1; self.items]);
        let replicates: Vec<Vec<Option<f64>>> = if self.items == 0 {
            Vec::new()
        } else {
            (0..self.settings.replicates).into_par_iter().map(|b| read(&self.draw(name, b))).collect()
        };
        let level = self.settings.level;
        let figure = |(k, value): (usize, Option<f64>)| Interval::of(value, replicates.iter().map(|r| r[k]), level);
        values.into_iter().enumerate().map(figure).collect()
    }

    fn draw(&self, name: &str, replicate: usize) -> Vec<u32> {
        let mut rng = Seeds::new(self.settings.seed).stream(&format!("bootstrap/{name}/{replicate}"));
        let mut weights = vec![0; self.items];
        match &self.groups {
            None => (0..self.items).for_each(|_| weights[rng.random_range(0..self.items)] += 1),
            Some(groups) => {
                for _ in 0..groups.len() {
                    groups[rng.random_range(0..groups.len())].iter().for_each(|&i| weights[i] += 1);
                }
            }
        }
        weights
    }
}

/// Weighted share `Σ w·part / Σ w·whole`; `None` without a whole.
pub(super) fn share(weights: &[u32], part: &[f64], whole: &[f64]) -> Option<f64> {
    let (mut a, mut b) = (0.0, 0.0);
    for ((w, p), n) in weights.iter().zip(part).zip(whole) {
        a += f64::from(*w) * p;
        b += f64::from(*w) * n;
    }
    (b > 0.0).then(|| a / b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_that_of_theory() {
        let hits: Vec<f64> = (0..1000).map(|i| f64::from(u8::from(i % 4 != 0))).collect();
        let ones = vec![1.0; 1000];
        let settings = Bootstrap { replicates: 2000, ..Bootstrap::default() };
        let width = |groups: Option<&[u32]>| {
            let r = Resampler::new(1000, groups, &settings).unwrap();
            let i = r.intervals("x", |w| vec![share(w, &hits, &ones)])[0].unwrap();
            assert_eq!(i.value, 0.75);
            i.high - i.low
        };
        let expected = 2.0 * 1.96 * (0.1875f64 / 1000.0).sqrt();
        assert!((width(None) / expected - 1.0).abs() < 0.08, "{}", width(None));
        // Groups that are right or wrong as a whole: 4 kinds of items in runs of 50.
        let groups: Vec<u32> = (0..1000).map(|i| (i % 4) * 5 + i / 200).collect();
        let expected = 2.0 * 1.96 * (0.1875f64 / 20.0).sqrt();
        assert!((width(Some(&groups)) / expected - 1.0).abs() < 0.1, "{}", width(Some(&groups)));
        assert_eq!(Resampler::new(3, Some(&[1, 1, 1]), &settings).unwrap().units(), 3);
        assert!(Resampler::new(3, Some(&[1]), &settings).is_err());
    }
}
