//! A weight matrix in the form its file has.

use super::{groups, quantise};

/// How numbers are stored: plain, or in GGUF's blocks of 32 with a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// 32-bit floats.
    F32,
    /// IEEE half precision.
    F16,
    /// Brain floats.
    Bf16,
    /// 4 bits and a scale.
    Q4_0,
    /// 4 bits, a scale and a minimum.
    Q4_1,
    /// 5 bits and a scale.
    Q5_0,
    /// 5 bits, a scale and a minimum.
    Q5_1,
    /// 8 bits and a scale.
    Q8_0,
}

impl Format {
    /// Numbers of a block.
    pub fn block(self) -> usize {
        match self {
            Format::F32 | Format::F16 | Format::Bf16 => 1,
            _ => quantise::BLOCK,
        }
    }

    /// Bytes of a block.
    pub fn bytes(self) -> usize {
        match self {
            Format::F32 => 4,
            Format::F16 | Format::Bf16 => 2,
            Format::Q4_0 => 18,
            Format::Q4_1 => 20,
            Format::Q5_0 => 22,
            Format::Q5_1 => 24,
            Format::Q8_0 => 34,
        }
    }

    /// Its name, as GGUF tools write it.
    pub fn name(self) -> &'static str {
        match self {
            Format::F32 => "F32",
            Format::F16 => "F16",
            Format::Bf16 => "BF16",
            Format::Q4_0 => "Q4_0",
            Format::Q4_1 => "Q4_1",
            Format::Q5_0 => "Q5_0",
            Format::Q5_1 => "Q5_1",
            Format::Q8_0 => "Q8_0",
        }
    }
}

/// The weights [rows, columns] of a linear layer of `columns` inputs and `rows` outputs.
#[derive(Debug, Clone)]
pub struct WeightMatrix {
    format: Format,
    rows: usize,
    columns: usize,
    data: Data,
}

#[derive(Debug, Clone)]
pub(super) enum Data {
    Floats(Vec<f32>),
    /// Rows of 16-bit numbers.
    Bytes(Vec<u8>),
    /// Rows of blocks.
    Groups(Vec<u8>),
}

impl WeightMatrix {
    /// A matrix of f32 values, row-major.
    ///
    /// # Panics
    /// When their number is not rows × columns.
    pub fn floats(values: Vec<f32>, rows: usize, columns: usize) -> Self {
        assert_eq!(values.len(), rows * columns, "numbers of a matrix");
        Self { format: Format::F32, rows, columns, data: Data::Floats(values) }
    }

    /// A matrix of the little-endian bytes of a file, row-major.
    ///
    /// # Errors
    /// Rows that are not whole blocks, another number of bytes.
    pub fn from_bytes(format: Format, rows: usize, columns: usize, bytes: Vec<u8>) -> Result<Self, String> {
        if !columns.is_multiple_of(format.block()) {
            return Err(format!(
                "rows of {columns} numbers are no whole {} blocks of {}",
                format.name(),
                format.block()
            ));
        }
        let expected = (columns / format.block()).checked_mul(format.bytes()).and_then(|row| row.checked_mul(rows));
        if expected != Some(bytes.len()) {
            return Err(format!("{} bytes for {rows} × {columns} numbers of {}", bytes.len(), format.name()));
        }
        let data = match format {
            Format::F32 => {
                let value = |b: &[u8]| f32::from_le_bytes(b.try_into().expect("four bytes"));
                Data::Floats(bytes.chunks_exact(4).map(value).collect())
            }
            Format::F16 | Format::Bf16 => Data::Bytes(bytes),
            _ => Data::Groups(groups::group(format, &bytes, columns)),
        };
        Ok(Self { format, rows, columns, data })
    }

    /// How the numbers are stored.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Number of outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of inputs.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Bytes in memory.
    pub fn size(&self) -> usize {
        match &self.data {
            Data::Floats(values) => 4 * values.len(),
            Data::Bytes(bytes) | Data::Groups(bytes) => bytes.len(),
        }
    }

    pub(super) fn data(&self) -> &Data {
        &self.data
    }

    pub(super) fn row_bytes(&self) -> usize {
        self.columns / self.format.block() * self.format.bytes()
    }

    /// The given rows, one after the other as a file has them.
    fn stored_rows(&self, rows: impl ExactSizeIterator<Item = usize>) -> Vec<u8> {
        let size = self.row_bytes();
        let mut bytes = vec![0; rows.len() * size];
        for (row, to) in rows.zip(bytes.chunks_exact_mut(size.max(1))) {
            match &self.data {
                Data::Floats(_) => unreachable!("floats are not stored as bytes"),
                Data::Bytes(rows) => to.copy_from_slice(&rows[row * size..(row + 1) * size]),
                Data::Groups(groups) => groups::ungroup(self.format, groups, row, to),
            }
        }
        bytes
    }

    /// Rows `first..first + count` as f32 into `out`, row-major.
    ///
    /// # Panics
    /// For rows that do not exist, or an `out` of another length.
    pub fn rows_into(&self, first: usize, count: usize, out: &mut [f32]) {
        assert_eq!(out.len(), count * self.columns, "room for rows");
        if let Data::Floats(values) = &self.data {
            return out.copy_from_slice(&values[first * self.columns..(first + count) * self.columns]);
        }
        quantise::restore(self.format, &self.stored_rows(first..first + count), out);
    }

    /// All numbers as f32, row-major.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.rows * self.columns];
        self.rows_into(0, self.rows, &mut values);
        values
    }

    /// The same numbers in another form, rounded as GGUF's reference quantiser does.
    ///
    /// # Errors
    /// Rows that are not whole blocks.
    pub fn to_format(&self, format: Format) -> Result<Self, String> {
        if format == Format::F32 {
            return Ok(Self::floats(self.to_f32(), self.rows, self.columns));
        }
        if !self.columns.is_multiple_of(format.block()) {
            return Err(format!(
                "rows of {} numbers are no whole {} blocks of {}",
                self.columns,
                format.name(),
                format.block()
            ));
        }
        let bytes = quantise::pack(format, &self.to_f32());
        Self::from_bytes(format, self.rows, self.columns, bytes)
    }

    /// The matrix with its rows in another order: row r is the row `from(r)` was.
    pub fn permuted(self, from: impl Fn(usize) -> usize) -> Self {
        let (rows, columns) = (self.rows, self.columns);
        if let Data::Floats(v) = &self.data {
            let values = (0..rows).flat_map(|r| &v[from(r) * columns..(from(r) + 1) * columns]).copied().collect();
            return Self::floats(values, rows, columns);
        }
        let bytes = self.stored_rows((0..rows).map(from));
        Self::from_bytes(self.format, rows, columns, bytes).expect("as many rows as before")
    }

    /// W + `scale`·B·A, in f32; `b` is [rows, rank], `a` [rank, columns].
    pub fn with_low_rank(&self, a: &[f32], b: &[f32], scale: f32) -> Self {
        let rank = a.len() / self.columns;
        let mut values = self.to_f32();
        let (b, a) = (
            crate::ops::matrix::Matrix::new(b, self.rows, rank),
            crate::ops::matrix::Matrix::new(a, rank, self.columns),
        );
        let out = crate::ops::matrix::Target::new(&mut values, self.rows, self.columns);
        crate::ops::matrix::multiply(b, a, out, scale, true, crate::ops::matrix::Threads::All);
        Self::floats(values, self.rows, self.columns)
    }
}
