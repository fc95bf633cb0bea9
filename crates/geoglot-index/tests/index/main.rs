//! The archive as a whole: adding, searching, damage, crashes, exports.

#[cfg(feature = "usearch")]
mod approx;
mod archive;
mod damage;
mod export;
mod fuzz;
mod kill;
mod search;

use geoglot_core::{Affine, Crs, Grid, Window};
use geoglot_index::{BBox, Footprint, Meta, Record, RecordId, Space, Time};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Width of the test space.
pub const DIM: usize = 24;

/// The test space.
pub fn space() -> Space {
    Space::new("test", DIM, "model", Some("hash".into()))
}

/// Vector of record `i`: one of ten directions and some noise.
pub fn vector(i: usize, dim: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(i as u64);
    let mut centre = ChaCha8Rng::seed_from_u64(1_000_000 + i as u64 % 10);
    let normal = |scale: f32, rng: &mut ChaCha8Rng| scale * rng.sample::<f32, _>(rand_distr::StandardNormal);
    (0..dim).map(|_| normal(1.0, &mut centre) + normal(0.4, &mut rng)).collect()
}

/// Record `i`: a tile of 0.1° on a grid around 10°E 45°N, 100 tiles a row.
pub fn record(i: usize) -> Record {
    let (col, row) = (i % 100, i / 100 % 100);
    let (west, north) = (10.0 + 0.1 * col as f64, 45.0 - 0.1 * row as f64);
    let source = format!("scene-{}.tif", i % 7);
    let window = Window::new(64 * col, 64 * row, 64, 64);
    Record {
        meta: Meta {
            footprint: (i % 11 != 3)
                .then(|| Footprint::from_bbox(&BBox::new(west, north - 0.1, west + 0.1, north).unwrap())),
            grid: Some(Grid {
                crs: Some(Crs::Epsg(32632)),
                transform: Affine::north_up(5e5 + 640.0 * col as f64, 5e6 - 640.0 * row as f64, 10.0, 10.0),
                width: 64,
                height: 64,
            }),
            window: Some(window),
            time: (i % 13 != 5).then(|| Time(1_700_000_000_000 + 86_400_000 * (i as i64 % 100))),
            sensor: (i % 17 != 1).then(|| ["sentinel-2-l2a", "sentinel-1-grd", "landsat-8"][i % 3].into()),
            cloud: i.is_multiple_of(3).then_some((i % 10) as f32 / 10.0),
            nodata: Some((i % 4) as f32 / 4.0),
            caption: i.is_multiple_of(5).then(|| format!("tile <{i}>")),
            tags: if i.is_multiple_of(6) { vec![format!("t{i}"), "common".into()] } else { vec![] },
            ..Meta::new(RecordId::new(&source, Some(window), "hash", &i.to_string()), source)
        },
        vector: vector(i, DIM),
        thumbnail: i.is_multiple_of(4).then(|| format!("\u{89}PNG picture of {i}").into_bytes()),
    }
}

/// Several records.
pub fn records(range: std::ops::Range<usize>) -> Vec<Record> {
    range.map(record).collect()
}
