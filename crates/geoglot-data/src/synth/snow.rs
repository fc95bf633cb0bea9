//! Snow on the ground: as white as clouds to the eye, dark where clouds are bright, beyond 1.4 µm.

use geoglot_core::Seeds;
use ndarray::Array2;

use super::SynthConfig;
use super::noise::{Noise, quantile};

/// Where snow lies, and how old it is.
pub(super) struct Snow {
    field: Noise,
    limit: f32,
    age: Noise,
}

impl Snow {
    /// Snow on the configured share of the scene; `None` for bare ground.
    pub fn new(config: &SynthConfig, seeds: Seeds) -> Option<Self> {
        if config.snow <= 0.0 {
            return None;
        }
        let field = Noise::new(seeds.value("synth/snow"), 90.0, 4);
        let (w, h) = (config.width as f32 / 100.0, config.height as f32 / 100.0);
        let samples = (0..10_000).map(|k| field.at((k % 100) as f32 * w, (k / 100) as f32 * h));
        let limit = quantile(samples.collect(), 1.0 - config.snow);
        Some(Self { field, limit, age: Noise::new(seeds.value("synth/snow/age"), 60.0, 3) })
    }

    /// Covered share of the ground at a column and row, 0 to 1, and the snow's brightness: 1 when fresh, less when old and dirty.
    pub fn at(&self, x: f32, y: f32) -> (f32, f32) {
        let share = ((self.field.at(x, y) - self.limit) / 0.08 + 0.5).clamp(0.0, 1.0);
        (share, 0.8 + 0.2 * self.age.at(x, y).clamp(-1.0, 1.0))
    }

    /// 1 where snow covers at least half of the ground, [H, W].
    pub fn mask(&self, width: usize, height: usize) -> Array2<u8> {
        Array2::from_shape_fn((height, width), |(row, column)| u8::from(self.at(column as f32, row as f32).0 >= 0.5))
    }
}

/// Reflectance of fresh snow of medium grains at `w` µm (after Warren 1982, figure 8).
pub(super) fn reflectance(w: f32) -> f32 {
    const CURVE: [(f32, f32); 9] = [
        (0.4, 0.96),
        (0.7, 0.93),
        (0.87, 0.85),
        (1.03, 0.68),
        (1.1, 0.72),
        (1.25, 0.45),
        (1.45, 0.04),
        (1.75, 0.12),
        (2.2, 0.07),
    ];
    let after = CURVE.iter().position(|(at, _)| *at > w);
    match after {
        Some(0) => CURVE[0].1,
        None => CURVE[8].1,
        Some(k) => {
            let ((a, low), (b, high)) = (CURVE[k - 1], CURVE[k]);
            low + (high - low) * (w - a) / (b - a)
        }
    }
}
