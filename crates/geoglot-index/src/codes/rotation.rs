//! A random rotation that costs D log D: signs and Hadamard transforms.

const ROUNDS: u64 = 4;

/// A fixed pseudo-random rotation of vectors of one width (the same for every archive of that width).
///
/// Widths that are no power of two are padded to a multiple of 64, and each round transforms the first and then the last
/// 2^k values, so that all of them mix.
#[derive(Debug, Clone)]
pub struct Rotation {
    padded: usize,
    power: usize,
    /// Signs of each step, ±1/√power.
    steps: Vec<Vec<f32>>,
}

impl Rotation {
    /// The rotation of `dim`-wide vectors.
    pub fn new(dim: usize) -> Self {
        let padded = dim.max(1).next_multiple_of(64);
        let power = 1 << padded.ilog2();
        let steps = if power == padded { ROUNDS - 1 } else { 2 * ROUNDS };
        let scale = 1.0 / (power as f32).sqrt();
        let signs = |step: u64| {
            (0..power as u64).map(move |i| if mix(step << 32 | i) & 1 == 0 { scale } else { -scale }).collect()
        };
        Self { padded, power, steps: (0..steps).map(signs).collect() }
    }

    /// Width after padding: a multiple of 64.
    pub fn padded(&self) -> usize {
        self.padded
    }

    /// Rotates in place; lengths and angles stay. `values` has [`Rotation::padded`] values.
    pub fn apply(&self, values: &mut [f32]) {
        crate::simd::arch().dispatch(
            #[inline(always)]
            || {
                for (i, signs) in self.steps.iter().enumerate() {
                    let start = if i % 2 == 0 { 0 } else { self.padded - self.power };
                    let part = &mut values[start..start + self.power];
                    part.iter_mut().zip(signs).for_each(|(v, s)| *v *= s);
                    hadamard(part);
                }
            },
        );
    }
}

/// Walsh–Hadamard transform without scaling.
#[inline(always)]
fn hadamard(values: &mut [f32]) {
    let mut half = 1;
    while half < values.len() {
        for pair in values.chunks_exact_mut(2 * half) {
            let (low, high) = pair.split_at_mut(half);
            for (a, b) in low.iter_mut().zip(high) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
}

/// SplitMix64 of a counter: part of the file format, so it is spelt out here.
fn mix(counter: u64) -> u64 {
    let mut z = counter.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::dot;

    #[test]
    fn lengths_and_angles_stay_and_single_values_spread() {
        for dim in [3, 64, 100, 384, 512, 768, 1152] {
            let rotation = Rotation::new(dim);
            let n = rotation.padded();
            let mut a: Vec<f32> = (0..n).map(|i| if i < dim { (i as f32).sin() } else { 0.0 }).collect();
            let mut b: Vec<f32> = (0..n).map(|i| if i < dim { (i as f32 * 0.7).cos() } else { 0.0 }).collect();
            let before = (dot(&a, &a), dot(&a, &b));
            rotation.apply(&mut a);
            rotation.apply(&mut b);
            let after = (dot(&a, &a), dot(&a, &b));
            assert!((before.0 - after.0).abs() < 1e-3 * before.0, "{dim}");
            assert!((before.1 - after.1).abs() < 1e-3 * before.0, "{dim}");
            let mut one = vec![0.0; n];
            one[dim / 2] = 1.0;
            rotation.apply(&mut one);
            let largest = one.iter().fold(0f32, |m, v| m.max(v.abs()));
            assert!(largest < 5.0 / (n as f32).sqrt(), "{dim}: {largest}");
        }
    }
}
