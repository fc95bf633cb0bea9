use std::collections::BTreeMap;
use std::path::Path;

use geoglot_data::shards::{Image, ReadOptions, Sample, ShardFolder, ShardWriter, WriteOptions, annotate, verify};
use ndarray::{Array3, ArrayD, IxDyn};

use crate::{bands, rgb, sample, write};

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let list = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    let named = list.map(|p| (p.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(p).unwrap()));
    named.filter(|(name, _)| !name.starts_with('.')).collect()
}

#[test]
fn shards_hold_at_most_what_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let index = write(dir.path(), &rgb(23), 10);
    assert_eq!(index.shards.iter().map(|s| s.samples).collect::<Vec<_>>(), [10, 10, 3]);
    assert_eq!((index.samples(), index.complete, index.modalities.len()), (23, true, 1));
    assert_eq!(index.modalities[0].bands, bands(0));
    assert!(verify(&ShardFolder::open(dir.path()).unwrap(), &ReadOptions::default()).unwrap().is_whole());

    let small = tempfile::tempdir().unwrap();
    let bytes = index.shards[2].bytes;
    let options = WriteOptions { bytes, ..WriteOptions::default() };
    let mut writer = ShardWriter::create(small.path(), "test", options).unwrap();
    (0..23).for_each(|i| writer.write(&sample(0, i), &bands(0)).unwrap());
    let index = writer.finish().unwrap();
    // The end of a tar file is two blocks, rounded up by nobody.
    assert!(index.shards.len() > 5 && index.shards.iter().all(|s| s.bytes <= bytes + 1024), "{index:?}");
}

#[test]
fn the_same_samples_give_the_same_bytes_also_after_a_stop_anywhere() {
    let whole = tempfile::tempdir().unwrap();
    let samples: Vec<(usize, usize)> = (0..17).map(|i| (i % 3, i)).collect();
    write(whole.path(), &samples, 4);
    let expected = files(whole.path());
    for stop in 0..=17 {
        let dir = tempfile::tempdir().unwrap();
        let options = WriteOptions { samples: 4, resume: true, ..WriteOptions::default() };
        let mut writer = ShardWriter::create(dir.path(), "test", options).unwrap();
        samples[..stop].iter().for_each(|&(kind, i)| writer.write(&sample(kind, i), &bands(kind)).unwrap());
        drop(writer);
        assert!(files(dir.path()).keys().all(|name| !name.ends_with(".tmp")));
        let mut writer = ShardWriter::create(dir.path(), "test", options).unwrap();
        let done = writer.position() as usize;
        assert!(done <= stop && stop - done <= 4, "{done} of {stop} samples are kept");
        samples[done..].iter().for_each(|&(kind, i)| writer.write(&sample(kind, i), &bands(kind)).unwrap());
        writer.finish().unwrap();
        assert_eq!(files(dir.path()), expected, "stopped after {stop}");
    }
}

#[test]
fn what_a_killed_writer_leaves_is_cleared_and_faulty_items_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let options = WriteOptions { samples: 2, resume: true, ..WriteOptions::default() };
    std::fs::write(dir.path().join("shard-000001.tar.77.tmp"), b"half").unwrap();
    // A shard that was renamed but not entered is written again.
    std::fs::write(dir.path().join("shard-000000.tar"), b"not entered").unwrap();
    let mut writer = ShardWriter::create(dir.path(), "test", options).unwrap();
    writer.write(&sample(0, 0), &bands(0)).unwrap();
    writer.pass_over();
    writer.write(&sample(0, 2), &bands(0)).unwrap();
    writer.write(&sample(0, 3), &bands(0)).unwrap();
    drop(writer);
    let mut writer = ShardWriter::create(dir.path(), "test", options).unwrap();
    assert_eq!(writer.position(), 3);
    writer.write(&sample(0, 3), &bands(0)).unwrap();
    let index = writer.finish().unwrap();
    assert_eq!((index.skipped, index.samples()), (1, 3));
    assert_eq!(files(dir.path()).len(), 3);
}

#[test]
fn what_cannot_be_written_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = ShardWriter::create(dir.path(), "a", WriteOptions::default()).unwrap();
    let busy = ShardWriter::create(dir.path(), "a", WriteOptions::default()).err().unwrap().to_string();
    assert!(busy.contains("another process"), "{busy}");
    writer.write(&sample(0, 0), &bands(0)).unwrap();
    let mut refuse = |sample: &Sample, kind: usize, word: &str| {
        let error = writer.write(sample, &bands(kind)).unwrap_err().to_string();
        assert!(error.contains(word) && error.contains(&sample.key), "{error}");
    };
    refuse(&sample(0, 0), 0, "before");
    refuse(&sample(0, 1), 1, "bands");
    for key in ["a.b", "", "/a", "a//b", "__info__/a", "a\nb"] {
        refuse(&Sample { key: key.into(), ..sample(0, 1) }, 0, "key");
    }
    let long = "x".repeat(2000);
    refuse(&Sample { key: long, ..sample(0, 1) }, 0, "2000 bytes");
    let mut teacher = sample(0, 1);
    teacher.teachers.insert("Di.no".into(), ArrayD::zeros(IxDyn(&[2])));
    refuse(&teacher, 0, "Di.no");
    assert_eq!(writer.finish().unwrap().samples(), 1);

    let again = ShardWriter::create(dir.path(), "a", WriteOptions::default()).err().unwrap().to_string();
    assert!(again.contains("holds shards already"), "{again}");
    let resume = WriteOptions { resume: true, ..WriteOptions::default() };
    let other = ShardWriter::create(dir.path(), "b", resume).err().unwrap().to_string();
    assert!(other.contains("other data"), "{other}");
    let none = ShardWriter::create(&dir.path().join("empty"), "a", resume).unwrap().finish().unwrap_err();
    assert!(none.to_string().contains("no sample"));
}

#[test]
fn features_of_teachers_are_added_and_everything_else_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (plain, rich) = (dir.path().join("plain"), dir.path().join("rich"));
    let samples: Vec<(usize, usize)> = (0..11).map(|i| (i % 2, i)).collect();
    write(&plain, &samples, 4);
    let folder = ShardFolder::open(&plain).unwrap();
    let options = WriteOptions { samples: 4, resume: true, ..WriteOptions::default() };
    let mut calls = 0;
    let mut run = |stop: usize| {
        annotate(&folder, &rich, "mean", 3, options, |some: &[Sample]| {
            calls += 1;
            if calls > stop {
                return Err(geoglot_data::shards::Error::Usage("stop".into()));
            }
            let mean = |s: &Sample| ArrayD::from_elem(IxDyn(&[2, 3]), s.image.dim().0 as f32);
            Ok(some.iter().map(|s| BTreeMap::from([("dinov2-l".to_owned(), mean(s))])).collect())
        })
    };
    assert!(run(3).is_err());
    let index = run(100).unwrap();
    assert_eq!((index.samples(), calls), (11, 3 + 1 + 1));
    let rich = ShardFolder::open(&rich).unwrap();
    assert!(verify(&rich, &ReadOptions::default()).unwrap().is_whole());
    let (before, after) = (
        folder.catalogue(&ReadOptions::default(), Default::default()).unwrap(),
        rich.catalogue(&ReadOptions::default(), Default::default()).unwrap(),
    );
    for i in 0..11 {
        let (a, mut b) = (before.read(i).unwrap(), after.read(i).unwrap());
        let features = b.teachers.remove("dinov2-l").unwrap();
        assert_eq!((features.shape(), features[[1, 2]]), (&[2, 3][..], a.image.dim().0 as f32));
        assert_eq!(a, b);
    }
}

#[test]
fn an_image_of_any_layout_in_memory_is_written_row_by_row() {
    let dir = tempfile::tempdir().unwrap();
    let turned = Array3::from_shape_fn((3, 6, 5), |(b, r, c)| (100 * b + 10 * r + c) as u16).permuted_axes([1, 2, 0]);
    let mut writer = ShardWriter::create(dir.path(), "t", WriteOptions::default()).unwrap();
    writer.write(&Sample::new("x", Image::U16(turned.clone()), vec!["t".into()]), &bands(0)).unwrap();
    writer.finish().unwrap();
    let catalogue =
        ShardFolder::open(dir.path()).unwrap().catalogue(&ReadOptions::default(), Default::default()).unwrap();
    assert_eq!(catalogue.read(0).unwrap().image, Image::U16(turned.as_standard_layout().into_owned()));
}
