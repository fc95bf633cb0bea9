use std::collections::BTreeMap;

use geoglot_data::shards::{Mixer, ShardFolder, Source, StreamOptions};

use crate::write;

/// Folder, samples, weight.
type Described = (&'static str, Vec<(usize, usize)>, f64);

fn sources(dir: &std::path::Path) -> Vec<Source> {
    let all: [Described; 2] = [
        ("rgb", (0..40).map(|i| (0, i)).collect(), 3.0),
        // Two modalities in the same shards.
        ("mixed", (0..37).map(|i| (1 + i % 2, i)).collect(), 1.0),
    ];
    let source = |(name, samples, weight): Described| {
        let path = dir.join(name);
        if !path.exists() {
            write(&path, &samples, 9);
        }
        Source { folder: ShardFolder::open(&path).unwrap(), weight }
    };
    all.into_iter().map(source).collect()
}

fn options() -> StreamOptions {
    StreamOptions { buffer: 8, seed: 3, ahead: 2, ..StreamOptions::default() }
}

/// Source and keys of the next batches.
fn batches(mixer: &mut Mixer, count: usize) -> Vec<(usize, Vec<String>)> {
    let mut all = Vec::new();
    for _ in 0..count {
        let batch = mixer.next_batch().unwrap();
        assert_eq!(batch.samples.len(), 5);
        assert!(batch.samples.iter().all(|s| s.modality() == batch.modality), "one modality a batch");
        all.push((batch.source, batch.samples.into_iter().map(|s| s.key).collect()));
    }
    all
}

#[test]
fn batches_are_of_one_modality_and_mixed_by_weight() {
    let dir = tempfile::tempdir().unwrap();
    let mut mixer = Mixer::new(sources(dir.path()), 5, options()).unwrap();
    let all = batches(&mut mixer, 400);
    let first = all.iter().filter(|b| b.0 == 0).count();
    assert!((260..=340).contains(&first), "{first} of 400 batches for a weight of 3 in 4");
    // Epochs are whole: of 40 samples in batches of 5, each is seen once before any is seen again.
    let seen: Vec<&String> = all.iter().filter(|b| b.0 == 0).flat_map(|b| &b.1).collect();
    for pass in seen.chunks_exact(40) {
        let mut counts = BTreeMap::new();
        pass.iter().for_each(|key| *counts.entry(key).or_insert(0) += 1);
        assert_eq!(counts.len(), 40);
    }
    // Both modalities of the mixed shards come.
    let kinds: Vec<&str> = all.iter().filter(|b| b.0 == 1).map(|b| &b.1[0][..5]).collect();
    assert!(kinds.contains(&"kind1") && kinds.contains(&"kind2"));
}

#[test]
fn a_resumed_mixer_gives_the_same_batches() {
    let dir = tempfile::tempdir().unwrap();
    let whole = batches(&mut Mixer::new(sources(dir.path()), 5, options()).unwrap(), 60);
    for stop in [0, 1, 2, 3, 5, 8, 13, 21, 34, 55] {
        let mut mixer = Mixer::new(sources(dir.path()), 5, options()).unwrap();
        let mut seen = batches(&mut mixer, stop);
        let saved = serde_json::to_string(&mixer.state()).unwrap();
        let threads = StreamOptions { threads: 1 + stop % 3, ..options() };
        let state = serde_json::from_str(&saved).unwrap();
        let mut mixer = Mixer::resume(sources(dir.path()), 5, threads, &state).unwrap();
        seen.extend(batches(&mut mixer, 60 - stop));
        assert_eq!(seen, whole, "stopped after {stop} batches");
        let other = StreamOptions { seed: 4, ..options() };
        let refused = Mixer::resume(sources(dir.path()), 5, other, &state).err().unwrap().to_string();
        assert!(refused.contains("seed"), "{refused}");
    }
}

#[test]
fn sources_that_cannot_fill_a_batch_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut mixer = Mixer::new(sources(dir.path()), 50, options()).unwrap();
    assert!(mixer.next_batch().unwrap_err().to_string().contains("fewer than 50 samples"));
    let weightless = sources(dir.path()).into_iter().map(|s| Source { weight: 0.0, ..s }).collect();
    assert!(Mixer::new(weightless, 5, options()).is_err());
    assert!(Mixer::new(Vec::new(), 5, options()).is_err());
}
