//! Bootstrap intervals of accuracies: over pixels, or over spatial groups.
//!
//! Neighbouring pixels are alike, so the pixels of a map are far fewer independent observations than their number, and a bootstrap over pixels
//! gives intervals that are too narrow. When the pixels carry group ids (blocks, regions, tiles), whole groups are resampled instead.

use std::collections::BTreeMap;

use geoglot_core::Seeds;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Binomial, Distribution};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, in_legend, same_length};
use crate::metrics::ConfusionMatrix;

/// Settings of a bootstrap.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// Number of resamples.
    pub replicates: usize,
    /// Share of replicates inside the interval.
    pub level: f64,
    /// Root seed.
    pub seed: u64,
}

impl Default for Bootstrap {
    /// 1000 resamples, 95 %, seed 0.
    fn default() -> Self {
        Self { replicates: 1000, level: 0.95, seed: 0 }
    }
}

impl Bootstrap {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub fn check(&self) -> Result<()> {
        if !(self.level > 0.0 && self.level < 1.0) {
            return Err(Error::Setting(format!(
                "bootstrap level {} must lie between 0 and 1, such as 0.95",
                self.level
            )));
        }
        Ok(())
    }

    fn stream(&self, name: &str, replicate: usize) -> ChaCha8Rng {
        Seeds::new(self.seed).stream(&format!("bootstrap/{name}/{replicate}"))
    }
}

/// What was resampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Unit {
    /// Single pixels: the intervals ignore that neighbours are alike.
    Pixels,
    /// Whole spatial groups.
    Groups,
}

/// Counts resampled as units: one sparse list of (cell, count) a unit, where a cell is any index below `cells`.
///
/// Cells of a confusion matrix are `truth * K + predicted`; to compare two methods, cells are (truth, first, second).
pub(crate) struct Units {
    cells: usize,
    unit: Unit,
    counts: Vec<Vec<(usize, u64)>>,
}

impl Units {
    /// Sorts `cell_of_pixel` into units: by group where ids are given (at least two distinct ones), else into cells.
    pub(crate) fn new(cell_of_pixel: &[usize], cells: usize, groups: Option<&[u32]>) -> Self {
        let mut by_group: BTreeMap<u32, BTreeMap<usize, u64>> = BTreeMap::new();
        for (pixel, &cell) in cell_of_pixel.iter().enumerate() {
            let group = groups.map_or(0, |g| g[pixel]);
            *by_group.entry(group).or_default().entry(cell).or_default() += 1;
        }
        let counts: Vec<Vec<_>> = by_group.into_values().map(|cells| cells.into_iter().collect()).collect();
        // One group cannot be resampled: its pixels can.
        let unit = if counts.len() > 1 { Unit::Groups } else { Unit::Pixels };
        Self { cells, unit, counts }
    }

    /// One unit a matrix; matrices without pixels are no units.
    pub(crate) fn of_matrices(matrices: &[ConfusionMatrix]) -> Self {
        let counts: Vec<Vec<(usize, u64)>> = matrices
            .iter()
            .map(|m| m.counts().iter().copied().enumerate().filter(|(_, n)| *n > 0).collect())
            .filter(|cells: &Vec<_>| !cells.is_empty())
            .collect();
        let unit = if counts.len() > 1 { Unit::Groups } else { Unit::Pixels };
        Self { cells: matrices.first().map_or(0, |m| m.counts().len()), unit, counts }
    }

    pub(crate) fn unit(&self) -> Unit {
        self.unit
    }

    /// Number of units resampled: groups, or pixels.
    pub(crate) fn len(&self) -> usize {
        match self.unit {
            Unit::Groups => self.counts.len(),
            Unit::Pixels => self.counts.iter().flatten().map(|(_, n)| *n as usize).sum(),
        }
    }

    /// The counts of all units.
    pub(crate) fn sum(&self) -> Vec<u64> {
        let mut sum = vec![0; self.cells];
        self.counts.iter().flatten().for_each(|&(cell, n)| sum[cell] += n);
        sum
    }

    /// What `read` makes of each resample, in order of the replicates; the same for any number of threads.
    pub(crate) fn replicates<T: Send>(
        &self,
        settings: &Bootstrap,
        name: &str,
        read: impl Fn(Vec<u64>) -> T + Sync,
    ) -> Vec<T> {
        if self.counts.is_empty() {
            return Vec::new();
        }
        (0..settings.replicates)
            .into_par_iter()
            .map(|b| {
                let mut rng = settings.stream(name, b);
                read(match self.unit {
                    Unit::Groups => self.draw_groups(&mut rng),
                    Unit::Pixels => multinomial(&self.counts[0], self.cells, &mut rng),
                })
            })
            .collect()
    }

    fn draw_groups(&self, rng: &mut ChaCha8Rng) -> Vec<u64> {
        let mut sum = vec![0; self.cells];
        for _ in 0..self.counts.len() {
            let group = &self.counts[rng.random_range(0..self.counts.len())];
            group.iter().for_each(|&(cell, n)| sum[cell] += n);
        }
        sum
    }
}

/// As many draws as there are counts, with the counts' shares: a bootstrap over pixels that costs one binomial a cell instead of one draw a pixel.
fn multinomial(counts: &[(usize, u64)], cells: usize, rng: &mut ChaCha8Rng) -> Vec<u64> {
    let mut drawn = vec![0; cells];
    let mut left: u64 = counts.iter().map(|(_, n)| n).sum();
    let mut mass = left;
    for &(cell, n) in counts {
        if left == 0 {
            break;
        }
        // The last cell with mass takes what is left: n == mass makes p exactly 1.
        let taken = Binomial::new(left, n as f64 / mass as f64).map_or(0, |b| b.sample(rng));
        drawn[cell] = taken;
        left -= taken;
        mass -= n;
    }
    drawn
}

/// Confusion matrices of the resamples of (truth, prediction), with the unit that was resampled and the number of units.
///
/// Groups are resampled when `groups` holds at least two distinct ids, pixels otherwise.
///
/// # Errors
/// [`Error::Length`], [`Error::Class`], [`Error::Setting`].
pub fn confusion_replicates(
    truth: &[usize],
    predicted: &[usize],
    groups: Option<&[u32]>,
    classes: usize,
    settings: &Bootstrap,
) -> Result<(Vec<ConfusionMatrix>, Unit, usize)> {
    settings.check()?;
    same_length("predictions", truth.len(), predicted.len())?;
    in_legend("truth", truth, classes)?;
    in_legend("predictions", predicted, classes)?;
    if let Some(groups) = groups {
        same_length("group ids", truth.len(), groups.len())?;
    }
    let cells: Vec<usize> = truth.iter().zip(predicted).map(|(t, p)| t * classes + p).collect();
    let units = Units::new(&cells, classes * classes, groups);
    let matrices = units.replicates(settings, "confusion", |counts| ConfusionMatrix::from_counts(classes, counts));
    Ok((matrices, units.unit(), units.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interval::{Interval, mean_std};

    /// 20 groups of 50 pixels; a group is right throughout or wrong throughout.
    fn clustered() -> (Vec<usize>, Vec<usize>, Vec<u32>) {
        let groups: Vec<u32> = (0..1000).map(|i| i / 50).collect();
        let predicted = groups.iter().map(|g| usize::from(g % 4 == 0)).collect();
        (vec![0; 1000], predicted, groups)
    }

    #[test]
    fn the_spread_is_that_of_theory() {
        let (truth, predicted, groups) = clustered();
        let settings = Bootstrap { replicates: 4000, ..Bootstrap::default() };
        let spread = |groups: Option<&[u32]>| {
            let (m, unit, n) = confusion_replicates(&truth, &predicted, groups, 2, &settings).unwrap();
            let oa: Vec<f64> = m.iter().map(|m| m.oa().unwrap()).collect();
            assert!(m.iter().all(|m| m.total() == 1000));
            (mean_std(&oa).unwrap(), unit, n)
        };
        // OA 0.75: standard error sqrt(p(1-p)/n) over 1000 pixels and over 20 groups.
        let ((mean, std), unit, n) = spread(None);
        assert_eq!((unit, n), (Unit::Pixels, 1000));
        assert!((mean - 0.75).abs() < 0.002 && (std / (0.1875f64 / 1000.0).sqrt() - 1.0).abs() < 0.05, "{mean} {std}");
        let ((mean, std), unit, n) = spread(Some(&groups));
        assert_eq!((unit, n), (Unit::Groups, 20));
        assert!((mean - 0.75).abs() < 0.01 && (std / (0.1875f64 / 20.0).sqrt() - 1.0).abs() < 0.05, "{mean} {std}");
    }

    #[test]
    fn one_seed_gives_one_result() {
        let (truth, predicted, groups) = clustered();
        let run = |seed| {
            let settings = Bootstrap { seed, replicates: 50, ..Bootstrap::default() };
            confusion_replicates(&truth, &predicted, Some(&groups), 2, &settings).unwrap().0
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn faults_are_named_and_one_group_falls_back_to_pixels() {
        let settings = Bootstrap::default();
        assert!(confusion_replicates(&[0], &[0], Some(&[1, 2]), 1, &settings).is_err());
        let bad = Bootstrap { level: 95.0, ..settings };
        assert!(confusion_replicates(&[0], &[0], None, 1, &bad).unwrap_err().to_string().contains("0.95"));
        assert_eq!(confusion_replicates(&[0, 0], &[0, 0], Some(&[7, 7]), 1, &settings).unwrap().1, Unit::Pixels);
        let (none, _, _) = confusion_replicates(&[], &[], None, 3, &settings).unwrap();
        assert_eq!(Interval::of(None, none.iter().map(ConfusionMatrix::oa), 0.95), None);
    }
}
