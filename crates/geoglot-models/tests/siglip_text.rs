//! SigLIP's text tower against open_clip and transformers: `fixtures/export_vision.py siglip`.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use geoglot_models::text::siglip::canonicalise;
use geoglot_models::text::{TextTokenizer, TowerOptions, load_from_folder};
use ndarray::Array2;
use serde::Deserialize;

const TOLERANCE: f32 = 2e-4;

#[derive(Deserialize)]
struct Expected {
    texts: Vec<String>,
    canonical: Vec<String>,
    ids: Vec<Vec<u32>>,
    features: Vec<Vec<f32>>,
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/siglip").join(name)
}

#[test]
fn towers_agree_with_the_reference_libraries() {
    for name in ["open-clip-spm", "hugging-face"] {
        let folder = folder(name);
        let expected: Expected = serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap();
        let canonical: Vec<String> = expected.texts.iter().map(|t| canonicalise(t)).collect();
        assert_eq!(canonical, expected.canonical, "{name}");
        let context = expected.ids[0].len();
        let tokenizer = TextTokenizer::siglip_from_folder(&folder, context).unwrap();
        for ((text, mut ours), theirs) in canonical.iter().zip(tokenizer.encode(&canonical).unwrap()).zip(&expected.ids)
        {
            ours.resize(context, 1);
            assert_eq!(&ours, theirs, "{name}: ids of `{text}`");
        }
        let tower = load_from_folder(&folder, &TowerOptions::default(), &Device::flex()).unwrap();
        let features = tower.encode(&expected.texts).unwrap();
        let reference: Vec<f32> = expected.features.into_iter().flatten().collect();
        let reference = Array2::from_shape_vec(features.dim(), reference).expect("the width of the reference");
        let worst = (&features - &reference).iter().fold(0f32, |w, d| d.abs().max(w));
        println!("{name}: max abs error {worst:.2e}");
        assert!(worst <= TOLERANCE, "{name}: {worst}");
    }
}

#[test]
fn damaged_and_missing_tokenisers_are_named() {
    let dir = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(folder("open-clip-spm")).unwrap().flatten() {
        std::fs::copy(file.path(), dir.path().join(file.file_name())).unwrap();
    }
    let load = || load_from_folder(dir.path(), &TowerOptions::default(), &Device::flex()).err().unwrap().to_string();
    let path = dir.path().join("spiece.model");
    let bytes = std::fs::read(&path).unwrap();
    for broken in [&bytes[..bytes.len() / 2], &b"rubbish"[..], &b""[..]] {
        std::fs::write(&path, broken).unwrap();
        assert!(load().contains("spiece.model"), "{}", load());
    }
    std::fs::remove_file(&path).unwrap();
    assert!(load().contains("tokenizer.json"));
}
