//! What loading an image tower refuses and how it says so; any-band inputs; image and text towers of one space.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Distribution, Tensor};
use geoglot_core::{Band, Registry, Unit};
use geoglot_models::geolangbind::ImageTextModel;
use geoglot_models::hub::{Hub, Store};
use geoglot_models::vision::{
    ImageBatch, ImageOptions, ImageTower, VisionConfig, VitTower, load_image_tower_from, load_image_tower_with,
};
use ndarray::Array2;
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vision").join(name)
}

fn copy(name: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in fs::read_dir(fixture(name)).unwrap().flatten() {
        fs::copy(file.path(), dir.path().join(file.file_name())).unwrap();
    }
    dir
}

fn load(folder: &Path) -> Result<VitTower, String> {
    load_image_tower_from(folder, &ImageOptions::default(), &Device::flex()).map_err(|e| e.to_string())
}

fn edit(dir: &TempDir, file: &str, edit: impl FnOnce(&mut serde_json::Value)) {
    let path = dir.path().join(file);
    let mut json = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut json);
    fs::write(path, json.to_string()).unwrap();
}

fn error(folder: &Path) -> String {
    load(folder).err().unwrap()
}

#[test]
fn missing_unused_and_mis_shaped_tensors_are_named() {
    let dir = copy("clip-hf");
    edit(&dir, "config.json", |c| c["vision_config"]["num_hidden_layers"] = 3.into());
    let e = error(dir.path());
    assert!(e.contains("16 missing") && e.contains("blocks.2.") && e.contains("0 unused"), "{e}");
    edit(&dir, "config.json", |c| c["vision_config"]["num_hidden_layers"] = 1.into());
    let e = error(dir.path());
    assert!(e.contains("0 missing") && e.contains("vision_model.encoder.layers.1."), "{e}");
    let dir = copy("siglip-timm");
    edit(&dir, "config.json", |c| c["tower"]["vit"]["hidden"] = 96.into());
    let e = error(dir.path());
    assert!(e.contains("mlp.fc1") && e.contains("[32, 24]") && e.contains("[96, 24]"), "{e}");
    let dir = copy("dinov2-hf");
    edit(&dir, "config.json", |c| c["model_type"] = "dinov2_with_registers".into());
    assert!(error(dir.path()).contains("registers"));
    let dir = copy("geolangbind");
    edit(&dir, "config.json", |c| c["tower"]["vit"]["embed"]["wavelength"]["embedding"] = 32.into());
    assert!(error(dir.path()).contains("fclayer.w1"));
}

#[test]
fn unsupported_configurations_are_named() {
    for (name, file, pointer, value, word) in [
        ("clip-hf", "config.json", "/vision_config/hidden_act", "swish".into(), "swish"),
        ("clip-hf", "config.json", "/model_type", "t5".into(), "`t5`"),
        ("dinov2-hf", "config.json", "/use_swiglu_ffn", true.into(), "swiglu"),
        (
            "open-clip-gelu",
            "open_clip_config.json",
            "/model_cfg/vision_cfg/layers",
            serde_json::json!([3, 4, 6, 3]),
            "residual",
        ),
        (
            "open-clip-gelu",
            "open_clip_config.json",
            "/model_cfg/vision_cfg/attentional_pool",
            true.into(),
            "attentional_pool",
        ),
        ("open-clip-gelu", "open_clip_config.json", "/model_cfg/vision_cfg/new_thing", true.into(), "new_thing"),
        (
            "open-clip-gelu",
            "open_clip_config.json",
            "/model_cfg/vision_cfg/timm_model_name",
            "convnext".into(),
            "convnext",
        ),
        ("geolangbind", "config.json", "/tower/bands", serde_json::json!({"fixed": []}), "any"),
        ("geolangbind", "config.json", "/system", "mmlgnet".into(), "mmlgnet"),
        ("geolangbind", "config.json", "/tower/vit/heads", 5.into(), "heads"),
        ("geolangbind", "config.json", "/tower/preprocess/std", serde_json::json!([0.0]), "standard deviation"),
    ] {
        let dir = copy(name);
        edit(&dir, file, |c| {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            c.pointer_mut(parent).unwrap()[key] = value;
        });
        let e = error(dir.path());
        assert!(e.contains(word) && e.contains(file), "{pointer}: {e}");
    }
}

#[test]
fn damaged_and_missing_files_are_named() {
    for (name, file) in [
        ("clip-hf", "model.safetensors"),
        ("open-clip-quick-torch", "open_clip_pytorch_model.bin"),
        ("dofa-v1", "pytorch_model.bin"),
        ("clip-hf", "config.json"),
    ] {
        let dir = copy(name);
        let path = dir.path().join(file);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert!(error(dir.path()).contains(file), "{file}");
        fs::remove_file(&path).unwrap();
        assert!(error(dir.path()).contains(file), "{file}");
    }
    // Weights alone: no configuration, no published name.
    let dir = copy("clip-hf");
    let alone = dir.path().join("x.safetensors");
    fs::rename(dir.path().join("model.safetensors"), &alone).unwrap();
    fs::remove_file(dir.path().join("config.json")).unwrap();
    let e = error(&alone);
    assert!(e.contains("x.safetensors") && e.contains("dofa-v1-base"), "{e}");
    let options = ImageOptions { sha256: Some("0".repeat(64)), ..ImageOptions::default() };
    let e = load_image_tower_from(&fixture("clip-hf"), &options, &Device::flex()).err().unwrap().to_string();
    assert!(e.contains("SHA-256"), "{e}");
}

fn batch(c: usize, side: usize, bands: Vec<Band>) -> ImageBatch {
    let device = Device::flex();
    device.seed(c as u64);
    ImageBatch::preprocessed(Tensor::random([2, c, side, side], Distribution::Normal(0., 1.), &device), bands)
}

fn difference(a: &Array2<f32>, b: &Array2<f32>) -> f32 {
    (a - b).iter().fold(0.0, |w, d| d.abs().max(w))
}

#[test]
fn any_bands_bind_by_wavelength() {
    let tower = load(&fixture("geolangbind")).unwrap();
    let registry = Registry::builtin();
    for sensor in ["sentinel-2-l1c", "sentinel-1", "landsat-8-l2", "enmap", "planetscope-4", "elevation"] {
        let bands = registry.sensor(sensor).unwrap().bands.clone();
        let images = batch(bands.len(), 12, bands.clone());
        let vectors = tower.encode(&images).unwrap();
        assert!(vectors.rows().into_iter().all(|r| (r.dot(&r) - 1.0).abs() < 1e-5), "{sensor}");
        // The same bands in another order.
        let turned = ImageBatch::preprocessed(images.pixels().clone().flip([1]), bands.iter().rev().cloned().collect());
        let d = difference(&vectors, &tower.encode(&turned).unwrap());
        assert!(d < 1e-5, "{sensor}: {d}");
        // A subset gives another vector, not an error.
        if bands.len() > 2 {
            let part = ImageBatch::preprocessed(images.pixels().clone().narrow(1, 0, 2), bands[..2].to_vec());
            assert!(difference(&vectors, &tower.encode(&part).unwrap()) > 1e-4, "{sensor}");
        }
    }
    let before = tower.cached_sensors();
    let bands = registry.sensor("planetscope-4").unwrap().bands.clone();
    tower.encode(&batch(bands.len(), 12, bands)).unwrap();
    assert_eq!(tower.cached_sensors(), before, "kernels are computed once a sensor");
}

#[test]
fn bands_that_cannot_be_bound_are_named() {
    let any = load(&fixture("dofa-first")).unwrap();
    let band = |w: Option<f32>| Band { wavelength_um: w, ..Band::named("odd") };
    let e = any.encode(&batch(1, 12, vec![band(Some(865.0))])).unwrap_err().to_string();
    assert!(e.contains("odd") && e.contains("nanometres") && e.contains("0.865"), "{e}");
    // A checkpoint without a placeholder.
    let dir = copy("geolangbind");
    edit(&dir, "config.json", |c| c["tower"]["bands"] = serde_json::json!({"any": {"radar": {"wavelength": 3.75}}}));
    let strict = load(dir.path()).unwrap();
    let e = strict.encode(&batch(1, 12, vec![band(None)])).unwrap_err().to_string();
    assert!(e.contains("odd") && e.contains("placeholder"), "{e}");
    let radar = Band { unit: Unit::Decibel, ..band(None) };
    let by_placeholder = strict.encode(&batch(1, 12, vec![radar])).unwrap();
    let by_wavelength = strict.encode(&batch(1, 12, vec![band(Some(3.75))])).unwrap();
    assert_eq!(difference(&by_placeholder, &by_wavelength), 0.0);
    let fixed = load(&fixture("clip-hf")).unwrap();
    let e = fixed.encode(&batch(4, 12, vec![band(None); 4])).unwrap_err().to_string();
    assert!(e.contains("4 bands") && e.contains("red, green, blue"), "{e}");
}

#[test]
fn impossible_images_are_errors() {
    let tower = load(&fixture("clip-hf")).unwrap();
    let rgb = vec![Band::named("a"); 3];
    let e = tower.encode(&batch(3, 3, rgb.clone())).unwrap_err().to_string();
    assert!(e.contains("3 × 3 px") && e.contains("4 × 4"), "{e}");
    let nan = Tensor::<4>::full([1, 3, 12, 12], f32::NAN, &Device::flex());
    let e = tower.encode(&ImageBatch::preprocessed(nan, rgb.clone())).unwrap_err().to_string();
    assert!(e.contains("NaN"), "{e}");
    let e = tower.intermediate(&batch(3, 12, rgb.clone()), &[7]).err().unwrap().to_string();
    assert!(e.contains("block 7") && e.contains("0 to 1"), "{e}");
    let taps = tower.intermediate(&batch(3, 12, rgb), &[1, 0, 1]).unwrap();
    assert_eq!(taps.iter().map(|t| t.dims()).collect::<Vec<_>>(), [[2, 3, 3, 24]; 3]);
}

#[test]
fn a_kept_head_gives_logits_of_another_space() {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(fixture("timm-class").join("model.safetensors"), dir.path().join("model.safetensors")).unwrap();
    // The published architecture is wider than the fixture: only the configuration is read here.
    let json = serde_json::json!({"architecture": "vit_base_patch16_224", "num_classes": 1000, "global_pool": "token"});
    let path = dir.path().join("config.json");
    let kept = VisionConfig::from_timm(&json, true, &path).unwrap();
    assert_eq!((kept.vit.output(), VisionConfig::from_timm(&json, false, &path).unwrap().vit.output()), (1000, 768));
    let json = serde_json::json!({"architecture": "vit_base_patch16_224"});
    assert!(VisionConfig::from_timm(&json, true, &path).unwrap_err().to_string().contains("num_classes"));
}

#[test]
fn image_and_text_towers_of_a_folder_share_a_space() {
    // CLIP of OpenCLIP, with the text fixture's tokeniser cut to its 20 tokens: only the space matters here.
    let tower = load(&fixture("clip-hf")).unwrap();
    assert!(tower.space().name.starts_with("clip-hf@") && tower.width() == 20);
    let described = tower.describe();
    for word in ["2 blocks", "12 × 12 px", "red, green, blue", "value / 255", "fused-f32", "clip-hf@"] {
        assert!(described.contains(word), "{word}: {described}");
    }
    let other = load(&fixture("siglip-hf")).unwrap();
    assert!(tower.space().expect(other.space()).is_err());
    // SigLIP: one folder with both sides.
    let dir = tempfile::tempdir().unwrap();
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/siglip/open-clip-spm");
    for file in ["open_clip_config.json", "spiece.model", "open_clip_model.safetensors"] {
        fs::copy(text.join(file), dir.path().join(file)).unwrap();
    }
    let hub = Hub::at(Store::at(dir.path().join("store")), dir.path().join("cache"));
    let found = |name: &str| load_image_tower_with(name, &ImageOptions::default(), &hub, &Device::flex());
    assert_eq!(found(fixture("dinov2-hf").to_str().unwrap()).unwrap().width(), 24);
    let e = found("siglip-vit-b-16").err().unwrap().to_string();
    assert!(e.contains("geoglot models pull siglip-vit-b-16"), "{e}");
    // Its image side is a stand-in: the pair is refused with the tower's reason.
    assert!(ImageTextModel::load(dir.path(), None, &Device::flex()).is_err());
}
