//! Ground, surface heights, and what a LiDAR makes of them.

use geoglot_core::Seeds;
use ndarray::Array2;
use rayon::prelude::*;

use super::SynthConfig;
use super::classes::Kind;
use super::land::{Cover, FINE, Land};
use super::noise::{Noise, normal, unit};
use super::plan::Plan;

/// Ground height of every cell in metres.
pub(super) fn ground(plan: &Plan, land: &Land, config: &SynthConfig, seeds: Seeds) -> Vec<f32> {
    let seed = seeds.value("synth/ground");
    let hills = Noise::new(seed, 230.0, 4);
    let bumps = Noise::new(seed + 1, 28.0, 2);
    let mut out = vec![0.0; land.cells.len()];
    out.par_chunks_mut(land.width).enumerate().for_each(|(row, line)| {
        for (column, z) in line.iter_mut().enumerate() {
            let (x, y) = (column as f32 / FINE as f32, row as f32 / FINE as f32);
            let bank = plan.river(x, y).max(0.0);
            let valley = -5.0 * (-bank / 35.0).exp();
            let bed = if land.at(row, column).kind == Kind::Water { -0.8 } else { 0.0 };
            *z = 220.0 + config.relief * 0.5 * hills.at(x, y) + 0.25 * bumps.at(x, y) + valley + bed;
        }
    });
    out
}

/// Digital surface and terrain models [H, W] in metres as gridded LiDAR returns: plants are partly penetrated, the terrain under plants and
/// buildings is interpolated and so less exact.
pub(super) fn elevation(land: &Land, ground: &[f32], config: &SynthConfig, seeds: Seeds) -> (Array2<f32>, Array2<f32>) {
    let seed = seeds.value("synth/lidar");
    let drift = Noise::new(seed + 1, 12.0, 2);
    let (height, width) = (land.height / FINE, land.width / FINE);
    let cells = (FINE * FINE) as f32;
    let mut pairs = vec![(0f32, 0f32); height * width];
    pairs.par_chunks_mut(width).enumerate().for_each(|(row, line)| {
        for (column, (dsm, dtm)) in line.iter_mut().enumerate() {
            let mut covered = 0.0;
            for k in 0..FINE * FINE {
                let (r, c) = (row * FINE + k / FINE, column * FINE + k % FINE);
                let cell = land.at(r, c);
                let plant = matches!(cell.cover, Cover::Canopy | Cover::Foliage | Cover::Cereal | Cover::Grass);
                let seen = if plant { 1.0 - 0.22 * unit(seed + 2, r as i64, c as i64) } else { 1.0 };
                let z = ground[r * land.width + c];
                *dsm += (z + seen * cell.height) / cells;
                *dtm += z / cells;
                covered += (cell.height / 3.0).min(1.0) / cells;
            }
            let noise = |k: u64| config.lidar_noise * normal(seed + k, row as i64, column as i64);
            *dsm += noise(3);
            *dtm += 0.5 * noise(4) + (0.08 + 0.35 * covered) * drift.at(column as f32, row as f32);
        }
    });
    let plane = |f: fn(&(f32, f32)) -> f32| {
        Array2::from_shape_vec((height, width), pairs.iter().map(f).collect()).expect("one value a pixel")
    };
    (plane(|p| p.0), plane(|p| p.1))
}
