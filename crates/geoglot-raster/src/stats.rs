//! Statistics of a raster in one pass over windows, and what they say about how it was stored.

use geoglot_core::{Band, Unit, Window};
use ndarray::Axis;
use serde::Serialize;

use crate::{BandSource, Result};

/// Statistics of one band's physical values (stored × scale + offset) where it has data.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BandStats {
    /// Band name.
    pub name: String,
    /// Pixels with data.
    pub count: u64,
    /// Share of pixels without data, 0–1.
    pub nodata_share: f64,
    /// Share of pixels that are NaN or infinite, 0–1 (part of `nodata_share`).
    pub non_finite_share: f64,
    /// Smallest value; NaN where the band has no data, as all that follow.
    pub min: f64,
    /// Largest value.
    pub max: f64,
    /// Mean.
    pub mean: f64,
    /// Standard deviation (of the population).
    pub std: f64,
    /// Percentiles 1, 2, 5, 25, 50, 75, 95, 98, 99, of all pixels in small rasters and of an even sample in large ones.
    pub percentiles: [f64; 9],
    /// Hash of the stored values and their places: equal bands have equal hashes.
    #[serde(skip)]
    pub fingerprint: u64,
}

/// The percentiles in [`BandStats::percentiles`].
pub const PERCENTILES: [f64; 9] = [1.0, 2.0, 5.0, 25.0, 50.0, 75.0, 95.0, 98.0, 99.0];

impl BandStats {
    /// One of [`PERCENTILES`]; NaN for another.
    pub fn percentile(&self, p: f64) -> f64 {
        PERCENTILES.iter().position(|&q| q == p).map_or(f64::NAN, |k| self.percentiles[k])
    }
}

/// Statistics of a raster.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SceneStats {
    /// One entry a band, in file order.
    pub bands: Vec<BandStats>,
    /// Share of pixels where at least one band has no data, 0–1.
    pub masked_share: f64,
}

/// Sampled values kept for percentiles, at most about this many a band.
const SAMPLE: u64 = 100_000;
/// Values held at a time, where rows are read in full.
const BLOCK_VALUES: usize = 32 << 20;

#[derive(Default, Clone)]
struct Running {
    count: u64,
    non_finite: u64,
    min: f64,
    max: f64,
    mean: f64,
    m2: f64,
    sample: Vec<f32>,
    hash: u64,
}

impl Running {
    /// Merges a strip's sums: Chan, Golub & LeVeque's update, so that large rasters lose no digits.
    fn merge(&mut self, n: u64, sum: f64, squares: impl FnOnce(f64) -> f64) {
        if n == 0 {
            return;
        }
        let mean = sum / n as f64;
        let m2 = squares(mean);
        let total = (self.count + n) as f64;
        let delta = mean - self.mean;
        self.m2 += m2 + delta * delta * self.count as f64 * n as f64 / total;
        self.mean += delta * n as f64 / total;
        self.count += n;
    }
}

/// A well-mixed number of a pixel index (SplitMix64): choosing pixels by it samples evenly, unlike every n-th pixel, which may follow a column.
fn mix(index: u64) -> u64 {
    let mut z = index.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Windows that cover a raster: full rows where they are cheap to hold, else squares, so that tiles of a file are not decoded again and again.
fn blocks(width: usize, height: usize, bands: usize) -> impl Iterator<Item = Window> {
    let side = if bands <= 64 { 512 } else { 256 };
    let full = width.saturating_mul(side).saturating_mul(bands) <= BLOCK_VALUES;
    let columns = if full { width } else { side };
    (0..height).step_by(side).flat_map(move |row| {
        (0..width)
            .step_by(columns.max(1))
            .map(move |col| Window::new(col, row, columns.min(width - col), side.min(height - row)))
    })
}

/// Statistics of every band, in one pass over windows: memory does not grow with the raster's size.
///
/// # Errors
/// Those of reading.
pub fn scene_stats(source: &dyn BandSource) -> Result<SceneStats> {
    let grid = source.grid();
    let (width, height) = (grid.width, grid.height);
    let bands = source.all_bands();
    let pixels = width as u64 * height as u64;
    // Keep a pixel when its mixed index falls below this.
    let threshold =
        if pixels <= SAMPLE { u64::MAX } else { (u64::MAX as f64 * (SAMPLE as f64 / pixels as f64)) as u64 };
    let start = Running { min: f64::INFINITY, max: f64::NEG_INFINITY, ..Running::default() };
    let mut running: Vec<Running> = bands.iter().map(|_| start.clone()).collect();
    let mut masked = 0u64;
    for window in blocks(width, height, bands.len()) {
        let tile = source.read_stored(&bands, window)?;
        masked += tile.mask.iter().filter(|&&valid| !valid).count() as u64;
        // A pixel masked although no band holds nodata is masked by the file itself (a mask band): it counts for no band.
        let hidden: Vec<bool> = tile
            .mask
            .indexed_iter()
            .map(|((r, c), &valid)| {
                let mut planes = tile.data.axis_iter(Axis(0)).zip(source.bands());
                !valid && planes.all(|(plane, band)| has_data(plane[[r, c]], band))
            })
            .collect();
        let place = |k: usize| ((window.row + k / window.width) * width + window.col + k % window.width) as u64;
        for ((plane, band), run) in tile.data.axis_iter(Axis(0)).zip(source.bands()).zip(&mut running) {
            let (mut n, mut sum) = (0u64, 0f64);
            for (k, &v) in plane.iter().enumerate() {
                let index = place(k);
                // A sum of mixed (place, value) pairs does not depend on the order of windows.
                run.hash = run.hash.wrapping_add(mix((index << 32) ^ (index >> 32) ^ u64::from(v.to_bits())));
                run.non_finite += u64::from(!v.is_finite());
                if hidden[k] || !has_data(v, band) {
                    continue;
                }
                let v = band.physical(f64::from(v));
                n += 1;
                sum += v;
                run.min = run.min.min(v);
                run.max = run.max.max(v);
                if mix(index) <= threshold {
                    run.sample.push(v as f32);
                }
            }
            run.merge(n, sum, |mean| {
                let counted = plane.iter().zip(&hidden).filter(|(v, hidden)| !**hidden && has_data(**v, band));
                counted.map(|(&v, _)| (band.physical(f64::from(v)) - mean).powi(2)).sum()
            });
        }
    }
    let bands = running.into_iter().zip(source.bands()).map(|(run, band)| finish(run, band, pixels)).collect();
    Ok(SceneStats { bands, masked_share: masked as f64 / pixels as f64 })
}

fn has_data(v: f32, band: &Band) -> bool {
    v.is_finite() && Some(v) != band.nodata.map(|n| n as f32)
}

fn finish(mut run: Running, band: &Band, pixels: u64) -> BandStats {
    run.sample.sort_unstable_by(f32::total_cmp);
    let nan = |v: f64| if run.count == 0 { f64::NAN } else { v };
    let at = |p: f64| match run.sample.len() {
        0 => f64::NAN,
        n => {
            // Linear between neighbours, as numpy does.
            let place = p / 100.0 * (n - 1) as f64;
            let (low, high) = (run.sample[place as usize], run.sample[(place as usize + 1).min(n - 1)]);
            f64::from(low) + (f64::from(high) - f64::from(low)) * place.fract()
        }
    };
    BandStats {
        name: band.name.clone(),
        count: run.count,
        nodata_share: 1.0 - run.count as f64 / pixels as f64,
        non_finite_share: run.non_finite as f64 / pixels as f64,
        min: nan(run.min),
        max: nan(run.max),
        mean: nan(run.mean),
        std: nan((run.m2 / run.count.max(1) as f64).sqrt()),
        percentiles: PERCENTILES.map(at),
        fingerprint: run.hash,
    }
}

/// What looks wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Suspicion {
    /// Every pixel is nodata.
    NoData,
    /// NaN or infinite pixels.
    NotFinite,
    /// One value everywhere.
    Constant,
    /// Two bands hold the same numbers.
    Duplicate,
    /// Too large for reflectance: the scale is missing.
    NotReflectance,
    /// Too small for reflectance: the scale was applied twice.
    ScaledTwice,
    /// Linear power where decibels are declared.
    LinearNotDecibel,
    /// Decibels where linear power is declared.
    DecibelNotLinear,
    /// Degrees Celsius where kelvin are declared.
    NotKelvin,
    /// The offset of processing baseline 04.00 was not removed.
    MissingOffset,
    /// Outside the sensor's ordinary range.
    OutOfRange,
}

/// A suspicion with the bands it concerns and what to do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Warning {
    /// What.
    pub suspicion: Suspicion,
    /// Names of the bands.
    pub bands: Vec<String>,
    /// In words, with a remedy.
    pub text: String,
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", shortened(&self.bands), self.text)
    }
}

/// Up to six names, then how many more.
fn shortened(names: &[String]) -> String {
    const SHOWN: usize = 6;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    if names.len() > SHOWN { format!("{shown} and {} more", names.len() - SHOWN) } else { shown }
}

/// Collects one warning for all bands of a suspicion.
struct Collector(Vec<Warning>);

impl Collector {
    fn add(&mut self, suspicion: Suspicion, band: &str, text: impl FnOnce() -> String) {
        match self.0.iter_mut().find(|w| w.suspicion == suspicion) {
            Some(warning) => warning.bands.push(band.into()),
            None => self.0.push(Warning { suspicion, bands: vec![band.into()], text: text() }),
        }
    }
}

/// What the statistics of `bands` (the same bands, in the same order) say against how they are declared.
pub fn warnings(stats: &SceneStats, bands: &[Band]) -> Vec<Warning> {
    let mut found = Collector(Vec::new());
    for (s, band) in stats.bands.iter().zip(bands) {
        check_band(s, band, &mut found);
    }
    let mut seen: Vec<&BandStats> = Vec::new();
    for s in stats.bands.iter().filter(|s| s.count > 0 && s.min < s.max) {
        match seen.iter().find(|o| o.fingerprint == s.fingerprint && o.count == s.count) {
            Some(other) => found.0.push(Warning {
                suspicion: Suspicion::Duplicate,
                bands: vec![other.name.clone(), s.name.clone()],
                text: "hold the same numbers; one of them was copied under the wrong name".into(),
            }),
            None => seen.push(s),
        }
    }
    missing_offset(stats, bands, &mut found);
    found.0
}

fn check_band(s: &BandStats, band: &Band, found: &mut Collector) {
    let (p1, p2, p50, p98, p99) =
        (s.percentile(1.0), s.percentile(2.0), s.percentile(50.0), s.percentile(98.0), s.percentile(99.0));
    if s.count == 0 {
        found.add(Suspicion::NoData, &s.name, || "every pixel is nodata; check the nodata value and the file".into());
        return;
    }
    if s.non_finite_share > 0.0 {
        found.add(Suspicion::NotFinite, &s.name, || {
            format!("{:.2} % of the pixels are NaN or infinite; they are treated as nodata", 100.0 * s.non_finite_share)
        });
    }
    if s.min == s.max {
        found.add(Suspicion::Constant, &s.name, || {
            format!(
                "every pixel is {:.6}; the band carries no information, or it is fill that is not declared as nodata",
                s.min
            )
        });
        return;
    }
    match band.unit {
        Unit::Reflectance if p99 > 2.0 => found.add(Suspicion::NotReflectance, &s.name, || {
            format!(
                "values reach {p99:.4} (99th percentile) after ×{} {:+}, which cannot be reflectance; the stored numbers need another scale (0.0001 is usual for counts up to 10000, 1/255 for bytes)",
                band.scale, band.offset
            )
        }),
        Unit::Reflectance if p98.abs() < 1e-3 => found.add(Suspicion::ScaledTwice, &s.name, || {
            let stored = if band.scale == 0.0 { 0.0 } else { (p98 - band.offset) / band.scale };
            format!(
                "values end at {p98:.2e} (98th percentile) after ×{}; stored ones at {stored:.3}: they look like reflectance already, so the scale would be applied twice (say scale=1)",
                band.scale
            )
        }),
        Unit::Reflectance if band.scale < 0.1 && p98 - band.offset < 1.5 * band.scale => {
            found.add(Suspicion::ScaledTwice, &s.name, || {
                format!("stored values end at {:.3}: they look like reflectance already, so the scale {} would be applied twice (say scale=1)", (p98 - band.offset) / band.scale, band.scale)
            });
        }
        Unit::Decibel if p1 >= 0.0 && p50 < 5.0 => found.add(Suspicion::LinearNotDecibel, &s.name, || {
            format!("declared as dB, but no value is negative (median {p50:.4}): it looks like linear power or amplitude; use the sensor's linear entry")
        }),
        Unit::LinearPower if p2 < 0.0 => found.add(Suspicion::DecibelNotLinear, &s.name, || {
            format!("declared as linear power, but values are negative (median {p50:.2}): it looks like dB; use the sensor's dB entry")
        }),
        Unit::Kelvin if p50 < 150.0 => found.add(Suspicion::NotKelvin, &s.name, || {
            format!("declared as kelvin, but the median is {p50:.2}; degrees Celsius need offset=273.15, counts their own scale")
        }),
        _ => {
            if let Some((low, high)) = band.range
                && (p2 < low - 0.5 * (high - low) || p98 > high + 0.5 * (high - low))
            {
                found.add(Suspicion::OutOfRange, &s.name, || {
                    format!("values of {p2:.4} to {p98:.4} lie far outside the sensor's ordinary {low} to {high}; check scale, offset and nodata")
                });
            }
        }
    }
}

/// Sentinel-2 products since baseline 04.00 carry +1000 counts, which shows as a floor near 0.1 in every band, also over water and shadow.
fn missing_offset(stats: &SceneStats, bands: &[Band], found: &mut Collector) {
    let pairs: Vec<_> = stats
        .bands
        .iter()
        .zip(bands)
        .filter(|(s, b)| s.count > 0 && b.sensor.as_deref().is_some_and(|id| id == "sentinel-2-l2a") && b.offset == 0.0)
        .collect();
    if pairs.len() >= 6 && pairs.iter().all(|(s, _)| s.percentile(1.0) >= 0.098) {
        for (s, _) in pairs {
            found.add(Suspicion::MissingOffset, &s.name, || {
                "no band falls below 0.1: the product probably has processing baseline 04.00 or later, whose counts carry +1000; use sensor=sentinel-2-l2a-0400".into()
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SampleType, Tile};
    use geoglot_core::Grid;
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
        let noise =
            |k: usize, r: usize, c: usize| (mix((k * 10_000 + r * 100 + c) as u64) >> 40) as f32 / (1 << 24) as f32;
        let cube =
            |scale: f32, shift: f32| Array3::from_shape_fn((2, 50, 50), |(k, r, c)| noise(k, r, c) * scale + shift);
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
}
