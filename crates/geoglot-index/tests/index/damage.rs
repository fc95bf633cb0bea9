//! Every file cut, altered, removed: found, named, repaired.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use geoglot_index::{Archive, Consequence, RecordId, VectorType, repair, verify};

use crate::{record, records, space};

/// A name and what it does to a file.
type Damage = (&'static str, fn(&Path));

fn build(path: &Path) {
    Archive::create(path, space(), VectorType::F32).unwrap();
    let mut writer = Archive::open_writer(path).unwrap();
    for start in [0, 100, 200] {
        writer.add(&space(), records(start..start + 100)).unwrap();
    }
}

fn files(path: &Path) -> Vec<PathBuf> {
    let list = |p: &Path| std::fs::read_dir(p).unwrap().map(|e| e.unwrap().path()).collect::<Vec<_>>();
    let mut files = list(&path.join("segments"));
    files.push(path.join("archive.json"));
    files.sort();
    files
}

fn live(path: &Path) -> BTreeSet<RecordId> {
    let archive = Archive::open(path).unwrap();
    let rows: Vec<_> = archive.rows().collect();
    archive.metas(&rows).unwrap().into_iter().map(|m| m.id).collect()
}

#[test]
fn every_damage_is_found_and_repaired_with_nothing_else_lost() {
    let dir = tempfile::tempdir().unwrap();
    let master = dir.path().join("master");
    build(&master);
    assert!(verify(&master).unwrap().is_whole());
    let all = live(&master);
    let damages: [Damage; 5] = [
        ("removed", |p| std::fs::remove_file(p).unwrap()),
        ("cut", |p| {
            let bytes = std::fs::read(p).unwrap();
            std::fs::write(p, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("emptied", |p| std::fs::write(p, b"").unwrap()),
        ("first byte", |p| flip(p, 0)),
        ("middle bit", |p| flip(p, std::fs::metadata(p).unwrap().len() as usize / 2)),
    ];
    let names: Vec<_> = files(&master).iter().map(|f| f.strip_prefix(&master).unwrap().to_path_buf()).collect();
    assert_eq!(names.len(), 16, "{names:?}");
    for (i, name) in names.iter().enumerate() {
        // The manifest and the files of one segment every way, those of the others one way each.
        let ways = if i < 6 { &damages[..] } else { &damages[i % 5..][..1] };
        for (what, damage) in ways {
            let case = format!("{} {what}", name.display());
            let copy = dir.path().join("copy");
            let _ = std::fs::remove_dir_all(&copy);
            std::fs::create_dir_all(copy.join("segments")).unwrap();
            for file in &names {
                std::fs::copy(master.join(file), copy.join(file)).unwrap();
            }
            damage(&copy.join(name));
            let report = verify(&copy).unwrap();
            assert!(!report.is_whole(), "{case}");
            assert!(report.problems.iter().any(|p| p.file.ends_with(name.file_name().unwrap())), "{case}: {report}");
            let extension = name.extension().unwrap().to_str().unwrap();
            let loses = matches!(extension, "vec" | "parquet");
            assert_eq!(report.lost(), if loses { 100 } else { 0 }, "{case}: {report}");
            // The lost records are named, and a reader never panics.
            let named: BTreeSet<RecordId> = report.problems.iter().flat_map(|p| &p.records).map(|r| r.id).collect();
            assert_eq!(named.len(), report.lost(), "{case}");
            if let Ok(archive) = Archive::open(&copy) {
                let rows: Vec<_> = archive.rows().collect();
                let _ = archive.metas(&rows);
            }
            let repaired = repair(&copy).unwrap();
            assert_eq!(repaired.lost, report.lost(), "{case}");
            assert_eq!(repaired.without_thumbnails, usize::from(extension == "png"), "{case}");
            let after = verify(&copy).unwrap();
            assert!(after.is_whole(), "{case}: {after}");
            let expected: BTreeSet<RecordId> = all.difference(&named).copied().collect();
            assert_eq!(live(&copy), expected, "{case}");
            if *what != "cut" {
                continue;
            }
            // Adding again what was lost makes it whole.
            let mut writer = Archive::open_writer(&copy).unwrap();
            writer.add(&space(), records(0..300)).unwrap();
            drop(writer);
            assert_eq!(live(&copy), all, "{case}");
        }
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_lost_manifest_is_made_again_from_the_segments() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let all = live(dir.path());
    std::fs::remove_file(dir.path().join("archive.json")).unwrap();
    let message = Archive::open(dir.path()).unwrap_err().to_string();
    assert!(message.contains("repair"), "{message}");
    let report = verify(dir.path()).unwrap();
    assert_eq!(report.problems[0].consequence, Consequence::ManifestRebuilt);
    assert_eq!(report.records, 300);
    assert_eq!(repair(dir.path()).unwrap().records, 300);
    assert_eq!(live(dir.path()), all);
    assert_eq!(Archive::open(dir.path()).unwrap().space(), &space());
}

#[test]
fn nothing_but_damage_is_no_archive() {
    let dir = tempfile::tempdir().unwrap();
    assert!(verify(dir.path()).is_err() && repair(dir.path()).is_err());
    build(dir.path());
    for file in files(dir.path()) {
        std::fs::write(file, b"x").unwrap();
    }
    let report = verify(dir.path()).unwrap();
    assert!(!report.is_whole());
    assert!(repair(dir.path()).unwrap_err().to_string().contains("no segment"));
}

#[test]
fn a_batch_that_was_not_entered_is_entered_without_doubles() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    // As if a writer had been killed between writing a segment and entering it.
    let before = std::fs::read(dir.path().join("archive.json")).unwrap();
    let mut writer = Archive::open_writer(dir.path()).unwrap();
    writer.add(&space(), records(300..350)).unwrap();
    drop(writer);
    std::fs::write(dir.path().join("archive.json"), before).unwrap();
    let report = verify(dir.path()).unwrap();
    assert_eq!(report.problems[0].consequence, Consequence::NotEntered);
    // Adding half of it anew is right, and repair enters the other half.
    let mut writer = Archive::open_writer(dir.path()).unwrap();
    writer.add(&space(), records(300..325)).unwrap();
    drop(writer);
    assert_eq!(live(dir.path()).len(), 325);
    let repaired = repair(dir.path()).unwrap();
    assert_eq!((repaired.entered, repaired.records), (25, 350));
    assert!(verify(dir.path()).unwrap().is_whole());
    assert!(live(dir.path()).contains(&record(349).meta.id));
}
