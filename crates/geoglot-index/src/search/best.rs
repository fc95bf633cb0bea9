//! The best so far.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::Scored;
use crate::archive::RowRef;

/// Order by score, then by place in the archive: equal scores come out in the same order always.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Ranked(f32, Reverse<RowRef>);

impl Eq for Ranked {}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0).then(self.1.cmp(&other.1))
    }
}

/// Up to `k` rows with the highest scores at or above a floor.
#[derive(Debug, Clone)]
pub(super) struct Best {
    k: usize,
    floor: f32,
    heap: BinaryHeap<Reverse<Ranked>>,
}

impl Best {
    /// `k` is at least 1.
    pub fn new(k: usize, floor: Option<f32>) -> Self {
        Self { k, floor: floor.unwrap_or(f32::NEG_INFINITY), heap: BinaryHeap::new() }
    }

    /// How many rows it keeps.
    pub fn capacity(&self) -> usize {
        self.k
    }

    /// A score below this has no chance.
    pub fn bar(&self) -> f32 {
        match self.heap.peek() {
            Some(Reverse(worst)) if self.heap.len() == self.k => worst.0,
            _ => self.floor,
        }
    }

    /// Offers a row.
    #[inline]
    pub fn offer(&mut self, score: f32, row: RowRef) {
        if score < self.bar() || score.is_nan() {
            return;
        }
        let ranked = Ranked(score, Reverse(row));
        if self.heap.len() < self.k {
            self.heap.push(Reverse(ranked));
        } else if let Some(mut worst) = self.heap.peek_mut()
            && ranked > worst.0
        {
            *worst = Reverse(ranked);
        }
    }

    /// Takes over the rows of another list.
    pub fn absorb(&mut self, other: Self) {
        other.heap.into_iter().for_each(|Reverse(r)| self.offer(r.0, r.1.0));
    }

    /// Best first.
    pub fn into_sorted(self) -> Vec<Scored> {
        self.heap.into_sorted_vec().into_iter().map(|Reverse(r)| Scored { score: r.0, row: r.1.0 }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_best_are_those_of_a_full_sort(scores in proptest::collection::vec(-1.0f32..1.0, 0..200), k in 1usize..20, floor in -1.0f32..1.0) {
            let mut best = Best::new(k, Some(floor));
            for (i, &score) in scores.iter().enumerate() {
                best.offer(score, RowRef { segment: 0, row: i as u32 });
            }
            let mut expected: Vec<f32> = scores.into_iter().filter(|&s| s >= floor).collect();
            expected.sort_by(|a, b| b.total_cmp(a));
            expected.truncate(k);
            prop_assert_eq!(best.into_sorted().iter().map(|s| s.score).collect::<Vec<_>>(), expected);
        }
    }
}
