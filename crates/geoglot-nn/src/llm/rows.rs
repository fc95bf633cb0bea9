//! Rows of a weight matrix times one vector: what decoding a token spends its time on. Weights are read once, as they are stored.

use super::Format;
use super::quantise::{BLOCK, fifth_bits, scale_at};
use crate::ops::simd::kernel;

/// Lanes of a sum.
const LANES: usize = 16;
const HALF: usize = BLOCK / 2;

#[inline(always)]
fn total(lanes: [f32; LANES]) -> f32 {
    lanes.iter().sum()
}

kernel! {
    /// out[r] = Σ rows[r]·x for f32 rows, read from the first number to the last: several rows at a time are several streams, which memory serves slowly.
    pub fn float_rows<'a>(simd: S, rows: &'a [f32], x: &'a [f32], out: &'a mut [f32]) {
        let (lanes, tail) = S::as_simd_f32s(x);
        let (fours, singles) = lanes.as_chunks::<4>();
        for (out, row) in out.iter_mut().zip(rows.chunks_exact(x.len())) {
            let (row_lanes, row_tail) = S::as_simd_f32s(row);
            let (row_fours, row_singles) = row_lanes.as_chunks::<4>();
            let mut sums = [simd.splat_f32s(0.0); 4];
            for (row, x) in row_fours.iter().zip(fours) {
                for ((sum, r), x) in sums.iter_mut().zip(row).zip(x) {
                    *sum = simd.mul_add_f32s(*r, *x, *sum);
                }
            }
            for ((sum, r), x) in sums.iter_mut().zip(row_singles).zip(singles) {
                *sum = simd.mul_add_f32s(*r, *x, *sum);
            }
            let [a, b, c, d] = sums;
            let rest: f32 = row_tail.iter().zip(tail).map(|(r, x)| r * x).sum();
            *out = simd.reduce_sum_f32s(simd.add_f32s(simd.add_f32s(a, b), simd.add_f32s(c, d))) + rest;
        }
    }
}

/// out[r] = Σ rows[r]·x for rows stored as bytes; `sums` are the sums of x over each block of 32.
pub fn byte_rows(format: Format, rows: &[u8], x: &[f32], sums: &[f32], out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if super::avx512::byte_rows(format, rows, x, sums, out) {
        return;
    }
    portable_rows(format, rows, x, sums, out);
}

/// As [`byte_rows`], on any processor.
pub(super) fn portable_rows(format: Format, rows: &[u8], x: &[f32], sums: &[f32], out: &mut [f32]) {
    match format {
        Format::F32 => unreachable!("f32 is kept as floats"),
        Format::F16 => half_rows(rows, x, out),
        Format::Bf16 => brain_rows(rows, x, out),
        Format::Q8_0 => q8_rows(rows, x, out),
        Format::Q4_0 => q4_0_rows(rows, x, sums, out),
        Format::Q4_1 => q4_1_rows(rows, x, sums, out),
        Format::Q5_0 => q5_0_rows(rows, x, sums, out),
        Format::Q5_1 => q5_1_rows(rows, x, sums, out),
    }
}

kernel! {
    fn half_rows<'a>(simd: S, rows: &'a [u8], x: &'a [f32], out: &'a mut [f32]) {
        let _ = simd;
        for (out, row) in out.iter_mut().zip(rows.chunks_exact(2 * x.len())) {
            *out = sixteen_bits(row, x, super::quantise::half_to_f32);
        }
    }
}

kernel! {
    fn brain_rows<'a>(simd: S, rows: &'a [u8], x: &'a [f32], out: &'a mut [f32]) {
        let _ = simd;
        for (out, row) in out.iter_mut().zip(rows.chunks_exact(2 * x.len())) {
            *out = sixteen_bits(row, x, |bits| f32::from_bits(u32::from(bits) << 16));
        }
    }
}

#[inline(always)]
fn sixteen_bits(row: &[u8], x: &[f32], value: impl Fn(u16) -> f32) -> f32 {
    let mut lanes = [[0f32; LANES]; 2];
    let whole = x.len() / (2 * LANES) * (2 * LANES);
    for i in (0..whole).step_by(2 * LANES) {
        for (k, lanes) in lanes.iter_mut().enumerate() {
            let at = i + k * LANES;
            let (row, x) = (&row[2 * at..2 * (at + LANES)], &x[at..at + LANES]);
            for l in 0..LANES {
                lanes[l] += value(u16::from_le_bytes([row[2 * l], row[2 * l + 1]])) * x[l];
            }
        }
    }
    let tail: f32 = (whole..x.len()).map(|i| value(u16::from_le_bytes([row[2 * i], row[2 * i + 1]])) * x[i]).sum();
    let [a, b] = lanes;
    total(a) + total(b) + tail
}

kernel! {
    fn q8_rows<'a>(simd: S, rows: &'a [u8], x: &'a [f32], out: &'a mut [f32]) {
        let _ = simd;
        let bytes = Format::Q8_0.bytes();
        for (out, row) in out.iter_mut().zip(rows.chunks_exact(x.len() / BLOCK * bytes)) {
            let mut lanes = [0f32; LANES];
            for (block, x) in row.chunks_exact(bytes).zip(x.chunks_exact(BLOCK)) {
                let (d, q) = (scale_at(block, 0), &block[2..2 + BLOCK]);
                for l in 0..HALF {
                    let pair = f32::from(q[l] as i8) * x[l] + f32::from(q[l + HALF] as i8) * x[l + HALF];
                    lanes[l] += d * pair;
                }
            }
            *out = total(lanes);
        }
    }
}

/// Rows of 4-bit blocks: Σ d·q·x + Σ least·Σx, where `least` is the value of code 0.
#[inline(always)]
fn four_bits(row: &[u8], bytes: usize, x: &[f32], sums: &[f32], least: impl Fn(&[u8], f32) -> f32) -> f32 {
    let head = bytes - HALF;
    let mut lanes = [0f32; LANES];
    let mut rest = 0.0;
    for ((block, x), sum) in row.chunks_exact(bytes).zip(x.chunks_exact(BLOCK)).zip(sums) {
        let d = scale_at(block, 0);
        let q = &block[head..head + HALF];
        for l in 0..HALF {
            let pair = f32::from(q[l] & 15) * x[l] + f32::from(q[l] >> 4) * x[l + HALF];
            lanes[l] += d * pair;
        }
        rest += least(block, d) * sum;
    }
    total(lanes) + rest
}

/// As [`four_bits`], with the fifth bits in front of the codes.
#[inline(always)]
fn five_bits(row: &[u8], bytes: usize, x: &[f32], sums: &[f32], least: impl Fn(&[u8], f32) -> f32) -> f32 {
    let head = bytes - HALF;
    let mut lanes = [0f32; LANES];
    let mut rest = 0.0;
    for ((block, x), sum) in row.chunks_exact(bytes).zip(x.chunks_exact(BLOCK)).zip(sums) {
        let (d, fifth) = (scale_at(block, 0), fifth_bits(block, head - 4));
        let q = &block[head..head + HALF];
        for l in 0..HALF {
            let low = (u32::from(q[l] & 15) | (fifth >> l & 1) << 4) as i32 as f32;
            let high = (u32::from(q[l] >> 4) | (fifth >> (l + HALF) & 1) << 4) as i32 as f32;
            lanes[l] += d * (low * x[l] + high * x[l + HALF]);
        }
        rest += least(block, d) * sum;
    }
    total(lanes) + rest
}

macro_rules! block_rows {
    ($name:ident, $dot:ident, $format:expr, $least:expr) => {
        kernel! {
            fn $name<'a>(simd: S, rows: &'a [u8], x: &'a [f32], sums: &'a [f32], out: &'a mut [f32]) {
                let _ = simd;
                let bytes = $format.bytes();
                for (out, row) in out.iter_mut().zip(rows.chunks_exact(x.len() / BLOCK * bytes)) {
                    *out = $dot(row, bytes, x, sums, $least);
                }
            }
        }
    };
}

block_rows!(q4_0_rows, four_bits, Format::Q4_0, |_, d| -8.0 * d);
block_rows!(q4_1_rows, four_bits, Format::Q4_1, |block, _| scale_at(block, 2));
block_rows!(q5_0_rows, five_bits, Format::Q5_0, |_, d| -16.0 * d);
block_rows!(q5_1_rows, five_bits, Format::Q5_1, |block, _| scale_at(block, 2));
