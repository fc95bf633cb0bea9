//! Measures building and searching an archive of N × D vectors, and writes the vectors for other programs to search.
//!
//! ```text
//! cargo run --release -p geoglot-index --example search_speed -- --dir DIR [--rows 1000000] [--dim 512]
//!     [--kind clustered|random] [--queries 100] [--care 2.5] [--json FILE]
//! ```
//! `clustered`: cluster sizes fall off as 1/rank, all clusters share a mean direction (as image embeddings do), queries lie
//! between a cluster's centre and noise (as text embeddings do). `DIR` gets `vectors.f32`, `queries.f32` and `archive/`;
//! what is there already is used again. CPU time is that of this process; run with `RAYON_NUM_THREADS=1` for one core.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use geoglot_index::{
    Archive, BBox, Filter, Footprint, Meta, Mode, Query, Record, RecordId, Scored, SearchOptions, Space, Time,
    VectorType,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

type Failure = Box<dyn std::error::Error>;

struct Args {
    dir: PathBuf,
    rows: usize,
    dim: usize,
    kind: String,
    queries: usize,
    care: f32,
    json: Option<PathBuf>,
}

fn args() -> Result<Args, Failure> {
    let mut args = Args {
        dir: PathBuf::new(),
        rows: 1_000_000,
        dim: 512,
        kind: "clustered".into(),
        queries: 100,
        care: SearchOptions::default().care,
        json: None,
    };
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        let value = given.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--dir" => args.dir = value.into(),
            "--rows" => args.rows = value.parse()?,
            "--dim" => args.dim = value.parse()?,
            "--kind" => args.kind = value,
            "--queries" => args.queries = value.parse()?,
            "--care" => args.care = value.parse()?,
            "--json" => args.json = Some(value.into()),
            other => return Err(format!("unknown option {other}").into()),
        }
    }
    if args.dir.as_os_str().is_empty() || !matches!(args.kind.as_str(), "clustered" | "random") {
        return Err("--dir is needed, and --kind is clustered or random".into());
    }
    Ok(args)
}

/// Seeded vectors of one kind, one after another.
struct Source {
    dim: usize,
    mean: Vec<f32>,
    centres: Vec<Vec<f32>>,
    /// Cumulated cluster sizes, ending with 1.
    shares: Vec<f64>,
}

impl Source {
    fn new(kind: &str, dim: usize) -> Self {
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
    fn next(&self, rng: &mut ChaCha8Rng, noise: f32) -> Vec<f32> {
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

/// Reads the floats of a file, or makes them and the file.
fn floats(path: &Path, count: usize, make: impl FnOnce() -> Vec<f32>) -> Result<Vec<f32>, Failure> {
    if path.metadata().is_ok_and(|m| m.len() == 4 * count as u64) {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.read_to_end(&mut bytes)?;
        return Ok(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect());
    }
    let values = make();
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    values.iter().try_for_each(|v| file.write_all(&v.to_le_bytes()))?;
    file.flush()?;
    Ok(values)
}

fn record(i: usize, vector: &[f32]) -> Record {
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
fn cpu_ms() -> f64 {
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
fn resident_mb() -> (f64, f64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |name: &str| {
        let line = status.lines().find(|l| l.starts_with(name));
        line.and_then(|l| l.split_whitespace().nth(1)?.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1e3
    };
    (of("RssAnon:"), of("VmRSS:"))
}

struct Measured {
    name: String,
    cpu: f64,
    wall: f64,
    recall: f64,
    lists: Vec<Vec<Scored>>,
}

fn measure(
    name: &str,
    archive: &Archive,
    queries: &[Query],
    options: &SearchOptions,
    batch: usize,
    truth: Option<&[Vec<Scored>]>,
) -> Result<Measured, Failure> {
    // Once before: maps the pages.
    archive.search_rows(&queries[..batch.min(queries.len())], options)?;
    let (cpu, wall) = (cpu_ms(), Instant::now());
    let mut lists = Vec::new();
    for queries in queries.chunks(batch) {
        lists.extend(archive.search_rows(queries, options)?);
    }
    let n = queries.len() as f64;
    let (cpu, wall) = ((cpu_ms() - cpu) / n, wall.elapsed().as_secs_f64() * 1e3 / n);
    let truth = truth.unwrap_or(&lists);
    let hits = lists.iter().zip(truth).map(|(l, t)| l.iter().filter(|s| t.iter().any(|t| t.row == s.row)).count());
    let recall = hits.sum::<usize>() as f64 / truth.iter().map(Vec::len).sum::<usize>().max(1) as f64;
    println!("{name:<34} CPU {cpu:8.2} ms  wall {wall:8.2} ms  recall@10 {recall:.4}");
    Ok(Measured { name: name.into(), cpu, wall, recall, lists })
}

fn main() -> Result<(), Failure> {
    let args = args()?;
    std::fs::create_dir_all(&args.dir)?;
    let source = Source::new(&args.kind, args.dim);
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let queries = floats(&args.dir.join("queries.f32"), args.queries * args.dim, || {
        (0..args.queries).flat_map(|_| source.next(&mut rng, 2.0)).collect()
    })?;
    let path = args.dir.join("archive");
    let space = Space::new("speed", args.dim, "synthetic", None);
    let mut lines = Vec::new();
    if !path.exists() {
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        let vectors = floats(&args.dir.join("vectors.f32"), args.rows * args.dim, || {
            (0..args.rows).flat_map(|_| source.next(&mut rng, 1.0)).collect()
        })?;
        Archive::create(&path, space.clone(), VectorType::F32)?;
        let mut writer = Archive::open_writer(&path)?;
        let (cpu, wall) = (cpu_ms(), Instant::now());
        let mut start = 0;
        for chunk in vectors.chunks((1 << 17) * args.dim) {
            let batch = chunk.chunks_exact(args.dim).enumerate().map(|(i, v)| record(start + i, v)).collect();
            writer.add(&space, batch)?;
            start += chunk.len() / args.dim;
        }
        let line = format!("build: CPU {:.1} s, wall {:.1} s", (cpu_ms() - cpu) / 1e3, wall.elapsed().as_secs_f64());
        println!("{line}");
        lines.push(line);
    }
    let archive = Archive::open(&path)?;
    print!("{}", archive.info());
    let (anon, all) = resident_mb();
    println!("opened: {anon:.0} MB own, {all:.0} MB with mapped files");
    let queries: Vec<Query> =
        queries.chunks_exact(args.dim).map(|v| Query::new(&space, v)).collect::<Result<_, _>>()?;

    let top = |mode| SearchOptions { care: args.care, ..SearchOptions::top(10).mode(mode) };
    let n = queries.len();
    let exact = measure("exact, batch of 32", &archive, &queries, &top(Mode::Exact), 32, None)?;
    let few = &queries[..n.min(20)];
    let mut all = vec![measure("exact, single", &archive, few, &top(Mode::Exact), 1, Some(&exact.lists[..few.len()]))?];
    all.push(measure("fast, single", &archive, &queries, &top(Mode::Fast), 1, Some(&exact.lists))?);
    all.push(measure("fast, batch of 32", &archive, &queries, &top(Mode::Fast), 32, Some(&exact.lists))?);
    let filters = [
        ("half the cloud shares", Filter::new().max_cloud(0.495)),
        ("a tenth of the dates", Filter::new().time(Some(Time(1_600_000_000_000)), Some(Time(1_608_600_000_000)))),
        ("a hundredth of the places", Filter::new().bbox(BBox::new(0.0, 45.0, 4.0, 48.0)?)),
    ];
    for (name, filter) in filters {
        let options = |mode| top(mode).filter(filter.clone());
        let truth = archive.search_rows(&queries, &options(Mode::Exact))?;
        all.push(measure(&format!("auto, {name}"), &archive, &queries, &options(Mode::Auto), 1, Some(&truth))?);
    }
    let (anon, resident) = resident_mb();
    println!("after: {anon:.0} MB own, {resident:.0} MB with mapped files");
    if let Some(path) = args.json {
        let rows: Vec<_> = all
            .iter()
            .chain([&exact])
            .map(
                |m| serde_json::json!({ "name": m.name, "cpu_ms": m.cpu, "wall_ms": m.wall, "recall_at_10": m.recall }),
            )
            .collect();
        let report = serde_json::json!({
            "rows": args.rows, "dim": args.dim, "kind": args.kind, "queries": n, "care": args.care,
            "threads": rayon::current_num_threads(), "own_mb": anon, "resident_mb": resident, "notes": lines, "results": rows,
        });
        std::fs::write(path, serde_json::to_string_pretty(&report)? + "\n")?;
    }
    Ok(())
}
