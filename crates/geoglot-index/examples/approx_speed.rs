//! Measures approximate search of a large archive: building the graph, recall and latency over the effort of a query.
//!
//! ```text
//! cargo run --release -p geoglot-index --features usearch --example approx_speed -- --dir DIR [--rows 10000000] [--dim 256]
//!     [--kind clustered|random] [--queries 200] [--connectivity 16] [--expansion 96] [--json FILE]
//! ```
//! Vectors as in `search_speed`; `DIR` gets `vectors.f32`, `queries.f32` and `archive/` (half floats), and what is there already is used
//! again. One query at a time; recall against the exact search of the archive.

use std::path::PathBuf;
use std::time::Instant;

use geoglot_index::{
    Approx, ApproxOptions, Archive, Mode, Query, Scored, SearchOptions, Space, VectorType, build_approximate,
};

use crate::vectors::{Failure, Source, archive_of, cpu_ms, read_floats, resident_mb, vector_file};

mod vectors;

/// Neighbours asked for.
const K: usize = 10;

struct Args {
    dir: PathBuf,
    rows: usize,
    dim: usize,
    kind: String,
    queries: usize,
    build: ApproxOptions,
    json: Option<PathBuf>,
}

fn args() -> Result<Args, Failure> {
    let mut args = Args {
        dir: PathBuf::new(),
        rows: 10_000_000,
        dim: 256,
        kind: "clustered".into(),
        queries: 200,
        build: ApproxOptions { connectivity: 16, expansion: 96 },
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
            "--connectivity" => args.build.connectivity = value.parse()?,
            "--expansion" => args.build.expansion = value.parse()?,
            "--json" => args.json = Some(value.into()),
            other => return Err(format!("unknown option {other}").into()),
        }
    }
    if args.dir.as_os_str().is_empty() {
        return Err("--dir is needed".into());
    }
    Ok(args)
}

/// Share of the true neighbours that were found.
fn recall(found: &[Vec<Scored>], truth: &[Vec<Scored>]) -> f64 {
    let hits = found.iter().zip(truth).map(|(f, t)| f.iter().filter(|s| t.iter().any(|t| t.row == s.row)).count());
    hits.sum::<usize>() as f64 / truth.iter().map(Vec::len).sum::<usize>().max(1) as f64
}

fn main() -> Result<(), Failure> {
    let args = args()?;
    std::fs::create_dir_all(&args.dir)?;
    let source = Source::new(&args.kind, args.dim);
    let (file, asked, path) = (args.dir.join("vectors.f32"), args.dir.join("queries.f32"), args.dir.join("archive"));
    vector_file(&asked, &source, args.queries, 8, 2.0)?;
    let mut queries = Vec::new();
    read_floats(&asked, usize::MAX >> 3, |all| {
        queries = all;
        Ok(())
    })?;
    let space = Space::new("speed", args.dim, "synthetic", None);
    vector_file(&file, &source, args.rows, 9, 1.0)?;
    if let Some(line) = archive_of(&path, &file, &space, VectorType::F16)? {
        println!("{line}");
    }
    let archive = Archive::open(&path)?;
    let queries: Vec<Query> =
        queries.chunks_exact(args.dim).map(|v| Query::new(&space, v)).collect::<Result<_, _>>()?;
    let (cpu, wall) = (cpu_ms(), Instant::now());
    let truth = archive.search_rows(&queries, &SearchOptions::top(K).mode(Mode::Exact))?;
    println!("exact: CPU {:.1} ms a query in one batch", (cpu_ms() - cpu) / queries.len() as f64);
    let mut build = serde_json::Value::Null;
    println!("exact: wall {:.1} s", wall.elapsed().as_secs_f64());
    if Approx::open(&archive).is_err() {
        let (cpu, wall) = (cpu_ms(), Instant::now());
        build_approximate(&archive, args.build)?;
        let (cpu, wall) = ((cpu_ms() - cpu) / 1e3, wall.elapsed().as_secs_f64());
        println!("graph: CPU {cpu:.0} s, wall {wall:.0} s, {:.0} MB", resident_mb().0);
        build = serde_json::json!({ "cpu_seconds": cpu, "wall_seconds": wall });
    }
    let graph = Approx::open(&archive)?;
    let options = SearchOptions::top(K);
    let mut rows = Vec::new();
    let mut put = |name: String, cpu: f64, wall: f64, recall: f64| {
        println!("{name:<34} CPU {cpu:8.3} ms  wall {wall:8.3} ms  recall@10 {recall:.4}");
        rows.push(serde_json::json!({ "name": name, "cpu_ms": cpu, "wall_ms": wall, "recall_at_10": recall }));
    };
    let n = queries.len() as f64;
    let fast = |query: &Query| -> Result<Vec<Scored>, Failure> {
        Ok(archive.search_rows(std::slice::from_ref(query), &SearchOptions::top(K).mode(Mode::Fast))?.remove(0))
    };
    let few = &queries[..queries.len().min(20)];
    fast(&few[0])?;
    let (cpu, wall) = (cpu_ms(), Instant::now());
    let found = few.iter().map(fast).collect::<Result<Vec<_>, _>>()?;
    let count = few.len() as f64;
    put(
        "fast scan, single".into(),
        (cpu_ms() - cpu) / count,
        wall.elapsed().as_secs_f64() * 1e3 / count,
        recall(&found, &truth[..few.len()]),
    );
    for expansion in [16, 64, 256, 1024, 4096, 16384] {
        // Once before: maps the pages.
        queries.iter().try_for_each(|q| graph.search(q, K, expansion, &options).map(|_| ()))?;
        let (cpu, wall) = (cpu_ms(), Instant::now());
        let found: Vec<_> =
            queries.iter().map(|q| graph.search(q, K, expansion, &options)).collect::<Result<_, _>>()?;
        put(
            format!("graph, expansion {expansion}"),
            (cpu_ms() - cpu) / n,
            wall.elapsed().as_secs_f64() * 1e3 / n,
            recall(&found, &truth),
        );
    }
    if let Some(path) = args.json {
        let (anon, resident) = resident_mb();
        let report = serde_json::json!({
            "rows": args.rows, "dim": args.dim, "kind": args.kind, "queries": queries.len(),
            "connectivity": args.build.connectivity, "expansion": args.build.expansion, "build": build,
            "own_mb": anon, "resident_mb": resident, "results": rows,
        });
        std::fs::write(path, serde_json::to_string_pretty(&report)? + "\n")?;
    }
    Ok(())
}
