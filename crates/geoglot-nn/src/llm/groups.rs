//! Matrices of blocks with 16 rows beside each other, so that a register holds one number of every row.
//!
//! What a block of the file has at byte b, 16-bit scales and then 32-bit words of codes, stands for row r of its group at byte 16·b + r·(2 or 4).
//! Numbers of x are spread over the lanes instead of weights brought into line with them, and a scale is made f32 and multiplied once for 32 numbers of 16 rows.

use rayon::prelude::*;

use super::Format;
use super::quantise::{BLOCK, half_to_f32};
use crate::ops::simd::{fetch_ahead, kernel};

/// Rows of a group.
pub const ROWS: usize = 16;

type Lanes = [f32; ROWS];

/// Bytes of the scales in front of a block's words.
fn head(format: Format) -> usize {
    match format {
        Format::Q4_1 | Format::Q5_1 => 4,
        _ => 2,
    }
}

/// Rows of whole blocks, one after the other as in a file, in groups; the last group is filled with zeros.
pub fn group(format: Format, bytes: &[u8], columns: usize) -> Vec<u8> {
    let (size, head) = (format.bytes(), head(format));
    let row = columns / BLOCK * size;
    let mut groups = vec![0; bytes.len().next_multiple_of((ROWS * row).max(1))];
    groups.par_chunks_mut((ROWS * row).max(1)).zip(bytes.par_chunks((ROWS * row).max(1))).for_each(|(group, rows)| {
        for (lane, row) in rows.chunks_exact(row).enumerate() {
            for (to, block) in group.chunks_exact_mut(ROWS * size).zip(row.chunks_exact(size)) {
                let (scales, words) = to.split_at_mut(ROWS * head);
                spread(&block[..head], scales.as_chunks_mut::<2>().0, lane);
                spread(&block[head..], words.as_chunks_mut::<4>().0, lane);
            }
        }
    });
    groups
}

/// Row `row` as a file has it.
pub fn ungroup(format: Format, groups: &[u8], row: usize, to: &mut [u8]) {
    let (size, head, lane) = (format.bytes(), head(format), row % ROWS);
    let group = &groups[row / ROWS * ROWS * to.len()..];
    for (block, from) in to.chunks_exact_mut(size).zip(group.chunks_exact(ROWS * size)) {
        let (scales, words) = from.split_at(ROWS * head);
        let (head, codes) = block.split_at_mut(head);
        gather(scales.as_chunks::<2>().0, head, lane);
        gather(words.as_chunks::<4>().0, codes, lane);
    }
}

/// The parts of one row to their places among those of 16.
fn spread<const N: usize>(from: &[u8], to: &mut [[u8; N]], lane: usize) {
    for (part, lanes) in from.as_chunks::<N>().0.iter().zip(to.as_chunks_mut::<ROWS>().0) {
        lanes[lane] = *part;
    }
}

/// The parts of one row from their places among those of 16.
fn gather<const N: usize>(from: &[[u8; N]], to: &mut [u8], lane: usize) {
    for (part, lanes) in to.as_chunks_mut::<N>().0.iter_mut().zip(from.as_chunks::<ROWS>().0) {
        *part = lanes[lane];
    }
}

kernel! {
    /// out[r] = Σ rows[r]·x for rows in groups; `sums` are the sums of x over each block of 32.
    pub fn group_rows<'a>(simd: S, format: Format, groups: &'a [u8], x: &'a [f32], sums: &'a [f32], out: &'a mut [f32]) {
        let _ = simd;
        match format {
            Format::Q4_0 => products::<2, 16>(groups, x, sums, [-8.0, 0.0], out),
            Format::Q4_1 => products::<4, 16>(groups, x, sums, [0.0, 1.0], out),
            Format::Q5_0 => products::<2, 20>(groups, x, sums, [-16.0, 0.0], out),
            Format::Q5_1 => products::<4, 20>(groups, x, sums, [0.0, 1.0], out),
            Format::Q8_0 => products::<2, 32>(groups, x, sums, [0.0, 0.0], out),
            Format::F32 | Format::F16 | Format::Bf16 => unreachable!("no blocks"),
        }
    }
}

/// Σ d·code·x + Σ least·Σx for blocks of `HEAD` bytes of scales and `CODES` of codes; the value of code 0 is `least`, times each of both scales.
#[inline(always)]
fn products<const HEAD: usize, const CODES: usize>(
    groups: &[u8],
    x: &[f32],
    sums: &[f32],
    least: [f32; 2],
    out: &mut [f32],
) {
    let (x, _) = x.as_chunks::<BLOCK>();
    let bytes = ROWS * (HEAD + CODES);
    for (out, group) in out.chunks_mut(ROWS).zip(groups.chunks_exact(x.len() * bytes)) {
        let mut total = [0.0; ROWS];
        for ((block, x), sum) in group.chunks_exact(bytes).zip(x).zip(sums) {
            let (scales, words) = block.split_at(ROWS * HEAD);
            let scales = scales.as_chunks::<2>().0.as_chunks::<ROWS>().0;
            let d = scales[0].map(number);
            let second = scales[HEAD / 2 - 1].map(number);
            let words = words.as_chunks::<4>().0.as_chunks::<ROWS>().0;
            // Not a function handed over, which would be compiled for the least of processors.
            let product = match CODES {
                16 => four_bits(words, x),
                20 => five_bits(words, x),
                _ => eight_bits(words, x),
            };
            for l in 0..ROWS {
                total[l] += d[l].mul_add(product[l], (least[0] * d[l] + least[1] * second[l]) * sum);
            }
        }
        out.copy_from_slice(&total[..out.len()]);
    }
}

#[inline(always)]
fn number(scale: [u8; 2]) -> f32 {
    half_to_f32(u16::from_le_bytes(scale))
}

/// Four sums, so that an addition need not wait for the one before it.
#[inline(always)]
fn add_codes(sums: &mut [Lanes; 4], number: usize, x: f32, code: impl Fn(usize) -> i32) {
    let sum = &mut sums[number % 4];
    for (l, sum) in sum.iter_mut().enumerate() {
        *sum = (code(l) as f32).mul_add(x, *sum);
    }
}

#[inline(always)]
fn total([a, b, c, d]: [Lanes; 4]) -> Lanes {
    std::array::from_fn(|l| (a[l] + b[l]) + (c[l] + d[l]))
}

/// Byte b holds the numbers b and b + 16, in its lower and upper half.
#[inline(always)]
fn place(word: usize, code: usize) -> usize {
    4 * word + code / 2 + BLOCK / 2 * (code % 2)
}

#[inline(always)]
fn four_bits(words: &[[[u8; 4]; ROWS]], x: &[f32; BLOCK]) -> Lanes {
    let mut sums = [[0.0; ROWS]; 4];
    for (w, words) in words.iter().enumerate() {
        fetch_ahead(words);
        let words = words.map(u32::from_le_bytes);
        for k in 0..8 {
            add_codes(&mut sums, k, x[place(w, k)], |l| (words[l] >> (4 * k) & 15) as i32);
        }
    }
    total(sums)
}

#[inline(always)]
fn five_bits(words: &[[[u8; 4]; ROWS]], x: &[f32; BLOCK]) -> Lanes {
    let mut sums = [[0.0; ROWS]; 4];
    let fifth = words[0].map(u32::from_le_bytes);
    for (w, words) in words[1..].iter().enumerate() {
        fetch_ahead(words);
        let words = words.map(u32::from_le_bytes);
        for k in 0..8 {
            let at = place(w, k);
            add_codes(&mut sums, k, x[at], |l| (words[l] >> (4 * k) & 15 | (fifth[l] >> at & 1) << 4) as i32);
        }
    }
    total(sums)
}

#[inline(always)]
fn eight_bits(words: &[[[u8; 4]; ROWS]], x: &[f32; BLOCK]) -> Lanes {
    let mut sums = [[0.0; ROWS]; 4];
    for (w, words) in words.iter().enumerate() {
        fetch_ahead(words);
        let words = words.map(i32::from_le_bytes);
        for k in 0..4 {
            add_codes(&mut sums, k, x[4 * w + k], |l| words[l] << (24 - 8 * k) >> 24);
        }
    }
    total(sums)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::quantise::{pack, restore};

    #[test]
    fn products_are_those_of_the_restored_rows() {
        let number = |i: usize| (i as f32 * 0.7).sin() * (1.0 + (i % 7) as f32);
        for (rows, columns) in [(16, 32), (37, 96), (3, 64)] {
            let values: Vec<f32> = (0..rows * columns).map(number).collect();
            let x: Vec<f32> = (0..columns).map(|i| number(3 * i + 1)).collect();
            let sums: Vec<f32> = x.chunks(BLOCK).map(|b| b.iter().sum()).collect();
            for format in [Format::Q4_0, Format::Q4_1, Format::Q5_0, Format::Q5_1, Format::Q8_0] {
                let stored = pack(format, &values);
                let groups = group(format, &stored, columns);
                let mut back = vec![0; stored.len()];
                let row_bytes = stored.len() / rows;
                back.chunks_mut(row_bytes).enumerate().for_each(|(row, back)| ungroup(format, &groups, row, back));
                assert!(back == stored, "{format:?}: rows come back as they were");
                let mut plain = vec![0.0; values.len()];
                restore(format, &stored, &mut plain);
                let mut found = vec![0.0; rows];
                group_rows(format, &groups, &x, &sums, &mut found);
                for (found, row) in found.iter().zip(plain.chunks(columns)) {
                    let expected: f64 = row.iter().zip(&x).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                    let size: f64 = row.iter().zip(&x).map(|(a, b)| f64::from(a * b).abs()).sum();
                    assert!((f64::from(*found) - expected).abs() < 1e-6 * size, "{format:?}: {found} {expected}");
                }
            }
        }
    }
}
