//! Entry points for fuzzing: each takes any bytes as what this module reads, and uses what it finds.
//!
//! They must neither panic nor reserve memory out of proportion to the input.

use std::io::Cursor;
use std::path::Path;

use super::folder::read_sample;
use super::index::ShardIndex;
use super::members::Walk;
use super::sample::ReadOptions;

/// A tar file of samples; whether one was read.
pub fn shard(bytes: &[u8]) -> bool {
    let mut taken = false;
    let path = Path::new("fuzz.tar");
    let options = ReadOptions { most_values: 1 << 20, most_bytes: 1 << 24, ..ReadOptions::default() };
    let mut walk = Walk::new(path, Cursor::new(bytes), bytes.len() as u64);
    let (mut file, mut scratch) = (Cursor::new(bytes), Vec::new());
    while let Ok(Some(raw)) = walk.next_sample() {
        if let Ok(sample) = read_sample(&mut file, path, &raw, &options, &mut scratch) {
            taken = true;
            let modality = sample.modality();
            if let Ok(bands) = modality.bind(path, geoglot_core::Registry::builtin(), None, None) {
                let _ = sample.image.physical(&bands);
            }
        }
    }
    assert!(scratch.len() <= bytes.len(), "no more is held than the shard has");
    taken
}

/// `shards.json`; whether it is one.
pub fn index(bytes: &[u8]) -> bool {
    let index = ShardIndex::parse(Path::new("shards.json"), bytes);
    index.is_ok_and(|i| {
        assert!(i.modalities.iter().all(|m| m.modality().channels() == m.bands.len()));
        true
    })
}
