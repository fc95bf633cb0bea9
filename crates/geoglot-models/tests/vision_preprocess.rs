//! Preprocessing against open_clip's image transforms (Pillow) and torchvision's antialiased resize: `fixtures/export_vision.py preprocess`.

use std::path::Path;

use geoglot_core::{Band, Registry};
use geoglot_models::vision::{BandNeed, ImagePreprocess, Preset, ResizeMode, ValueScale};
use geoglot_nn::vision::resample::Interpolation;
use geoglot_nn::weights::Checkpoint;
use ndarray::Array3;

fn fixture(name: &str) -> Array3<f32> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/preprocess.safetensors");
    let file = Checkpoint::open(path).unwrap();
    let shape = file.info(name).unwrap().shape.clone();
    Array3::from_shape_vec((shape[0], shape[1], shape[2]), file.read_f32(name).unwrap()).unwrap()
}

fn named(n: usize) -> Vec<Band> {
    (0..n).map(|i| Band::named(format!("{i}"))).collect()
}

/// CLIP's preprocessing with another size.
fn clip(size: usize, resize: ResizeMode, interpolation: Interpolation) -> ImagePreprocess {
    let preset = Preset::named("clip-vit-b-32").unwrap().config().unwrap().preprocess;
    ImagePreprocess { size: (size, size), resize, interpolation, ..preset }
}

fn difference(a: &Array3<f32>, b: &Array3<f32>) -> f32 {
    assert_eq!(a.dim(), b.dim());
    a.iter().zip(b).fold(0.0, |w, (a, b)| w.max((a - b).abs()))
}

#[test]
fn bytes_agree_with_pillow_exactly() {
    let photo = fixture("photo");
    for (name, size, mode, interpolation) in [
        ("shortest", 24, ResizeMode::Shortest, Interpolation::Bicubic),
        ("squash", 24, ResizeMode::Squash, Interpolation::Bicubic),
        ("bilinear", 16, ResizeMode::Squash, Interpolation::Bilinear),
        ("larger", 64, ResizeMode::Shortest, Interpolation::Bicubic),
    ] {
        let bound = clip(size, mode, interpolation).bind(&BandNeed::rgb(), &named(3), None).unwrap();
        let worst = difference(&bound.apply(photo.view()).unwrap(), &fixture(name));
        // One byte is 1/255/0.27 = 0.015.
        assert!(worst < 1e-5, "{name}: {worst}");
    }
}

#[test]
fn floats_agree_with_torchvision() {
    for (name, size, interpolation) in
        [("floats.bicubic", (12, 20), Interpolation::Bicubic), ("floats.bilinear", (40, 17), Interpolation::Bilinear)]
    {
        let p = ImagePreprocess {
            size,
            values: ValueScale::AsIs,
            mean: vec![0.0],
            std: vec![1.0],
            ..clip(1, ResizeMode::Squash, interpolation)
        };
        let bound = p.bind(&BandNeed::Any(Default::default()), &named(2), None).unwrap();
        let worst = difference(&bound.apply(fixture("floats").view()).unwrap(), &fixture(name));
        assert!(worst < 2e-6, "{name}: {worst}");
    }
}

#[test]
fn sensor_ranges_statistics_and_nodata() {
    let sensor = Registry::builtin().sensor("sentinel-2-l2a").unwrap();
    let bands: Vec<Band> = ["B04", "B08"].iter().map(|b| sensor.band(b).unwrap().clone()).collect();
    let (low, high) = bands[0].range.unwrap();
    let mut image = Array3::from_elem((2, 4, 4), high as f32);
    image[[0, 0, 0]] = f32::NAN;
    image[[0, 0, 1]] = low as f32;
    image[[0, 0, 2]] = 100.0;
    let mut p = ImagePreprocess {
        values: ValueScale::SensorRange,
        mean: vec![0.5],
        std: vec![0.5],
        ..clip(4, ResizeMode::Squash, Interpolation::Bicubic)
    };
    p.by_band.insert("sentinel-2-l2a/B08".into(), (0.0, 2.0));
    let any = BandNeed::Any(Default::default());
    let out = p.bind(&any, &bands, None).unwrap().apply(image.view()).unwrap();
    assert_eq!((out[[0, 0, 0]], out[[0, 0, 1]], out[[0, 0, 2]]), (0.0, -1.0, 1.0));
    assert_eq!(out[[1, 3, 3]], 0.5);
    assert!(p.describe().contains("sensor registry") && p.describe().contains("B08"));
    // Percentiles come from the caller; the same band twice as wide.
    p.values = ValueScale::Percentiles(2.0, 98.0);
    assert!(p.bind(&any, &bands, None).unwrap_err().to_string().contains("B04"));
    let both = [(low, 2.0 * high - low), (low, high)];
    let out = p.bind(&any, &bands, Some(&both)).unwrap().apply(image.view()).unwrap();
    assert!(out[[0, 3, 3]].abs() < 1e-6);
}

#[test]
fn what_is_missing_is_named() {
    let p = clip(4, ResizeMode::Squash, Interpolation::Bicubic);
    let any = BandNeed::Any(Default::default());
    let error = p.bind(&any, &named(4), None).unwrap_err().to_string();
    assert!(error.contains("band 3") && error.contains("3 bands"), "{error}");
    let ranges = ImagePreprocess { values: ValueScale::SensorRange, ..p.clone() };
    let error = ranges.bind(&any, &named(1), None).unwrap_err().to_string();
    assert!(error.contains("band 0") && error.contains("range"), "{error}");
    let bound = p.bind(&BandNeed::rgb(), &named(3), None).unwrap();
    assert!(bound.apply(Array3::zeros((2, 5, 5)).view()).is_err());
    assert!(bound.apply(Array3::zeros((3, 0, 5)).view()).is_err());
    assert_eq!(bound.apply(Array3::zeros((3, 1, 1)).view()).unwrap().dim(), (3, 4, 4));
}

#[test]
fn an_image_that_keeps_its_size() {
    let p = ImagePreprocess { resize: ResizeMode::Keep, ..clip(4, ResizeMode::Keep, Interpolation::Bicubic) };
    let bound = p.bind(&BandNeed::rgb(), &named(3), None).unwrap();
    let image = Array3::from_elem((3, 7, 9), 255.0);
    let out = bound.apply(image.view()).unwrap();
    assert_eq!(out.dim(), (3, 7, 9));
    assert!((out[[0, 3, 3]] - (1.0 - 0.481_454_66) / 0.268_629_54).abs() < 1e-6);
    let device = burn::tensor::Device::flex();
    assert_eq!(bound.batch(&[image.view(), image.view()], &device).unwrap().pixels().dims(), [2, 3, 7, 9]);
    let other = Array3::zeros((3, 8, 9));
    assert!(bound.batch(&[image.view(), other.view()], &device).is_err());
    assert!(bound.batch(&[], &device).is_err());
}
