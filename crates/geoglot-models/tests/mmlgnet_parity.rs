//! Forward and training against PyTorch (`fixtures/export_mmlgnet.py`), and the model folder.

use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, Tensor, TensorData};
use geoglot_core::{Band, Legend};
use geoglot_models::mmlgnet::{self, EncoderConfig, Mmlgnet, MmlgnetConfig, MmlgnetError, ModelCard, Padding};
use geoglot_nn::losses::{Direction, class_contrastive_loss};
use geoglot_nn::weights::Checkpoint;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn config() -> MmlgnetConfig {
    let encoder = |channels, filters: [usize; 3], width| EncoderConfig { channels, filters: filters.to_vec(), width };
    let encoders = [("hsi".to_owned(), encoder(5, [6, 9, 14], 20)), ("lidar".to_owned(), encoder(2, [4, 6, 8], 10))];
    MmlgnetConfig { patch: 11, encoders: encoders.into_iter().collect(), embed: 16, padding: Padding::Reflect }
}

fn tensor<const D: usize>(file: &Checkpoint, name: &str, device: &Device) -> Tensor<D> {
    let shape = file.info(name).unwrap().shape.clone();
    Tensor::from_data(TensorData::new(file.read_f32(name).unwrap(), shape), device)
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0.0, |m, (a, b)| m.max((a - b).abs()))
}

fn floats<const D: usize>(t: Tensor<D>) -> Vec<f32> {
    t.into_data().iter::<f32>().collect()
}

#[test]
fn evaluation_equals_pytorch() {
    let device = Device::flex();
    let file = Checkpoint::open(fixture("mmlgnet_reference.safetensors")).unwrap();
    let network = config().init(&device, 0).unwrap().load_weights(&fixture("mmlgnet_init.safetensors")).unwrap();
    let inputs = vec![tensor(&file, "hsi", &device), tensor(&file, "lidar", &device)];
    Mmlgnet::check_inputs(&config(), &inputs).unwrap();
    let out = floats(network.forward(inputs));
    let difference = worst(&out, &file.read_f32("embeddings").unwrap());
    assert!(difference <= 1e-5, "{difference}");
}

#[test]
fn three_training_steps_equal_pytorch() {
    let device = Device::flex().autodiff();
    let file = Checkpoint::open(fixture("mmlgnet_reference.safetensors")).unwrap();
    let mut network = config().init(&device, 0).unwrap().load_weights(&fixture("mmlgnet_init.safetensors")).unwrap();
    let labels: Vec<usize> = file.read_f32("labels").unwrap().iter().map(|&l| l as usize).collect();
    let text: Tensor<2> = tensor(&file, "text", &device);
    // With a tiny epsilon Adam turns the rounding noise of vanishing gradients (a bias before batch norm) into full steps.
    let mut adam = AdamConfig::new().with_epsilon(1e-3).init();
    for expected in file.read_f32("losses").unwrap() {
        let v = network.forward(vec![tensor(&file, "hsi", &device), tensor(&file, "lidar", &device)]);
        let logits = v.matmul(text.clone().transpose()) * network.temperature.scale().reshape([1, 1]);
        let loss = class_contrastive_loss(logits, &labels, Direction::Both);
        let found = floats(loss.clone())[0];
        assert!((found - expected).abs() <= 1e-4, "loss {found}, expected {expected}");
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        network = adam.step(1e-3, network, gradients);
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("after.safetensors");
    std::fs::write(&path, network.to_bytes().unwrap()).unwrap();
    let after = Checkpoint::open(&path).unwrap();
    let mut compared = 0;
    for name in after.names() {
        let expected = file.read_f32(&format!("after.{name}")).unwrap();
        let difference = worst(&after.read_f32(name).unwrap(), &expected);
        assert!(difference <= 1e-4, "{name}: {difference}");
        compared += 1;
    }
    assert!(compared > 30);
}

fn card() -> ModelCard {
    ModelCard {
        system: "mmlgnet".into(),
        layout: 1,
        architecture: config(),
        space: "minilm".into(),
        bands: [("hsi".to_owned(), vec![Band::named("1")])].into_iter().collect(),
        normalisation: Default::default(),
        legend: Legend::from_names(["water", "trees"]).unwrap(),
        templates: vec!["{c}".into()],
        class_features: Some(vec![vec![0.25; 16]; 2]),
        split: "blocks".into(),
        license: "CC0".into(),
        weights_sha256: String::new(),
        training: serde_json::Value::Null,
    }
}

#[test]
fn a_model_folder_reads_back_and_faults_are_named() {
    let device = Device::flex();
    let dir = tempfile::tempdir().unwrap();
    let network = config().init(&device, 4).unwrap();
    let hash = mmlgnet::save(dir.path(), &network, &card()).unwrap();
    let (back, read) = mmlgnet::load(dir.path(), &device).unwrap();
    assert_eq!(read.weights_sha256, hash);
    assert_eq!(read.class_features().unwrap().unwrap().dim(), (2, 16));
    assert_eq!(back.to_bytes().unwrap(), network.to_bytes().unwrap());

    let error = |problem: &str| {
        let found = mmlgnet::load(dir.path(), &device).unwrap_err().to_string();
        assert!(found.contains(problem), "{found}");
    };
    let config_path = dir.path().join("config.json");
    let good = std::fs::read_to_string(&config_path).unwrap();
    std::fs::write(&config_path, good.replace("\"patch\": 11", "\"patch\": 12")).unwrap();
    error("odd");
    std::fs::write(&config_path, good.replace("\"space\"", "\"spice\"")).unwrap();
    error("spice");
    std::fs::write(&config_path, good.replace("\"channels\": 5", "\"channels\": 6")).unwrap();
    error("encoders.0.blocks.0.conv.weight");
    // Sizes that would fill the memory before the weights turn out not to fit.
    for huge in ["1000000000000", "18446744073709551615"] {
        std::fs::write(&config_path, good.replace("\"channels\": 5", &format!("\"channels\": {huge}"))).unwrap();
        error("do not belong together");
    }
    std::fs::write(&config_path, &good).unwrap();
    let weights = dir.path().join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    error("SHA-256");
}

#[test]
fn missing_and_unused_tensors_are_errors() {
    let mut single = config();
    single.encoders.shift_remove("lidar");
    let network = single.init(&Device::flex(), 0).unwrap();
    let error = network.load_weights(&fixture("mmlgnet_init.safetensors")).unwrap_err();
    assert!(matches!(error, MmlgnetError::Weights(_)), "{error}");
}

#[test]
fn seeds_make_weights() {
    let bytes = |seed| config().init(&Device::flex(), seed).unwrap().to_bytes().unwrap();
    assert_eq!(bytes(1), bytes(1));
    assert_ne!(bytes(1), bytes(2));
    let network = config().init(&Device::flex(), 1).unwrap().valid();
    assert_eq!(network.feature_width(), 30);
}
