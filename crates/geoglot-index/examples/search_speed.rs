//! Measures building and searching an archive of N × D vectors, and writes the vectors for other programs to search.
//!
//! ```text
//! cargo run --release -p geoglot-index --example search_speed -- --dir DIR [--rows 1000000] [--dim 512]
//!     [--kind clustered|random] [--queries 100] [--care 2.5] [--json FILE]
//! ```
//! `clustered`: cluster sizes fall off as 1/rank, all clusters share a mean direction (as image embeddings do), queries lie
//! between a cluster's centre and noise (as text embeddings do). `DIR` gets `vectors.f32`, `queries.f32` and `archive/`;
//! what is there already is used again. CPU time is that of this process; run with `RAYON_NUM_THREADS=1` for one core.

use std::path::PathBuf;
use std::time::Instant;

use geoglot_index::{Archive, BBox, Filter, Mode, Query, Scored, SearchOptions, Space, Time, VectorType};

use crate::vectors::{Failure, Source, archive_of, cpu_ms, read_floats, resident_mb, vector_file};

mod vectors;

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
    let (file, asked) = (args.dir.join("vectors.f32"), args.dir.join("queries.f32"));
    vector_file(&asked, &source, args.queries, 8, 2.0)?;
    let mut queries = Vec::new();
    read_floats(&asked, usize::MAX >> 3, |all| {
        queries = all;
        Ok(())
    })?;
    let path = args.dir.join("archive");
    let space = Space::new("speed", args.dim, "synthetic", None);
    let mut lines = Vec::new();
    if !path.exists() {
        vector_file(&file, &source, args.rows, 9, 1.0)?;
    }
    if let Some(line) = archive_of(&path, &file, &space, VectorType::F32)? {
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
