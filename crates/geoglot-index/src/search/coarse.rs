//! Fast search: bounds from two-bit codes, then exact cosines of the records whose bound reaches the best so far.
//!
//! The codes give every record an estimate and an error (see [`crate::codes`]). The pass over the codes keeps the records
//! whose estimate plus error reaches the k-th best estimate minus error seen so far. Of those the most promising are
//! scored exactly, which gives a bar, and then all others whose bound reaches the bar.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rayon::prelude::*;

use super::{Best, Scope, pieces};
use crate::archive::{Archive, RowRef};
use crate::codes::{QueryCode, Rotation};
use crate::query::Query;

/// Rows of a piece of parallel work, and of a run within it (whose bounds stay in the first cache).
const PIECE: usize = 65_536;
const RUN: usize = 2048;
/// Vectors asked for ahead of their use.
const AHEAD: usize = 4;

/// A total order of floats.
#[derive(Clone, Copy, PartialEq)]
struct Score(f32);

impl Eq for Score {}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// Records that may be among the best.
struct Candidates {
    /// Upper bound and record, in order of storage.
    list: Vec<(f32, RowRef)>,
    /// The `k` highest lower bounds.
    lower: BinaryHeap<Reverse<Score>>,
    k: usize,
    bar: f32,
}

impl Candidates {
    fn new(k: usize, floor: f32) -> Self {
        Self { list: Vec::new(), lower: BinaryHeap::new(), k, bar: floor }
    }

    #[inline]
    fn lower(&mut self, lower: f32) {
        if self.lower.len() < self.k {
            self.lower.push(Reverse(Score(lower)));
        } else if self.lower.peek().is_some_and(|w| w.0.0 < lower) {
            self.lower.pop();
            self.lower.push(Reverse(Score(lower)));
        } else {
            return;
        }
        if let Some(worst) = self.lower.peek().filter(|_| self.lower.len() == self.k) {
            self.bar = self.bar.max(worst.0.0);
        }
    }

    fn absorb(mut self, mut other: Self) -> Self {
        other.lower.drain().for_each(|l| self.lower(l.0.0));
        self.bar = self.bar.max(other.bar);
        let bar = self.bar;
        self.list.extend(other.list.into_iter().filter(|c| c.0 >= bar));
        self
    }
}

pub(super) fn search(
    archive: &Archive,
    queries: &[Query],
    scope: &Scope,
    rotation: &Rotation,
    care: f32,
    new: impl Fn() -> Best + Sync,
) -> Vec<Best> {
    let codes: Vec<QueryCode> = queries.par_iter().map(|q| QueryCode::new(q.vector(), rotation)).collect();
    // Rounding of the exact scores themselves.
    let floor = new().bar() - 1e-5;
    let k = new().capacity();
    let fresh = || -> Vec<Candidates> { queries.iter().map(|_| Candidates::new(k, floor)).collect() };
    let candidates = pieces(archive, PIECE)
        .into_par_iter()
        .fold(fresh, |mut candidates, piece| {
            scan(archive, queries, &codes, scope, care, piece, &mut candidates);
            candidates
        })
        .reduce(fresh, |a, b| a.into_iter().zip(b).map(|(a, b)| a.absorb(b)).collect());
    let pairs: Vec<_> = queries.iter().zip(candidates).collect();
    pairs.into_par_iter().map(|(query, candidates)| score(archive, query, candidates, &new)).collect()
}

/// Collects candidates of one piece for all queries.
fn scan(
    archive: &Archive,
    queries: &[Query],
    query_codes: &[QueryCode],
    scope: &Scope,
    care: f32,
    (s, start, end): (usize, usize, usize),
    candidates: &mut [Candidates],
) {
    let codes = &archive.segments[s].codes;
    let mask = scope.masks.as_ref().map(|m| &m[s]);
    let margin = care * codes.spread;
    let centres: Vec<[f32; 256]> = queries.iter().map(|q| codes.centre_scores(q.vector())).collect();
    let mut upper = [0f32; RUN];
    for start in (start..end).step_by(RUN) {
        let rows = RUN.min(end - start);
        if mask.is_some_and(|m| !m.any(start, start + rows)) {
            continue;
        }
        for ((code, centres), candidates) in query_codes.iter().zip(&centres).zip(candidates.iter_mut()) {
            let upper = &mut upper[..rows];
            codes.bound(code, centres, margin, start, upper);
            for (i, part) in upper.chunks(64).enumerate() {
                // Most groups hold no candidate: one comparison for all of them.
                if part.iter().fold(f32::NEG_INFINITY, |m, &u| m.max(u)) < candidates.bar {
                    continue;
                }
                for (j, &bound) in part.iter().enumerate() {
                    let row = start + 64 * i + j;
                    if bound >= candidates.bar && mask.is_none_or(|m| m.get(row)) {
                        candidates.list.push((bound, RowRef { segment: s as u32, row: row as u32 }));
                        candidates.lower(bound - 2.0 * margin * codes.factor(row));
                    }
                }
            }
        }
    }
}

/// Exact scores of the candidates that can still be among the best.
fn score(archive: &Archive, query: &Query, candidates: Candidates, new: &impl Fn() -> Best) -> Best {
    let vector = query.vector();
    let exact = |at: RowRef| archive.segments[at.segment as usize].vectors.dot(at.row as usize, vector);
    let mut best = new();
    let mut list = candidates.list;
    list.retain(|c| c.0 >= candidates.bar);
    // The most promising first: they set the bar for the rest.
    let first = candidates.k.saturating_mul(4).max(64).min(list.len());
    if first < list.len() {
        let mut order: Vec<u32> = (0..list.len() as u32).collect();
        order.select_nth_unstable_by(first, |&a, &b| list[b as usize].0.total_cmp(&list[a as usize].0));
        for &i in &order[..first] {
            let (bound, at) = &mut list[i as usize];
            best.offer(exact(*at), *at);
            // Done with: reaches no bar.
            *bound = f32::NAN;
        }
    }
    let bar = best.bar() - 1e-5;
    list.retain(|c| c.0 >= bar);
    // The rest in order of storage, so that memory is read forwards.
    list.sort_unstable_by_key(|c| c.1);
    for i in 0..list.len() {
        if let Some(&(bound, at)) = list.get(i + AHEAD)
            && bound >= best.bar() - 1e-5
        {
            archive.segments[at.segment as usize].vectors.prefetch(at.row as usize);
        }
        let (bound, at) = list[i];
        if bound >= best.bar() - 1e-5 {
            best.offer(exact(at), at);
        }
    }
    best
}
