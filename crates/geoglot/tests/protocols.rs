//! Protocols on a tower whose vectors are known, and pre-training through the binary.

use std::path::{Path, PathBuf};
use std::process::Command;

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use geoglot::models::text::{HashedWords, TextTower};
use geoglot::models::vision::{BandNeed, ImagePreprocess, ResizeMode, TowerCard, ValueScale, VisionConfig};
use geoglot::nn::transformer::Activation;
use geoglot::nn::vision::resample::Interpolation;
use geoglot::nn::vision::{FinalNorm, PatchKind, Pooling, PositionResampling, VitConfig};
use geoglot::raster::preview::Image;
use serde_json::{Value, json};

const COLORS: [(&str, [u8; 4]); 3] =
    [("red", [255, 0, 0, 255]), ("green", [0, 255, 0, 255]), ("blue", [0, 0, 255, 255])];

/// A tower that gives the vector of the word "red" for a red image, and so on: patches are mapped by the words' vectors, and the only block
/// passes its tokens through.
fn known_tower(folder: &Path) {
    let device = Device::flex();
    let words = HashedWords::new().encode(&COLORS.map(|c| c.0.to_owned())).unwrap();
    let (patch, width) = (8, words.ncols());
    let vit = VitConfig {
        patch,
        embed: PatchKind::Fixed { channels: 3, bias: false },
        grid: (1, 1),
        width,
        depth: 1,
        heads: 1,
        hidden: 4,
        epsilon: 1e-6,
        activation: Activation::Gelu,
        class_token: false,
        class_position: false,
        registers: 0,
        pre_norm: false,
        layer_scale: false,
        norm: FinalNorm::Tokens,
        pooling: Pooling::Mean,
        projection: None,
        projection_bias: false,
        positions: PositionResampling::default(),
    };
    let mut net = vit.init(&device);
    let kernel: Vec<f32> = (0..width * 3 * patch * patch)
        .map(|k| words[((k / (patch * patch)) % 3, k / (3 * patch * patch))] / (patch * patch) as f32)
        .collect();
    let kernel = Tensor::from_data(TensorData::new(kernel, [width, 3, patch, patch]), &device);
    net.patch.as_mut().unwrap().weight = Param::from_tensor(kernel);
    net.position = Param::from_tensor(Tensor::zeros([1, width], &device));
    let block = &mut net.blocks[0];
    block.fc2.weight = Param::from_tensor(Tensor::zeros([4, width], &device));
    block.fc2.bias = Some(Param::from_tensor(Tensor::zeros([width], &device)));
    block.attention.output.weight = Param::from_tensor(Tensor::zeros([width, width], &device));
    block.attention.output.bias = Some(Param::from_tensor(Tensor::zeros([width], &device)));
    let card = TowerCard {
        system: "vision-tower".into(),
        layout: 1,
        space: Some(HashedWords::new().space().name.clone()),
        license: None,
        tower: VisionConfig {
            vit,
            bands: BandNeed::rgb(),
            preprocess: ImagePreprocess {
                size: (patch, patch),
                resize: ResizeMode::Squash,
                resize_to: None,
                interpolation: Interpolation::Bicubic,
                values: ValueScale::Byte,
                mean: vec![0.0],
                std: vec![1.0],
                by_band: Default::default(),
            },
            ignore: Vec::new(),
            initial: Vec::new(),
        },
        merged: None,
    };
    geoglot::nn::weights::save(&net, &folder.join("model.safetensors"), &Default::default()).unwrap();
    std::fs::write(folder.join("config.json"), serde_json::to_string(&card).unwrap()).unwrap();
}

/// An image list: color, class and captions of each image, and its part.
fn image_set(folder: &Path, items: &[(usize, &str, &[&str], &str)]) -> PathBuf {
    let records: Vec<Value> = items
        .iter()
        .enumerate()
        .map(|(i, (color, class, captions, split))| {
            let file = format!("{i}.png");
            // Grains, so that no two images are the same.
            let own = COLORS[*color].1;
            let grain = |c: usize, r: usize| own.map(|v| if v == 0 { ((c * 7 + r * 3 + i) % 5) as u8 } else { v });
            Image::from_fn(12, 10, grain).save_png(&folder.join("images").join(&file)).unwrap();
            json!({ "file": file, "class": class, "captions": captions, "split": split })
        })
        .collect();
    std::fs::write(folder.join("captions.json"), serde_json::to_string(&records).unwrap()).unwrap();
    folder.to_owned()
}

fn geoglot(arguments: &[&str]) -> (bool, String, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_geoglot")).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (out.status.success(), text(out.stdout), text(out.stderr))
}

/// Runs a protocol; its report.
fn evaluate(protocol: &str, model: &Path, data: &Path, out: &Path, more: &[&str]) -> Value {
    let mut all = vec!["evaluate", protocol, "--templates", "none", "--replicates", "50", "--json", "--model"];
    all.extend([model.to_str().unwrap(), "--data", data.to_str().unwrap(), "--out", out.to_str().unwrap()]);
    all.extend(more);
    let (ok, stdout, stderr) = geoglot(&all);
    assert!(ok, "{protocol}: {stderr}");
    serde_json::from_str(&stdout).unwrap()
}

/// The figure of a row and a column of the first section.
fn figure(report: &Value, row: usize, column: &str) -> f64 {
    let table = &report["sections"][0]["table"];
    let at = table["columns"].as_array().unwrap().iter().position(|c| c == column).unwrap();
    table["rows"][row]["values"][at]["value"].as_f64().unwrap()
}

#[test]
fn known_vectors_give_known_scores() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    std::fs::create_dir(&model).unwrap();
    known_tower(&model);
    // Six test images, two under a wrong class: top-1 is 4/6.
    let mut items: Vec<(usize, &str, &[&str], &str)> = Vec::new();
    for k in 0..12 {
        items.push((k % 3, COLORS[k % 3].0, &["train"], if k < 9 { "train" } else { "val" }));
    }
    items.extend([
        (0, "red", &["red"] as &[&str], "test"),
        (1, "green", &["green"], "test"),
        (2, "blue", &["blue"], "test"),
        (0, "red", &["red"], "test"),
        (1, "red", &["green"], "test"),
        (2, "green", &["blue"], "test"),
    ]);
    let data = image_set(dir.path(), &items);
    let out = |name: &str| dir.path().join(name);

    let report = evaluate("zero-shot", &model, &data, &out("zero"), &["--save-embeddings"]);
    assert!((figure(&report, 0, "top-1") - 4.0 / 6.0).abs() < 1e-9);
    assert!(report["tiles_texts"]["tiles"].as_array().unwrap().len() == 6);
    for file in
        ["report.html", "report.md", "run.json", "figures/1-zero-shot-confusion.png", "figures/tiles-and-texts.png"]
    {
        assert!(out("zero").join(file).is_file(), "{file}");
    }
    let saved: Value = serde_json::from_slice(&std::fs::read(out("zero").join("embeddings.json")).unwrap()).unwrap();
    assert_eq!(saved["images"].as_array().unwrap().len(), 6);
    assert_eq!(saved["classes"][0].as_array().unwrap().len(), 384);

    let report = evaluate("knn", &model, &data, &out("knn"), &["-k", "3"]);
    assert!((figure(&report, 0, "top-1") - 4.0 / 6.0).abs() < 1e-9);
    let report = evaluate("probe", &model, &data, &out("probe"), &[]);
    assert!((figure(&report, 0, "top-1") - 4.0 / 6.0).abs() < 1e-9);
    // Each image has one label here: given by a threshold that divides matching from other colours.
    let report = evaluate("multilabel", &model, &data, &out("multi"), &["--threshold", "0.8"]);
    assert!((figure(&report, 0, "F1") - 4.0 / 6.0).abs() < 1e-9);

    // Red finds its caption; green and blue have each other's.
    let swapped: [(usize, &str, &[&str], &str); 3] =
        [(0, "red", &["red"], "test"), (1, "green", &["blue"], "test"), (2, "blue", &["green"], "test")];
    let other = dir.path().join("swapped");
    std::fs::create_dir(&other).unwrap();
    let report = evaluate("retrieval", &model, &image_set(&other, &swapped), &out("find"), &["--no-tsne"]);
    for row in [0, 1] {
        assert!((figure(&report, row, "R@1") - 1.0 / 3.0).abs() < 1e-9);
        assert!((figure(&report, row, "R@5") - 1.0).abs() < 1e-9);
    }
}

#[test]
fn feature_maps_lie_on_the_scene() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    std::fs::create_dir(&model).unwrap();
    known_tower(&model);
    let data = image_set(dir.path(), &[(0, "red", &["red"], "test"), (2, "blue", &["blue"], "test")]);
    let scene = dir.path().join("scene.png");
    Image::from_fn(36, 26, |c, _| COLORS[c / 12].1).save_png(&scene).unwrap();
    let more = ["--feature-maps", scene.to_str().unwrap(), "--prompt", "red", "--prompt", "blue", "--no-tsne"];
    let report = evaluate("zero-shot", &model, &data, &dir.path().join("out"), &more);
    assert_eq!(report["sections"].as_array().unwrap().len(), 1);
    let maps = dir.path().join("out/maps/1-scene");
    for file in ["features.tif", "features.png", "similarity.tif", "similarity-1.png", "similarity-2.png"] {
        assert!(maps.join(file).is_file(), "{file}");
    }
    let raster = geoglot::raster::open(&maps.join("similarity.tif"), &Default::default()).unwrap();
    // 26 × 36 pixels are 3 × 4 patches of 8.
    assert_eq!((raster.grid().height, raster.grid().width), (3, 4));
    let tile = raster.read(&[0, 1], raster.grid().window()).unwrap();
    assert!(tile.data[(0, 1, 0)] > 0.9 && tile.data[(1, 1, 3)] > 0.9);
    assert!(tile.data[(0, 1, 3)] < tile.data[(0, 1, 0)] - 0.2);
}

#[test]
fn what_cannot_be_scored_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    std::fs::create_dir(&model).unwrap();
    known_tower(&model);
    let data = image_set(dir.path(), &[(0, "red", &["red"], "test"), (2, "blue", &["blue"], "test")]);
    let (model, data) = (model.to_str().unwrap(), data.to_str().unwrap());
    let fails = |arguments: &[&str], word: &str| {
        let (ok, _, stderr) = geoglot(arguments);
        assert!(!ok && stderr.contains(word), "{arguments:?}: {stderr}");
    };
    fails(&["evaluate", "knn", "--model", model, "--data", data], "no train images");
    fails(&["evaluate", "zero-shot", "--model", model, "--data", data, "--split", "train"], "no images in the part");
    fails(&["evaluate", "zero-shot", "--model", model, "--data", data, "--templates", "x"], "no template set");
    fails(&["evaluate", "zero-shot", "--model", model, "--data", data, "--prompt", "x"], "--feature-maps");
    fails(&["evaluate", "multilabel", "--model", model, "--data", data], "--threshold");
    fails(&["evaluate"], "RECIPE");
    fails(&["evaluate", "no-such-recipe.toml"], "no-such-recipe.toml");
    fails(&["train", "no-such-recipe.toml"], "no-such-recipe.toml");
}

#[test]
fn a_small_tower_is_trained_resumed_and_scored_through_the_binary() {
    let dir = tempfile::tempdir().unwrap();
    let items: Vec<(usize, &str, &[&str], &str)> = (0..60)
        .map(|k| {
            (
                k % 3,
                COLORS[k % 3].0,
                [&["red"], &["green"], &["blue"]][k % 3] as &[&str],
                if k < 45 { "train" } else { "test" },
            )
        })
        .collect();
    let data = image_set(dir.path(), &items);
    let recipe = dir.path().join("recipe.toml");
    let text = r#"
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
        [text]
        tower = "hashed-words"
        [train]
        epochs = 8
        batch = 15
        learning_rate = 0.01
        warmup = 3
        crop = [0.5, 1.0]
    "#;
    std::fs::write(&recipe, text).unwrap();
    let recipe = recipe.to_str().unwrap();
    let whole = dir.path().join("whole");
    let (ok, stdout, stderr) = geoglot(&["train", recipe, "--out", whole.to_str().unwrap()]);
    assert!(ok, "{stdout}{stderr}");
    let lines = std::fs::read_to_string(whole.join("history.jsonl")).unwrap();
    let losses: Vec<f64> =
        lines.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()["loss"].as_f64().unwrap()).collect();
    assert!(losses.len() == 8 && losses[7] < 0.8 * losses[0], "{losses:?}");
    // A finished run that is resumed trains nothing and writes the same model.
    let bytes = std::fs::read(whole.join("model.safetensors")).unwrap();
    let (ok, ..) = geoglot(&["train", recipe, "--out", whole.to_str().unwrap(), "--resume"]);
    assert!(ok && std::fs::read(whole.join("model.safetensors")).unwrap() == bytes);
    let (ok, _, stderr) =
        geoglot(&["train", recipe, "--out", whole.to_str().unwrap(), "--resume", "--set", "train.batch=10"]);
    assert!(!ok && stderr.contains("another --out"), "{stderr}");

    let report = evaluate("zero-shot", &whole, &data, &dir.path().join("zero"), &[]);
    assert!(figure(&report, 0, "top-1") > 0.8);
    let run: Value = serde_json::from_slice(&std::fs::read(whole.join("run.json")).unwrap()).unwrap();
    assert_eq!(run["results"]["steps"], 24);
}

#[test]
fn real_images_train_and_are_scored() {
    let root = std::env::var_os("GEOGLOT_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let data = root.join("rsicd-aid");
    if !data.is_dir() {
        println!("skipped: {} is not there; set GEOGLOT_DATA", data.display());
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/rsicd-anyband.toml");
    let out = dir.path().join("model");
    let root_set = format!("data.root={:?}", root.to_str().unwrap());
    let arguments = [
        "train",
        recipe.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
        "--set",
        &root_set,
        "--set",
        "text.tower=hashed-words",
        "--set",
        "train.epochs=2",
        "--set",
        "train.steps_per_epoch=6",
        "--set",
        "train.batch=24",
        "--set",
        "model.size=48",
        "--set",
        "model.depth=1",
        "--set",
        "train.warmup=2",
    ];
    let (ok, stdout, stderr) = geoglot(&arguments);
    assert!(ok, "{stdout}{stderr}");
    let lines = std::fs::read_to_string(out.join("history.jsonl")).unwrap();
    let losses: Vec<f64> =
        lines.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()["loss"].as_f64().unwrap()).collect();
    assert!(losses[1] < losses[0], "{losses:?}");
    let report = evaluate("retrieval", &out, &data, &dir.path().join("find"), &["--no-tsne"]);
    assert_eq!(report["sections"][0]["table"]["rows"][1]["count"], 3000);
}
