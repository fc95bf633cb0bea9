//! The `.code` file: two bits a value, for the coarse pass of a search.
//!
//! A record's vector is taken relative to the nearest of a few centres of its segment, rotated at random, and every value
//! is rounded to one of four levels, with one factor that makes the estimate of a dot product unbiased (RaBitQ: Gao & Long,
//! "RaBitQ: Quantizing High-Dimensional Vectors with a Theoretical Error Bound for Approximate Nearest Neighbor Search",
//! SIGMOD 2024, and its extension to more bits). The query stays finer, [`scan::PLANES`] bits a value. The estimate comes
//! with its error, so that the exact second pass knows which records it may leave out. Of random vectors (the hardest)
//! one bit would leave thirty times as many for the second pass; three bits would take longer to scan than they save.

mod centres;
mod rotation;
pub mod scan;

use std::ops::Range;

pub use rotation::Rotation;
pub use scan::QueryCode;

use crate::format::container::{self, Bytes, HEADER, Kind, Layout, append};
use crate::{Error, Result, simd};

/// Records whose bits lie interleaved, one word of each after another.
pub const BLOCK: usize = 8;
/// Bits a value: level 0–3 stands for −3, −1, 1, 3.
pub const BITS: usize = 2;
/// Where the outer levels begin, in standard deviations: best for normal values (Max, "Quantizing for minimum distortion",
/// 1960), which rotated values are.
const THRESHOLD: f32 = 0.996;

/// The file's bytes for `vectors` [N, D].
pub fn pack(vectors: &[f32], dim: usize, rotation: &Rotation) -> Vec<u8> {
    let rows = vectors.len() / dim;
    let (centres, nearest) = centres::find(vectors, dim);
    let words = rotation.padded() / 64;
    let mut bits = vec![0u64; rows.div_ceil(BLOCK) * BLOCK * BITS * words];
    let mut factors = vec![0f32; rows];
    let mut spread = 0f32;
    let mut rotated = vec![0f32; rotation.padded()];
    let mut levels = vec![0u8; rotation.padded()];
    for (row, vector) in vectors.chunks_exact(dim).enumerate() {
        let centre = &centres[nearest[row] as usize * dim..][..dim];
        for (r, (v, c)) in rotated.iter_mut().zip(vector.iter().zip(centre)) {
            *r = v - c;
        }
        rotated[dim..].fill(0.0);
        let square = simd::dot(&rotated, &rotated);
        rotation.apply(&mut rotated);
        let outer = THRESHOLD * (square / rotation.padded() as f32).sqrt();
        let (mut product, mut length) = (0f32, 0f32);
        for (level, v) in levels.iter_mut().zip(&rotated) {
            let size = if v.abs() > outer { 3.0 } else { 1.0 };
            product += size * v.abs();
            length += size * size;
            *level = ((size.copysign(*v) + 3.0) / 2.0) as u8;
        }
        if product <= 0.0 {
            // The record is its centre.
            continue;
        }
        // ⟨rest, q⟩ ≈ factor · ⟨levels, q⟩ with factor = ‖rest‖² / ⟨rest, levels⟩. The angle between rest and levels tells
        // the error: its standard deviation is factor · ‖levels‖ · sine / √(D − 1).
        factors[row] = square / product;
        let sine = (1.0 - product * product / (square * length)).max(0.0).sqrt();
        spread = spread.max(length.sqrt() * sine);
        let block = &mut bits[row / BLOCK * BLOCK * BITS * words..][..BLOCK * BITS * words];
        for (i, level) in levels.iter().enumerate() {
            for bit in 0..BITS {
                let word = (i / 64 * BITS + bit) * BLOCK + row % BLOCK;
                block[word] |= u64::from(level >> bit & 1) << (i % 64);
            }
        }
    }
    let padded = rotation.padded() as f32;
    let mut payload = Vec::new();
    append(&mut payload, &[spread / (padded - 1.0).sqrt()]);
    append(&mut payload, &centres);
    append(&mut payload, &factors);
    append(&mut payload, &nearest);
    append(&mut payload, &bits);
    container::pack(Kind::Codes, rows, dim, (centres.len() / dim) as u32, &payload)
}

/// A `.code` file, mapped.
#[derive(Debug)]
pub struct Codes {
    bytes: Bytes,
    /// Number of records.
    pub rows: usize,
    /// Width of the vectors.
    pub dim: usize,
    /// Error of an estimate in units of its factor, one standard deviation.
    pub spread: f32,
    /// 64-bit words of one bit of all values of a record.
    pub words: usize,
    at: [Range<usize>; 5],
}

impl Codes {
    /// Checks header and layout and takes the bytes.
    ///
    /// # Errors
    /// [`Error::Format`].
    pub fn new(bytes: Bytes) -> Result<Self> {
        let refuse = |problem: String| Error::format("code file", problem);
        let header = container::parse(Kind::Codes, &bytes)?;
        let centres = header.detail as usize;
        if header.dim == 0 || centres == 0 || centres > 256 {
            return Err(refuse(format!("{} wide, {centres} centres", header.dim)));
        }
        let words = header.dim.div_ceil(64);
        let blocks = header.rows.div_ceil(BLOCK) * BLOCK;
        let mut layout = Layout::default();
        let mut at = <[Range<usize>; 5]>::default();
        let sizes = [(1, 4), (centres, 4 * header.dim), (header.rows, 4), (header.rows, 1), (blocks, 8 * BITS * words)];
        for (range, (count, size)) in at.iter_mut().zip(sizes) {
            *range = layout.next(count, size).ok_or_else(|| refuse("sizes overflow".into()))?;
        }
        if layout.end != bytes.len() - HEADER {
            return Err(refuse(format!(
                "{} records need {} bytes, found {}",
                header.rows,
                layout.end,
                bytes.len() - HEADER
            )));
        }
        let mut codes = Self { rows: header.rows, dim: header.dim, spread: 0.0, words, at, bytes };
        codes.spread = codes.array::<f32>(0)[0];
        Ok(codes)
    }

    fn array<T: bytemuck::AnyBitPattern>(&self, i: usize) -> &[T] {
        bytemuck::cast_slice(&self.bytes[HEADER..][self.at[i].clone()])
    }

    /// Dot product of the query with every centre; 256 values, so that any byte is an index.
    pub fn centre_scores(&self, query: &[f32]) -> [f32; 256] {
        let mut scores = [0.0; 256];
        for (score, centre) in scores.iter_mut().zip(self.array::<f32>(1).chunks_exact(self.dim)) {
            *score = simd::dot(centre, query);
        }
        scores
    }

    /// Upper bounds of the scores of rows `start..start + upper.len()`; `start` is a multiple of [`BLOCK`]. Each is the
    /// estimate plus `margin` times its factor; see [`Codes::factor`].
    pub fn bound(&self, query: &QueryCode, centre_scores: &[f32; 256], margin: f32, start: usize, upper: &mut [f32]) {
        let end = start + upper.len();
        let block = BITS * self.words;
        let first = start / BLOCK * BLOCK * block;
        scan::run(
            &self.array::<u64>(4)[first..end.div_ceil(BLOCK) * BLOCK * block],
            &self.array::<f32>(2)[start..end],
            &self.array::<u8>(3)[start..end],
            query,
            centre_scores,
            margin,
            upper,
        );
    }

    /// The factor of a row: its error grows with it.
    pub fn factor(&self, row: usize) -> f32 {
        self.array::<f32>(2)[row]
    }

    /// The map, for hints.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn unit(rng: &mut ChaCha8Rng, dim: usize) -> Vec<f32> {
        let mut v: Vec<f32> = (0..dim).map(|_| rng.sample::<f32, _>(rand_distr::StandardNormal)).collect();
        let norm = simd::dot(&v, &v).sqrt();
        v.iter_mut().for_each(|v| *v /= norm);
        v
    }

    #[test]
    fn estimates_are_unbiased_and_within_their_bound() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for dim in [8, 64, 100, 384, 512, 768] {
            let rotation = Rotation::new(dim);
            let rows = 1003;
            let vectors: Vec<f32> = (0..rows).flat_map(|_| unit(&mut rng, dim)).collect();
            let codes = Codes::new(Bytes::hold(&pack(&vectors, dim, &rotation))).unwrap();
            let (mut bias, mut outside, mut n) = (0.0f64, 0, 0);
            for _ in 0..20 {
                let query = unit(&mut rng, dim);
                let code = QueryCode::new(&query, &rotation);
                let mut estimate = vec![0.0; rows];
                codes.bound(&code, &codes.centre_scores(&query), 0.0, 0, &mut estimate);
                for (row, vector) in vectors.chunks_exact(dim).enumerate() {
                    let error = estimate[row] - simd::dot(vector, &query);
                    bias += f64::from(error);
                    outside += usize::from(error.abs() > 2.5 * codes.spread * codes.factor(row));
                    n += 1;
                }
            }
            assert!((bias / n as f64).abs() < 2e-3, "dim {dim}: bias {}", bias / n as f64);
            // 2.5 standard deviations: 1.2 % of a normal error lie outside, and the spread is that of the worst record.
            assert!((outside as f64) < 0.02 * n as f64, "dim {dim}: {outside} of {n}");
        }
    }

    #[test]
    fn a_part_of_the_rows_has_the_scores_of_the_whole() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let (dim, rows) = (96, 61);
        let rotation = Rotation::new(dim);
        let vectors: Vec<f32> = (0..rows).flat_map(|_| unit(&mut rng, dim)).collect();
        let codes = Codes::new(Bytes::hold(&pack(&vectors, dim, &rotation))).unwrap();
        let query = unit(&mut rng, dim);
        let (code, centres) = (QueryCode::new(&query, &rotation), codes.centre_scores(&query));
        let (mut all, mut part) = (vec![0.0; rows], vec![0.0; rows - 16]);
        codes.bound(&code, &centres, 1.0, 0, &mut all);
        codes.bound(&code, &centres, 1.0, 16, &mut part);
        assert_eq!(all[16..], part);
    }
}
