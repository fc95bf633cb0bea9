//! Segmentation heads on a frozen image tower through the program: training, resuming, maps, scores, data of three kinds, bad input.

#[allow(dead_code)]
mod common;

use std::collections::BTreeMap;

use burn::tensor::Device;
use common::{Work, fixture};
use geoglot::core::{Affine, Crs, Grid};
use geoglot::models::vision::VisionConfig;
use geoglot::nn::weights;
use ndarray::Array3;
use serde_json::json;

const RECIPE: &str = r#"kind = "segmentation"
name = "tiny"
description = "A small generated scene."

[data]
root = "scene"
legend = "scene/legend.toml"

[[data.scene]]
name = "scene"
inputs = { hsi = "aisa-eagle.tif:sensor=aisa-eagle" }
labels = "labels.tif"

[split]
folds = 2

[model]
tower = "tower"
tile = 32
input = 32
channels = 8
auxiliary = 4

[train]
epochs = 3
batch = 4
learning_rate = 0.005
warmup = 1
"#;

/// An any-band image tower of made-up weights: patches of 4 px, 16 px images.
fn tower(work: &Work, name: &str, depth: usize, seed: u64) {
    let tower = json!({
        "vit": {
            "patch": 4,
            "embed": { "wavelength": {
                "embedding": 16, "weight_tokens": 6, "heads": 2, "hidden": 24,
                "layout": "band-row-column-width", "padding": 0,
            } },
            "grid": [4, 4], "width": 16, "depth": depth, "heads": 4, "hidden": 24, "epsilon": 1e-6, "activation": "gelu",
            "norm": "tokens", "pooling": "mean", "projection": 384,
        },
        "bands": { "any": { "radar": "rgb", "other": "rgb" } },
        "preprocess": {
            "size": [16, 16], "resize": "squash", "interpolation": "bicubic", "values": "as-is", "mean": [0.3], "std": [0.2],
        },
    });
    let config: VisionConfig = serde_json::from_value(tower.clone()).unwrap();
    let folder = work.path(name);
    std::fs::create_dir_all(&folder).unwrap();
    let device = Device::flex();
    device.seed(seed);
    weights::save(&config.vit.init(&device), &folder.join("model.safetensors"), &BTreeMap::new()).unwrap();
    let card = json!({ "system": "vision-tower", "layout": 1, "space": "hashed-words-384", "tower": tower });
    std::fs::write(folder.join("config.json"), serde_json::to_vec(&card).unwrap()).unwrap();
}

fn prepared() -> Work {
    let work = Work::new();
    tower(&work, "tower", 4, 1);
    work.write("seg.toml", RECIPE);
    work
}

const SCENE: &str = "--scene hsi=scene/aisa-eagle.tif:sensor=aisa-eagle";

#[test]
fn train_map_and_resume() {
    let work = prepared();
    let said = work.run("train seg.toml --out head").ok();
    let card = work.json("head/config.json");
    assert_eq!((card["system"].as_str(), card["taps"].clone()), (Some("upernet"), json!([0, 1, 2, 3])));
    let hash = card["weights_sha256"].as_str().unwrap();
    assert!(said.contains(hash), "{said}");
    let run = work.json("head/run.json");
    assert_eq!(run["model_hash"].as_str(), Some(hash));
    assert!(run["results"]["validation mIoU"].as_f64().is_some());
    let log = String::from_utf8(work.read("head/history.csv")).unwrap();
    assert!(log.lines().count() == 4 && log.starts_with("epoch,loss,validation_oa,validation_miou"), "{log}");

    // The head alone, not the tower, is in the folder; features and temporary files are gone.
    assert!(work.files("head").iter().all(|f| !f.contains("features") && !f.contains(".tmp")));
    assert!(work.read("head/model.safetensors").len() < 400_000);

    work.run(&format!("map --model head --out out {SCENE}")).ok();
    let (grid, classes) = work.pixels("out/classes.tif");
    let (_, probabilities) = work.pixels("out/probabilities.tif");
    let (_, confidence) = work.pixels("out/confidence.tif");
    let legend = card["legend"]["class"].as_array().unwrap();
    assert_eq!((grid.width, grid.height, probabilities.dim().0), (96, 96, legend.len()));
    for r in (0..96).step_by(7) {
        for c in (0..96).step_by(5) {
            let all: Vec<f32> = (0..legend.len()).map(|k| probabilities[[k, r, c]]).collect();
            let best = (0..all.len()).max_by(|a, b| all[*a].total_cmp(&all[*b])).unwrap();
            assert!((all.iter().sum::<f32>() - 1.0).abs() < 1e-4);
            assert_eq!(
                (confidence[[0, r, c]], classes[[0, r, c]] as u64),
                (all[best], legend[best]["id"].as_u64().unwrap())
            );
        }
    }
    assert!(work.files("out").contains(&"map.png".into()));

    // A box of the scene is on its own grid; less overlap gives another map of the same size.
    let west = grid.transform.x0 + 32.0 * grid.transform.dx;
    let (top, bottom) = (grid.transform.y0, grid.transform.y0 + 40.0 * grid.transform.dy);
    let east = west + 20.0 * grid.transform.dx;
    work.run(&format!(
        "map --model head --out box {SCENE} --bbox {west},{bottom},{east},{top} --stride 32 --no-scores"
    ))
    .ok();
    assert_eq!(work.pixels("box/classes.tif").1.dim(), (1, 40, 20));
    assert!(!work.files("box").contains(&"probabilities.tif".into()));

    // A finished part of a run and the rest give the weights of the whole run; so do features in a file.
    work.run("train seg.toml --out again --resume --set model.cache_mib=0").ok();
    let weights = |folder: &str| work.json(&format!("{folder}/config.json"))["weights_sha256"].clone();
    assert_eq!(weights("again"), weights("head"));
    work.edit("seg.toml", "epochs = 3", "epochs = 2");
    work.run("train seg.toml --out again --resume").fails(1, &["checkpoint.safetensors", "other data"]);
}

#[test]
fn evaluation_stands_beside_a_forest() {
    let work = prepared();
    let said = work.run("evaluate seg.toml --out report").ok();
    for word in ["UPerNet", "random forest", "coordinates only", "mIoU"] {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
    let run = work.json("report/run.json");
    assert!(run["results"]["mIoU, geoglot (UPerNet)"]["value"].as_f64().unwrap() > 0.0);
    let files = work.files("report");
    assert!(files.iter().any(|f| f == "fold-2/config.json") && files.iter().any(|f| f.ends_with(".html")));
    // Finished folds are taken as they are.
    let hash = work.json("report/fold-1/config.json")["weights_sha256"].clone();
    work.run("evaluate seg.toml --out report --resume").ok();
    assert_eq!(work.json("report/fold-1/config.json")["weights_sha256"], hash);
}

/// Images of two bands whose bright part is class 2, on a grid of their own.
fn pair(work: &Work, part: &str, name: &str, width: usize, height: usize, id: impl Fn(usize, usize) -> u8) {
    for folder in ["images", "labels"] {
        std::fs::create_dir_all(work.path(format!("{part}/{folder}"))).unwrap();
    }
    let transform = Affine::north_up(500_000.0, 5_300_000.0, 10.0, 10.0);
    let grid = Grid { crs: Some(Crs::Epsg(32632)), transform, width, height };
    let value = |b: usize, r: usize, c: usize| f32::from(id(r, c)) * 0.25 + 0.01 * (b + (r * 3 + c) % 4) as f32;
    work.raster(&format!("{part}/images/{name}.tif"), &grid, &["B04", "B08"], value);
    work.raster(&format!("{part}/labels/{name}.tif"), &grid, &["class"], |_, r, c| f32::from(id(r, c)));
}

const PAIRS: &str = r#"kind = "segmentation"
name = "pairs"
[data]
legend = "legend.toml"
sensor = "sentinel-2-l2a"
[[data.pairs]]
images = "train/images"
labels = "train/labels"
split = "train"
[[data.pairs]]
images = "test/images"
labels = "test/labels"
split = "test"
[model]
tower = "tower"
tile = 16
channels = 8
auxiliary = 0
[train]
epochs = 2
batch = 3
warmup = 1
"#;

fn pairs() -> Work {
    let work = Work::empty();
    tower(&work, "tower", 4, 1);
    work.write("legend.toml", "[[class]]\nid = 1\nname = \"dark\"\n[[class]]\nid = 2\nname = \"bright\"\n");
    work.write("pairs.toml", PAIRS);
    for k in 0..3 {
        // The last is smaller than a tile: what lies beyond it has no data.
        let (width, height) = if k == 2 { (9, 12) } else { (20, 16) };
        pair(&work, "train", &format!("t{k}"), width, height, |r, c| if r == 0 { 0 } else { 1 + u8::from(c + k > 8) });
    }
    pair(&work, "test", "e", 18, 17, |r, _| 1 + u8::from(r > 8));
    pair(&work, "test", "f", 18, 17, |_, c| 1 + u8::from(c > 9));
    work
}

#[test]
fn pairs_of_images_and_labels() {
    let work = pairs();
    let said = work.run("evaluate pairs.toml --out out").ok();
    assert!(said.contains("random forest") && said.contains("3 images train"), "{said}");
    let report = work.json("out/run.json");
    assert!(report["results"]["mIoU, random forest, 3×3 and 5×5"]["value"].as_f64().unwrap() > 0.9);
    // One input of any name is the model's one input.
    work.run("map --model out/fold-1 --scene test/images/e.tif:sensor=sentinel-2-l2a --out map").ok();
    assert_eq!(work.pixels("map/classes.tif").1.dim(), (1, 17, 18));
}

#[test]
fn pixels_without_data_stay_without_class() {
    let work = pairs();
    work.run("train pairs.toml --out head").ok();
    let transform = Affine::north_up(500_000.0, 5_300_000.0, 10.0, 10.0);
    let grid = Grid { crs: Some(Crs::Epsg(32632)), transform, width: 40, height: 30 };
    work.raster("holes.tif", &grid, &["B04", "B08"], |b, r, c| if c > 29 || (b == 1 && r < 3) { -9999.0 } else { 0.3 });
    work.run("map --model head --scene image=holes.tif:sensor=sentinel-2-l2a --out map").ok();
    let classes: Array3<f32> = work.pixels("map/classes.tif").1;
    let confidence = work.pixels("map/confidence.tif").1;
    for ((_, r, c), &id) in classes.indexed_iter() {
        let empty = c > 29 || r < 3;
        assert_eq!((id == 0.0, confidence[[0, r, c]].is_nan()), (empty, empty), "{r} {c}");
    }
}

#[test]
fn a_geo_bench_set() {
    let work = pairs();
    let folder = work.path("m-fields");
    std::fs::create_dir_all(&folder).unwrap();
    for entry in std::fs::read_dir(fixture("geoglot-data", "datasets/m-fields")).unwrap().flatten() {
        std::fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    let text = "kind = \"segmentation\"\nname = \"fields\"\n[data]\ndataset = \"m-fields\"\n[model]\ntower = \"tower\"\n\
                tile = 8\ninput = 16\nstride = 4\nchannels = 4\nauxiliary = 0\n[train]\nepochs = 1\nbatch = 2\n";
    work.write("fields.toml", text);
    work.run("evaluate fields.toml --out out").fails(1, &["three.hdf5", "classes 0 to 2"]);
    work.write("m-fields/default_partition.json", r#"{"train": ["one", "two"], "valid": [], "test": ["two"]}"#);
    let said = work.run("evaluate fields.toml --out out").ok();
    assert!(said.contains("UPerNet") && said.contains("random forest"), "{said}");
    let card = work.json("out/fold-1/config.json");
    let bands: Vec<_> = card["bands"].as_array().unwrap().iter().map(|b| b["band"]["name"].as_str().unwrap()).collect();
    assert_eq!((bands, card["head"]["classes"].as_u64()), (vec!["B02", "B03", "B04"], Some(3)));
    // A set whose images have classes is for other protocols.
    let folder = fixture("geoglot-data", "datasets/m-eurosat").display().to_string();
    work.run(&format!("train fields.toml --out o --set data.dataset={folder}")).fails(1, &["classes, not its pixels"]);
}

#[test]
fn bad_input_is_named() {
    let work = prepared();
    // Labels on another grid, without a reference system to lay them over the scene.
    let small = Grid::unreferenced(40, 50);
    work.raster("scene/elsewhere.tif", &small, &["class"], |_, _, _| 1.0);
    work.run("train seg.toml --out o --set data.scene.0.labels=elsewhere.tif").fails(1, &["elsewhere.tif", "40"]);
    // Classes outside the legend.
    work.write("short.toml", "[[class]]\nid = 1\nname = \"a\"\n[[class]]\nid = 2\nname = \"b\"\n");
    work.run("train seg.toml --out o --set data.legend=short.toml")
        .fails(1, &["labels.tif", "class ids that the legend lacks"]);
    // A tower with too few blocks for the taps, then with taps it has.
    tower(&work, "shallow", 2, 1);
    work.run("train seg.toml --out o --set model.tower=shallow").fails(1, &["shallow", "2 blocks", "model.taps"]);
    work.run("train seg.toml --out o --set model.taps=[0,1,2,4]").fails(1, &["no block 4"]);
    work.run("train seg.toml --out o --set model.input=30").fails(1, &["model.input = 30", "32"]);
    work.run("train seg.toml --out o --set model.tower=nothing").fails(1, &["nothing"]);
    work.run("train seg.toml --out o --set model.stride=40").fails(1, &["model.stride = 40"]);
    work.run("train seg.toml --out o --fold 3").fails(2, &["folds 1 to 2"]);
    work.run("train seg.toml --out o --set train.speed=3").fails(1, &["speed"]);
    assert!(work.files("o").is_empty(), "{:?}", work.files("o"));

    work.run("train seg.toml --out head --set model.tower=shallow --set model.taps=[0,0,1,1] --set train.epochs=1")
        .ok();
    // The head of another tower; words for a model that has classes; another scene.
    let with = |more: &str| work.run(&format!("map --model head --out m {SCENE} {more}"));
    with("--tower tower").fails(1, &["trained on the image tower", "fingerprint"]);
    with("--classes water").fails(2, &["--classes", "segmentation model"]);
    with("--stride 33").fails(1, &["--stride 33"]);
    work.run("map --model head --out m --scene hsi=scene/lidar.tif").fails(1, &["no band", "hsi"]);
    // A damaged head; a tower that is gone.
    let mut bytes = work.read("head/model.safetensors");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    work.write("head/model.safetensors", bytes);
    with("").fails(1, &["SHA-256"]);
    std::fs::remove_dir_all(work.path("shallow")).unwrap();
    with("").fails(1, &["--tower"]);
    assert!(work.files("m").is_empty(), "{:?}", work.files("m"));
}
