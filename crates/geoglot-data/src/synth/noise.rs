//! Random fields addressed by position: the value at a place depends on seed and place only, so threads cannot change it.

/// A well mixed 64-bit number of a seed and two integers (SplitMix64 finaliser).
pub(super) fn hash(seed: u64, a: i64, b: i64) -> u64 {
    let mut z = seed
        .wrapping_add((a as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15))
        .wrapping_add((b as u64).wrapping_mul(0xD1B5_4A32_D192_ED03))
        .wrapping_add(0x2545_F491_4F6C_DD1D);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Uniform in [0, 1).
pub(super) fn unit(seed: u64, a: i64, b: i64) -> f32 {
    (hash(seed, a, b) >> 40) as f32 / (1u64 << 24) as f32
}

/// Mean 0, variance 1, bounded by ±3.5: the sum of four uniform numbers.
pub(super) fn normal(seed: u64, a: i64, b: i64) -> f32 {
    let h = hash(seed, a, b);
    let sum: u32 = (0..4).map(|k| (h >> (16 * k)) as u32 & 0xFFFF).sum();
    (sum as f32 / 65536.0 - 2.0) * 3f32.sqrt()
}

/// Smooth value noise summed over octaves, about −1 to 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Noise {
    seed: u64,
    scale: f32,
    octaves: u32,
}

impl Noise {
    /// Features of `scale` pixels and `octaves` − 1 halvings of it.
    pub fn new(seed: u64, scale: f32, octaves: u32) -> Self {
        Self { seed, scale, octaves }
    }

    pub fn at(&self, x: f32, y: f32) -> f32 {
        let (mut sum, mut weight, mut total, mut scale) = (0.0, 1.0, 0.0, self.scale);
        for octave in 0..self.octaves {
            sum += weight * smooth(self.seed.wrapping_add(u64::from(octave) * 7919), x / scale, y / scale);
            total += weight;
            weight *= 0.5;
            scale *= 0.5;
        }
        // Summed octaves crowd around 0; stretch them back.
        sum / total * 1.4
    }
}

/// One octave: lattice values blended with a quintic, so that slopes are continuous.
fn smooth(seed: u64, x: f32, y: f32) -> f32 {
    let (i, j) = (x.floor(), y.floor());
    let fade = |t: f32| t * t * t * (t * (t * 6.0 - 15.0) + 10.0);
    let (u, v) = (fade(x - i), fade(y - j));
    let at = |a: i64, b: i64| 2.0 * unit(seed, i as i64 + a, j as i64 + b) - 1.0;
    let top = at(0, 0) + u * (at(1, 0) - at(0, 0));
    let bottom = at(0, 1) + u * (at(1, 1) - at(0, 1));
    top + v * (bottom - top)
}

/// Value below which `share` of the values lie.
pub(super) fn quantile(mut values: Vec<f32>, share: f32) -> f32 {
    values.sort_unstable_by(f32::total_cmp);
    let k = ((values.len() as f32 * share) as usize).min(values.len().saturating_sub(1));
    values.get(k).copied().unwrap_or(0.0)
}
