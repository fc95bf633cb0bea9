use std::collections::BTreeSet;

use geoglot_data::shards::{
    OnFault, SampleStream, ShardFolder, StreamOptions, StreamState, reading_order, shard_order,
};

use crate::{rgb, write};

fn keys(folder: &ShardFolder, options: &StreamOptions, state: StreamState) -> Vec<String> {
    SampleStream::new(folder, options, state).unwrap().map(|s| s.unwrap().key).collect()
}

fn epoch(epoch: u64) -> StreamState {
    StreamState { epoch, ..StreamState::default() }
}

#[test]
fn an_epoch_gives_every_sample_once_in_an_order_of_seed_and_epoch_only() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &rgb(57), 8);
    let folder = ShardFolder::open(dir.path()).unwrap();
    let options = |threads, seed| StreamOptions { threads, seed, buffer: 10, ahead: 2, ..StreamOptions::default() };
    let first = keys(&folder, &options(1, 5), epoch(2));
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 57);
    for threads in [2, 3, 7] {
        assert_eq!(keys(&folder, &options(threads, 5), epoch(2)), first, "{threads} threads");
    }
    assert_ne!(keys(&folder, &options(1, 5), epoch(3)), first);
    assert_ne!(keys(&folder, &options(1, 6), epoch(2)), first);
    let plain = StreamOptions { buffer: 0, shuffle_shards: false, ..options(2, 0) };
    assert_eq!(keys(&folder, &plain, epoch(0)), (0..57).map(|i| format!("kind0/{i:04}")).collect::<Vec<_>>());
    // The same order by number.
    let catalogue = folder.catalogue(&Default::default(), OnFault::Fail).unwrap();
    let shards: Vec<usize> = catalogue.entries().iter().map(|e| e.shard).collect();
    let order = reading_order(&shards, 10, 5, 2);
    assert_eq!(order.iter().map(|&i| catalogue.entries()[i].key.clone()).collect::<Vec<_>>(), first);
}

#[test]
fn a_stream_goes_on_where_it_was_stopped() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &rgb(30), 7);
    let folder = ShardFolder::open(dir.path()).unwrap();
    for (buffer, threads) in [(0, 1), (6, 2), (100, 3)] {
        let options = StreamOptions { buffer, threads, seed: 9, ahead: 1, ..StreamOptions::default() };
        let whole = keys(&folder, &options, epoch(1));
        for stop in 0..=30 {
            let mut stream = SampleStream::new(&folder, &options, epoch(1)).unwrap();
            let mut seen: Vec<String> = stream.by_ref().take(stop).map(|s| s.unwrap().key).collect();
            let saved = serde_json::to_string(&stream.state()).unwrap();
            drop(stream);
            let other = StreamOptions { threads: 4 - threads, ..options.clone() };
            seen.extend(keys(&folder, &other, serde_json::from_str(&saved).unwrap()));
            assert_eq!(seen, whole, "buffer {buffer}, stopped after {stop}");
        }
    }
    let foreign = StreamState { emitted: 99, total: Some(30), ..epoch(1) };
    let error = SampleStream::new(&folder, &StreamOptions::default(), foreign).err().unwrap().to_string();
    assert!(error.contains("does not belong"), "{error}");
}

#[test]
fn parts_are_disjoint_and_cover_everything() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &rgb(40), 6);
    let folder = ShardFolder::open(dir.path()).unwrap();
    let part = |k| StreamOptions { part: (k, 3), seed: 4, buffer: 5, ..StreamOptions::default() };
    let all: Vec<String> = (0..3).flat_map(|k| keys(&folder, &part(k), epoch(1))).collect();
    assert_eq!((all.len(), all.iter().collect::<BTreeSet<_>>().len()), (40, 40));
    for wrong in [(0, 8), (3, 3)] {
        let options = StreamOptions { part: wrong, ..StreamOptions::default() };
        assert!(shard_order(&folder, &options, 0).unwrap_err().to_string().contains("of 7 shards"));
    }
}
