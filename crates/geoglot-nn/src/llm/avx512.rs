//! Rows of blocks of 4 and 8 bits times a vector, on processors with AVX-512: a permutation of 16 numbers makes codes of 4 bits floats.

use std::arch::x86_64::*;

use super::Format;
use super::quantise::{BLOCK, scale_at};

const HALF: usize = BLOCK / 2;

/// As [`super::rows::byte_rows`]; `false`, with nothing done, for other formats and processors.
pub fn byte_rows(format: Format, rows: &[u8], x: &[f32], sums: &[f32], out: &mut [f32]) -> bool {
    if !is_x86_feature_detected!("avx512f") {
        return false;
    }
    // SAFETY: the processor has the instructions.
    unsafe {
        match format {
            Format::Q4_0 => four_bits::<18>(rows, x, sums, -8.0, out),
            Format::Q4_1 => four_bits::<20>(rows, x, sums, 0.0, out),
            Format::Q8_0 => eight_bits(rows, x, out),
            _ => return false,
        }
    }
    true
}

/// A block's scale in all lanes.
#[inline]
#[target_feature(enable = "avx512f")]
fn scale(block: &[u8]) -> __m512 {
    _mm512_cvtph_ps(_mm256_set1_epi16(i16::from_le_bytes([block[0], block[1]])))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn bytes(block: &[u8; HALF]) -> __m128i {
    // SAFETY: sixteen bytes, aligned or not.
    unsafe { _mm_loadu_si128(block.as_ptr().cast()) }
}

/// sum + d·(low·x₀ + high·x₁) for the halves x₀, x₁ of `x`.
#[inline]
#[target_feature(enable = "avx512f")]
fn add_block(sum: __m512, d: __m512, low: __m512, high: __m512, x: &[f32; BLOCK]) -> __m512 {
    // SAFETY: both halves are sixteen floats, aligned or not.
    let [first, second] = unsafe { [_mm512_loadu_ps(x.as_ptr()), _mm512_loadu_ps(x.as_ptr().add(HALF))] };
    _mm512_fmadd_ps(d, _mm512_fmadd_ps(high, second, _mm512_mul_ps(low, first)), sum)
}

/// Blocks of `BYTES` bytes whose code c stands for d·(c + `least`), and where two scales precede the codes, plus the second.
#[target_feature(enable = "avx512f")]
fn four_bits<const BYTES: usize>(rows: &[u8], x: &[f32], sums: &[f32], least: f32, out: &mut [f32]) {
    let numbers: [f32; 16] = std::array::from_fn(|code| code as f32 + least);
    // SAFETY: sixteen floats.
    let numbers = unsafe { _mm512_loadu_ps(numbers.as_ptr()) };
    let (x, _) = x.as_chunks::<BLOCK>();
    for (out, row) in out.iter_mut().zip(rows.chunks_exact(x.len() * BYTES)) {
        let (mut sum, mut more) = (_mm512_setzero_ps(), 0.0);
        for ((block, x), sum_of_x) in row.as_chunks::<BYTES>().0.iter().zip(x).zip(sums) {
            // The permutation reads the lower four bits of each lane.
            let codes = _mm512_cvtepu8_epi32(bytes(block.last_chunk().expect("codes end a block")));
            let low = _mm512_permutexvar_ps(codes, numbers);
            let high = _mm512_permutexvar_ps(_mm512_srli_epi32::<4>(codes), numbers);
            sum = add_block(sum, scale(block), low, high, x);
            if BYTES > 2 + HALF {
                more += scale_at(block, 2) * sum_of_x;
            }
        }
        *out = _mm512_reduce_add_ps(sum) + more;
    }
}

#[target_feature(enable = "avx512f")]
fn eight_bits(rows: &[u8], x: &[f32], out: &mut [f32]) {
    const BYTES: usize = 2 + BLOCK;
    let (x, _) = x.as_chunks::<BLOCK>();
    for (out, row) in out.iter_mut().zip(rows.chunks_exact(x.len() * BYTES)) {
        let mut sum = _mm512_setzero_ps();
        for (block, x) in row.as_chunks::<BYTES>().0.iter().zip(x) {
            let (codes, _) = block[2..].as_chunks::<HALF>();
            let [low, high] = [0, 1].map(|k| _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes(&codes[k]))));
            sum = add_block(sum, scale(block), low, high, x);
        }
        *out = _mm512_reduce_add_ps(sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::WeightMatrix;
    use crate::llm::matrix::Data;
    use crate::llm::rows::portable_rows;

    #[test]
    fn equals_the_portable_rows() {
        if !is_x86_feature_detected!("avx512f") {
            println!("skipped: no AVX-512 here");
            return;
        }
        let (rows, columns) = (5, 96);
        let number = |i: usize| (i as f32 * 0.7).sin() * (1.0 + (i % 7) as f32);
        let plain = WeightMatrix::floats((0..rows * columns).map(number).collect(), rows, columns);
        let x: Vec<f32> = (0..columns).map(|i| number(3 * i + 1)).collect();
        let sums: Vec<f32> = x.chunks(BLOCK).map(|b| b.iter().sum()).collect();
        for format in [Format::Q4_0, Format::Q4_1, Format::Q8_0] {
            let matrix = plain.to_format(format).unwrap();
            let Data::Bytes(stored) = matrix.data() else { unreachable!("blocks are bytes") };
            let (mut found, mut expected) = (vec![0.0; rows], vec![0.0; rows]);
            assert!(byte_rows(format, stored, &x, &sums, &mut found));
            portable_rows(format, stored, &x, &sums, &mut expected);
            for (a, b) in found.iter().zip(&expected) {
                assert!((a - b).abs() < 1e-5 * b.abs().max(10.0), "{format:?}: {found:?} {expected:?}");
            }
        }
    }
}
