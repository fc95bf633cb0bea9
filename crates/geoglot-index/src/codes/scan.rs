//! The coarse pass: bits of the records against bit planes of the query.

use super::{BITS, BLOCK, Rotation};

/// Bits a value of the query.
pub const PLANES: usize = 4;

/// A query, rotated and cut to [`PLANES`] bits a value.
#[derive(Debug, Clone)]
pub struct QueryCode {
    /// For every bit, one word for every 64 values.
    planes: [Vec<u64>; PLANES],
    /// All bits set, to count those of the records.
    ones: Vec<u64>,
    low: f32,
    step: f32,
    sum: f32,
}

impl QueryCode {
    /// Codes a query of length 1.
    pub fn new(query: &[f32], rotation: &Rotation) -> Self {
        let mut rotated = vec![0.0; rotation.padded()];
        rotated[..query.len()].copy_from_slice(query);
        rotation.apply(&mut rotated);
        let low = rotated.iter().copied().fold(f32::INFINITY, f32::min);
        let high = rotated.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let step = ((high - low) / ((1 << PLANES) - 1) as f32).max(f32::MIN_POSITIVE);
        let words = rotated.len() / 64;
        let mut planes: [Vec<u64>; PLANES] = std::array::from_fn(|_| vec![0; words]);
        let mut sum = 0.0;
        for (i, value) in rotated.iter().enumerate() {
            let level = (((value - low) / step).round() as u64).min((1 << PLANES) - 1);
            sum += low + step * level as f32;
            for (p, plane) in planes.iter_mut().enumerate() {
                plane[i / 64] |= (level >> p & 1) << (i % 64);
            }
        }
        Self { planes, ones: vec![u64::MAX; words], low, step, sum }
    }
}

/// Highest level: level l stands for 2 l − this.
const LEVELS: f32 = ((1 << BITS) - 1) as f32;

impl QueryCode {
    /// ⟨levels, q⟩ from the sum of a row's levels and the sum of their products with the query's fine steps.
    #[inline(always)]
    fn combine(&self, levels: f32, fine: f32) -> f32 {
        2.0 * (self.low * levels + self.step * fine) - LEVELS * self.sum
    }
}

/// Scores rows: `centre score + factor · (⟨levels, q⟩ + margin)`.
pub fn run(
    bits: &[u64],
    factors: &[f32],
    nearest: &[u8],
    query: &QueryCode,
    centre_scores: &[f32; 256],
    margin: f32,
    upper: &mut [f32],
) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512vpopcntdq") && is_x86_feature_detected!("avx512dq") {
            // SAFETY: the processor has these instructions.
            return unsafe { run_avx512(bits, factors, nearest, query, centre_scores, margin, upper) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has these instructions.
            return unsafe { run_avx2(bits, factors, nearest, query, centre_scores, margin, upper) };
        }
    }
    blocks(bits, factors, nearest, query, centre_scores, upper, |block| signed(block, query, margin));
}

#[inline(always)]
fn blocks(
    bits: &[u64],
    factors: &[f32],
    nearest: &[u8],
    query: &QueryCode,
    centre_scores: &[f32; 256],
    upper: &mut [f32],
    signed: impl Fn(&[[u64; BLOCK]]) -> [f32; BLOCK],
) {
    let mut rest = factors.iter().zip(nearest);
    for (block, upper) in bits.chunks_exact(BLOCK * BITS * query.ones.len()).zip(upper.chunks_mut(BLOCK)) {
        let signed = signed(block.as_chunks::<BLOCK>().0);
        for ((upper, signed), (factor, nearest)) in upper.iter_mut().zip(signed).zip(&mut rest) {
            *upper = centre_scores[*nearest as usize] + factor * signed;
        }
    }
}

/// ⟨levels, q⟩ plus the margin for each row of a block.
#[inline(always)]
fn signed(block: &[[u64; BLOCK]], query: &QueryCode, margin: f32) -> [f32; BLOCK] {
    let count = |row: usize, plane: &[u64]| -> u32 {
        let words = block.as_chunks::<BITS>().0.iter().zip(plane);
        let shared = |(bits, plane): (&[[u64; BLOCK]; BITS], &u64)| -> u32 {
            (0..BITS).map(|bit| (bits[bit][row] & plane).count_ones() << bit).sum()
        };
        words.map(shared).sum()
    };
    std::array::from_fn(|row| {
        let fine: u32 = query.planes.iter().enumerate().map(|(p, plane)| count(row, plane) << p).sum();
        query.combine(count(row, &query.ones) as f32, fine as f32) + margin
    })
}

/// Written out, because compilers take the lanes from the words instead of the rows.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vpopcntdq")]
fn run_avx512(
    bits: &[u64],
    factors: &[f32],
    nearest: &[u8],
    query: &QueryCode,
    centre_scores: &[f32; 256],
    margin: f32,
    upper: &mut [f32],
) {
    use std::arch::x86_64::*;

    let signed = |block: &[[u64; BLOCK]]| -> [f32; BLOCK] {
        let count = |plane: &[u64]| {
            let mut sums = [_mm512_setzero_si512(); BITS];
            for (bits, plane) in block.as_chunks::<BITS>().0.iter().zip(plane) {
                let plane = _mm512_set1_epi64(*plane as i64);
                for bit in 0..BITS {
                    // SAFETY: a word of eight rows is 64 bytes, loaded without alignment.
                    let word = unsafe { _mm512_loadu_si512(bits[bit].as_ptr().cast()) };
                    let shared = _mm512_and_si512(word, plane);
                    sums[bit] = _mm512_add_epi64(sums[bit], _mm512_popcnt_epi64(shared));
                }
            }
            sums.iter()
                .rev()
                .fold(_mm512_setzero_si512(), |all, sum| _mm512_add_epi64(_mm512_add_epi64(all, all), *sum))
        };
        // Horner's rule from the highest bit.
        let mut fine = _mm512_setzero_si512();
        for plane in query.planes.iter().rev() {
            fine = _mm512_add_epi64(_mm512_add_epi64(fine, fine), count(plane));
        }
        let (fine, levels) = (_mm512_cvtepu64_ps(fine), _mm512_cvtepu64_ps(count(&query.ones)));
        let (low, step) = (_mm256_set1_ps(2.0 * query.low), _mm256_set1_ps(2.0 * query.step));
        let sum = _mm256_add_ps(_mm256_mul_ps(low, levels), _mm256_mul_ps(step, fine));
        let sum = _mm256_add_ps(sum, _mm256_set1_ps(margin - LEVELS * query.sum));
        let mut out = [0f32; BLOCK];
        // SAFETY: eight floats have room for eight floats.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), sum) };
        out
    };
    blocks(bits, factors, nearest, query, centre_scores, upper, signed);
}

/// As [`run_avx512`], with bits counted by look-up of half bytes (Muła, Kurz & Lemire, "Faster Population Counts Using AVX2
/// Instructions", 2018).
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn run_avx2(
    bits: &[u64],
    factors: &[f32],
    nearest: &[u8],
    query: &QueryCode,
    centre_scores: &[f32; 256],
    margin: f32,
    upper: &mut [f32],
) {
    use std::arch::x86_64::*;

    let signed = |block: &[[u64; BLOCK]]| -> [f32; BLOCK] {
        let table = _mm256_setr_epi8(
            0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,
        );
        let (nibble, zero) = (_mm256_set1_epi8(15), _mm256_setzero_si256());
        let words = block.as_chunks::<BITS>().0;
        // Sums of levels of four rows each, for a plane.
        let count = |plane: &[u64]| -> [__m256i; 2] {
            let mut all = [[zero; 2]; BITS];
            // A byte counts up to 8 a word: 31 words before it is full.
            for (words, plane) in words.chunks(31).zip(plane.chunks(31)) {
                let mut bytes = [[zero; 2]; BITS];
                for (bits, plane) in words.iter().zip(plane) {
                    let plane = _mm256_set1_epi64x(*plane as i64);
                    for bit in 0..BITS {
                        for half in 0..2 {
                            // SAFETY: four of the eight rows' words are 32 bytes, loaded without alignment.
                            let word = unsafe { _mm256_loadu_si256(bits[bit][4 * half..].as_ptr().cast()) };
                            let shared = _mm256_and_si256(word, plane);
                            let low = _mm256_shuffle_epi8(table, _mm256_and_si256(shared, nibble));
                            let high = _mm256_and_si256(_mm256_srli_epi16::<4>(shared), nibble);
                            let both = _mm256_add_epi8(low, _mm256_shuffle_epi8(table, high));
                            bytes[bit][half] = _mm256_add_epi8(bytes[bit][half], both);
                        }
                    }
                }
                for bit in 0..BITS {
                    for half in 0..2 {
                        all[bit][half] = _mm256_add_epi64(all[bit][half], _mm256_sad_epu8(bytes[bit][half], zero));
                    }
                }
            }
            std::array::from_fn(|half| {
                all.iter().rev().fold(zero, |sum, bit| _mm256_add_epi64(_mm256_add_epi64(sum, sum), bit[half]))
            })
        };
        let mut fine = [zero; 2];
        for plane in query.planes.iter().rev() {
            let counts = count(plane);
            for half in 0..2 {
                fine[half] = _mm256_add_epi64(_mm256_add_epi64(fine[half], fine[half]), counts[half]);
            }
        }
        let (mut levels, mut sums) = ([0u64; BLOCK], [0u64; BLOCK]);
        for (half, counts) in count(&query.ones).into_iter().enumerate() {
            // SAFETY: four of the eight numbers have room for four.
            unsafe {
                _mm256_storeu_si256(levels[4 * half..].as_mut_ptr().cast(), counts);
                _mm256_storeu_si256(sums[4 * half..].as_mut_ptr().cast(), fine[half]);
            }
        }
        std::array::from_fn(|row| query.combine(levels[row] as f32, sums[row] as f32) + margin)
    };
    blocks(bits, factors, nearest, query, centre_scores, upper, signed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_gives_the_same_bounds() {
        let word =
            |i: u64| i.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ i.wrapping_mul(0xD1B5_4A32_D192_ED03).rotate_left(17);
        for dim in [64, 192, 512, 4096] {
            let rotation = Rotation::new(dim);
            let query: Vec<f32> = (0..dim).map(|i| (i as f32 * 0.77).sin()).collect();
            let code = QueryCode::new(&query, &rotation);
            let rows = 45;
            let bits: Vec<u64> = (0..48 * (BITS * dim) as u64 / 64).map(word).collect();
            let factors: Vec<f32> = (0..rows).map(|i| 0.01 * i as f32).collect();
            let nearest: Vec<u8> = (0..rows).map(|i| (i % 7) as u8).collect();
            let centres: [f32; 256] = std::array::from_fn(|i| i as f32);
            let (mut a, mut b) = (vec![0.0; rows], vec![0.0; rows]);
            run(&bits, &factors, &nearest, &code, &centres, 0.3, &mut a);
            blocks(&bits, &factors, &nearest, &code, &centres, &mut b, |block| signed(block, &code, 0.3));
            let same = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-3 * (1.0 + b.abs()));
            assert!(same(&a, &b), "{dim}: {a:?} {b:?}");
            #[cfg(target_arch = "x86_64")]
            if is_x86_feature_detected!("avx2") {
                // SAFETY: the processor has these instructions.
                unsafe { run_avx2(&bits, &factors, &nearest, &code, &centres, 0.3, &mut a) };
                assert!(same(&a, &b), "{dim}: {a:?} {b:?}");
            }
        }
    }
}
