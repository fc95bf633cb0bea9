//! SpectralGPT against a forward pass in PyTorch (`fixtures/export_spectralgpt.py`), its loading, its bands, and pre-training's losses.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use geoglot_core::Registry;
use geoglot_models::spectral_llava::{ImageTokens, Projector, image_tokens};
use geoglot_models::spectralgpt::{
    MaeConfig, PooledTokens, SpectralCard, SpectralGptConfig, SpectralTower, save_spectralgpt, sentinel2_bands,
    sentinel2_preprocess,
};
use geoglot_models::vision::{ImageBatch, ImageTower, load_image_tower};
use geoglot_nn::weights::Checkpoint;
use ndarray::{Array1, Array2, Axis, concatenate};

/// Largest absolute difference of normed states (about ±3) in f32.
const TOLERANCE: f32 = 1e-4;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/spectralgpt")
}

fn worst(found: impl IntoIterator<Item = f32>, expected: &[f32]) -> f32 {
    let found: Vec<f32> = found.into_iter().collect();
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).fold(0.0, |w, (f, e)| w.max((f - e).abs()))
}

fn batch() -> (ImageBatch, Checkpoint) {
    let expected = Checkpoint::open(fixtures().join("expected.safetensors")).unwrap();
    let values = expected.read_f32("images").unwrap();
    let pixels = Tensor::from_data(TensorData::new(values, [2, 12, 32, 32]), &Device::flex());
    let sensor = Registry::builtin().sensor("sentinel-2-l2a").unwrap();
    let bands = sentinel2_bands().select(&sensor.bands).unwrap().into_iter().map(|i| sensor.bands[i].clone());
    (ImageBatch::preprocessed(pixels, bands.collect()), expected)
}

#[test]
fn published_weights_give_the_reference_features() {
    let (images, expected) = batch();
    let tower = SpectralTower::open(&fixtures().join("model.pth"), &Device::flex()).unwrap();
    let c = &tower.card().encoder;
    assert_eq!((c.width, c.depth, c.hidden, c.heads, c.grid, c.groups()), (64, 2, 128, 1, (4, 4), 4));
    let states = tower.grouped_features(&images).unwrap();
    assert_eq!(states.dims(), [2, 4, 4, 4, 64]);
    let error = worst(states.into_data().iter::<f32>(), &expected.read_f32("states").unwrap());
    assert!(error < TOLERANCE, "{error}");
    let error = worst(tower.encode(&images).unwrap(), &expected.read_f32("mean").unwrap());
    assert!(error < TOLERANCE, "{error}");
    let published = SpectralTower::open(&fixtures().join("model.pth"), &Device::flex()).unwrap();
    let published = published.with_pooled(PooledTokens::AsPublished).encode(&images).unwrap();
    let error = worst(published, &expected.read_f32("published").unwrap());
    assert!(error < TOLERANCE, "{error}");
    // The slot every tower fits: by path, with tokens for a language model.
    let tower = load_image_tower(fixtures().join("model.pth").to_str().unwrap(), &Device::flex()).unwrap();
    let seen = |tokens: ImageTokens| {
        let seen = image_tokens(tower.as_ref(), &images, tokens).unwrap();
        let (count, width) = (tokens.count(4, (4, 4)), tokens.width(tower.as_ref()));
        assert_eq!((seen.len(), seen[0].dim()), (2, (count, width)));
        seen
    };
    let all = seen(ImageTokens::All);
    assert_eq!(all[0].dim(), (64, 64));
    let rows = |i: usize, position: usize| -> Vec<_> { (0..4).map(|g| all[i].row(g * 16 + position)).collect() };
    let beside = |i: usize, position: usize| concatenate(Axis(0), &rows(i, position)).unwrap();
    assert_eq!(seen(ImageTokens::SpectralConcat)[1].row(7), beside(1, 7));
    let tokens = seen(ImageTokens::SpectralMean);
    let mean = rows(0, 7).iter().fold(Array1::zeros(64), |sum, row| sum + row) / 4.0;
    assert!(worst(tokens[0].row(7).to_vec(), &mean.to_vec()) < 1e-5);
    let mean = [0, 1, 4, 5].iter().fold(Array1::zeros(256), |sum, cell| sum + beside(0, *cell)) / 4.0;
    let pooled = seen(ImageTokens::Pooled(2));
    assert_eq!(pooled[0].dim(), (4, 256));
    assert!(worst(pooled[0].row(0).to_vec(), &mean.to_vec()) < 1e-5);
    let projector = Projector { weight: Array2::eye(64), bias: Array1::from_elem(64, 1.0) };
    assert!(
        worst(projector.project(&tokens[0]).unwrap(), &tokens[0].mapv(|v| v + 1.0).into_raw_vec_and_offset().0) < 1e-6
    );
    assert!(projector.project(&Array2::zeros((3, 65))).unwrap_err().to_string().contains("65"));
}

#[test]
fn bands_are_bound_by_wavelength_and_the_cirrus_band_is_left_out() {
    let sensor = Registry::builtin().sensor("sentinel-2-l1c").unwrap();
    let mut bands = sensor.bands.clone();
    // As EuroSAT's files have them: B8A last.
    let b8a = bands.iter().position(|b| b.name == "B8A").unwrap();
    let moved = bands.remove(b8a);
    bands.push(moved);
    let picked = sentinel2_bands().select(&bands).unwrap();
    let names: Vec<&str> = picked.iter().map(|&i| bands[i].name.as_str()).collect();
    assert_eq!(names, ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"]);
    let rgb: Vec<_> = bands[1..4].to_vec();
    assert!(sentinel2_bands().select(&rgb).is_err());
}

#[test]
fn folders_are_read_as_written_and_damage_is_an_error() {
    let config =
        SpectralGptConfig { width: 32, depth: 1, heads: 2, hidden: 64, grid: (2, 2), ..SpectralGptConfig::base() };
    let folder = tempfile::tempdir().unwrap();
    let network = config.init(&Device::flex());
    let card = SpectralCard::new(config, sentinel2_bands(), sentinel2_preprocess(16));
    save_spectralgpt(folder.path(), &network, &card).unwrap();
    assert!(SpectralTower::recognises(folder.path()));
    let tower = SpectralTower::open(folder.path(), &Device::flex()).unwrap();
    assert_eq!(tower.card(), &card);
    let bad = |change: &dyn Fn(&mut SpectralCard)| {
        let mut card = card.clone();
        change(&mut card);
        geoglot_core::atomic::write_json(&folder.path().join("config.json"), &card).unwrap();
        SpectralTower::open(folder.path(), &Device::flex()).err().unwrap().to_string()
    };
    assert!(bad(&|c| c.encoder.heads = 5).contains("heads"));
    assert!(bad(&|c| c.encoder.group = 5).contains("groups of 5"));
    assert!(bad(&|c| c.layout = 2).contains("layout 2"));
    assert!(bad(&|c| c.encoder.hidden = 60).contains("60"));
    let path = folder.path().join("model.pth");
    let whole = std::fs::read(fixtures().join("model.pth")).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(SpectralTower::open(&path, &Device::flex()).is_err());
}

#[test]
fn masked_tokens_are_what_the_losses_see() {
    let device = Device::flex().autodiff();
    let config =
        SpectralGptConfig { width: 32, depth: 1, heads: 2, hidden: 64, grid: (2, 2), ..SpectralGptConfig::base() };
    let mae = MaeConfig { width: 16, depth: 1, heads: 2 }.init(&config, &device);
    let image = |scale: f32| {
        let values: Vec<f32> = (0..12 * 256).map(|i| scale * (i as f32 * 0.37).sin()).collect();
        Tensor::<4>::from_data(TensorData::new(values, [1, 12, 16, 16]), &device)
    };
    assert_eq!(mae.count(), 16);
    let visible = vec![vec![0, 5, 10]];
    let loss = mae.loss(image(1.0), &visible);
    let (token, spectral): (f32, f32) = (loss.token.clone().into_scalar(), loss.spectral.clone().into_scalar());
    assert!(token > 0.0 && spectral > 0.0 && spectral < token, "{token} {spectral}");
    // Nothing masked: the token loss has nothing to compare.
    let all = mae.loss(image(1.0), &[(0..16).collect()]);
    assert_eq!(all.token.into_scalar::<f32>(), 0.0);
    let gradients = (loss.token + loss.spectral).backward();
    let kernel = mae.encoder.patch.weight.val().grad(&gradients).unwrap().abs().sum().into_scalar::<f32>();
    let mask = mae.mask_token.val().grad(&gradients).unwrap().abs().sum().into_scalar::<f32>();
    assert!(kernel > 0.0 && mask > 0.0);
}
