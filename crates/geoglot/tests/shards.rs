//! `geoglot shards`: written, killed, resumed, described, checked, trained on.

#[allow(dead_code)]
mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Ran, program};
use geoglot::data::shards::{OnFault, ReadOptions, ShardFolder, ShardIndex, verify};

const BANDS: usize = 4;

/// Three-band bytes as npy files with a caption each: enough work to be killed in.
fn images(folder: &Path, count: usize, side: usize) {
    let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({side}, {side}, {BANDS}), }}");
    let mut lines = String::new();
    for i in 0..count {
        let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(127, b' ');
        bytes.push(b'\n');
        bytes.extend((0..side * side * BANDS).map(|k| (k * 31 + i * 7 + k / 97) as u8));
        std::fs::write(folder.join(format!("{i}.npy")), bytes).unwrap();
        lines += &format!(
            "{{\"key\": \"k{i:05}\", \"image\": \"{i}.npy\", \"bands\": [\"red\", \"green\", \"blue\", \"near\"], \
             \"wavelengths\": [0.665, 0.56, 0.49, 0.842], \"short\": \"a field, number {}\", \"long\": \"{}\"}}\n",
            i % 5,
            ["поле у реки", "حقل بجانب النهر", "河边的田野", "🌾🏞️ a field by the river"][i % 4]
        );
    }
    std::fs::write(folder.join("captions.jsonl"), lines).unwrap();
}

fn run(folder: &Path, line: &str) -> Ran {
    let mut command = program(folder);
    command.args(line.split_whitespace());
    Ran::new(command)
}

#[test]
fn killed_at_any_moment_shards_are_whole_and_continued() {
    let dir = tempfile::tempdir().unwrap();
    images(dir.path(), 600, 128);
    run(dir.path(), "shards write captions.jsonl --out whole --samples 20").ok();
    let out = dir.path().join("out");
    let done = || ShardIndex::load(&out).unwrap().map_or(0, |i| i.samples());
    let mut kills = 0;
    for round in 0..40 {
        let before = done();
        let mut child: Command = program(dir.path());
        child.args("shards write captions.jsonl --out out --samples 20 --resume".split(' '));
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let ended = loop {
            match child.try_wait().unwrap() {
                Some(status) => break Some(status),
                None if done() > before => break None,
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        if let Some(status) = ended {
            assert!(status.success());
            break;
        }
        std::thread::sleep(Duration::from_millis(3 * round % 20));
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        // Whatever is there is whole: only the shard that was being written is lost.
        let kept = done();
        assert!(kept > before && kept % 20 == 0);
        let report = verify(&ShardFolder::open(&out).unwrap(), &ReadOptions::default()).unwrap();
        assert_eq!(report.samples, kept, "{:?}", report.problems);
        assert!(report.problems.iter().all(|p| p.contains("did not end")), "{:?}", report.problems);
    }
    assert!(kills >= 3, "{kills} kills");
    run(dir.path(), "shards write captions.jsonl --out out --samples 20 --resume").ok();
    for entry in std::fs::read_dir(dir.path().join("whole")).unwrap() {
        let name = entry.unwrap().file_name();
        if name != "run.json" {
            let read = |folder: &str| std::fs::read(dir.path().join(folder).join(&name)).unwrap();
            assert!(read("whole") == read("out"), "{} differs after kills", name.display());
        }
    }
    let left =
        std::fs::read_dir(&out).unwrap().filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|e| e == "tmp"));
    assert_eq!(left.count(), 0);
}

#[test]
fn shards_are_written_described_checked_and_trained_on() {
    let dir = tempfile::tempdir().unwrap();
    images(dir.path(), 24, 32);
    let said = run(dir.path(), "shards write . --out s --samples 10").ok();
    assert!(said.contains("24 samples in 3 shards") && said.contains("4 bands of u8"), "{said}");
    run(dir.path(), "shards write . --out s").fails(1, &["holds shards already"]);
    run(dir.path(), "shards write missing --out t").fails(1, &["missing"]);
    let said = run(dir.path(), "shards info s --json").ok();
    let index: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&index["shards"][2]["samples"], &index["complete"]), (&4.into(), &true.into()));
    assert!(run(dir.path(), "shards verify s").ok().contains("24 samples"));
    // A single tar file, without an index.
    assert!(run(dir.path(), "shards info s/shard-000001.tar").ok().contains("10 samples in 1 shards"));

    let recipe = "name = \"toy\"\n[[data.set]]\npath = \"s\"\n[model]\nsize = 16\npatch = 8\nwidth = 16\ndepth = 1\nheads = 2\nvalues = \"byte\"\n\
                  wavelength = { embedding = 16, weight_tokens = 4, heads = 2, hidden = 32, layout = \"band-row-column-width\", padding = 0 }\n\
                  [text]\ntower = \"hashed-words\"\n[train]\nepochs = 2\nbatch = 8\nwarmup = 1\n";
    std::fs::write(dir.path().join("recipe.toml"), recipe).unwrap();
    let ran = run(dir.path(), "train recipe.toml --out model");
    assert!(ran.stderr.contains("24 images"), "{}", ran.stderr);
    ran.ok();
    assert!(dir.path().join("model/model.safetensors").is_file());
    run(dir.path(), "train recipe.toml --out other --set data.set=[{path=\"s\",split=\"test\"}]")
        .fails(1, &["not divided"]);

    // The texts came through every step as they were written.
    let shards = ShardFolder::open(&dir.path().join("s")).unwrap();
    let catalogue = shards.catalogue(&ReadOptions::default(), OnFault::Fail).unwrap();
    let last = |i: usize| catalogue.read(i).unwrap().texts.last().cloned().unwrap();
    assert_eq!([1, 2, 3].map(last), ["حقل بجانب النهر", "河边的田野", "🌾🏞️ a field by the river"]);

    let path = dir.path().join("s/shard-000001.tar");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[700] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let said = run(dir.path(), "shards verify s");
    assert!(said.stdout.contains("SHA-256") && said.code == Some(1), "{}", said.stdout);
    std::fs::write(&path, &bytes[..5000]).unwrap();
    run(dir.path(), "train recipe.toml --out other").fails(1, &["shard-000001.tar", "5000 bytes"]);
}

#[test]
fn shards_that_hold_several_modalities_train_with_one_in_a_batch() {
    let dir = tempfile::tempdir().unwrap();
    images(dir.path(), 12, 16);
    // Every second image gets two bands, and all of them words in other scripts.
    let words = ["Река и лес зимой", "農地と川 🌾", "غابة ونهر", "जंगल और नदी"];
    let listed = std::fs::read_to_string(dir.path().join("captions.jsonl")).unwrap();
    let mut lines = String::new();
    for (i, line) in listed.lines().enumerate() {
        let mut record: serde_json::Value = serde_json::from_str(line).unwrap();
        record["short"] = words[i % 4].into();
        if i % 2 == 1 {
            let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (16, 16, 2), }";
            let mut bytes =
                format!("\u{93}NUMPY\u{1}\0v\0{header:<117}\n").chars().map(|c| c as u8).collect::<Vec<_>>();
            bytes.extend((0..16 * 16 * 2).map(|k| (k * 13 + i) as u8));
            std::fs::write(dir.path().join(format!("{i}.npy")), bytes).unwrap();
            record["bands"] = serde_json::json!(["red", "near"]);
            record["wavelengths"] = serde_json::json!([0.665, 0.842]);
        }
        lines += &format!("{record}\n");
    }
    std::fs::write(dir.path().join("captions.jsonl"), lines).unwrap();
    run(dir.path(), "shards write captions.jsonl --out s --samples 12").ok();
    let recipe = "name = \"toy\"\n[[data.set]]\npath = \"s\"\n[model]\nsize = 16\npatch = 8\nwidth = 16\ndepth = 1\nheads = 2\nvalues = \"byte\"\n\
                  wavelength = { embedding = 16, weight_tokens = 4, heads = 2, hidden = 32, layout = \"band-row-column-width\", padding = 0 }\n\
                  [text]\ntower = \"hashed-words\"\n[train]\nepochs = 2\nbatch = 3\nwarmup = 1\n";
    std::fs::write(dir.path().join("recipe.toml"), recipe).unwrap();
    let ran = run(dir.path(), "train recipe.toml --out model");
    assert_eq!(ran.stderr.matches("6 images, bands").count(), 2, "{}", ran.stderr);
    ran.ok();
    run(dir.path(), "train recipe.toml --export plan").ok();
    let plan: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("plan/plan.json")).unwrap()).unwrap();
    let plan = plan.to_string();
    assert!(plan.contains("0.842") && plan.contains("0.49"), "{plan}");
    // Both modalities of the one shard's texts reach the text tower: four scripts, five long and short texts.
    let text = run(dir.path(), "shards info s").ok();
    assert!(text.contains("12 samples in 1 shard"), "{text}");
}
