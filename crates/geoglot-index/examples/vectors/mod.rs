//! Seeded vectors in a file that other programs read as well, and what a process used.

use std::io::{Read, Write};
use std::path::Path;

use geoglot_index::{Archive, BBox, Footprint, Meta, Record, RecordId, Space, Time, VectorType};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

pub type Failure = Box<dyn std::error::Error>;

/// Seeded vectors of one kind, one after another.
pub struct Source {
    dim: usize,
    mean: Vec<f32>,
    centres: Vec<Vec<f32>>,
    /// Cumulated cluster sizes, ending with 1.
    shares: Vec<f64>,
}

impl Source {
    /// For `clustered` or `random` vectors of `dim` numbers.
    pub fn new(kind: &str, dim: usize) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let clusters = if kind == "clustered" { 2000 } else { 0 };
        let normal = |rng: &mut ChaCha8Rng| -> Vec<f32> { (0..dim).map(|_| rng.sample(StandardNormal)).collect() };
        let mean = normal(&mut rng);
        let centres: Vec<Vec<f32>> = (0..clusters).map(|_| normal(&mut rng)).collect();
        let total: f64 = (1..=clusters).map(|r| 1.0 / r as f64).sum();
        let mut sum = 0.0;
        let shares = (1..=clusters)
            .map(|r| {
                sum += 1.0 / r as f64 / total;
                sum
            })
            .collect();
        Self { dim, mean, centres, shares }
    }

    /// A vector of length 1: mean, centre of its cluster and noise.
    pub fn next(&self, rng: &mut ChaCha8Rng, noise: f32) -> Vec<f32> {
        let mut vector: Vec<f32> = (0..self.dim).map(|_| rng.sample(StandardNormal)).collect();
        if !self.centres.is_empty() {
            let place: f64 = rng.random();
            let cluster = self.shares.partition_point(|s| *s < place).min(self.centres.len() - 1);
            for (i, v) in vector.iter_mut().enumerate() {
                *v = noise * *v + self.centres[cluster][i] + 0.8 * self.mean[i];
            }
        }
        let norm = vector.iter().map(|v| v * v).sum::<f32>().sqrt();
        vector.iter_mut().for_each(|v| *v /= norm);
        vector
    }
}

/// A file of `count` vectors of little-endian f32; made when it is not there. `seed` and `noise` as in [`Source::next`].
pub fn vector_file(path: &Path, source: &Source, count: usize, seed: u64, noise: f32) -> Result<(), Failure> {
    if path.metadata().is_ok_and(|m| m.len() == 4 * (count * source.dim) as u64) {
        return Ok(());
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    for _ in 0..count {
        source.next(&mut rng, noise).iter().try_for_each(|v| file.write_all(&v.to_le_bytes()))?;
    }
    Ok(file.flush()?)
}

/// Calls `each` with up to `most` floats of a file at a time.
pub fn read_floats(
    path: &Path,
    most: usize,
    mut each: impl FnMut(Vec<f32>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut file = std::fs::File::open(path)?;
    let mut bytes = Vec::new();
    while (&mut file).take(4 * most as u64).read_to_end(&mut bytes)? > 0 {
        each(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())?;
        bytes.clear();
    }
    Ok(())
}

/// An archive of the vectors of a file; made when it is not there. Returns a line about making it.
pub fn archive_of(path: &Path, vectors: &Path, space: &Space, kind: VectorType) -> Result<Option<String>, Failure> {
    if path.exists() {
        return Ok(None);
    }
    Archive::create(path, space.clone(), kind)?;
    let mut writer = Archive::open_writer(path)?;
    let (cpu, wall) = (cpu_ms(), std::time::Instant::now());
    let mut start = 0;
    read_floats(vectors, (1 << 17) * space.dim, |chunk| {
        let batch: Vec<Record> = chunk.chunks_exact(space.dim).enumerate().map(|(i, v)| record(start + i, v)).collect();
        start += batch.len();
        writer.add(space, batch)?;
        Ok(())
    })?;
    Ok(Some(format!("build: CPU {:.1} s, wall {:.1} s", (cpu_ms() - cpu) / 1e3, wall.elapsed().as_secs_f64())))
}

/// The record of vector `i`, with a place, date, sensor and cloud share that follow from it.
pub fn record(i: usize, vector: &[f32]) -> Record {
    let (col, row) = ((i % 1000) as f64, (i / 1000 % 1000) as f64);
    let (west, south) = (-20.0 + 0.04 * col, 30.0 + 0.03 * row);
    let bbox = BBox { west, south, east: west + 0.04, north: south + 0.03 };
    Record {
        meta: Meta {
            footprint: Some(Footprint::from_bbox(&bbox)),
            time: Some(Time(1_600_000_000_000 + 86_400_000 * (i as i64 % 1000))),
            sensor: Some(["sentinel-2-l2a", "sentinel-1-grd", "landsat-8"][i % 3].into()),
            cloud: Some((i % 100) as f32 / 100.0),
            nodata: Some(0.0),
            ..Meta::new(RecordId::of_parts(&[&i.to_le_bytes()]), format!("scene-{}.tif", i / 1000))
        },
        vector: vector.to_vec(),
        thumbnail: None,
    }
}

/// CPU time of this process in milliseconds, user and system.
pub fn cpu_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").ok();
    let threads = std::fs::read_dir("/proc/self/task").ok();
    // All threads: each has its own count of nanoseconds on the processor.
    let of = |text: String| text.split_whitespace().next().and_then(|t| t.parse::<f64>().ok()).unwrap_or(0.0);
    match (threads, stat) {
        (Some(threads), _) => {
            threads
                .flatten()
                .filter_map(|t| std::fs::read_to_string(t.path().join("schedstat")).ok())
                .map(of)
                .sum::<f64>()
                / 1e6
        }
        (None, Some(stat)) => of(stat) / 1e6,
        _ => f64::NAN,
    }
}

/// Resident memory in MB: of this process alone, and with mapped files.
pub fn resident_mb() -> (f64, f64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |name: &str| {
        let line = status.lines().find(|l| l.starts_with(name));
        line.and_then(|l| l.split_whitespace().nth(1)?.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1e3
    };
    (of("RssAnon:"), of("VmRSS:"))
}
