//! Statistics of made-up rasters.

use super::*;
use crate::{SampleType, Tile};
use geoglot_core::{Grid, Unit};
use ndarray::{Array3, s};
use std::path::Path;

#[derive(Debug)]
struct Memory {
    data: Array3<f32>,
    grid: Grid,
    bands: Vec<Band>,
}

impl BandSource for Memory {
    fn path(&self) -> &Path {
        Path::new("memory")
    }
    fn grid(&self) -> &Grid {
        &self.grid
    }
    fn bands(&self) -> &[Band] {
        &self.bands
    }
    fn sample_type(&self) -> SampleType {
        SampleType::F32
    }
    fn read_stored(&self, bands: &[usize], w: Window) -> Result<Tile> {
        let part = self.data.slice(s![.., w.row..w.row_end(), w.col..w.col_end()]);
        let data = part.select(Axis(0), bands);
        let used: Vec<&Band> = bands.iter().map(|&b| &self.bands[b]).collect();
        let mask = crate::formats::mask_of(data.view(), &used);
        Ok(Tile { window: w, data, mask })
    }
}

fn memory(data: Array3<f32>, mut band: impl FnMut(usize) -> Band) -> Memory {
    let (c, h, w) = data.dim();
    Memory { data, grid: Grid::unreferenced(w, h), bands: (0..c).map(&mut band).collect() }
}

fn suspicions(m: &Memory) -> Vec<Suspicion> {
    warnings(&scene_stats(m).unwrap(), &m.bands).iter().map(|w| w.suspicion).collect()
}

#[test]
fn numbers_of_a_ramp() {
    let data = Array3::from_shape_fn((1, 100, 101), |(_, r, c)| (r * 101 + c) as f32);
    let m = memory(data, |_| Band { scale: 2.0, offset: 1.0, nodata: Some(0.0), ..Band::named("a") });
    let s = scene_stats(&m).unwrap().bands.remove(0);
    assert_eq!((s.count, s.min, s.max), (10_099, 3.0, 20_199.0));
    assert!((s.mean - 10_101.0).abs() < 1e-6 && (s.percentile(50.0) - 10_101.0).abs() < 1.0);
    // Uniform integers 1..=n, doubled: variance 4(n²−1)/12.
    let n = 10_099f64;
    assert!((s.std - (4.0 * (n * n - 1.0) / 12.0).sqrt()).abs() < 1e-6, "{}", s.std);
    assert!((s.nodata_share - 1.0 / 10_100.0).abs() < 1e-12);
}

#[test]
fn a_large_raster_is_sampled_evenly() {
    let data = Array3::from_shape_fn((1, 1000, 1000), |(_, r, c)| (r * 1000 + c) as f32 / 1e6);
    let s = scene_stats(&memory(data, |_| Band::named("a"))).unwrap().bands.remove(0);
    for (p, v) in PERCENTILES.iter().zip(s.percentiles) {
        assert!((v - p / 100.0).abs() < 0.005, "{p}: {v}");
    }
}

#[test]
fn blocks_cover_every_pixel_once() {
    for (width, height, bands) in [(1, 1, 1), (700, 600, 3), (3000, 700, 224), (100_000, 600, 64)] {
        let mut area = 0;
        for w in blocks(width, height, bands) {
            assert!(w.area() > 0 && w.col_end() <= width && w.row_end() <= height);
            assert!(w.area() * bands <= BLOCK_VALUES);
            area += w.area();
        }
        assert_eq!(area, width * height);
    }
    // Blocks start at different places but never overlap: their corners are distinct.
    let corners: std::collections::HashSet<_> = blocks(3000, 700, 224).map(|w| (w.col, w.row)).collect();
    assert_eq!(corners.len(), 12 * 3);
}

#[test]
fn suspicious_storage_is_named() {
    let noise = |k: usize, r: usize, c: usize| (mix((k * 10_000 + r * 100 + c) as u64) >> 40) as f32 / (1 << 24) as f32;
    let cube = |scale: f32, shift: f32| Array3::from_shape_fn((2, 50, 50), |(k, r, c)| noise(k, r, c) * scale + shift);
    let band = |unit, scale| move |_| Band { unit, scale, ..Band::named("x") };
    assert_eq!(suspicions(&memory(cube(0.5, 0.0), band(Unit::Reflectance, 1.0))), []);
    assert_eq!(suspicions(&memory(cube(5000.0, 0.0), band(Unit::Reflectance, 1.0))), [Suspicion::NotReflectance]);
    assert_eq!(suspicions(&memory(cube(0.5, 0.0), band(Unit::Reflectance, 1e-4))), [Suspicion::ScaledTwice]);
    assert_eq!(suspicions(&memory(cube(0.5, 0.0), band(Unit::Decibel, 1.0))), [Suspicion::LinearNotDecibel]);
    assert_eq!(suspicions(&memory(cube(20.0, -25.0), band(Unit::Decibel, 1.0))), []);
    assert_eq!(suspicions(&memory(cube(20.0, -25.0), band(Unit::LinearPower, 1.0))), [Suspicion::DecibelNotLinear]);
    assert_eq!(suspicions(&memory(cube(20.0, 10.0), band(Unit::Kelvin, 1.0))), [Suspicion::NotKelvin]);
    assert_eq!(suspicions(&memory(Array3::zeros((1, 5, 5)), band(Unit::Unitless, 1.0))), [Suspicion::Constant]);
    let empty = memory(Array3::zeros((1, 5, 5)), |_| Band { nodata: Some(0.0), ..Band::named("x") });
    assert_eq!(suspicions(&empty), [Suspicion::NoData]);
    let mut twice = cube(0.5, 0.0);
    let first = twice.slice(s![0, .., ..]).to_owned();
    twice.slice_mut(s![1, .., ..]).assign(&first);
    assert_eq!(suspicions(&memory(twice, band(Unit::Reflectance, 1.0))), [Suspicion::Duplicate]);
    let mut holes = cube(0.5, 0.0);
    holes[[0, 3, 3]] = f32::NAN;
    assert_eq!(suspicions(&memory(holes, band(Unit::Reflectance, 1.0))), [Suspicion::NotFinite]);
    let wide = memory(cube(9e4, 0.0), |_| Band { range: Some((0.0, 255.0)), ..Band::named("x") });
    assert_eq!(suspicions(&wide), [Suspicion::OutOfRange]);
}

#[test]
fn the_sentinel_2_offset_is_noticed() {
    let data = Array3::from_shape_fn((6, 20, 20), |(k, r, c)| 1000.0 + (k * 31 + r * 17 + c * 3) as f32);
    let m = memory(data, |k| Band {
        sensor: Some("sentinel-2-l2a".into()),
        unit: Unit::Reflectance,
        scale: 1e-4,
        ..Band::named(format!("B{k}"))
    });
    assert_eq!(suspicions(&m), [Suspicion::MissingOffset]);
}
