//! The `.vec` file: vectors row by row.

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use serde::{Deserialize, Serialize};

use super::container::{self, Bytes, HEADER, Kind};
use crate::{Error, Result, simd};

/// How vectors are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VectorType {
    /// 32-bit floats: scores as the model gives them.
    #[default]
    F32,
    /// 16-bit floats: half the room, scores to about 1e-3.
    F16,
}

impl VectorType {
    /// Bytes of a value.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }

    /// Name as STAC's `data_type` has it.
    pub fn stac_name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
        }
    }

    fn code(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
        }
    }
}

/// The file's bytes for `vectors` [N, D], row by row.
pub fn pack(vectors: &[f32], dim: usize, kind: VectorType) -> Vec<u8> {
    let rows = vectors.len() / dim.max(1);
    match kind {
        VectorType::F32 => container::pack(Kind::Vectors, rows, dim, kind.code(), bytemuck::cast_slice(vectors)),
        VectorType::F16 => {
            let mut halves = vec![f16::ZERO; vectors.len()];
            halves.convert_from_f32_slice(vectors);
            let bits: &[u16] = halves.reinterpret_cast();
            container::pack(Kind::Vectors, rows, dim, kind.code(), bytemuck::cast_slice(bits))
        }
    }
}

/// A `.vec` file, mapped.
#[derive(Debug)]
pub struct Vectors {
    bytes: Bytes,
    /// Number of vectors.
    pub rows: usize,
    /// Width.
    pub dim: usize,
    /// How they are stored.
    pub kind: VectorType,
}

impl Vectors {
    /// Checks header and length and takes the bytes.
    ///
    /// # Errors
    /// [`Error::Format`].
    pub fn new(bytes: Bytes) -> Result<Self> {
        let header = container::parse(Kind::Vectors, &bytes)?;
        let kind = match header.detail {
            0 => VectorType::F32,
            1 => VectorType::F16,
            other => return Err(Error::format("vector file", format!("type {other} is unknown"))),
        };
        let expected = header.rows.checked_mul(header.dim).and_then(|n| n.checked_mul(kind.size()));
        if expected != Some(bytes.len() - HEADER) || header.dim == 0 {
            let problem = format!("{} × {} values do not fill {} bytes", header.rows, header.dim, bytes.len() - HEADER);
            return Err(Error::format("vector file", problem));
        }
        Ok(Self { bytes, rows: header.rows, dim: header.dim, kind })
    }

    fn f32s(&self) -> &[f32] {
        bytemuck::cast_slice(&self.bytes[HEADER..])
    }

    fn f16s(&self) -> &[f16] {
        bytemuck::cast_slice::<_, u16>(&self.bytes[HEADER..]).reinterpret_cast()
    }

    /// Cosine of row `row` with a query of length 1.
    pub fn dot(&self, row: usize, query: &[f32]) -> f32 {
        let range = row * self.dim..(row + 1) * self.dim;
        match self.kind {
            VectorType::F32 => simd::dot(&self.f32s()[range], query),
            VectorType::F16 => {
                let mut row = vec![0.0; self.dim];
                self.f16s()[range].convert_to_f32_slice(&mut row);
                simd::dot(&row, query)
            }
        }
    }

    /// Rows `start..end` as f32, [end − start, D]; `buffer` is used when they have to be converted.
    pub fn rows<'a>(&'a self, start: usize, end: usize, buffer: &'a mut Vec<f32>) -> &'a [f32] {
        let range = start * self.dim..end * self.dim;
        match self.kind {
            VectorType::F32 => &self.f32s()[range],
            VectorType::F16 => {
                buffer.resize(range.len(), 0.0);
                self.f16s()[range].convert_to_f32_slice(buffer);
                buffer
            }
        }
    }

    /// One row, copied.
    pub fn row(&self, row: usize) -> Vec<f32> {
        let mut buffer = Vec::new();
        self.rows(row, row + 1, &mut buffer).to_vec()
    }

    /// Tells the processor that `row` is wanted soon.
    pub fn prefetch(&self, row: usize) {
        let size = self.dim * self.kind.size();
        simd::prefetch(&self.bytes[HEADER + row * size..HEADER + (row + 1) * size]);
    }

    /// The map, for hints.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn vectors_survive(rows in 0usize..20, dim in 1usize..70, seed in any::<u32>()) {
            let values: Vec<f32> = (0..rows * dim).map(|i| ((i as u32 ^ seed) % 1000) as f32 / 1000.0 - 0.5).collect();
            for kind in [VectorType::F32, VectorType::F16] {
                let file = Vectors::new(Bytes::hold(&pack(&values, dim, kind))).unwrap();
                prop_assert_eq!((file.rows, file.dim, file.kind), (rows, dim, kind));
                let mut buffer = Vec::new();
                let read = file.rows(0, rows, &mut buffer);
                let tolerance = if kind == VectorType::F32 { 1e-9 } else { 1e-3 };
                for (a, b) in read.iter().zip(&values) {
                    prop_assert!((a - b).abs() < tolerance);
                }
                for row in 0..rows {
                    let expected: f32 = file.row(row).iter().map(|v| v * v).sum();
                    prop_assert!((file.dot(row, &file.row(row)) - expected).abs() < 1e-4);
                }
            }
        }
    }
}
