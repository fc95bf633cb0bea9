//! Sunlight on the cells: slope and cast shadow.

use rayon::prelude::*;

use super::SynthConfig;
use super::land::{Cover, FINE, Land};

/// Direct sunlight on every cell relative to level open ground: 0 in cast shadow.
///
/// Heights count as if a pixel were one metre wide. Within plants no shadow is cast: canopies shade themselves the same at any height (see the
/// surface mixtures), so that spectra do not tell shrubs from woods.
pub(super) fn sunlight(land: &Land, ground: &[f32], config: &SynthConfig) -> Vec<f32> {
    let (elevation, azimuth) = (config.sun_elevation.to_radians(), config.sun_azimuth.to_radians());
    // Direction to the sun in cells: east = +column, north = −row.
    let (east, north) = (azimuth.sin(), azimuth.cos());
    let (dc, dr) = (east, -north);
    let rise = elevation.tan() / FINE as f32;
    let tallest = land.cells.iter().map(|c| c.height).fold(0.0, f32::max) + 2.0;
    let reach = (tallest / rise).min(400.0) as usize;
    let surface = |row: usize, column: usize| ground[row * land.width + column] + land.at(row, column).height;
    let mut out = vec![1.0; land.cells.len()];
    out.par_chunks_mut(land.width).enumerate().for_each(|(row, line)| {
        for (column, light) in line.iter_mut().enumerate() {
            let cell = land.at(row, column);
            let z = surface(row, column);
            let plant = matches!(cell.cover, Cover::Canopy | Cover::Foliage | Cover::RowGround);
            let shaded = !plant
                && (1..=reach).any(|k| {
                    let (r, c) = (row as f32 + dr * k as f32, column as f32 + dc * k as f32);
                    if r < 0.0 || c < 0.0 || r >= land.height as f32 - 0.5 || c >= land.width as f32 - 0.5 {
                        return false;
                    }
                    surface(r.round() as usize, c.round() as usize) > z + rise * k as f32 + 0.3
                });
            if shaded {
                *light = 0.0;
                continue;
            }
            // Roofs slope by their own height, everything else by the ground's.
            let height = |r: usize, c: usize| {
                let other = land.at(r, c);
                let roof = cell.cover == Cover::Tile && other.object == cell.object;
                ground[r * land.width + c]
                    + if roof {
                        other.height
                    } else if cell.cover == Cover::Tile {
                        cell.height
                    } else {
                        0.0
                    }
            };
            let (up, down) = (row.saturating_sub(1), (row + 1).min(land.height - 1));
            let (left, right) = (column.saturating_sub(1), (column + 1).min(land.width - 1));
            let slope = |a: f32, b: f32, cells: usize| (b - a) * FINE as f32 / cells.max(1) as f32;
            let by_column = slope(height(row, left), height(row, right), right - left);
            let by_row = slope(height(up, column), height(down, column), down - up);
            let cosine = (elevation.sin() - elevation.cos() * (by_column * dc + by_row * dr))
                / (1.0 + by_column * by_column + by_row * by_row).sqrt();
            *light = (cosine / elevation.sin()).clamp(0.0, 1.8);
        }
    });
    out
}
