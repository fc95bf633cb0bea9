//! The recipes that ship with geoglot.

use std::path::{Path, PathBuf};

use crate::common::{Numbers, Ran, Work, mat5, recipe};

/// Settings that make any recipe's training small.
const SMALL: &str =
    "--set text.tower=hashed-words --set train.epochs=1 --set train.steps_per_epoch=2 --set train.batch=32";

/// An array with classes in blocks of `side` pixels and values that follow them, first axis fastest.
fn cube(shape: [usize; 2], bands: usize, class: impl Fn(usize, usize) -> usize, seed: u64) -> Vec<f64> {
    let mut noise = Numbers(seed);
    let mut out = Vec::new();
    for band in 0..bands {
        for col in 0..shape[1] {
            for row in 0..shape[0] {
                out.push(((class(row, col) * (band + 3)) % 7 * 100 + noise.below(40)) as f64);
            }
        }
    }
    out
}

/// A run of a shipped recipe whose data lie in `work`.
fn run(work: &Work, variable: &str, command: &str, name: &str, more: &str) -> Ran {
    let mut run = work.command(command);
    run.arg(recipe(name)).args(SMALL.split(' ')).args(more.split(' ')).env(variable, work.path(""));
    Ran::new(run)
}

#[test]
fn trento_is_read_as_published() {
    let work = Work::empty();
    let shape = [48, 60];
    let class = |row: usize, col: usize| 1 + (row / 12 * 5 + col / 12) % 6;
    work.write("Italy_hsi.mat", mat5(&[("data", &[shape[0], shape[1], 63], cube(shape, 63, class, 1))]));
    work.write("Italy_lidar.mat", mat5(&[("data", &[shape[0], shape[1], 2], cube(shape, 2, class, 2))]));
    let labels = cube_of_ids(shape, |row, col| class(row, col) as f64);
    work.write("allgrd.mat", mat5(&[("mask_test", &shape, labels)]));
    let said = run(&work, "TRENTO", "train", "trento.toml", "--set split.per_class=[20,21,22,23,24,25] --out t").ok();
    assert!(said.contains("SHA-256"), "{said}");
    let run_json = work.json("t/run.json");
    assert_eq!(run_json["inputs"][0]["bands"].as_array().unwrap().len(), 63);
    assert_eq!(run_json["inputs"][0]["bands"][0]["sensor"], "aisa-eagle");
    assert_eq!(run_json["inputs"][1]["bands"].as_array().unwrap().len(), 2);
    assert_eq!(work.json("t/config.json")["legend"]["class"].as_array().unwrap().len(), 6);
    // The paper's numbers a class are more than this scene has.
    run(&work, "TRENTO", "train", "trento.toml", "--set split.per_class=[129,125,105,154,184,5000] --out u")
        .fails(1, &["5000"]);
    // Without the data, the recipe says which folder it wants.
    let mut command = work.command("train --out u");
    command.arg(recipe("trento.toml")).env_remove("TRENTO");
    Ran::new(command).fails(1, &["TRENTO", "environment variable"]);
}

/// Class ids, first axis fastest.
fn cube_of_ids(shape: [usize; 2], id: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    (0..shape[1]).flat_map(|col| (0..shape[0]).map(|row| id(row, col)).collect::<Vec<_>>()).collect()
}

#[test]
fn muufl_is_read_as_published() {
    let work = Work::empty();
    let shape = [60, 44];
    let class = |row: usize, col: usize| 1 + (row / 10 * 4 + col / 11) % 11;
    work.write("HSI.mat", mat5(&[("HSI", &[shape[0], shape[1], 64], cube(shape, 64, class, 3))]));
    work.write("LiDAR.mat", mat5(&[("LiDAR", &[shape[0], shape[1], 2], cube(shape, 2, class, 4))]));
    // A margin without label: 0 in some copies of the data, −1 in the original.
    let labels = |none: f64| cube_of_ids(shape, |row, col| if row < 2 { none } else { class(row, col) as f64 });
    work.write("gt.mat", mat5(&[("gt", &shape, labels(0.0))]));
    run(&work, "MUUFL", "train", "muufl.toml", "--set split.per_class=10 --out m").ok();
    let run_json = work.json("m/run.json");
    assert_eq!(run_json["inputs"][0]["bands"].as_array().unwrap().len(), 64);
    assert_eq!(run_json["inputs"][0]["bands"][0]["sensor"], "casi-muufl");
    let hash = run_json["model_hash"].clone();
    work.write("gt.mat", mat5(&[("gt", &shape, labels(-1.0))]));
    run(
        &work,
        "MUUFL",
        "train",
        "muufl.toml",
        "--set split.per_class=10 --set data.scene.0.labels=gt.mat:nodata=-1 --out n",
    )
    .ok();
    assert_eq!(work.json("n/run.json")["model_hash"], hash);
}

/// The folder of the development data, if it is there.
fn data() -> Option<PathBuf> {
    let folder = std::env::var_os("GEOGLOT_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    folder.is_dir().then_some(folder)
}

/// Evaluates a recipe on real data with tiny training: everything but the quality of the result.
fn evaluates(name: &str, needs: &str, folds: usize) {
    let Some(data) = data().filter(|d| d.join(needs).is_dir()) else {
        println!("skipped: {needs} is not there; set GEOGLOT_DATA to the folder that holds it");
        return;
    };
    let work = Work::empty();
    let mut command = work.command("evaluate --out e");
    command.arg(recipe(name)).args(SMALL.split(' ')).args(["--set", "split.at_most=20", "--set", "split.folds=2"]);
    command.env("GEOGLOT_DATA", &data);
    Ran::new(command).ok();
    let report = work.json("e/report.json");
    let methods = report["methods"].as_array().unwrap();
    assert_eq!(methods.len(), 4);
    assert!(methods.iter().all(|m| m["scores"]["oa"]["value"].is_number()));
    assert_eq!(report["split"]["honesty"], "honest");
    assert_eq!(report["curves"].as_array().unwrap().len(), folds);
}

#[test]
fn dfc2018_evaluates() {
    evaluates("dfc2018.toml", "hsi-lidar-dfc2018-300", 2);
}

#[test]
fn terramind_evaluates() {
    evaluates("terramind.toml", "terramind/examples", 2);
}

#[test]
fn terramind_transfer_evaluates() {
    evaluates("terramind-transfer.toml", "terramind/examples", 1);
}
