//! Killed at any moment, an archive is whole and continued.

use std::process::{Command, Stdio};
use std::time::Duration;

use geoglot::index::{Archive, RecordId};

use super::fixtures::Place;

#[test]
fn killed_in_a_loop_the_archive_stays_whole_and_is_completed() {
    let place = Place::new();
    let model = place.model();
    let scene = place.scene("s2.tif", "sentinel-2-l1c", 200, 200, 999);
    // 95 × 95 overlapping tiles: far more than one batch of the archive.
    let args = ["embed", &scene, "--model", &model, "--stride", "2", "--out", "o", "--resume"];
    let path = place.path("o/archive");
    let count = || Archive::open(&path).map_or(0, |a| a.len());
    let mut kills_with_records = 0;
    for round in 0..12 {
        let before = count();
        let mut child = Command::new(env!("CARGO_BIN_EXE_geoglot"))
            .args(args)
            .current_dir(place.path("."))
            .env("GEOGLOT_HOME", place.path("home"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Wait until something new was written, then a little differently long each round.
        let ended = loop {
            match child.try_wait().unwrap() {
                Some(status) => break Some(status),
                None if count() > before => break None,
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        if let Some(status) = ended {
            assert!(status.success());
            break;
        }
        std::thread::sleep(Duration::from_millis(17 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(count() >= before, "nothing that was written is lost");
        kills_with_records += 1;
        // A kill between writing a batch and entering it leaves files that are no damage to what is there.
        let report = geoglot::index::verify(&path).unwrap();
        assert_eq!(report.lost(), 0, "{report}");
        if !report.is_whole() {
            place.ok(&["index", "repair", "o/archive"]);
        }
        place.ok(&["index", "verify", "o/archive"]);
    }
    assert!(kills_with_records > 0);
    place.ok(&args);
    place.ok(&["index", "verify", "o/archive"]);
    let archive = Archive::open(&path).unwrap();
    assert_eq!(archive.len(), 95 * 95);
    let rows: Vec<_> = archive.rows().collect();
    let ids: std::collections::HashSet<RecordId> = archive.metas(&rows).unwrap().iter().map(|m| m.id).collect();
    assert_eq!(ids.len(), 95 * 95);
}
