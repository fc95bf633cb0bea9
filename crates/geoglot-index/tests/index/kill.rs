//! A writer killed at any moment leaves a readable archive with at most its last batch missing.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use geoglot_index::{Archive, Consequence, Query, SearchOptions, VectorType, verify};

use crate::{record, records, space, vector};

const VARIABLE: &str = "GEOGLOT_INDEX_KILL_TEST";
const BATCH: usize = 7;

/// Run by the test below in a process of its own: adds, deletes and compacts until it is killed, and says what is done.
#[test]
#[ignore = "runs until it is killed; started by `a_killed_writer_loses_at_most_its_last_batch`"]
fn child() {
    let Some(path) = std::env::var_os(VARIABLE) else { return };
    let mut writer = Archive::open_writer(Path::new(&path)).unwrap();
    let mut next = writer.len();
    loop {
        writer.add(&space(), records(next..next + BATCH)).unwrap();
        next += BATCH;
        println!("done {next}");
        if next.is_multiple_of(12 * BATCH) {
            writer.compact().unwrap();
        }
    }
}

#[test]
fn a_killed_writer_loses_at_most_its_last_batch() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("archive");
    Archive::create(&path, space(), VectorType::F32).unwrap();
    let mut previous = 0;
    for round in 0..20 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::child", "--ignored", "--nocapture"])
            .env(VARIABLE, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut done = previous;
        let mut see = |line: std::io::Result<String>| {
            if let Some(n) = line.unwrap().rsplit_once("done ").and_then(|(_, n)| n.trim().parse().ok()) {
                done = n;
            }
        };
        // Let it come to work, then kill it at a moment that differs from round to round.
        lines.by_ref().take(4 + round % 7).for_each(&mut see);
        std::thread::sleep(Duration::from_micros(731 * round as u64));
        child.kill().unwrap();
        child.wait().unwrap();
        lines.for_each(&mut see);

        let archive = Archive::open(&path).unwrap();
        let n = archive.len();
        assert!(n >= done && n <= done + BATCH, "round {round}: {n} records, {done} were reported");
        assert!(n > previous, "round {round}: no progress");
        assert_eq!(n % BATCH, 0, "round {round}: part of a batch");
        let report = verify(&path).unwrap();
        assert_eq!(report.lost(), 0, "round {round}: {report}");
        let harmless = |c: &Consequence| matches!(c, Consequence::NotEntered | Consequence::Leftover);
        assert!(report.problems.iter().all(|p| harmless(&p.consequence)), "round {round}: {report}");
        for i in [0, n / 2, n - 1] {
            assert!(archive.find(record(i).meta.id).is_some(), "round {round}: record {i} of {n}");
        }
        let query = Query::new(&space(), &vector(n - 1, crate::DIM)).unwrap();
        let hits = archive.search(&query, &SearchOptions::top(3)).unwrap();
        assert_eq!(hits[0].meta, record(n - 1).meta, "round {round}");
        previous = n;
    }
    // What the killed writers left is cleared away, and every record is there once.
    let mut writer = Archive::open_writer(&path).unwrap();
    writer.add(&space(), records(0..previous + BATCH)).unwrap();
    writer.compact().unwrap();
    assert_eq!(writer.len(), previous + BATCH);
    drop(writer);
    geoglot_index::repair(&path).unwrap();
    assert!(verify(&path).unwrap().is_whole());
    assert_eq!(Archive::open(&path).unwrap().len(), previous + BATCH);
}
