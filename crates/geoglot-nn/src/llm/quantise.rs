//! GGUF's blocks of 32 numbers: layouts of `block_q4_0` and its relatives, back to f32 and from f32.

use half::{bf16, f16};

use super::Format;

/// Numbers of a block.
pub const BLOCK: usize = 32;

/// Half precision to f32, without branches; infinities become large numbers.
#[inline(always)]
pub fn half_to_f32(bits: u16) -> f32 {
    let bits = u32::from(bits);
    // Exponent and fraction moved into place, then the bias of 127 instead of 15.
    f32::from_bits((bits & 0x8000) << 16 | (bits & 0x7fff) << 13) * f32::from_bits(0x7780_0000)
}

#[inline(always)]
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// The half-precision number at `at`.
#[inline(always)]
pub fn scale_at(block: &[u8], at: usize) -> f32 {
    half_to_f32(u16_at(block, at))
}

/// The fifth bits of a Q5 block, one a number.
#[inline(always)]
pub fn fifth_bits(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

/// Whole blocks to f32.
pub fn restore(format: Format, bytes: &[u8], out: &mut [f32]) {
    let half = BLOCK / 2;
    let blocks = bytes.chunks_exact(format.bytes());
    match format {
        Format::F32 => unreachable!("f32 is kept as floats"),
        Format::F16 => blocks.zip(out).for_each(|(b, o)| *o = f16::from_le_bytes([b[0], b[1]]).to_f32()),
        Format::Bf16 => blocks.zip(out).for_each(|(b, o)| *o = f32::from_bits(u32::from(u16_at(b, 0)) << 16)),
        Format::Q8_0 => {
            for (b, out) in blocks.zip(out.chunks_exact_mut(BLOCK)) {
                let d = scale_at(b, 0);
                out.iter_mut().zip(&b[2..]).for_each(|(o, q)| *o = d * f32::from(*q as i8));
            }
        }
        Format::Q4_0 | Format::Q4_1 => {
            let head = format.bytes() - half;
            for (b, out) in blocks.zip(out.chunks_exact_mut(BLOCK)) {
                let d = scale_at(b, 0);
                let least = if format == Format::Q4_1 { scale_at(b, 2) } else { -8.0 * d };
                let (low, high) = out.split_at_mut(half);
                for ((low, high), q) in low.iter_mut().zip(high).zip(&b[head..]) {
                    *low = d * f32::from(q & 15) + least;
                    *high = d * f32::from(q >> 4) + least;
                }
            }
        }
        Format::Q5_0 | Format::Q5_1 => {
            let head = format.bytes() - half;
            for (b, out) in blocks.zip(out.chunks_exact_mut(BLOCK)) {
                let d = scale_at(b, 0);
                let least = if format == Format::Q5_1 { scale_at(b, 2) } else { -16.0 * d };
                let fifth = fifth_bits(b, head - 4);
                let (low, high) = out.split_at_mut(half);
                for (i, ((low, high), q)) in low.iter_mut().zip(high).zip(&b[head..]).enumerate() {
                    *low = d * (u32::from(q & 15) | (fifth >> i & 1) << 4) as f32 + least;
                    *high = d * (u32::from(q >> 4) | (fifth >> (i + half) & 1) << 4) as f32 + least;
                }
            }
        }
    }
}

/// f32 to whole blocks, rounded as ggml's reference quantiser does.
pub fn pack(format: Format, values: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(values.len() / format.block() * format.bytes());
    match format {
        Format::F32 => bytes.extend(values.iter().flat_map(|v| v.to_le_bytes())),
        Format::F16 => bytes.extend(values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes())),
        Format::Bf16 => bytes.extend(values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes())),
        Format::Q8_0 => values.chunks_exact(BLOCK).for_each(|block| {
            let top = block.iter().fold(0f32, |m, v| m.max(v.abs()));
            let (d, inverse) = step(top / 127.0);
            bytes.extend(f16::from_f32(d).to_le_bytes());
            bytes.extend(block.iter().map(|v| (v * inverse).round() as i8 as u8));
        }),
        Format::Q4_0 | Format::Q5_0 => {
            let top = if format == Format::Q4_0 { 8.0 } else { 16.0 };
            values.chunks_exact(BLOCK).for_each(|block| {
                // The number of largest size becomes −8 (−16), the one code without a counterpart.
                let largest = block.iter().fold(0f32, |m, v| if v.abs() > m.abs() { *v } else { m });
                let (d, inverse) = step(largest / -top);
                let code = |v: &f32| (v * inverse + top + 0.5).clamp(0.0, 2.0 * top - 1.0) as u8;
                codes(&mut bytes, &[d], block.iter().map(code).collect(), format == Format::Q5_0);
            });
        }
        Format::Q4_1 | Format::Q5_1 => {
            let most = if format == Format::Q4_1 { 15.0 } else { 31.0 };
            values.chunks_exact(BLOCK).for_each(|block| {
                let least = block.iter().copied().fold(f32::INFINITY, f32::min);
                let largest = block.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let (d, inverse) = step((largest - least) / most);
                let code = |v: &f32| ((v - least) * inverse + 0.5).clamp(0.0, most) as u8;
                codes(&mut bytes, &[d, least], block.iter().map(code).collect(), format == Format::Q5_1);
            });
        }
    }
    bytes
}

/// A step and one over it.
fn step(d: f32) -> (f32, f32) {
    (d, if d == 0.0 { 0.0 } else { 1.0 / d })
}

fn codes(bytes: &mut Vec<u8>, scales: &[f32], codes: Vec<u8>, fifth: bool) {
    scales.iter().for_each(|s| bytes.extend(f16::from_f32(*s).to_le_bytes()));
    if fifth {
        let bits = codes.iter().enumerate().fold(0u32, |bits, (i, c)| bits | u32::from(c >> 4 & 1) << i);
        bytes.extend(bits.to_le_bytes());
    }
    let (low, high) = codes.split_at(BLOCK / 2);
    bytes.extend(low.iter().zip(high).map(|(l, h)| (l & 15) | h << 4));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_without_branches() {
        for bits in (0..=u16::MAX).filter(|b| b & 0x7c00 != 0x7c00) {
            assert_eq!(half_to_f32(bits), f16::from_bits(bits).to_f32(), "{bits:#x}");
        }
    }

    #[test]
    fn numbers_come_back_within_half_a_step() {
        let values: Vec<f32> = (0..96).map(|i| (i as f32 * 0.37).sin() * (1.0 + i as f32 * 0.02)).collect();
        for (format, worst) in [
            (Format::F16, 2e-3),
            (Format::Bf16, 1e-2),
            (Format::Q8_0, 0.013),
            (Format::Q5_0, 0.19),
            (Format::Q5_1, 0.1),
            (Format::Q4_0, 0.38),
            (Format::Q4_1, 0.2),
        ] {
            let mut back = vec![0.0; values.len()];
            restore(format, &pack(format, &values), &mut back);
            let error = values.iter().zip(&back).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(error < worst && error > 0.0, "{format:?}: {error}");
        }
    }
}
