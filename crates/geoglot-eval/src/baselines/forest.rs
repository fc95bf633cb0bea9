//! Random forest of classification trees (Breiman 2001), the usual strong baseline for pixels.
//!
//! Written here because the registry's forest runs on one thread, scans all rows at every node (two minutes for 22 000 × 30 with 200 trees, ten times
//! this one's on two cores) and votes by majority. This one follows scikit-learn's defaults: bootstrap of the rows, Gini impurity, ⌊√features⌋
//! candidate features a node drawn without replacement (constant ones do not count), trees grown until pure, class probabilities averaged over trees.

use geoglot_core::Seeds;
use ndarray::{Array2, ArrayView2, Axis};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::error::{Error, Result, all_finite, in_legend, same_length};

/// Settings of a forest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ForestOptions {
    /// Number of trees.
    pub trees: usize,
    /// Candidate features a node; `None` is ⌊√features⌋.
    pub candidates: Option<usize>,
    /// Fewest rows (counted with repetition) in a leaf.
    pub min_leaf: u32,
    /// Root seed.
    pub seed: u64,
}

impl Default for ForestOptions {
    /// 200 trees, ⌊√features⌋ candidates, leaves of at least one row, seed 0.
    fn default() -> Self {
        Self { trees: 200, candidates: None, min_leaf: 1, seed: 0 }
    }
}

/// A trained forest.
pub struct Forest {
    trees: Vec<Tree>,
    classes: usize,
    features: usize,
}

/// Class of each row of `test` from a forest of 200 trees trained on `train` (both [rows, features]).
///
/// # Errors
/// As [`Forest::fit`] and [`Forest::predict`].
pub fn random_forest(
    train: ArrayView2<f32>,
    y: &[usize],
    test: ArrayView2<f32>,
    k: usize,
    seed: u64,
) -> Result<Vec<usize>> {
    Forest::fit(train, y, k, &ForestOptions { seed, ..ForestOptions::default() })?.predict(test)
}

enum Node {
    /// `value <= threshold` goes to the next node, others to `right`.
    Split { feature: u32, threshold: f32, right: u32 },
    /// Range of the tree's `shares`.
    Leaf { from: u32, to: u32 },
}

#[derive(Default)]
struct Tree {
    nodes: Vec<Node>,
    /// (class, share of the leaf's rows).
    shares: Vec<(u32, f32)>,
}

/// The training rows as the trees see them.
struct Data<'a> {
    /// [features, rows]: a node reads one feature of many rows.
    columns: Array2<f32>,
    /// Rank of every value in its column, [features, rows]; equal values share a rank. Integers sort faster than floats.
    ranks: Array2<u32>,
    y: &'a [usize],
    classes: usize,
}

impl Forest {
    /// Trains on `train` ([rows, features]) with classes `y` below `k`. The result depends on the seed only, not on the number of threads.
    ///
    /// # Errors
    /// [`Error::Empty`] without rows or features, [`Error::NotFinite`], [`Error::Length`], [`Error::Class`], [`Error::Setting`].
    pub fn fit(train: ArrayView2<f32>, y: &[usize], k: usize, options: &ForestOptions) -> Result<Self> {
        let (rows, features) = train.dim();
        same_length("classes of the random forest's training rows", rows, y.len())?;
        in_legend("classes of the random forest's training rows", y, k)?;
        if rows == 0 || features == 0 {
            return Err(Error::Empty(format!("the random forest has {rows} training rows of {features} features")));
        }
        if options.trees == 0 || options.min_leaf == 0 {
            return Err(Error::Setting("a forest needs at least one tree and one row a leaf".into()));
        }
        if u32::try_from(rows).is_err() {
            return Err(Error::Setting(format!("{rows} training rows are too many for the forest; sample them first")));
        }
        all_finite("features of the random forest's training rows", train)?;

        let columns = train.t().as_standard_layout().into_owned();
        let mut ranks = Array2::zeros(columns.dim());
        ranks.axis_iter_mut(Axis(0)).into_par_iter().zip(columns.axis_iter(Axis(0))).for_each(|(mut ranks, column)| {
            let mut order: Vec<usize> = (0..rows).collect();
            order.sort_unstable_by(|&a, &b| column[a].total_cmp(&column[b]));
            let mut rank = 0u32;
            for i in 0..rows {
                rank += u32::from(i > 0 && column[order[i]] != column[order[i - 1]]);
                ranks[order[i]] = rank;
            }
        });
        let data = Data { columns, ranks, y, classes: k };
        let candidates = options.candidates.unwrap_or(features.isqrt()).clamp(1, features);
        let seeds = Seeds::new(options.seed);
        let grow = |t| Grower::new(&data, candidates, options.min_leaf, seeds.stream(&format!("forest/{t}"))).grow();
        let trees = (0..options.trees).into_par_iter().map(grow).collect();
        Ok(Self { trees, classes: k, features })
    }

    /// Class probabilities, [rows, classes]: the mean over trees of the leaf's class shares.
    ///
    /// # Errors
    /// [`Error::NotFinite`], or [`Error::Length`] when the number of features is not that of the training.
    pub fn probabilities(&self, test: ArrayView2<f32>) -> Result<Array2<f32>> {
        same_length("features of the random forest's test rows", self.features, test.ncols())?;
        all_finite("features of the random forest's test rows", test)?;
        let mut sums = Array2::zeros((test.nrows(), self.classes));
        sums.axis_iter_mut(Axis(0)).into_par_iter().zip(test.axis_iter(Axis(0))).for_each(|(mut sum, row)| {
            for tree in &self.trees {
                let mut at = 0;
                loop {
                    match tree.nodes[at] {
                        Node::Split { feature, threshold, right } => {
                            at = if row[feature as usize] <= threshold { at + 1 } else { right as usize };
                        }
                        Node::Leaf { from, to } => {
                            for &(class, share) in &tree.shares[from as usize..to as usize] {
                                sum[class as usize] += share;
                            }
                            break;
                        }
                    }
                }
            }
        });
        sums /= self.trees.len() as f32;
        Ok(sums)
    }

    /// The most probable class of each row; of equals the lowest.
    ///
    /// # Errors
    /// As [`Forest::probabilities`].
    pub fn predict(&self, test: ArrayView2<f32>) -> Result<Vec<usize>> {
        let best = |row: ndarray::ArrayView1<f32>| {
            row.iter().enumerate().fold((0, f32::MIN), |best, (k, &p)| if p > best.1 { (k, p) } else { best }).0
        };
        Ok(self.probabilities(test)?.rows().into_iter().map(best).collect())
    }
}

/// Grows one tree.
struct Grower<'a> {
    data: &'a Data<'a>,
    candidates: usize,
    min_leaf: u32,
    rng: ChaCha8Rng,
    /// Rows drawn at least once, arranged so that every node is a range.
    rows: Vec<u32>,
    /// How often each row of the data was drawn.
    weight: Vec<u32>,
    features: Vec<usize>,
    /// Scratch of one node and feature: rank << 32 | row.
    keys: Vec<u64>,
    tree: Tree,
}

/// A node's rows `[from, to)`, and the split node whose right child it is.
struct Task {
    from: usize,
    to: usize,
    parent: Option<usize>,
}

struct Split {
    feature: usize,
    threshold: f32,
    gain: f64,
}

impl<'a> Grower<'a> {
    fn new(data: &'a Data<'a>, candidates: usize, min_leaf: u32, mut rng: ChaCha8Rng) -> Self {
        let n = data.y.len();
        let mut weight = vec![0; n];
        (0..n).for_each(|_| weight[rng.random_range(0..n)] += 1);
        let rows = (0..n as u32).filter(|&i| weight[i as usize] > 0).collect();
        let features = (0..data.columns.nrows()).collect();
        Self { data, candidates, min_leaf, rng, rows, weight, features, keys: Vec::new(), tree: Tree::default() }
    }

    fn grow(mut self) -> Tree {
        // Depth first, left child first: the left child of a split is always the next node.
        let mut tasks = vec![Task { from: 0, to: self.rows.len(), parent: None }];
        while let Some(Task { from, to, parent }) = tasks.pop() {
            let here = self.tree.nodes.len();
            if let Some(Node::Split { right, .. }) = parent.map(|p| &mut self.tree.nodes[p]) {
                *right = here as u32;
            }
            let counts = self.counts(from, to);
            let pure = counts.iter().filter(|n| **n > 0).count() < 2;
            match if pure { None } else { self.best_split(from, to, &counts) } {
                None => self.leaf(&counts),
                Some(Split { feature, threshold, .. }) => {
                    let middle = self.partition(from, to, feature, threshold);
                    self.tree.nodes.push(Node::Split { feature: feature as u32, threshold, right: 0 });
                    tasks.push(Task { from: middle, to, parent: Some(here) });
                    tasks.push(Task { from, to: middle, parent: None });
                }
            }
        }
        self.tree
    }

    fn counts(&self, from: usize, to: usize) -> Vec<u32> {
        let mut counts = vec![0; self.data.classes];
        for &row in &self.rows[from..to] {
            counts[self.data.y[row as usize]] += self.weight[row as usize];
        }
        counts
    }

    fn leaf(&mut self, counts: &[u32]) {
        let total = counts.iter().sum::<u32>() as f32;
        let start = self.tree.shares.len() as u32;
        let present = counts.iter().enumerate().filter(|(_, n)| **n > 0);
        self.tree.shares.extend(present.map(|(class, &n)| (class as u32, n as f32 / total)));
        self.tree.nodes.push(Node::Leaf { from: start, to: self.tree.shares.len() as u32 });
    }

    /// The best split over the drawn candidates; features that are constant here do not count as candidates.
    fn best_split(&mut self, from: usize, to: usize, counts: &[u32]) -> Option<Split> {
        let mut best: Option<Split> = None;
        let mut tried = 0;
        for i in 0..self.features.len() {
            if tried == self.candidates {
                break;
            }
            let j = self.rng.random_range(i..self.features.len());
            self.features.swap(i, j);
            let feature = self.features[i];
            let ranks = self.data.ranks.row(feature);
            self.keys.clear();
            self.keys.extend(self.rows[from..to].iter().map(|&r| u64::from(ranks[r as usize]) << 32 | u64::from(r)));
            self.keys.sort_unstable();
            let (first, last) = (self.keys[0] >> 32, self.keys[self.keys.len() - 1] >> 32);
            if first == last {
                continue;
            }
            tried += 1;
            if let Some(split) = self.best_threshold(feature, counts)
                && best.as_ref().is_none_or(|b| split.gain > b.gain)
            {
                best = Some(split);
            }
        }
        best
    }

    /// The best cut of the sorted keys: least Gini impurity, that is the largest Σ left²/n_left + Σ right²/n_right.
    fn best_threshold(&self, feature: usize, counts: &[u32]) -> Option<Split> {
        let (mut left, mut right) =
            (vec![0.0f64; counts.len()], counts.iter().map(|&n| f64::from(n)).collect::<Vec<_>>());
        let total: f64 = right.iter().sum();
        let (mut left_squares, mut right_squares) = (0.0, right.iter().map(|n| n * n).sum::<f64>());
        let (mut n_left, min) = (0.0, f64::from(self.min_leaf));
        let mut best: Option<(f64, usize)> = None;
        for (i, pair) in self.keys.windows(2).enumerate() {
            let row = pair[0] as u32 as usize;
            let (class, w) = (self.data.y[row], f64::from(self.weight[row]));
            // (a ± w)² without summing over the classes again.
            left_squares += w * (2.0 * left[class] + w);
            right_squares -= w * (2.0 * right[class] - w);
            left[class] += w;
            right[class] -= w;
            n_left += w;
            let n_right = total - n_left;
            if pair[0] >> 32 == pair[1] >> 32 || n_left < min || n_right < min {
                continue;
            }
            let gain = left_squares / n_left + right_squares / n_right;
            if best.is_none_or(|(b, _)| gain > b) {
                best = Some((gain, i));
            }
        }
        let (gain, i) = best?;
        let column = self.data.columns.row(feature);
        let (low, high) = (column[self.keys[i] as u32 as usize], column[self.keys[i + 1] as u32 as usize]);
        let middle = (f64::from(low) + f64::from(high)) as f32 / 2.0;
        // Between neighbouring floats the middle may round up to the higher value, which must stay on the right.
        Some(Split { feature, threshold: if middle < high && middle >= low { middle } else { low }, gain })
    }

    fn partition(&mut self, from: usize, to: usize, feature: usize, threshold: f32) -> usize {
        let column = self.data.columns.row(feature);
        let mut middle = from;
        for i in from..to {
            if column[self.rows[i] as usize] <= threshold {
                self.rows.swap(i, middle);
                middle += 1;
            }
        }
        middle
    }
}

#[cfg(test)]
#[path = "forest_tests.rs"]
mod tests;
