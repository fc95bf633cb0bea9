//! Causal grouped-query attention of new tokens to a cache of keys and values.

use rayon::prelude::*;

use super::DecoderConfig;
use crate::ops::math::{dot, softmax};
use crate::ops::matrix::{Matrix, Shared, Target, Threads, multiply};
use crate::ops::scratch::Buffer;
use crate::ops::simd::kernel;

/// Queries handled together.
const QUERIES: usize = 64;
/// Numbers read from keys and values from which one token's heads are shared out among threads.
const SHARED_FROM: usize = 1 << 17;

/// Where one key head's cache lies: keys and values [capacity, head] of each head, one after the other.
#[derive(Clone, Copy)]
pub struct Kept<'a> {
    pub keys: &'a [f32],
    pub values: &'a [f32],
    /// Tokens there is room for.
    pub capacity: usize,
    /// Tokens before the new ones.
    pub past: usize,
}

/// out [n, heads·head] = attention of `n` new queries; query i sees the tokens up to `past + i`.
pub fn attend(config: &DecoderConfig, q: &[f32], n: usize, kept: Kept<'_>, out: &mut [f32]) {
    let (head, group) = (config.head, config.heads / config.kv_heads);
    let scale = 1.0 / (head as f32).sqrt();
    if n == 1 {
        let seen = kept.past + 1;
        let one = |(h, out): (usize, &mut [f32])| {
            let first = h / group * kept.capacity * head;
            let mut scores = Buffer::take(seen);
            let (keys, values) = (&kept.keys[first..first + seen * head], &kept.values[first..first + seen * head]);
            one_query(&q[h * head..(h + 1) * head], keys, values, scale, &mut scores, out);
        };
        let heads = out.chunks_mut(head).enumerate();
        return match seen * head * config.heads >= SHARED_FROM {
            true => heads.par_bridge().for_each(one),
            false => heads.for_each(one),
        };
    }
    let width = config.queries();
    let shared = Shared::new(out);
    let tasks: Vec<(usize, usize)> =
        (0..config.heads).flat_map(|h| (0..n).step_by(QUERIES).map(move |from| (h, from))).collect();
    tasks.into_par_iter().for_each(|(h, from)| {
        let count = QUERIES.min(n - from);
        let seen = kept.past + from + count;
        let first = h / group * kept.capacity * head;
        let mut scores = Buffer::take(count * seen);
        let queries = Matrix::spaced(&q[from * width + h * head..], count, head, width);
        let keys = Matrix::new(&kept.keys[first..first + seen * head], seen, head);
        multiply(queries, keys.t(), Target::new(&mut scores, count, seen), scale, false, Threads::One);
        causal_rows(&mut scores, count, kept.past + from + 1);
        let values = Matrix::new(&kept.values[first..first + seen * head], seen, head);
        // SAFETY: tasks are different heads (columns) or different queries (rows).
        let target = unsafe { shared.part(from * width + h * head, count, head, width) };
        multiply(Matrix::new(&scores, count, seen), values, target, 1.0, false, Threads::One);
    });
}

kernel! {
    fn one_query<'a>(
        simd: S,
        q: &'a [f32],
        keys: &'a [f32],
        values: &'a [f32],
        scale: f32,
        scores: &'a mut [f32],
        out: &'a mut [f32],
    ) {
        let _ = simd;
        let head = q.len();
        for (score, key) in scores.iter_mut().zip(keys.chunks_exact(head)) {
            *score = dot(q, key) * scale;
        }
        softmax(scores);
        out.fill(0.0);
        for (weight, value) in scores.iter().zip(values.chunks_exact(head)) {
            out.iter_mut().zip(value).for_each(|(o, v)| *o += weight * v);
        }
    }
}

kernel! {
    /// Softmax of row i over its first `seen + i` scores, zero behind them.
    fn causal_rows<'a>(simd: S, scores: &'a mut [f32], rows: usize, seen: usize) {
        let _ = simd;
        let n = scores.len() / rows;
        for (i, row) in scores.chunks_exact_mut(n).enumerate() {
            let (before, after) = row.split_at_mut(seen + i);
            softmax(before);
            after.fill(0.0);
        }
    }
}
