//! UPerNet against PyTorch: `tests/fixtures/segmentation/upernet.py` wrote the numbers. Tolerance 2e-4 of the largest expected value.

use std::path::PathBuf;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, TensorData};
use geoglot_models::segmentation::load_published_head;
use geoglot_nn::segmentation::{Dropped, UperNet, UperNetConfig, pixel_cross_entropy, resize};
use geoglot_nn::weights::{Checkpoint, to_bytes};

fn fixture(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/fixtures/segmentation", name].iter().collect()
}

fn config() -> UperNetConfig {
    UperNetConfig { channels: 5, auxiliary: Some(4), dropout: 0.0, ..UperNetConfig::new(6, 3) }
}

struct Numbers(Checkpoint);

impl Numbers {
    fn open() -> Self {
        Self(Checkpoint::open(fixture("upernet_numbers.safetensors")).unwrap())
    }

    fn values(&self, name: &str) -> Vec<f32> {
        self.0.read_f32(name).unwrap()
    }

    fn maps(&self, device: &Device) -> [Tensor<4>; 4] {
        [0, 1, 2, 3].map(|k| Tensor::from_data(TensorData::new(self.values(&format!("map{k}")), [2, 6, 5, 7]), device))
    }

    fn labels(&self) -> Vec<u8> {
        let path = fixture("upernet_numbers.safetensors");
        let bytes = std::fs::read(path).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        file.tensor("labels").unwrap().data().chunks_exact(8).map(|b| b[0]).collect()
    }

    fn close<const D: usize>(&self, name: &str, found: Tensor<D>) {
        let found: Vec<f32> = found.into_data().iter::<f32>().collect();
        let expected = self.values(name);
        assert_eq!(found.len(), expected.len(), "{name}");
        let scale = expected.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
        let most = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(most <= 2e-4 * scale, "{name}: differs by {most}, largest value {scale}");
    }
}

fn load(device: &Device) -> UperNet {
    load_published_head(&config(), &fixture("upernet.safetensors"), device).unwrap()
}

#[test]
fn inference_agrees() {
    let (device, numbers) = (Device::flex(), Numbers::open());
    let net = load(&device);
    let maps = numbers.maps(&device);
    let logits = net.forward(maps.clone());
    numbers.close("eval.resized", resize(logits.clone(), (23, 31)));
    numbers.close("eval.logits", logits);
    let (_, auxiliary) = net.forward_training(maps, Dropped::default());
    numbers.close("eval.auxiliary", auxiliary.unwrap());
}

/// Running statistics by our names.
#[derive(Default)]
struct Running(Vec<String>, Vec<(String, Vec<f32>)>);

impl ModuleVisitor for Running {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.0.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.0.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.0.last().is_some_and(|n| n.starts_with("running")) {
            self.1.push((self.0.join("."), param.val().into_data().iter::<f32>().collect()));
        }
    }
}

#[test]
fn training_agrees_in_loss_gradients_and_running_statistics() {
    let (device, numbers) = (Device::flex().autodiff(), Numbers::open());
    let net = load(&device);
    let (logits, auxiliary) = net.forward_training(numbers.maps(&device), Dropped::default());
    numbers.close("train.logits", logits.clone());
    let labels = numbers.labels();
    let size = (23, 31);
    let loss = pixel_cross_entropy(resize(logits, size), &labels)
        + pixel_cross_entropy(resize(auxiliary.unwrap(), size), &labels) * 0.4;
    numbers.close("train.loss", loss.clone());
    let gradients = loss.backward();
    let check = |name: &str, param: &Param<Tensor<4>>| {
        numbers.close(&format!("grad.{name}"), param.val().grad(&gradients).expect("a gradient"));
    };
    check("neck.upsample_4x.0.weight", &net.neck.quadruple1.weight);
    check("decode_head.psp_modules.1.1.conv.weight", &net.head.pooled[1].conv.weight);
    check("decode_head.bottleneck.conv.weight", &net.head.bottleneck.conv.weight);
    check("decode_head.conv_seg.weight", &net.head.classes.weight);
    check("auxiliary_head.convs.0.conv.weight", &net.auxiliary.as_ref().unwrap().conv.conv.weight);
    let bias = net.neck.double.bias.as_ref().unwrap().val().grad(&gradients).unwrap();
    numbers.close("grad.neck.upsample_2x.0.bias", bias);
    let gamma = net.head.laterals[0].bn.gamma.val().grad(&gradients).unwrap();
    numbers.close("grad.decode_head.lateral_convs.0.bn.weight", gamma);

    let mut running = Running::default();
    net.visit(&mut running);
    let theirs = |ours: &str| {
        let (layer, statistic) = ours.rsplit_once('.').unwrap();
        let layer = layer
            .replace("neck.quadruple_norm", "neck.upsample_4x.1")
            .replace("head.pooled.", "decode_head.psp_modules.")
            .replace("head.bottleneck", "decode_head.bottleneck")
            .replace("head.laterals", "decode_head.lateral_convs")
            .replace("head.outputs", "decode_head.fpn_convs")
            .replace("head.join", "decode_head.fpn_bottleneck")
            .replace("auxiliary.conv", "auxiliary_head.convs.0");
        let layer = match layer.strip_prefix("decode_head.psp_modules.") {
            Some(rest) => format!("decode_head.psp_modules.{}.1.bn", &rest[..1]),
            None => layer,
        };
        format!("after.{layer}.{statistic}")
    };
    assert_eq!(running.1.len(), 2 * (1 + 4 + 1 + 3 + 3 + 1 + 1));
    for (name, values) in running.1 {
        let n = values.len();
        numbers.close(&theirs(&name), Tensor::<1>::from_data(TensorData::new(values, [n]), &Device::flex()));
    }
}

#[test]
fn what_is_missing_or_misshapen_is_named() {
    let device = Device::flex();
    let path = fixture("upernet.safetensors");
    let other = |config: UperNetConfig| load_published_head(&config, &path, &device).unwrap_err().to_string();
    assert!(other(UperNetConfig { classes: 4, ..config() }).contains("conv_seg"));
    assert!(other(UperNetConfig { auxiliary: None, ..config() }).contains("auxiliary_head"));
    assert!(other(UperNetConfig { classes: 1, ..config() }).contains("1 classes"));
    assert!(!to_bytes(&load(&device), &Default::default()).unwrap().is_empty());
}
