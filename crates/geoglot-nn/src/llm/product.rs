//! Products with weight matrices: one vector (decoding) or many (a prompt).

use rayon::prelude::*;

use super::WeightMatrix;
use super::groups::{self, group_rows};
use super::matrix::Data;
use super::quantise::BLOCK;
use super::rows::{float_rows, half_width_rows};
use crate::ops::matrix::{Matrix, Shared, Target, Threads, multiply};
use crate::ops::scratch::Buffer;

/// Bytes of weights a task of decoding reads, about: small enough to share out evenly, large enough to be worth a task.
const TASK: usize = 1 << 17;
/// Rows of weights made f32 together for a prompt.
const TILE: usize = 64;

/// The outputs of several matrices for one input.
struct Task<'a> {
    matrix: &'a WeightMatrix,
    first: usize,
    out: &'a mut [f32],
}

/// outᵢ = Wᵢ·x for several matrices of one input x, shared out among the threads together.
pub fn vector(x: &[f32], products: Vec<(&WeightMatrix, &mut [f32])>) {
    let sums: Vec<f32> = x.chunks(BLOCK).map(|block| block.iter().sum()).collect();
    let mut tasks = Vec::new();
    for (matrix, out) in products {
        assert_eq!((matrix.columns(), matrix.rows()), (x.len(), out.len()), "sizes of a product");
        let rows = (TASK / matrix.row_bytes().max(1)).next_multiple_of(groups::ROWS).max(groups::ROWS);
        let parts = out.chunks_mut(rows).enumerate();
        tasks.extend(parts.map(|(i, out)| Task { matrix, first: i * rows, out }));
    }
    tasks.into_par_iter().for_each(|Task { matrix, first, out }| match matrix.data() {
        Data::Floats(values) => {
            let n = matrix.columns();
            float_rows(&values[first * n..(first + out.len()) * n], x, out);
        }
        Data::Bytes(bytes) => {
            let n = matrix.row_bytes();
            half_width_rows(matrix.format(), &bytes[first * n..(first + out.len()) * n], x, out);
        }
        Data::Groups(groups) => group_rows(matrix.format(), &groups[first * matrix.row_bytes()..], x, &sums, out),
    });
}

/// out [m, rows] = x [m, columns]·Wᵀ, added to `out` when `add`.
pub fn rows(x: &[f32], m: usize, matrix: &WeightMatrix, out: &mut [f32], add: bool) {
    let (n, k) = (matrix.rows(), matrix.columns());
    assert_eq!((x.len(), out.len()), (m * k, m * n), "sizes of a product");
    if let Data::Floats(values) = matrix.data() {
        let target = Target::new(out, m, n);
        return multiply(Matrix::new(x, m, k), Matrix::new(values, n, k).t(), target, 1.0, add, Threads::All);
    }
    let shared = Shared::new(out);
    (0..n.div_ceil(TILE)).into_par_iter().for_each(|tile| {
        let first = tile * TILE;
        let count = TILE.min(n - first);
        let mut weights = Buffer::take(count * k);
        matrix.rows_into(first, count, &mut weights);
        // SAFETY: tiles are different columns.
        let target = unsafe { shared.part(first, m, count, n) };
        multiply(Matrix::new(x, m, k), Matrix::new(&weights, count, k).t(), target, 1.0, add, Threads::One);
    });
}

/// y += `scale`·B·(A·x) for m rows of x; `a` is [rank, columns], `b` [rows, rank].
pub fn low_rank(x: &[f32], m: usize, a: &[f32], b: &[f32], rank: usize, scale: f32, out: &mut [f32]) {
    let (k, n) = (a.len() / rank, b.len() / rank);
    let mut narrow = vec![0.0; m * rank];
    let target = Target::new(&mut narrow, m, rank);
    multiply(Matrix::new(x, m, k), Matrix::new(a, rank, k).t(), target, 1.0, false, Threads::One);
    let target = Target::new(out, m, n);
    multiply(Matrix::new(&narrow, m, rank), Matrix::new(b, n, rank).t(), target, scale, true, Threads::One);
}
