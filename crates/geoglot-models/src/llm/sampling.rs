//! Which token comes next.

use rand::{Rng, RngExt};

/// How the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Scores are divided by this; 0 takes the best token.
    pub temperature: f32,
    /// The smallest set of likeliest tokens whose probabilities add up to this (Holtzman et al. 2020).
    pub top_p: f32,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for Sampling {
    /// The best token, always.
    fn default() -> Self {
        Self { temperature: 0.0, top_p: 1.0, seed: 0 }
    }
}

impl Sampling {
    /// What makes these numbers impossible, if anything.
    pub fn problem(&self) -> Option<String> {
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return Some(format!("temperature {}; expected 0 or more", self.temperature));
        }
        (!(self.top_p > 0.0 && self.top_p <= 1.0)).then(|| format!("top-p {}; expected above 0 up to 1", self.top_p))
    }

    /// The next token's id; the first of equal scores.
    pub(super) fn choose<R: Rng>(&self, scores: &[f32], rng: &mut R) -> u32 {
        let best =
            scores.iter().enumerate().fold((0, f32::NEG_INFINITY), |b, (i, &s)| if s > b.1 { (i, s) } else { b });
        if self.temperature == 0.0 {
            return best.0 as u32;
        }
        let mut likely: Vec<(usize, f32)> =
            scores.iter().enumerate().map(|(i, s)| (i, ((s - best.1) / self.temperature).exp())).collect();
        let total: f32 = likely.iter().map(|l| l.1).sum();
        if self.top_p < 1.0 {
            likely.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            let mut sum = 0.0;
            let kept = likely.iter().position(|l| {
                sum += l.1;
                sum >= self.top_p * total
            });
            likely.truncate(kept.map_or(likely.len(), |k| k + 1));
        }
        let mut left = rng.random::<f32>() * likely.iter().map(|l| l.1).sum::<f32>();
        let found = likely.iter().find(|l| {
            left -= l.1;
            left < 0.0
        });
        found.map_or(best.0, |l| l.0) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use geoglot_core::Seeds;

    #[test]
    fn draws_follow_the_probabilities() {
        let scores = [1.0f32.ln(), 2.0f32.ln(), 5.0f32.ln(), f32::NEG_INFINITY];
        let mut rng = Seeds::new(1).stream("test");
        let mut draw = |sampling: Sampling| {
            let mut counts = [0; 4];
            (0..8000).for_each(|_| counts[sampling.choose(&scores, &mut rng) as usize] += 1);
            counts
        };
        assert_eq!(draw(Sampling::default()), [0, 0, 8000, 0]);
        let all = draw(Sampling { temperature: 1.0, ..Sampling::default() });
        assert!((900..1100).contains(&all[0]) && (4850..5150).contains(&all[2]) && all[3] == 0, "{all:?}");
        let some = draw(Sampling { temperature: 1.0, top_p: 0.8, ..Sampling::default() });
        assert!(some[0] == 0 && (5550..5900).contains(&some[2]), "{some:?}");
        let sharp = draw(Sampling { temperature: 0.5, ..Sampling::default() });
        assert!((6500..6850).contains(&sharp[2]), "{sharp:?}");
    }
}
