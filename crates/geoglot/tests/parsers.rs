//! Every fuzz target of `fuzz/` over its seeds and damaged copies of them: what a fuzzer looks for at length, in seconds and without one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

#[path = "../../../fuzz/src/archive.rs"]
mod archive;
#[path = "../../../fuzz/src/datasets.rs"]
mod datasets;
#[path = "../../../fuzz/src/models.rs"]
mod models;
#[path = "../../../fuzz/src/raster.rs"]
mod raster;

/// Damaged copies a target.
const COPIES: usize = 400;

/// Numbers at which sizes and offsets go wrong.
const EDGES: &[u64] = &[0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, i64::MAX as u64, u64::MAX];

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let list = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<_> = list.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// One to four changes of a random kind at random places.
fn damage(seed: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..rng.random_range(1..=4) {
        let at = rng.random_range(0..=bytes.len());
        let to = rng.random_range(at..=bytes.len()).min(at + 64);
        match rng.random_range(0..6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => bytes.truncate(at),
            2 => drop(bytes.drain(at..to)),
            3 => {
                let copy = bytes[at..to].to_vec();
                bytes.splice(at..at, copy);
            }
            4 => {
                let edge = EDGES.choose(rng).expect("not empty").to_le_bytes();
                let width = 1 << rng.random_range(0..4);
                let end = (at + width).min(bytes.len());
                bytes.splice(at..end, edge[..width].iter().copied());
            }
            // A number written out, for text.
            _ => {
                let digits = EDGES.choose(rng).expect("not empty").to_string();
                let end = at + bytes[at..].iter().take_while(|b| b.is_ascii_digit()).count();
                bytes.splice(at..end, digits.bytes());
            }
        }
    }
    bytes
}

fn run(targets: &[raster::Target]) {
    for &(name, target) in targets {
        let seeds = seeds(name);
        // A seed that its parser refuses at once leads nowhere.
        for seed in &seeds {
            assert!(target(seed), "the target {name} refuses its seed {:?}", seed.escape_ascii().to_string());
        }
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let copies: Vec<Vec<u8>> =
            (0..COPIES).map(|_| damage(seeds.choose(&mut rng).expect("a seed"), &mut rng)).collect();
        for bytes in &copies {
            let outcome = catch_unwind(AssertUnwindSafe(|| target(bytes)));
            assert!(outcome.is_ok(), "the target {name} panicked on {:?}", bytes.escape_ascii().to_string());
        }
    }
}

#[test]
fn damaged_rasters_and_tables_never_panic() {
    run(raster::TARGETS);
}

#[test]
fn damaged_models_and_recipes_never_panic() {
    run(models::TARGETS);
}

#[test]
fn damaged_archives_and_exports_never_panic() {
    run(archive::TARGETS);
}

#[test]
fn damaged_lists_of_data_sets_never_panic() {
    run(datasets::TARGETS);
}

#[test]
fn every_target_has_a_program() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/fuzz_targets");
    let mut programs: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    programs.sort();
    let mut targets: Vec<&str> =
        [raster::TARGETS, models::TARGETS, archive::TARGETS, datasets::TARGETS].concat().iter().map(|t| t.0).collect();
    targets.sort_unstable();
    assert_eq!(programs, targets);
}
