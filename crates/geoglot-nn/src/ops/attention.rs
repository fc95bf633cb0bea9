//! Multi-head attention without a matrix of all scores (Dao et al. 2022; Rabe & Staats 2021).
//!
//! A task is one head of one image. It takes a group of queries at a time: their scores stay in the cache, and of each query's
//! softmax only the largest score and the sum are kept; the backward pass computes the scores again. Largest score and sum are kept
//! apart: their sum in the logarithm would lose digits when scores are large.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::{BalancedCheckpointing, CheckpointStrategy, NoCheckpointing};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::{Autodiff, DispatchKindConversion, DispatchTensor, Flex};
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::graph::{contiguous, tensor_of, tracked, values};
use super::math::{dot, exp, softmax};
use super::matrix::{Matrix, Shared, Threads, multiply};
use super::scratch::Buffer;
use super::simd::kernel;

/// Queries handled together.
const QUERIES: usize = 128;

/// softmax(q·kᵀ/√(D/heads))·v for every head, as one operation of the autodiff graph on the CPU.
///
/// - `q`: [B, M, D]; `k` and `v`: [B, N, D], N ≥ 1; a head is D/heads neighbouring columns;
/// - returns [B, M, D].
///
/// `None` as [`linear`](super::linear()) gives it.
///
/// # Panics
/// If the shapes do not fit each other, or D is no multiple of `heads`.
pub fn attention(q: &Tensor<3>, k: &Tensor<3>, v: &Tensor<3>, heads: usize) -> Option<Tensor<3>> {
    mix(q, k, v, heads, false)
}

/// As [`attention`] for as many queries as keys, in which query i sees keys 0 to i only.
///
/// # Panics
/// As [`attention`]; if there are other numbers of queries than keys.
pub fn causal_attention(q: &Tensor<3>, k: &Tensor<3>, v: &Tensor<3>, heads: usize) -> Option<Tensor<3>> {
    assert_eq!(q.dims(), k.dims(), "queries and keys of different shapes");
    mix(q, k, v, heads, true)
}

fn mix(q: &Tensor<3>, k: &Tensor<3>, v: &Tensor<3>, heads: usize, causal: bool) -> Option<Tensor<3>> {
    if ![q, k, v].iter().any(|t| t.device().is_autodiff()) {
        return None;
    }
    let ([batch, queries, width], [_, keys, _]) = (q.dims(), k.dims());
    assert!(heads > 0 && width.is_multiple_of(heads), "width {width} in {heads} heads");
    assert!(keys > 0, "attention to no token");
    assert_eq!(k.dims(), [batch, keys, width], "keys of another batch or width than the queries");
    assert_eq!(v.dims(), k.dims(), "values and keys of different shapes");
    let shape = Shape { batch, queries, keys, width, heads, causal };
    train::<NoCheckpointing>(shape, q, k, v).or_else(|| train::<BalancedCheckpointing>(shape, q, k, v))
}

fn train<C: CheckpointStrategy>(shape: Shape, q: &Tensor<3>, k: &Tensor<3>, v: &Tensor<3>) -> Option<Tensor<3>>
where
    DispatchTensor: DispatchKindConversion<Autodiff<Flex, C>>,
{
    let (q, q_node) = tracked::<C, 3>(q)?.into_parts();
    let (k, k_node) = tracked::<C, 3>(k)?.into_parts();
    let (v, v_node) = tracked::<C, 3>(v)?.into_parts();
    let (q, k, v) = (contiguous(q), contiguous(k), contiguous(v));
    let (out, sums) = shape.forward(values(&q), values(&k), values(&v));
    let out = tensor_of(out, [shape.batch, shape.queries, shape.width]);
    let out = match AttentionBackward.prepare::<C>([q_node, k_node, v_node]).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let state = State { shape, q, k, v, out: out.clone(), sums: Arc::new(sums) };
            prep.finish(state, out)
        }
        OpsKind::UnTracked(prep) => prep.finish(out),
    };
    Some(Tensor::from_primitive::<Autodiff<Flex, C>>(out))
}

#[derive(Debug)]
struct AttentionBackward;

#[derive(Clone, Debug)]
struct State {
    shape: Shape,
    q: FlexTensor,
    k: FlexTensor,
    v: FlexTensor,
    out: FlexTensor,
    /// The largest score m and 1/Σ eˢ⁻ᵐ over the scores s of every query, [B, heads, M].
    sums: Arc<Vec<[f32; 2]>>,
}

impl Backward<Flex, 3> for AttentionBackward {
    type State = State;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let state = ops.state;
        let grad = contiguous(grads.consume::<Flex>(&ops.node));
        let wanted = ops.parents.each_ref().map(|node| node.is_some());
        let results = state.shape.backward(&state, values(&grad), wanted);
        for ((node, result), like) in ops.parents.into_iter().zip(results).zip([&state.q, &state.k, &state.v]) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, tensor_of(result, like.layout().shape().clone()));
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    batch: usize,
    queries: usize,
    keys: usize,
    width: usize,
    heads: usize,
    /// Whether query i sees keys 0 to i only.
    causal: bool,
}

impl Shape {
    fn head(&self) -> usize {
        self.width / self.heads
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head() as f32).sqrt()
    }

    /// Where the columns of a task's head begin in [B, `rows`, D].
    fn first(&self, task: usize, rows: usize) -> usize {
        task / self.heads * rows * self.width + task % self.heads * self.head()
    }

    /// Rows `from..from + count` of a task's head in `values` [B, `rows`, D].
    fn part<'a>(&self, values: &'a [f32], task: usize, rows: usize, from: usize, count: usize) -> Matrix<'a> {
        Matrix::spaced(&values[self.first(task, rows) + from * self.width..], count, self.head(), self.width)
    }

    /// Groups of queries: first and count.
    fn groups(&self) -> impl Iterator<Item = (usize, usize)> {
        let queries = self.queries;
        (0..queries).step_by(QUERIES).map(move |from| (from, QUERIES.min(queries - from)))
    }

    /// Keys that the queries before `end` see.
    fn seen(&self, end: usize) -> usize {
        if self.causal { end } else { self.keys }
    }

    /// Keys that query `q` sees.
    fn limit(&self, q: usize) -> usize {
        if self.causal { q + 1 } else { self.keys }
    }

    /// Floats of a group's scores.
    fn scores(&self) -> usize {
        QUERIES.min(self.queries) * self.keys
    }

    fn forward(&self, q: &[f32], k: &[f32], v: &[f32]) -> (Vec<f32>, Vec<[f32; 2]>) {
        let Shape { queries, keys, width, .. } = *self;
        let head = self.head();
        let mut out = vec![0.0; q.len()];
        let mut sums = vec![[0.0; 2]; self.batch * self.heads * queries];
        if out.is_empty() {
            return (out, sums);
        }
        let shared = Shared::new(&mut out);
        sums.par_chunks_mut(queries).enumerate().for_each_init(
            || Buffer::take(self.scores()),
            |scores, (task, sums)| {
                for (from, count) in self.groups() {
                    let seen = self.seen(from + count);
                    let keys_of = self.part(k, task, keys, 0, seen);
                    let values_of = self.part(v, task, keys, 0, seen);
                    let scores = &mut scores[..count * seen];
                    let queries_of = self.part(q, task, queries, from, count);
                    scaled_product(queries_of, keys_of.t(), scores, self.scale());
                    softmax_rows(scores, &mut sums[from..from + count], self.limit(from), usize::from(self.causal));
                    // SAFETY: tasks differ in the image or in the columns, groups of a task in the rows.
                    let target = unsafe { shared.part(self.first(task, queries) + from * width, count, head, width) };
                    multiply(Matrix::new(scores, count, seen), values_of, target, 1.0, false, Threads::One);
                }
            },
        );
        (out, sums)
    }

    /// Gradients of q, k and v; empty where not `wanted`.
    fn backward(&self, state: &State, grad: &[f32], wanted: [bool; 3]) -> [Vec<f32>; 3] {
        let Shape { queries, keys, width, .. } = *self;
        let (head, scale) = (self.head(), self.scale());
        let (q, k, v, out) = (values(&state.q), values(&state.k), values(&state.v), values(&state.out));
        let sizes = [q.len(), k.len(), v.len()];
        let mut results: [Vec<f32>; 3] =
            std::array::from_fn(|i| if wanted[i] { vec![0.0; sizes[i]] } else { Vec::new() });
        if grad.is_empty() {
            return results;
        }
        let [dq, dk, dv] = results.each_mut().map(|r| Shared::new(r));
        state.sums.par_chunks(queries).enumerate().for_each_init(
            || (Buffer::take(self.scores()), Buffer::take(self.scores())),
            |(weights, slopes), (task, sums)| {
                for (from, count) in self.groups() {
                    let seen = self.seen(from + count);
                    let keys_of = self.part(k, task, keys, 0, seen);
                    let values_of = self.part(v, task, keys, 0, seen);
                    let (weights, slopes) = (&mut weights[..count * seen], &mut slopes[..count * seen]);
                    let queries_of = self.part(q, task, queries, from, count);
                    let grads_of = self.part(grad, task, queries, from, count);
                    scaled_product(queries_of, keys_of.t(), weights, scale);
                    scaled_product(grads_of, values_of.t(), slopes, 1.0);
                    let first = self.first(task, queries) + from * width;
                    let (limit, step) = (self.limit(from), usize::from(self.causal));
                    let sums = &sums[from..from + count];
                    slope_rows(weights, slopes, sums, &grad[first..], &out[first..], width, head, limit, step);
                    let (weights, slopes) = (Matrix::new(weights, count, seen), Matrix::new(slopes, count, seen));
                    // SAFETY: tasks differ in the image or in the columns; within a task one part is used after the other.
                    unsafe {
                        if wanted[0] {
                            let target = dq.part(first, count, head, width);
                            multiply(slopes, keys_of, target, scale, false, Threads::One);
                        }
                        if wanted[1] {
                            let target = dk.part(self.first(task, keys), seen, head, width);
                            multiply(slopes.t(), queries_of, target, scale, true, Threads::One);
                        }
                        if wanted[2] {
                            let target = dv.part(self.first(task, keys), seen, head, width);
                            multiply(weights.t(), grads_of, target, 1.0, true, Threads::One);
                        }
                    }
                }
            },
        );
        results
    }
}

/// out = factor·a·b, row-major, on this thread.
fn scaled_product(a: Matrix, b: Matrix, out: &mut [f32], factor: f32) {
    let out = super::matrix::Target::new(out, a.rows(), b.cols());
    multiply(a, b, out, factor, false, Threads::One);
}

kernel! {
    /// Softmax of row i over its first `limit + step·i` scores, zero behind them, and what it takes to compute it again.
    fn softmax_rows<'a>(simd: S, scores: &'a mut [f32], sums: &'a mut [[f32; 2]], limit: usize, step: usize) {
        let _ = simd;
        let n = scores.len() / sums.len();
        for (i, (row, sum)) in scores.chunks_exact_mut(n).zip(sums).enumerate() {
            let (seen, unseen) = row.split_at_mut(limit + step * i);
            *sum = softmax(seen);
            unseen.fill(0.0);
        }
    }
}

kernel! {
    /// Scores to softmax weights p, and gradients g of those to gradients of the scores, p·(g − Σ p·g). The sum is that of the
    /// output's gradient times the output; a row of these is the first `head` of `width` values.
    fn slope_rows<'a>(
        simd: S,
        weights: &'a mut [f32],
        slopes: &'a mut [f32],
        sums: &'a [[f32; 2]],
        grad: &'a [f32],
        out: &'a [f32],
        width: usize,
        head: usize,
        limit: usize,
        step: usize,
    ) {
        let _ = simd;
        let n = weights.len() / sums.len();
        let rows = weights.chunks_exact_mut(n).zip(slopes.chunks_exact_mut(n)).zip(sums).enumerate();
        for (r, ((weights, slopes), [top, scale])) in rows {
            let at = r * width..r * width + head;
            let mean = dot(&grad[at.clone()], &out[at]);
            let (weights, unseen) = weights.split_at_mut(limit + step * r);
            let (slopes, beyond) = slopes.split_at_mut(weights.len());
            for (p, g) in weights.iter_mut().zip(slopes) {
                *p = exp(*p - top) * scale;
                *g = *p * (*g - mean);
            }
            unseen.fill(0.0);
            beyond.fill(0.0);
        }
    }
}
