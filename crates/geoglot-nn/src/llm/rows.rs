//! Rows of a weight matrix times one vector: what decoding a token spends its time on. Weights are read once, as they are stored.

use super::Format;
use super::quantise::half_to_f32;
use crate::ops::simd::{fetch_ahead, kernel};

/// Lanes of a sum.
const LANES: usize = 16;

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
                // Of each line of 64 bytes.
                row.iter().step_by((64 / size_of::<S::f32s>()).max(1)).for_each(fetch_ahead);
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

/// out[r] = Σ rows[r]·x for rows of 16-bit numbers.
pub fn half_width_rows(format: Format, rows: &[u8], x: &[f32], out: &mut [f32]) {
    match format {
        Format::F16 => half_rows(rows, x, out),
        Format::Bf16 => brain_rows(rows, x, out),
        _ => unreachable!("other formats are floats or blocks"),
    }
}

kernel! {
    fn half_rows<'a>(simd: S, rows: &'a [u8], x: &'a [f32], out: &'a mut [f32]) {
        let _ = simd;
        for (out, row) in out.iter_mut().zip(rows.chunks_exact(2 * x.len())) {
            *out = sixteen_bits(row, x, half_to_f32);
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
            fetch_ahead(&row[0]);
            for l in 0..LANES {
                lanes[l] += value(u16::from_le_bytes([row[2 * l], row[2 * l + 1]])) * x[l];
            }
        }
    }
    let tail: f32 = (whole..x.len()).map(|i| value(u16::from_le_bytes([row[2 * i], row[2 * i + 1]])) * x[i]).sum();
    let [a, b] = lanes;
    total(a) + total(b) + tail
}
