//! Exact search: the cosine of every record.

use rayon::prelude::*;

use super::{Best, Scope, pieces};
use crate::archive::{Archive, RowRef};
use crate::query::Query;
use crate::simd;

/// Rows of a piece of parallel work, and of a matrix product within it (which then stays in the cache).
const PIECE: usize = 16_384;
const TILE: usize = 128;

pub(super) fn search(archive: &Archive, queries: &[Query], scope: &Scope, new: impl Fn() -> Best + Sync) -> Vec<Best> {
    let fresh = || -> Vec<Best> { queries.iter().map(|_| new()).collect() };
    // All queries as one matrix [Q, D], for products of many rows with many queries.
    let matrix: Vec<f32> = queries.iter().flat_map(|q| q.vector()).copied().collect();
    pieces(archive, PIECE)
        .into_par_iter()
        .fold(fresh, |mut bests, (s, start, end)| {
            piece(archive, queries, &matrix, scope, (s, start, end), &mut bests);
            bests
        })
        .reduce(fresh, |mut a, b| {
            a.iter_mut().zip(b).for_each(|(a, b)| a.absorb(b));
            a
        })
}

fn piece(
    archive: &Archive,
    queries: &[Query],
    matrix: &[f32],
    scope: &Scope,
    (s, start, end): (usize, usize, usize),
    bests: &mut [Best],
) {
    let vectors = &archive.segments[s].vectors;
    let mask = scope.masks.as_ref().map(|m| &m[s]);
    let at = |row: usize| RowRef { segment: s as u32, row: row as u32 };
    let (mut buffer, mut scores) = (Vec::new(), Vec::new());
    for start in (start..end).step_by(TILE) {
        let end = (start + TILE).min(end);
        let wanted = |row: usize| mask.is_none_or(|m| m.get(row));
        if mask.is_some_and(|m| !m.any(start, end)) {
            continue;
        }
        let dense = mask.is_none() || (start..end).filter(|&r| wanted(r)).count() * 4 > end - start;
        if queries.len() >= 4 && dense {
            simd::products(vectors.rows(start, end, &mut buffer), matrix, vectors.dim, &mut scores);
            for (row, scores) in (start..end).zip(scores.chunks_exact(queries.len())).filter(|(r, _)| wanted(*r)) {
                bests.iter_mut().zip(scores).for_each(|(best, &score)| best.offer(score, at(row)));
            }
        } else {
            for row in (start..end).filter(|&r| wanted(r)) {
                for (best, query) in bests.iter_mut().zip(queries) {
                    best.offer(vectors.dot(row, query.vector()), at(row));
                }
            }
        }
    }
}
