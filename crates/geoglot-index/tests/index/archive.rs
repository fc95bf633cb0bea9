//! Adding, deleting, compacting, and what is refused.

use geoglot_index::{Archive, Error, Record, RecordId, Space, VectorType, verify};

use crate::{DIM, record, records, space};

fn ids(archive: &Archive) -> Vec<RecordId> {
    let rows: Vec<_> = archive.rows().collect();
    archive.metas(&rows).unwrap().into_iter().map(|m| m.id).collect()
}

#[test]
fn records_come_back_as_they_were_added() {
    let dir = tempfile::tempdir().unwrap();
    for kind in [VectorType::F32, VectorType::F16] {
        let path = dir.path().join(kind.stac_name());
        Archive::create(&path, space(), kind).unwrap();
        let mut writer = Archive::open_writer(&path).unwrap();
        writer.set_segment_rows(70);
        writer.add(&space(), records(0..200)).unwrap();
        let archive = Archive::open(&path).unwrap();
        assert_eq!(archive.len(), 200);
        // In another order than they are stored.
        let wanted: Vec<usize> = vec![199, 3, 77, 3, 0, 120];
        let rows: Vec<_> = wanted.iter().map(|&i| archive.find(record(i).meta.id).unwrap()).collect();
        for ((&i, row), meta) in wanted.iter().zip(&rows).zip(archive.metas(&rows).unwrap()) {
            let Record { meta: expected, vector, thumbnail } = record(i);
            assert_eq!(meta, expected);
            assert_eq!(archive.thumbnail(*row), thumbnail.as_deref());
            let norm = vector.iter().map(|v| v * v).sum::<f32>().sqrt();
            for (a, b) in archive.vector(*row).iter().zip(vector) {
                assert!((a - b / norm).abs() < 1e-3);
            }
        }
    }
}

#[test]
fn adding_twice_adds_once() {
    let dir = tempfile::tempdir().unwrap();
    Archive::create(dir.path(), space(), VectorType::F32).unwrap();
    let mut writer = Archive::open_writer(dir.path()).unwrap();
    let first = writer.add(&space(), records(0..50)).unwrap();
    assert_eq!((first.added, first.skipped), (50, 0));
    // A batch that holds old, new and doubled records.
    let mut batch = records(40..60);
    batch.extend(records(55..60));
    let second = writer.add(&space(), batch).unwrap();
    assert_eq!((second.added, second.skipped), (10, 15));
    drop(writer);
    let mut writer = Archive::open_writer(dir.path()).unwrap();
    assert_eq!(writer.add(&space(), records(0..60)).unwrap().added, 0);
    assert!(writer.contains(record(59).meta.id) && !writer.contains(record(60).meta.id));
    assert_eq!(Archive::open(dir.path()).unwrap().len(), 60);
}

#[test]
fn small_batches_are_merged_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    Archive::create(dir.path(), space(), VectorType::F32).unwrap();
    let mut writer = Archive::open_writer(dir.path()).unwrap();
    for i in 0..100 {
        writer.add(&space(), records(3 * i..3 * i + 3)).unwrap();
    }
    let archive = Archive::open(dir.path()).unwrap();
    assert_eq!(archive.len(), 300);
    assert!(archive.info().segments < 40, "{} segments", archive.info().segments);
    assert!(verify(dir.path()).unwrap().is_whole());
}

#[test]
fn deleted_records_are_gone_and_can_be_added_again() {
    let dir = tempfile::tempdir().unwrap();
    Archive::create(dir.path(), space(), VectorType::F32).unwrap();
    let mut writer = Archive::open_writer(dir.path()).unwrap();
    writer.add(&space(), records(0..100)).unwrap();
    writer.add(&space(), records(100..150)).unwrap();
    let snapshot = Archive::open(dir.path()).unwrap();
    let gone: Vec<RecordId> = (90..110).map(|i| record(i).meta.id).collect();
    assert_eq!(writer.delete(&gone).unwrap(), 20);
    assert_eq!(writer.delete(&gone).unwrap(), 0);
    let archive = Archive::open(dir.path()).unwrap();
    assert_eq!(archive.len(), 130);
    assert!(archive.find(gone[0]).is_none() && !ids(&archive).contains(&gone[0]));
    assert_eq!(writer.add(&space(), records(95..96)).unwrap().added, 1);
    let report = writer.compact().unwrap();
    assert_eq!((report.segments_before, report.segments_after, report.dropped), (3, 1, 20));
    let compacted = Archive::open(dir.path()).unwrap();
    assert_eq!(compacted.len(), 131);
    assert!(compacted.find(gone[5]).is_some(), "added again");
    let row = compacted.find(record(120).meta.id).unwrap();
    assert_eq!(compacted.metas(&[row]).unwrap()[0], record(120).meta);
    assert!(verify(dir.path()).unwrap().is_whole());
    // A snapshot opened before goes on with what there was then.
    assert_eq!((snapshot.len(), ids(&snapshot).len()), (150, 150));
}

#[test]
fn a_second_writer_is_refused_by_name_and_readers_are_not() {
    let dir = tempfile::tempdir().unwrap();
    Archive::create(dir.path(), space(), VectorType::F32).unwrap();
    let mut writer = Archive::open_writer(dir.path()).unwrap();
    writer.add(&space(), records(0..10)).unwrap();
    let refused = Archive::open_writer(dir.path()).unwrap_err();
    assert!(matches!(refused, Error::Locked { .. }));
    assert!(refused.to_string().contains(&std::process::id().to_string()), "{refused}");
    assert!(matches!(geoglot_index::repair(dir.path()).unwrap_err(), Error::Locked { .. }));
    let reader = Archive::open(dir.path()).unwrap();
    writer.add(&space(), records(10..20)).unwrap();
    assert_eq!((reader.len(), Archive::open(dir.path()).unwrap().len()), (10, 20));
    drop(writer);
    Archive::open_writer(dir.path()).unwrap();
}

#[test]
fn what_does_not_belong_is_refused_whole() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Archive::open(dir.path()).unwrap_err(), Error::NotAnArchive { .. }));
    assert!(matches!(Archive::open_writer(dir.path()).unwrap_err(), Error::NotAnArchive { .. }));
    assert!(Archive::create(dir.path(), Space::new("s", 0, "m", None), VectorType::F32).is_err());
    Archive::create(dir.path(), space(), VectorType::F32).unwrap();
    assert!(matches!(Archive::create(dir.path(), space(), VectorType::F32).unwrap_err(), Error::Exists { .. }));
    let mut writer = Archive::open_writer(dir.path()).unwrap();
    let other = Space::new("other", DIM, "model", None);
    assert!(matches!(writer.add(&other, records(0..5)).unwrap_err(), Error::SpaceMismatch { .. }));
    let broken = |change: fn(&mut Record)| {
        let mut batch = records(0..5);
        change(&mut batch[3]);
        batch
    };
    for batch in [
        broken(|r| r.vector[2] = f32::NAN),
        broken(|r| r.vector.truncate(3)),
        broken(|r| r.vector.fill(0.0)),
        broken(|r| r.meta.cloud = Some(20.0)),
    ] {
        let message = writer.add(&space(), batch).unwrap_err().to_string();
        assert!(message.contains(&record(3).meta.id.to_string()), "{message}");
    }
    assert!(writer.is_empty() && Archive::open(dir.path()).unwrap().is_empty());
}

#[test]
fn info_counts_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    Archive::create(dir.path(), space(), VectorType::F16).unwrap();
    assert_eq!(Archive::open(dir.path()).unwrap().info().records, 0);
    let mut writer = Archive::open_writer(dir.path()).unwrap();
    writer.add(&space(), records(0..200)).unwrap();
    writer.delete(&[record(0).meta.id]).unwrap();
    let info = Archive::open(dir.path()).unwrap().info();
    assert_eq!((info.records, info.deleted), (199, 1));
    assert_eq!(info.sensors.values().sum::<usize>(), 199);
    assert_eq!(info.sensors[""], (1..200).filter(|i| i % 17 == 1).count());
    assert_eq!(info.unplaced, (1..200).filter(|i| i % 11 == 3).count());
    assert_eq!(info.bytes["vec"], 64 + 200 * DIM as u64 * 2);
    let [west, south, east, north] = info.bbox.unwrap();
    assert!((west - 10.0).abs() < 1e-9 && (east - 20.0).abs() < 1e-9 && (south - 44.8).abs() < 1e-9 && north == 45.0);
    assert!(info.to_string().contains("199 in 1 segments"));
}
