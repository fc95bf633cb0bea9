//! TSMNet's towers begin with a published CLIP: what they say of an image is what the reference libraries say.

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use geoglot_models::tsmnet::{TsmNetConfig, begin_with, initial, published_tower};
use geoglot_models::vision::{ImageOptions, TowerFiles};
use geoglot_nn::weights::Checkpoint;

#[test]
fn both_towers_begin_with_a_published_clip() {
    let device = Device::flex();
    for name in ["clip-hf", "open-clip-gelu", "open-clip-quick-torch"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vision").join(name);
        let files = TowerFiles::open(&folder, &ImageOptions::default()).unwrap();
        let vit = &files.config.vit;
        let tower = published_tower(&files, vit.grid.0 * vit.patch).unwrap();
        let config = TsmNetConfig {
            channels: 8,
            hidden: 8,
            fusion_heads: 4,
            ..TsmNetConfig::new([3, 3], tower, [0, 0, 1, 1], 20, 16)
        };
        assert_eq!(config.problem(), None);
        let network = begin_with(initial(&config, &device, 1), files, &device).unwrap();
        let expected = Checkpoint::open(folder.join("expected.safetensors")).unwrap();
        let read = |what: &str| {
            let name = format!("native.{what}");
            (expected.info(&name).unwrap().shape.clone(), expected.read_f32(&name).unwrap())
        };
        let (shape, values) = read("images");
        let images = Tensor::<4>::from_data(TensorData::new(values, shape), &device);
        let (_, features) = read("features");
        for branch in [network.optical.as_ref().unwrap(), network.sar.as_ref().unwrap()] {
            let layers = branch.forward(images.clone(), config.taps, None);
            let global = layers.tokens[4].clone().squeeze_dim::<2>(1);
            let width = global.dims()[1];
            let length = global.clone().square().sum_dim(1).sqrt();
            let found: Vec<f32> = (global / length).into_data().iter::<f32>().collect();
            for (found, expected) in found.chunks_exact(width).zip(features.chunks_exact(width)) {
                let length = expected.iter().map(|v| v * v).sum::<f32>().sqrt();
                let error = found.iter().zip(expected).map(|(a, b)| (a - b / length).abs()).fold(0.0, f32::max);
                assert!(error < 1e-4, "{name}: {error}");
            }
        }
    }
}

#[test]
fn tiles_of_another_size_get_resampled_positions() {
    let device = Device::flex();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vision/clip-hf");
    let open = || TowerFiles::open(&folder, &ImageOptions::default()).unwrap();
    let tower = published_tower(&open(), 32).unwrap();
    assert_eq!(tower.grid, (8, 8));
    let config = TsmNetConfig { fusion_heads: 4, ..TsmNetConfig::new([12, 2], tower, [0, 0, 1, 1], 20, 16) };
    let network = begin_with(initial(&config, &device, 1), open(), &device).unwrap();
    let branch = network.sar.as_ref().unwrap();
    assert_eq!(branch.vit.position.val().dims(), [65, 24]);
    let layers = branch.forward(Tensor::zeros([1, 2, 32, 32], &device), config.taps, None);
    assert_eq!(layers.tokens[5].dims(), [1, 64, 20]);
    assert!(published_tower(&open(), 30).unwrap_err().to_string().contains("patches of 4"));
    let dino = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vision/dinov2-hf");
    let dino = TowerFiles::open(&dino, &ImageOptions::default()).unwrap();
    assert!(published_tower(&dino, 32).unwrap_err().to_string().contains("CLIP"));
}
