//! Matrix products on slices, by any strides: nothing is copied or transposed before.

use std::marker::PhantomData;

/// A row-major or transposed view of a matrix.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `data` as [rows, cols], row-major.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::spaced(data, rows, cols, cols)
    }

    /// [rows, cols] whose rows begin `row_stride` apart: columns of a wider matrix.
    pub fn spaced(data: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(rows == 0 || data.len() >= (rows - 1) * row_stride + cols, "matrix data is too short");
        Self { data, rows, cols, row_stride, col_stride: 1 }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The transposed matrix, without a copy.
    pub fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }
}

/// Where a product is written: [rows, cols] whose rows begin `row_stride` apart.
pub struct Target<'a> {
    start: *mut f32,
    rows: usize,
    cols: usize,
    row_stride: usize,
    life: PhantomData<&'a mut f32>,
}

impl<'a> Target<'a> {
    /// `data` as [rows, cols], row-major.
    pub fn new(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        assert!(data.len() >= rows * cols, "product does not fit its output");
        Self { start: data.as_mut_ptr(), rows, cols, row_stride: cols, life: PhantomData }
    }
}

/// A matrix whose parts are written by several threads.
pub struct Shared<'a> {
    start: *mut f32,
    len: usize,
    life: PhantomData<&'a mut [f32]>,
}

// SAFETY: it gives no access to its values but through `part`, whose callers promise that parts do not overlap.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    /// All of `data`.
    pub fn new(data: &'a mut [f32]) -> Self {
        Self { start: data.as_mut_ptr(), len: data.len(), life: PhantomData }
    }

    /// [rows, cols] from value `first` on, rows `row_stride` apart.
    ///
    /// # Safety
    /// Parts in use at the same time must not have a value in common.
    pub unsafe fn part(&self, first: usize, rows: usize, cols: usize, row_stride: usize) -> Target<'a> {
        assert!(rows == 0 || self.len >= first + (rows - 1) * row_stride + cols, "a part reaches beyond its matrix");
        Target { start: self.start.wrapping_add(first), rows, cols, row_stride, life: PhantomData }
    }
}

/// Who computes a product.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// The calling thread.
    One,
    /// All of the pool.
    All,
}

/// out = factor·a·b, or out += factor·a·b when `add`.
pub fn multiply(a: Matrix, b: Matrix, out: Target, factor: f32, add: bool, threads: Threads) {
    assert_eq!(a.cols, b.rows, "inner sizes of a matrix product");
    assert_eq!((a.rows, b.cols), (out.rows, out.cols), "sizes of a matrix product");
    let parallelism = match threads {
        Threads::One => gemm::Parallelism::None,
        Threads::All => gemm::Parallelism::Rayon(0),
    };
    // SAFETY: the views hold all elements their strides reach (checked on construction), and so does `out`.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            out.start,
            1,
            out.row_stride as isize,
            add,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0f32,
            factor,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// out = a·b, or out += a·b when `accumulate`, on the calling thread; `out` is row-major [a.rows, b.cols].
pub fn product(a: Matrix, b: Matrix, out: &mut [f32], accumulate: bool) {
    let out = Target::new(out, a.rows, b.cols);
    multiply(a, b, out, 1.0, accumulate, Threads::One);
}
