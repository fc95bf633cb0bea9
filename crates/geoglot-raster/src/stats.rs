//! Statistics of a raster in one pass over windows, and what they say about how it was stored.

mod suspicions;

use geoglot_core::{Band, Window};
use ndarray::Axis;
use serde::Serialize;

use crate::{BandSource, Result};

pub use suspicions::{Suspicion, Warning, warnings};

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

#[cfg(test)]
mod tests;
