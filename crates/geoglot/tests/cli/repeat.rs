//! Seeds, interruption, resumption.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use geoglot::models::mmlgnet::sha256;

use crate::common::{SCENE, Work};

#[test]
fn the_seed_alone_decides() {
    let work = Work::new();
    let train = |out: &str, seed: u64| {
        work.run(&format!("train recipe.toml --set train.epochs=2 --set train.dropout=0.1 --seed {seed} --out {out}"))
            .ok();
        let map = format!("map --model {out} --out {out}-map {SCENE}");
        work.run(&map).ok();
        let files = ["classes.tif", "scores.tif", "confidence.tif", "map.png"];
        let maps = files.map(|f| sha256(&work.read(&format!("{out}-map/{f}"))));
        (sha256(&work.read(&format!("{out}/model.safetensors"))), maps)
    };
    let (first, again, other) = (train("a", 1), train("b", 1), train("c", 2));
    assert_eq!(first, again);
    assert_ne!(first.0, other.0);
    assert_ne!(first.1[1], other.1[1]);
}

/// Waits until `ready`, then ends the program the hard way. The program must still have been at work.
fn kill_when(mut command: Command, ready: impl Fn() -> bool) {
    let mut child: Child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while !ready() {
        assert!(child.try_wait().unwrap().is_none(), "the program ended before it could be killed");
        assert!(start.elapsed() < Duration::from_secs(120), "nothing to interrupt appeared");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().code(), None, "the program ended by itself; make the job longer");
}

/// True once the log of `folder` has `epochs` lines.
fn epochs_done(folder: &Path, epochs: usize) -> bool {
    std::fs::read_to_string(folder.join("history.jsonl")).is_ok_and(|log| log.lines().count() >= epochs)
}

#[test]
fn a_killed_training_resumes_to_the_same_weights() {
    let work = Work::new();
    let line = "train recipe.toml --set train.epochs=8 --set train.ema=0.9 --set train.patience=8";
    work.run(&format!("{line} --out whole")).ok();
    for done in [1, 3] {
        kill_when(work.command(&format!("{line} --resume --out cut")), || epochs_done(&work.path("cut"), done));
        assert!(!work.path("cut/config.json").exists() && !work.path("cut/model.safetensors").exists());
    }
    let said = work.run(&format!("{line} --out cut --resume"));
    assert!(!said.stderr.contains("epoch 1/8") && said.stderr.contains("epoch 8/8"), "{}", said.stderr);
    said.ok();
    assert_eq!(sha256(&work.read("cut/model.safetensors")), sha256(&work.read("whole/model.safetensors")));
    let losses = |name: &str| -> Vec<String> {
        let text = String::from_utf8(work.read(&format!("{name}/history.jsonl"))).unwrap();
        let rows = text.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
        rows.map(|r| format!("{} {} {}", r["epoch"], r["loss"], r["validation_oa"])).collect()
    };
    assert_eq!(losses("cut"), losses("whole"));
    // A finished model is taken as it is; a checkpoint of another run is refused; a damaged one as well.
    work.run(&format!("{line} --out cut --resume")).ok();
    work.run(&format!("{line} --out cut --resume --seed 9")).fails(1, &["checkpoint.safetensors", "--out", "--resume"]);
    let bytes = work.read("cut/checkpoint.safetensors");
    std::fs::remove_file(work.path("cut/config.json")).unwrap();
    work.write("cut/checkpoint.safetensors", &bytes[..bytes.len() / 2]);
    work.run(&format!("{line} --out cut --resume")).fails(1, &["checkpoint.safetensors", "damaged", "delete"]);
}

#[test]
fn a_killed_map_leaves_no_half_file() {
    let work = Work::with_model();
    work.map("").ok();
    let whole = work.read("out/classes.tif");
    std::fs::remove_dir_all(work.path("out")).unwrap();
    let begun = || work.files("out").iter().any(|f| f.ends_with(".tmp"));
    kill_when(work.command(&format!("map --model model --out out {SCENE}")), begun);
    let left = work.files("out");
    assert!(left.iter().all(|f| f.ends_with(".tmp")), "{left:?}");
    work.map("").ok();
    assert_eq!(work.read("out/classes.tif"), whole);
    assert!(work.files("out").iter().all(|f| !f.contains(".tmp")), "{:?}", work.files("out"));
}
