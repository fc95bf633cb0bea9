//! C-band backscatter in VV and VH, layover-free, with speckle.

use geoglot_core::{Band, Registry, Seeds, SensorKind, Unit};
use ndarray::Array3;
use rayon::prelude::*;

use super::classes::Kind;
use super::land::{FINE, Land};
use super::noise::{Noise, normal, unit};
use super::{SynthConfig, SynthRaster};

/// Typical backscatter in dB, VV and VH.
fn typical(kind: Kind) -> (f32, f32) {
    match kind {
        Kind::Water => (-20.5, -27.0),
        Kind::Paved => (-15.5, -23.0),
        Kind::FlatRoof => (-7.5, -16.0),
        Kind::TiledRoof => (-5.5, -13.5),
        Kind::Grass => (-12.5, -19.5),
        Kind::Turf => (-15.0, -23.5),
        Kind::Soil => (-10.5, -20.5),
        Kind::Cereal => (-11.5, -17.5),
        Kind::Bushes => (-10.0, -16.5),
        Kind::Orchard => (-8.8, -14.6),
        Kind::Shrubs => (-9.6, -15.8),
        Kind::Woods => (-8.2, -13.6),
    }
}

/// Gamma-distributed speckle of mean 1: the mean of `looks` exponential variables.
fn speckle(seed: u64, row: i64, column: i64, looks: u32) -> f32 {
    // Beyond this many looks the sum is a normal distribution for all purposes.
    if looks > 64 {
        return (1.0 + normal(seed, row, column) / (looks as f32).sqrt()).max(0.05);
    }
    let one = |k: u32| -(1.0 - unit(seed + 1 + u64::from(k), row, column)).max(1e-7).ln();
    (0..looks).map(one).sum::<f32>() / looks as f32
}

/// Renders VV and VH in decibels, [2, H, W]: class-dependent backscatter, brighter slopes facing the radar (which looks east), double bounce in
/// front of walls, speckle.
pub(super) fn render(
    land: &Land,
    ground: &[f32],
    registry: &Registry,
    config: &SynthConfig,
    seeds: Seeds,
) -> SynthRaster {
    let seed = seeds.value("synth/sar");
    let texture = Noise::new(seed + 900, 7.0, 2);
    let (height, width) = (land.height / FINE, land.width / FINE);
    let incidence = 38f32.to_radians();
    let mut pairs = vec![(0f32, 0f32); height * width];
    pairs.par_chunks_mut(width).enumerate().for_each(|(row, line)| {
        for (column, (vv, vh)) in line.iter_mut().enumerate() {
            let (mut sum_vv, mut sum_vh) = (0.0, 0.0);
            for k in 0..FINE * FINE {
                let (r, c) = (row * FINE + k / FINE, column * FINE + k % FINE);
                let cell = land.at(r, c);
                let (mut vv, mut vh) = typical(cell.kind);
                let object = normal(seed + 901, i64::from(cell.object), 0);
                let rough = if cell.kind == Kind::Water { 0.4 } else { 1.0 };
                let shift = rough * (0.9 * object + 0.9 * texture.at(column as f32, row as f32));
                (vv, vh) = (vv + shift, vh + shift);
                // Ground in front of an east-lying wall returns the double bounce.
                let wall = (1..=2 * FINE)
                    .any(|d| c + d < land.width && matches!(land.at(r, c + d).kind, Kind::FlatRoof | Kind::TiledRoof));
                if wall && cell.height < 2.0 {
                    (vv, vh) = (vv.max(-9.0) + 12.0, vh.max(-18.0) + 9.0);
                }
                let (left, right) = (c.saturating_sub(1), (c + 1).min(land.width - 1));
                let rise = ground[r * land.width + right] - ground[r * land.width + left];
                let slope = (rise * FINE as f32 / (right - left) as f32).atan().clamp(-0.4, 0.4);
                let facing = ((incidence - slope).cos() / incidence.cos()).max(0.1).powi(2);
                sum_vv += facing * 10f32.powf(vv / 10.0);
                sum_vh += facing * 10f32.powf(vh / 10.0);
            }
            let cells = (FINE * FINE) as f32;
            let decibel = |power: f32| 10.0 * (power / cells).max(1e-5).log10();
            let (r, c) = (row as i64, column as i64);
            *vv = decibel(sum_vv * speckle(seed + 1000, r, c, config.looks));
            *vh = decibel(sum_vh * speckle(seed + 3000, r, c, config.looks));
        }
    });
    let data = Array3::from_shape_fn((2, height, width), |(b, r, c)| {
        let (vv, vh) = pairs[r * width + c];
        if b == 0 { vv } else { vh }
    });
    SynthRaster { bands: bands(registry), data }
}

/// VV and VH as a SAR sensor of the registry has them in decibels, or named bands of our own.
fn bands(registry: &Registry) -> Vec<Band> {
    let of = |name: &str| {
        let decibels = |b: &&Band| b.unit == Unit::Decibel;
        let sensors = registry.sensors().iter().filter(|s| s.kind == SensorKind::Sar);
        sensors.filter_map(|s| s.find_band(name)).find(decibels).cloned()
    };
    ["VV", "VH"]
        .map(|name| {
            of(name).unwrap_or_else(|| Band { unit: Unit::Decibel, range: Some((-35.0, 10.0)), ..Band::named(name) })
        })
        .to_vec()
}
