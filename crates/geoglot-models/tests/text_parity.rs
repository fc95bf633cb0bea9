//! Text towers against transformers and open_clip: token ids and features of `fixtures/export_text.py`.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use geoglot_models::hub::Hub;
use geoglot_models::text::{TextTokenizer, TowerOptions, load_from_folder};
use ndarray::Array2;
use serde::Deserialize;

/// Largest absolute difference allowed on L2-normalised f32 features.
const TOLERANCE: f32 = 1e-4;

#[derive(Deserialize)]
struct Expected {
    texts: Vec<String>,
    ids: Vec<Vec<u32>>,
    features: Vec<Vec<f32>>,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/text")
}

/// Loads the tower in `folder` and returns its largest absolute error; token ids must be equal.
fn compare(folder: &Path) -> f32 {
    let expected: Expected = serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap();
    let longest = expected.ids.iter().map(Vec::len).max().unwrap();
    let tokenizer = if folder.join("merges.txt").exists() {
        TextTokenizer::clip_from_folder(folder, longest)
    } else {
        TextTokenizer::from_folder(folder, longest)
    };
    let ids = tokenizer.unwrap().encode(&expected.texts).unwrap();
    for ((text, ours), theirs) in expected.texts.iter().zip(&ids).zip(&expected.ids) {
        assert_eq!(ours, theirs, "{}: ids of `{text}`", folder.display());
    }
    let tower = load_from_folder(folder, &TowerOptions::default(), &Device::flex()).unwrap();
    let features = tower.encode(&expected.texts).unwrap();
    let reference: Vec<f32> = expected.features.into_iter().flatten().collect();
    let reference = Array2::from_shape_vec(features.dim(), reference).expect("the width of the reference");
    (&features - &reference).iter().fold(0.0, |worst, d| d.abs().max(worst))
}

#[test]
fn narrow_towers_agree_with_the_reference_libraries() {
    for name in ["bert", "bert-bf16", "roberta-torch", "albert", "clip-hf", "openclip-gelu", "openai-torch-f16"] {
        let worst = compare(&fixtures().join(name));
        println!("{name}: max abs error {worst:.2e}");
        assert!(worst <= TOLERANCE, "{name}: {worst}");
    }
}

#[test]
fn published_sizes_agree_with_the_reference_libraries() {
    let Some(root) = std::env::var_os("GEOGLOT_TEXT_FULL") else {
        println!("skipped: GEOGLOT_TEXT_FULL does not name a folder made by `export_text.py full`");
        return;
    };
    let mut folders: Vec<PathBuf> = std::fs::read_dir(root).unwrap().flatten().map(|e| e.path()).collect();
    folders.sort();
    assert!(!folders.is_empty());
    for folder in folders {
        let worst = compare(&folder);
        println!("{}: max abs error {worst:.2e}", folder.file_name().unwrap().display());
        assert!(worst <= TOLERANCE, "{}: {worst}", folder.display());
    }
}

#[derive(Deserialize)]
struct Embedded {
    text: String,
    ids: Vec<u32>,
    embedding: Vec<f32>,
}

#[test]
fn minilm_agrees_with_the_reference_embeddings() {
    let data = std::env::var_os("GEOGLOT_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let path = data.join("reference/minilm_embeddings.json");
    let Ok(bytes) = std::fs::read(&path) else {
        println!("skipped: no {}", path.display());
        return;
    };
    let reference: Vec<Embedded> = serde_json::from_slice(&bytes).unwrap();
    let hub = Hub::from_env().unwrap();
    let resolved = match hub.resolve("minilm") {
        Ok(resolved) => resolved,
        Err(error) => {
            println!("skipped: {error}");
            return;
        }
    };
    let options = TowerOptions { sha256: resolved.weights_sha256, ..TowerOptions::default() };
    let tower = load_from_folder(&resolved.folder, &options, &Device::flex()).unwrap();
    assert_eq!(tower.space().to_string(), "minilm-l6-v2-384 (384-d)");
    let texts: Vec<String> = reference.iter().map(|r| r.text.clone()).collect();
    let ids = TextTokenizer::from_folder(&resolved.folder, 256).unwrap().encode(&texts).unwrap();
    let features = tower.encode(&texts).unwrap();
    let mut worst = 1f32;
    for ((row, r), ids) in features.rows().into_iter().zip(&reference).zip(ids) {
        assert_eq!(ids, r.ids, "{}", r.text);
        let dot: f32 = row.iter().zip(&r.embedding).map(|(a, b)| a * b).sum();
        let length = r.embedding.iter().map(|v| v * v).sum::<f32>().sqrt();
        worst = worst.min(dot / length);
    }
    println!("minilm: {} texts, least cosine {worst:.7}", reference.len());
    assert!(worst > 0.9999, "{worst}");
}

#[test]
fn a_text_alone_and_in_a_batch_has_the_same_feature() {
    let folder = fixtures().join("bert");
    let tower = load_from_folder(&folder, &TowerOptions::default(), &Device::flex()).unwrap();
    let texts: Vec<String> = (0..70).map(|i| format!("grass {}", "and roads ".repeat(i % 9))).collect();
    let together = tower.encode(&texts).unwrap();
    for i in [0, 8, 69] {
        let alone = tower.encode(&texts[i..=i]).unwrap();
        let worst = (&alone.row(0) - &together.row(i)).iter().fold(0f32, |w, d| d.abs().max(w));
        assert!(worst < 1e-5, "{i}: {worst}");
    }
    assert_eq!(tower.encode(&[]).unwrap().dim(), (0, 32));
}
