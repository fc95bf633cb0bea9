//! Clouds over the optical sensors, with the shadows they cast.

use geoglot_core::Seeds;
use ndarray::Array2;
use rayon::prelude::*;

use super::SynthConfig;
use super::noise::{Noise, quantile};

/// Opacity of clouds and depth of their shadows, both 0 to 1, [H, W].
pub(super) struct Clouds {
    pub opacity: Array2<f32>,
    pub shadow: Array2<f32>,
}

/// Clouds over the configured share of the scene; `None` for a clear sky.
pub(super) fn clouds(config: &SynthConfig, seeds: Seeds) -> Option<Clouds> {
    if config.clouds <= 0.0 {
        return None;
    }
    let field = Noise::new(seeds.value("synth/clouds"), 110.0, 5);
    let (h, w) = (config.height, config.width);
    let samples =
        (0..10_000).map(|k| field.at((k % 100) as f32 * w as f32 / 100.0, (k / 100) as f32 * h as f32 / 100.0));
    let limit = quantile(samples.collect(), 1.0 - config.clouds);
    // The mask counts opacity above 0.1, which is reached at 0.4 of the soft edge's width.
    let opacity = |x: f32, y: f32| {
        let t = ((field.at(x, y) - limit) / 0.12 + 0.196).clamp(0.0, 1.0);
        t * t * (3.0 - 2.0 * t)
    };
    // Base at 70 pixels above the ground: low clouds, so that most shadows fall inside the scene.
    let (elevation, azimuth) = (config.sun_elevation.to_radians(), config.sun_azimuth.to_radians());
    let throw = 70.0 / elevation.tan();
    let (dx, dy) = (azimuth.sin() * throw, -azimuth.cos() * throw);
    let plane = |f: &(dyn Fn(f32, f32) -> f32 + Sync)| {
        let mut out = Array2::zeros((h, w));
        out.as_slice_mut().expect("standard layout").par_chunks_mut(w).enumerate().for_each(|(row, line)| {
            line.iter_mut().enumerate().for_each(|(column, v)| *v = f(column as f32, row as f32));
        });
        out
    };
    Some(Clouds { opacity: plane(&opacity), shadow: plane(&|x, y| opacity(x + dx, y + dy)) })
}

impl Clouds {
    /// 0 clear, 1 cloud, 2 cloud shadow, [H, W].
    pub fn mask(&self) -> Array2<u8> {
        ndarray::Zip::from(&self.opacity).and(&self.shadow).map_collect(|o, s| {
            if *o > 0.1 {
                1
            } else if *s > 0.3 {
                2
            } else {
                0
            }
        })
    }
}
