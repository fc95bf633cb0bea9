//! Outputs that cannot be written, and paths that are no text.

use std::process::Command;

use crate::common::{Ran, SCENE, Work, program};

#[test]
fn folders_that_cannot_be_made_are_named() {
    let work = Work::with_model();
    work.write("file", "in the way");
    for out in ["file/deep", "file", "/proc/geoglot"] {
        work.run(&format!("train recipe.toml --out {out} --set train.steps_per_epoch=1")).fails(1, &[out]);
        work.run(&format!("map --model model --out {out} {SCENE}")).fails(1, &[out]);
        work.run(&format!("synth --size 96 --out {out}")).fails(1, &[out]);
    }
    work.run("evaluate recipe.toml --out file/deep --set train.steps_per_epoch=1").fails(1, &["file/deep"]);
    work.run("info scene/lidar.tif --preview file/look.png").fails(1, &["file"]);
    assert_eq!(work.read("file"), b"in the way");
}

/// `line` with a file system of `size` at `small/`, and the files that it left there.
#[cfg(target_os = "linux")]
fn on_small_disk(work: &Work, size: &str, line: &str) -> (Ran, Vec<String>) {
    std::fs::create_dir_all(work.path("small")).unwrap();
    let script = "mount -t tmpfs -o size=$0 none small && { \"$@\"; code=$?; echo; find small -type f | sed 's/^/left: /'; exit $code; }";
    let inner = work.command(line);
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", script, size]).arg(inner.get_program()).args(inner.get_args());
    command.current_dir(work.path("")).envs(inner.get_envs().filter_map(|(k, v)| Some((k, v?))));
    let ran = Ran::new(command);
    let left = ran.stdout.lines().filter_map(|l| l.strip_prefix("left: small/")).map(Into::into).collect();
    (ran, left)
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_whole_files_or_none() {
    let allowed = Command::new("unshare").args(["-rm", "sh", "-c", "mount -t tmpfs -o size=64k none /mnt"]).output();
    if !allowed.is_ok_and(|o| o.status.success()) {
        println!("skipped: this machine does not let tests mount a small file system");
        return;
    }
    let work = Work::with_model();
    let full = "No space left on device";
    let (ran, left) = on_small_disk(&work, "128k", &format!("map --model model --out small/map {SCENE}"));
    let said = ran.fails(1, &["small/map/scores.tif", full]);
    assert!(left.iter().all(|f| !f.ends_with(".tmp")) && !left.contains(&"map/scores.tif".into()), "{left:?}: {said}");
    let (ran, left) = on_small_disk(&work, "1m", "train recipe.toml --out small/model");
    ran.fails(1, &["small/model/", full]);
    assert!(left.iter().all(|f| !f.ends_with(".tmp") && !f.ends_with(".safetensors")), "{left:?}");
    let (ran, left) = on_small_disk(&work, "256k", "synth --size 96 --out small/scene");
    ran.fails(1, &["small/scene/aisa-eagle.tif", full]);
    assert!(left.iter().all(|f| !f.ends_with(".tmp") && !f.contains("aisa-eagle")), "{left:?}");
    let (ran, _) = on_small_disk(&work, "4m", &format!("map --model model --out small/map {SCENE}"));
    ran.ok();
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_no_text_are_written_to_or_refused() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let work = Work::with_model();
    let name = OsStr::from_bytes(b"m\xffp");
    let folder = work.path(name);
    work.run_with(&format!("map --model model {SCENE} --out"), name).ok();
    assert!(folder.join("classes.tif").is_file() && folder.join("run.json").is_file());
    work.run_with("train recipe.toml --set train.epochs=1 --out", name).ok();
    assert!(folder.join("model.safetensors").is_file());
    let mut map = program(&work.path(""));
    map.args(["map", "--out", "again", "--model"]).arg(name).args(SCENE.split(' '));
    Ran::new(map).ok();
    work.run_with("train", OsStr::from_bytes(b"r\xff.toml")).fails(1, &["cannot read"]);
    // Scene arguments are text with options, so their paths have to be text as well.
    work.run_with("info", OsStr::from_bytes(b"s\xff.tif")).fails(2, &["UTF-8"]);
}
