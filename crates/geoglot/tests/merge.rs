//! `geoglot merge` through the binary: merged folders, ratio search, refusals.

#[allow(dead_code)]
mod common;

use std::path::Path;

use common::{Work, fixture};
use geoglot::raster::preview::Image;
use serde_json::{Value, json};

const COLORS: [(&str, [u8; 4]); 3] =
    [("red", [220, 0, 0, 255]), ("green", [0, 220, 0, 255]), ("blue", [0, 0, 220, 255])];

/// Noisy images of three colours, each with its name as class and caption.
fn images(folder: &Path) {
    let records: Vec<Value> = (0..45usize)
        .map(|i| {
            let (name, own) = COLORS[i % 3];
            let grain = |c: usize, r: usize| own.map(|v| v.saturating_sub(((c * 7 + r * 3 + i * 11) % 35) as u8));
            Image::from_fn(12, 12, grain).save_png(&folder.join("images").join(format!("{i}.png"))).unwrap();
            let split = ["train", "train", "val", "train", "test"][i / 3 % 5];
            json!({ "file": format!("{i}.png"), "class": name, "captions": [name], "split": split })
        })
        .collect();
    std::fs::write(folder.join("captions.json"), serde_json::to_string(&records).unwrap()).unwrap();
}

/// Two towers of one beginning, trained differently, and their images.
fn towers() -> Work {
    let work = Work::empty();
    images(&work.path(""));
    let recipe = r#"
        name = "colours"
        [[data.set]]
        path = "captions.json"
        [model]
        size = 8
        patch = 4
        width = 24
        depth = 1
        heads = 2
        wavelength = { embedding = 16, weight_tokens = 4, heads = 2, hidden = 16, layout = "band-row-column-width", padding = 0 }
        values = "byte"
        license = "CC0-1.0"
        [text]
        tower = "hashed-words"
        [train]
        epochs = 6
        batch = 9
        learning_rate = 0.01
        warmup = 3
    "#;
    work.write("recipe.toml", recipe);
    work.run("train recipe.toml --out a --set train.epochs=1").ok();
    work.run("train recipe.toml --out b").ok();
    work
}

/// Top-1 of a model on the validation part.
fn top1(work: &Work, model: &str) -> f64 {
    let line = format!(
        "evaluate zero-shot --model {model} --data captions.json --split val --templates none --replicates 20 --no-tsne --json \
         --out scored"
    );
    let report: Value = serde_json::from_str(&work.run(&line).ok()).unwrap();
    report["sections"][0]["table"]["rows"][0]["values"][0]["value"].as_f64().unwrap()
}

#[test]
fn ratios_are_searched_and_the_best_model_is_written() {
    let work = towers();
    let line = "merge a b --data captions.json --templates none --replicates 20 --tried 0,0.5,1 --out merged";
    let told = work.run(line).ok();
    assert!(told.contains("| ratio |") && told.contains("model: merged"), "{told}");
    let search = work.json("merged/search.json");
    let points = search["rounds"][0]["points"].as_array().unwrap();
    assert_eq!(points.len(), 3);
    // The ends of the curve are the models themselves.
    for (point, model) in [(&points[0], "a"), (&points[2], "b")] {
        assert!((point["mean"].as_f64().unwrap() - top1(&work, model)).abs() < 1e-9, "{point} {model}");
    }
    let best = points.iter().map(|p| p["mean"].as_f64().unwrap()).fold(0.0, f64::max);
    let chosen = search["rounds"][0]["chosen"].as_f64().unwrap();
    assert!((top1(&work, "merged") - best).abs() < 1e-9);
    let card = work.json("merged/config.json");
    assert_eq!(card["merged"]["ratios"], json!([chosen]));
    assert_eq!(card["merged"]["models"][1]["sha256"], work.json("b/run.json")["model_hash"]);
    assert_eq!(card["license"], "CC0-1.0");
    assert!(work.read("merged/search-1.png").starts_with(b"\x89PNG"));
    assert!(!work.path("merged/candidate").exists());
    assert_eq!(work.json("merged/run.json")["results"]["ratios"], json!([chosen]));

    // Two rounds, the first ratio given: three models, two data sets, retrieval.
    let line = "merge a b a --ratio 0.9 --ratio search --search retrieval --data captions.json --data captions.json --split test \
                --replicates 20 --tried 0.2,0.6 --out rounds --json";
    let record: Value = serde_json::from_str(&work.run(line).ok()).unwrap();
    assert_eq!(record["ratios"][0], 0.9);
    let search = work.json("rounds/search.json");
    assert_eq!(search["rounds"].as_array().unwrap().len(), 1);
    assert_eq!(search["rounds"][0]["points"][0]["figures"].as_array().unwrap().len(), 2);
    assert!(search["warnings"][0].as_str().unwrap().contains("chosen on the images they are scored on"));
}

#[test]
fn given_ratios_and_modules_make_a_folder_that_loads() {
    let work = towers();
    for method in ["linear", "slerp", "task-arithmetic"] {
        let line = format!("merge a b --ratio 0.5 --module ^wavelength=1 --method {method} --out {method}");
        let told = work.run(&line).ok();
        assert!(told.contains("ratio 0.5"), "{told}");
        work.run(&format!("info {method}")).ok();
        let card = work.json(&format!("{method}/config.json"));
        assert_eq!(card["merged"]["method"], method);
        assert_eq!(card["merged"]["modules"][0], json!({ "names": "^wavelength", "ratios": [1.0] }));
    }
    let name = "wavelength.kernel.weight";
    let tensor = |model: &str, name: &str| {
        let path = work.path(format!("{model}/model.safetensors"));
        geoglot::nn::weights::Checkpoint::open(path).unwrap().read_f32(name).unwrap()
    };
    assert_eq!(tensor("linear", name), tensor("b", name));
    for ((m, a), b) in
        tensor("linear", "norm.weight").iter().zip(tensor("a", "norm.weight")).zip(tensor("b", "norm.weight"))
    {
        assert!((m - 0.5 * (a + b)).abs() < 1e-6);
    }
    // Published towers under two naming schemes.
    let (siglip, anyband) =
        (fixture("geoglot-models", "vision/siglip-timm"), fixture("geoglot-models", "vision/geolangbind"));
    let line = format!("merge {} {} --space s --ratio 0.9 --out two", siglip.display(), anyband.display());
    let told = work.run(&line).ok();
    assert!(told.contains("without patch.bias, patch.weight"), "{told}");
}

#[test]
fn what_cannot_be_merged_is_said() {
    let work = towers();
    work.run("merge a --ratio 0.5 --out x").code.filter(|c| *c == 2).expect("a usage error");
    work.run("merge a b --out x").fails(2, &["--ratio", "--data"]);
    work.run("merge a b --ratio half --out x").fails(2, &["half"]);
    work.run("merge a b --ratio search --out x").fails(2, &["--data"]);
    work.run("merge a b --ratio 1.5 --out x").fails(1, &["1.5", "0–1"]);
    work.run("merge a b --ratio 0.5 --module zzz=1 --out x").fails(1, &["zzz", "names are such as"]);
    work.run("merge a b --ratio 0.5 --module 1 --out x").fails(2, &["REGEX"]);
    work.run("merge a none --ratio 0.5 --out x").fails(1, &["none"]);
    work.run("merge a b --ratio 0.5 --out b").fails(1, &["overwritten"]);
    work.run("merge a b --data captions.json --metric F7 --tried 0.5 --out x").fails(1, &["F7", "top-1"]);
    let other = fixture("geoglot-models", "vision/geolangbind");
    let line = format!("merge a {} --ratio 0.5 --out x", other.display());
    work.run(&line).fails(1, &["vit.depth: 1 ≠ 2", "space:", "tensor "]);
    // Damaged weights: nothing is left behind.
    let bytes = work.read("b/model.safetensors");
    work.write("b/model.safetensors", &bytes[..bytes.len() / 2]);
    work.run("merge a b --ratio 0.5 --out x").fails(1, &["b/model.safetensors"]);
    assert!(work.files("x").is_empty(), "{:?}", work.files("x"));
}
