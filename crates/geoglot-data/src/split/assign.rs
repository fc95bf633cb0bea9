//! Dealing groups of pixels (blocks, regions) to folds so that every fold sees every class in like shares.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// Class histograms of groups.
pub(super) type Histograms = Vec<Vec<f64>>;

/// What a class missing from a fold costs, in units of squared share: more than any imbalance can.
const MISSING: f64 = 4.0;
/// Starts of the local search; the best result wins.
const STARTS: usize = 8;

/// Assigns each group to one of `folds` folds. Minimises, over folds and classes, the squared deviation of the fold's share of the class from
/// 1/folds, with a penalty for a class missing from a fold, by greedy dealing and moves and swaps until nothing improves.
pub(super) fn balanced(histograms: &Histograms, folds: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let problem = Problem::new(histograms, folds);
    let mut best: Option<(f64, Vec<usize>)> = None;
    for _ in 0..STARTS {
        let mut order: Vec<usize> = (0..histograms.len()).collect();
        order.shuffle(rng);
        let (cost, assignment) = problem.solve(&order);
        if best.as_ref().is_none_or(|(c, _)| cost < *c - 1e-12) {
            best = Some((cost, assignment));
        }
    }
    best.map(|(_, assignment)| assignment).unwrap_or_default()
}

struct Problem {
    /// Share of each class's pixels in each group.
    shares: Histograms,
    folds: usize,
    classes: Vec<usize>,
}

impl Problem {
    fn new(histograms: &Histograms, folds: usize) -> Self {
        let n = histograms.first().map_or(0, Vec::len);
        let totals: Vec<f64> = (0..n).map(|c| histograms.iter().map(|h| h[c]).sum()).collect();
        let shares =
            histograms.iter().map(|h| h.iter().zip(&totals).map(|(v, t)| if *t > 0.0 { v / t } else { 0.0 }).collect());
        Self { shares: shares.collect(), folds, classes: (0..n).filter(|&c| totals[c] > 0.0).collect() }
    }

    /// Cost of one fold holding `load` (share per class).
    fn cost(&self, load: &[f64]) -> f64 {
        let target = 1.0 / self.folds as f64;
        self.classes
            .iter()
            .map(|&c| {
                let missing = if load[c] < 1e-12 { MISSING * target * target } else { 0.0 };
                (load[c] - target).powi(2) + missing
            })
            .sum()
    }

    /// Cost of `load` with `plus` added and `minus` removed.
    fn changed(&self, load: &[f64], plus: Option<usize>, minus: Option<usize>) -> f64 {
        let mut load = load.to_vec();
        for &c in &self.classes {
            load[c] += plus.map_or(0.0, |g| self.shares[g][c]) - minus.map_or(0.0, |g| self.shares[g][c]);
        }
        self.cost(&load)
    }

    fn solve(&self, order: &[usize]) -> (f64, Vec<usize>) {
        let classes = self.shares.first().map_or(0, Vec::len);
        let mut loads = vec![vec![0.0; classes]; self.folds];
        let mut fold_of = vec![0; self.shares.len()];
        // Groups that hold much of some class are hardest to place, so they go first; the order breaks ties.
        let mut order = order.to_vec();
        let weight = |g: usize| self.shares[g].iter().copied().fold(0.0, f64::max);
        order.sort_by(|&a, &b| weight(b).total_cmp(&weight(a)));
        for &g in &order {
            let gain = |f: usize| self.changed(&loads[f], Some(g), None) - self.cost(&loads[f]);
            let f = (0..self.folds).min_by(|&a, &b| gain(a).total_cmp(&gain(b))).unwrap_or(0);
            fold_of[g] = f;
            self.put(&mut loads, g, f, 1.0);
        }
        // A round costs groups² comparisons: few rounds for many groups, where greedy dealing is already near the optimum.
        let rounds = (200_000 / (order.len() * order.len()).max(1)).clamp(1, 30);
        for _ in 0..rounds {
            if !self.improve(&order, &mut loads, &mut fold_of) {
                break;
            }
        }
        (loads.iter().map(|l| self.cost(l)).sum(), fold_of)
    }

    fn put(&self, loads: &mut [Vec<f64>], g: usize, f: usize, sign: f64) {
        for &c in &self.classes {
            loads[f][c] += sign * self.shares[g][c];
        }
    }

    /// One round of the best move or swap of each group; true when something improved.
    fn improve(&self, order: &[usize], loads: &mut [Vec<f64>], fold_of: &mut [usize]) -> bool {
        let mut improved = false;
        for (k, &g) in order.iter().enumerate() {
            let from = fold_of[g];
            let mut best = (-1e-9, None);
            for to in (0..self.folds).filter(|&to| to != from) {
                let before = self.cost(&loads[from]) + self.cost(&loads[to]);
                let after = self.changed(&loads[from], None, Some(g)) + self.changed(&loads[to], Some(g), None);
                if after - before < best.0 {
                    best = (after - before, Some((to, None)));
                }
            }
            for &h in order[k + 1..].iter().take(1000) {
                let to = fold_of[h];
                if to == from {
                    continue;
                }
                let before = self.cost(&loads[from]) + self.cost(&loads[to]);
                let after = self.changed(&loads[from], Some(h), Some(g)) + self.changed(&loads[to], Some(g), Some(h));
                if after - before < best.0 {
                    best = (after - before, Some((to, Some(h))));
                }
            }
            let Some((to, partner)) = best.1 else { continue };
            improved = true;
            self.put(loads, g, from, -1.0);
            self.put(loads, g, to, 1.0);
            fold_of[g] = to;
            if let Some(h) = partner {
                self.put(loads, h, to, -1.0);
                self.put(loads, h, from, 1.0);
                fold_of[h] = from;
            }
        }
        improved
    }
}

/// Class histogram of each of `groups` groups, `group[k]` being the group of `class[k]`.
pub(super) fn histograms(
    members: impl IntoIterator<Item = (usize, usize)>,
    groups: usize,
    classes: usize,
) -> Histograms {
    let mut h = vec![vec![0.0; classes]; groups];
    for (group, class) in members {
        h[group][class] += 1.0;
    }
    h
}

#[cfg(test)]
mod tests {
    use super::*;
    use geoglot_core::Seeds;

    #[test]
    fn a_perfect_deal_is_found() {
        // Two rare classes in four groups each, one common class everywhere: four folds can be equal.
        let h: Histograms = (0..16).map(|g| vec![10.0, f64::from(g % 4 == 0), f64::from(g % 4 == 1)]).collect();
        let folds = balanced(&h, 4, &mut Seeds::new(3).stream("t"));
        for f in 0..4 {
            for c in 0..3 {
                let n: f64 = (0..16).filter(|&g| folds[g] == f).map(|g| h[g][c]).sum();
                assert_eq!(n, if c == 0 { 40.0 } else { 1.0 }, "fold {f}, class {c}");
            }
        }
    }
}
