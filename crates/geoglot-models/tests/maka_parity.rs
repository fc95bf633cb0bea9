//! MaKA heads and their loss against PyTorch: outputs, loss parts and gradients of `fixtures/export_maka.py`.

use std::path::Path;

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use geoglot_models::geolangbind::{GridResize, Maka, MakaConfig, MatchLoss, MatchOver, RGB, resize_tokens, rgb_bands};
use geoglot_nn::weights::Checkpoint;

/// Largest difference, relative to the largest value.
const TOLERANCE: f32 = 2e-5;

fn numbers() -> Checkpoint {
    Checkpoint::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/maka.safetensors")).unwrap()
}

fn tensor<const D: usize>(file: &Checkpoint, name: &str, device: &Device) -> Tensor<D> {
    let shape = file.info(name).unwrap_or_else(|| panic!("{name}")).shape.clone();
    Tensor::from_data(TensorData::new(file.read_f32(name).unwrap(), shape), device)
}

fn close<const D: usize>(found: Tensor<D>, expected: Tensor<D>, what: &str) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    let values = |t: Tensor<D>| t.into_data().iter::<f32>().collect::<Vec<_>>();
    let (found, expected) = (values(found), values(expected));
    let scale = expected.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
    for (f, e) in found.iter().zip(&expected) {
        assert!((f - e).abs() <= TOLERANCE * scale, "{what}: {f}, PyTorch {e}");
    }
}

fn part(k: usize, over: MatchOver) -> MatchLoss {
    let on = |i: usize| f64::from(u8::from(i == k || k == 3));
    MatchLoss { smooth_l1: on(0), mse: on(1), cosine: on(2), over }
}

#[test]
fn heads_losses_and_gradients_are_pytorchs() {
    let (file, device) = (numbers(), Device::flex().autodiff());
    for (case, grid, wanted, resize, conditional) in [
        ("nearest", (3, 4), (5, 3), GridResize::Nearest, true),
        ("bilinear", (4, 4), (6, 6), GridResize::Bilinear, true),
        ("same", (2, 3), (2, 3), GridResize::Nearest, false),
    ] {
        let get = |name: &str| format!("{case}.{name}");
        let tokens: Tensor<3> = tensor(&file, &get("tokens"), &device);
        let teacher: Tensor<3> = tensor(&file, &get("teacher"), &device);
        let config = MakaConfig {
            width: tokens.dims()[2],
            channels: teacher.dims()[2],
            grid: wanted,
            resize,
            embedding: 16,
            conditional,
            epsilon: 1e-6,
        };
        let mut head: Maka = config.init(&device);
        // burn keeps linear weights as [inputs, outputs].
        let matrix = |name: &str| tensor::<2>(&file, &get(name), &device).transpose();
        for (layer, name) in [(&mut head.prompt, "prompt"), (&mut head.modulation, "modulation")] {
            if let Some(layer) = layer {
                layer.weight = Param::from_tensor(matrix(&format!("{name}.weight")).detach().require_grad());
                let bias = tensor::<1>(&file, &get(&format!("{name}.bias")), &device);
                layer.bias = Some(Param::from_tensor(bias.require_grad()));
            }
        }
        head.projector.weight =
            Param::from_tensor(tensor::<4>(&file, &get("projector.weight"), &device).require_grad());
        head.projector.bias =
            Some(Param::from_tensor(tensor::<1>(&file, &get("projector.bias"), &device).require_grad()));
        let waves = file.read_f32(&get("waves")).unwrap();
        let tokens = tokens.require_grad();
        let output = head.forward(tokens.clone(), grid, &waves);
        close(output.clone(), tensor(&file, &get("output"), &device), &get("output"));
        for (over, name) in [(MatchOver::Image, "parts"), (MatchOver::Patch, "patch")] {
            let expected = file.read_f32(&get(name)).unwrap();
            for (k, expected) in expected.iter().enumerate() {
                let found: f32 = part(k, over).forward(output.clone(), teacher.clone()).into_scalar();
                assert!((found - expected).abs() < 1e-6 + TOLERANCE * expected.abs(), "{case} {k}: {found} {expected}");
            }
        }
        let loss = MatchLoss::default().forward(output, teacher);
        close(loss.clone(), tensor(&file, &get("loss"), &device), &get("loss"));
        let grads = loss.backward();
        let inner = device.clone().inner();
        close(tokens.grad(&grads).unwrap(), tensor(&file, &get("grad"), &inner), &get("grad"));
        let kernel = head.projector.weight.val().grad(&grads).unwrap();
        close(kernel, tensor(&file, &get("grad.projector.weight"), &inner), &get("projector"));
        if let Some(layer) = &head.modulation {
            let expected = tensor::<2>(&file, &get("grad.modulation.weight"), &inner).transpose();
            close(layer.weight.val().grad(&grads).unwrap(), expected, &get("modulation"));
        }
        if let Some(layer) = &head.prompt {
            let expected = tensor::<2>(&file, &get("grad.prompt.weight"), &inner).transpose();
            close(layer.weight.val().grad(&grads).unwrap(), expected, &get("prompt"));
        }
    }
    let far = |name: &str| tensor::<3>(&file, &format!("far.{name}"), &device);
    for (k, expected) in file.read_f32("far.parts").unwrap().iter().enumerate() {
        let found: f32 = part(k, MatchOver::Patch).forward(far("student"), far("teacher")).into_scalar();
        assert!((found - expected).abs() < 1e-6, "far {k}: {found} {expected}");
    }
}

#[test]
fn maps_are_resized_as_pytorch_does() {
    let (file, device) = (numbers(), Device::flex());
    let map: Tensor<4> = tensor(&file, "resize.map", &device);
    let [b, d, h, w] = map.dims();
    let tokens = map.reshape([b, d, h * w]).swap_dims(1, 2);
    for (resize, mode) in [(GridResize::Nearest, "nearest"), (GridResize::Bilinear, "bilinear")] {
        for (rows, columns) in [(3, 9), (10, 14), (1, 1)] {
            let name = format!("resize.{mode}.{rows}x{columns}");
            let expected: Tensor<4> = tensor(&file, &name, &device);
            let found = resize_tokens(tokens.clone(), (h, w), (rows, columns), resize);
            close(found.swap_dims(1, 2).reshape([b, d, rows, columns]), expected, &name);
        }
    }
}

#[test]
fn a_new_head_is_the_plain_norm_whatever_the_wavelengths() {
    let device = Device::flex();
    let config = MakaConfig {
        width: 6,
        channels: 4,
        grid: (3, 3),
        resize: GridResize::Nearest,
        embedding: 16,
        conditional: true,
        epsilon: 1e-6,
    };
    let head = config.init(&device);
    let tokens = Tensor::<3>::random([2, 9, 6], burn::tensor::Distribution::Normal(0.0, 1.0), &device);
    let a = head.forward(tokens.clone(), (3, 3), &[0.665, 0.56, 0.49]);
    let b = head.forward(tokens, (3, 3), &[10.9]);
    assert_eq!((a - b).abs().max().into_scalar::<f32>(), 0.0);
}

#[test]
fn the_published_three_bands_are_picked() {
    // Two bands of radar with placeholders; nine bands of Sentinel-2; one band; none.
    assert_eq!(rgb_bands(&RGB[..2]), Some([0, 1, 1]));
    let nine = [0.665, 0.56, 0.49, 0.705, 0.74, 0.783, 0.842, 1.61, 2.19];
    assert_eq!(rgb_bands(&nine), Some([0, 1, 2]));
    assert_eq!(rgb_bands(&[10.9]), Some([0, 0, 0]));
    assert_eq!(rgb_bands(&[]), None);
}
