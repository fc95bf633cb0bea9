//! The fuzzing entry points on good files, cut and altered at random.

use geoglot_data::shards::fuzz;
use proptest::prelude::*;

use crate::write;

type Entry = fn(&[u8]) -> bool;

/// A shard of ours, its index, and those of others.
fn seeds() -> &'static [(Entry, Vec<u8>)] {
    static SEEDS: std::sync::OnceLock<Vec<(Entry, Vec<u8>)>> = std::sync::OnceLock::new();
    SEEDS.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &[(0, 0), (1, 1), (2, 2)], 10);
        let own = std::fs::read(dir.path().join("shard-000000.tar")).unwrap();
        let index = std::fs::read(dir.path().join("shards.json")).unwrap();
        let mut seeds: Vec<(Entry, Vec<u8>)> = vec![(fuzz::shard, own), (fuzz::index, index)];
        for entry in std::fs::read_dir(crate::python::fixtures()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "tar") {
                seeds.push((fuzz::shard, std::fs::read(path).unwrap()));
            }
        }
        assert!(seeds.len() >= 4);
        seeds
    })
}

/// Puts right the checksum of every block that was a header, so that what lies behind them is reached.
fn seal(bytes: &mut [u8]) {
    for block in bytes.chunks_exact_mut(512) {
        if &block[257..262] == b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    #[test]
    fn altered_shards_are_read_or_refused(
        which in any::<prop::sample::Index>(), cut in proptest::option::weighted(0.2, any::<prop::sample::Index>()),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12), sealed in any::<bool>(),
        header in proptest::option::of((0usize..40, 100usize..160, any::<u8>())),
    ) {
        let (entry, seed) = &seeds()[which.index(seeds().len())];
        let mut bytes = seed.clone();
        if let Some(cut) = cut {
            bytes.truncate(cut.index(seed.len()));
        }
        for (at, value) in changes.iter().filter(|_| !seed.is_empty()) {
            if let Some(byte) = bytes.get_mut(at.index(seed.len())) {
                *byte = *value;
            }
        }
        // Sizes and types of headers, where most is to be lost.
        if let Some((block, at, value)) = header && let Some(byte) = bytes.get_mut(block * 512 + at) {
            *byte = value;
        }
        if sealed {
            seal(&mut bytes);
        }
        entry(&bytes);
    }
}
