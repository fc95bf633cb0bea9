//! Rotary positions (Su et al. 2021): pair i of a head, (x_i, x_{i + head/2}), is turned by position × frequency i.

use serde::{Deserialize, Serialize};

/// How frequencies are changed for contexts longer than the first training's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All are divided by a factor.
    Linear(f32),
    /// LLaMA 3.1: low frequencies are divided by the factor, high ones kept, those between mixed.
    Llama3 {
        /// The factor.
        factor: f32,
        /// Turns within the first context up to which a frequency is low.
        low: f32,
        /// Turns within the first context from which a frequency is high.
        high: f32,
        /// Tokens of the first context.
        original: usize,
    },
    /// Each is divided by its own factor, head/2 of them (stored in some GGUF files).
    Factors(Vec<f32>),
}

/// Rotary positions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rope {
    /// Base θ of the frequencies θ^(−2i/head).
    pub theta: f64,
    /// How they are changed.
    pub scaling: RopeScaling,
}

impl Rope {
    /// Unchanged frequencies.
    pub fn plain(theta: f64) -> Self {
        Self { theta, scaling: RopeScaling::None }
    }

    pub(super) fn problem(&self, head: usize) -> Option<String> {
        let positive = |f: f32| f.is_finite() && f > 0.0;
        if !(self.theta.is_finite() && self.theta > 1.0) {
            return Some(format!("rotary base θ is {}", self.theta));
        }
        let fine = match &self.scaling {
            RopeScaling::None => true,
            RopeScaling::Linear(factor) => positive(*factor),
            RopeScaling::Llama3 { factor, low, high, original } => {
                positive(*factor) && positive(*low) && *high > *low && high.is_finite() && *original > 0
            }
            RopeScaling::Factors(factors) => factors.len() == head / 2 && factors.iter().all(|f| positive(*f)),
        };
        (!fine).then(|| format!("rotary scaling {:?} for heads of width {head}", self.scaling))
    }

    /// Radians a position turns each pair, head/2 of them.
    pub fn frequencies(&self, head: usize) -> Vec<f32> {
        let plain = |i: usize| (1.0 / self.theta.powf((2 * i) as f64 / head as f64)) as f32;
        (0..head / 2)
            .map(|i| match &self.scaling {
                RopeScaling::None => plain(i),
                RopeScaling::Linear(factor) => plain(i) / factor,
                RopeScaling::Factors(factors) => plain(i) / factors[i],
                RopeScaling::Llama3 { factor, low, high, original } => {
                    let f = plain(i);
                    let turns = *original as f32 * f / std::f32::consts::TAU;
                    match () {
                        () if turns < *low => f / factor,
                        () if turns > *high => f,
                        () => {
                            let smooth = (turns - low) / (high - low);
                            (1.0 - smooth) * f / factor + smooth * f
                        }
                    }
                }
            })
            .collect()
    }

    /// Cosines and sines of positions `first..first + count`, each [count, head/2].
    pub fn table(&self, head: usize, first: usize, count: usize) -> (Vec<f32>, Vec<f32>) {
        let frequencies = self.frequencies(head);
        let angles = (first..first + count).flat_map(|p| frequencies.iter().map(move |f| p as f32 * f));
        angles.map(|a| (a.cos(), a.sin())).unzip()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_keeps_high_frequencies_and_divides_low_ones() {
        let scaling = RopeScaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 8192 };
        let (plain, scaled) = (Rope::plain(500_000.0), Rope { theta: 500_000.0, scaling });
        let (plain, scaled) = (plain.frequencies(128), scaled.frequencies(128));
        assert_eq!(plain[0], scaled[0]);
        assert!((plain[63] / scaled[63] - 8.0).abs() < 1e-5);
        // transformers' ROPE_INIT_FUNCTIONS["llama3"] for this configuration, pair 32.
        let between = scaled.iter().zip(&plain).filter(|(s, p)| **s < **p && **s > **p / 8.0).count();
        assert!(between > 0, "some frequencies are mixed");
    }
}
