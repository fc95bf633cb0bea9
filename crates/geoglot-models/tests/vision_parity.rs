//! Image towers against open_clip, timm, transformers and, for the any-band embedding, the published formulas in PyTorch: features, dense
//! features and intermediate states of `fixtures/export_vision.py`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use geoglot_core::Band;
use geoglot_models::vision::{BandNeed, ImageBatch, ImageOptions, ImageTower, load_image_tower_from};
use geoglot_nn::weights::Checkpoint;

/// Largest absolute difference allowed on L2-normalised f32 features; on intermediate states relative to their largest value.
const TOLERANCE: f32 = 2e-4;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vision")
}

fn worst<const D: usize>(found: Tensor<D>, shape: &[usize], expected: &[f32]) -> f32 {
    assert_eq!(found.dims().as_slice(), shape);
    let found: Vec<f32> = found.into_data().iter::<f32>().collect();
    found.iter().zip(expected).fold(0.0, |w, (f, e)| {
        let d = (f - e).abs();
        assert!(d.is_finite());
        w.max(d)
    })
}

/// Bands of given wavelengths, or red, green, blue.
fn bands(waves: Option<Vec<f32>>, need: &BandNeed) -> Vec<Band> {
    let waves = waves.unwrap_or_else(|| match need {
        BandNeed::Fixed(bands) => bands.iter().map(|b| b.wavelength).collect(),
        BandNeed::Any(_) => panic!("no wavelengths for an any-band tower"),
    });
    waves.iter().enumerate().map(|(i, w)| Band { wavelength_um: Some(*w), ..Band::named(format!("b{i}")) }).collect()
}

/// Loads the tower in `folder` and returns its largest errors: features, dense features, states.
fn compare(folder: &Path, keep_head: bool) -> [f32; 3] {
    let options = ImageOptions { keep_head, ..ImageOptions::default() };
    let weights = std::fs::read_dir(folder).unwrap().flatten().map(|e| e.path());
    let published = weights.into_iter().find(|p| p.extension().is_some_and(|e| e == "pth"));
    let tower = load_image_tower_from(published.as_deref().unwrap_or(folder), &options, &Device::flex()).unwrap();
    let file = Checkpoint::open(folder.join("expected.safetensors")).unwrap();
    let cases: BTreeSet<&str> = file.names().filter_map(|n| n.split('.').next()).collect();
    let mut errors = [0f32; 3];
    for case in cases {
        let get = |what: &str| {
            let name = format!("{case}.{what}");
            file.info(&name).map(|info| (info.shape.clone(), file.read_f32(&name).unwrap()))
        };
        let (shape, values) = get("images").unwrap();
        let pixels = Tensor::from_data(TensorData::new(values, shape), &Device::flex());
        let bands = bands(get("waves").map(|w| w.1), tower.bands());
        let batch = ImageBatch::preprocessed(pixels, bands);
        let (shape, expected) = get("features").unwrap();
        let found = tower.encode(&batch).unwrap();
        assert_eq!(found.shape(), shape, "{}: {case}", folder.display());
        let found =
            Tensor::<2>::from_data(TensorData::new(found.into_raw_vec_and_offset().0, shape.clone()), &Device::flex());
        errors[0] = errors[0].max(worst(found, &shape, &expected));
        if let Some((shape, expected)) = get("dense") {
            errors[1] = errors[1].max(worst(tower.tokens(&batch).unwrap(), &shape, &expected));
        }
        for block in 0..tower.depth() {
            if let Some((shape, expected)) = get(&format!("tap.{block}")) {
                let states = tower.intermediate(&batch, &[block]).unwrap().remove(0);
                let scale = expected.iter().fold(1f32, |m, v| m.max(v.abs()));
                errors[2] = errors[2].max(worst(states, &shape, &expected) / scale);
            }
        }
    }
    errors
}

#[test]
fn narrow_towers_agree_with_the_reference_libraries() {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(fixtures()).unwrap().flatten().map(|e| e.path()).collect();
    folders.sort();
    assert_eq!(folders.len(), 14);
    for folder in folders {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let errors = compare(&folder, false);
        println!("{name}: max error: features {:.1e}, dense {:.1e}, states {:.1e}", errors[0], errors[1], errors[2]);
        assert!(errors.iter().all(|e| *e <= TOLERANCE), "{name}: {errors:?}");
    }
}

#[test]
fn published_sizes_agree_with_the_reference_libraries() {
    let Some(root) = std::env::var_os("GEOGLOT_VISION_FULL") else {
        println!("skipped: GEOGLOT_VISION_FULL does not name a folder made by `export_vision.py full`");
        return;
    };
    let mut folders: Vec<PathBuf> = std::fs::read_dir(root).unwrap().flatten().map(|e| e.path()).collect();
    folders.sort();
    assert!(!folders.is_empty());
    for folder in folders {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let errors = compare(&folder, false);
        println!("{name}: max error: features {:.1e}, dense {:.1e}, states {:.1e}", errors[0], errors[1], errors[2]);
        assert!(errors.iter().all(|e| *e <= TOLERANCE), "{name}: {errors:?}");
    }
}
