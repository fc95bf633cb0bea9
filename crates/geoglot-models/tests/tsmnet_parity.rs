//! TSMNet against PyTorch: `benches/pytorch/tsmnet.py export` wrote weights and numbers. Tolerance 5e-4 of the largest expected value, or of 0.05 where all are smaller.

use std::path::PathBuf;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Int, Tensor, TensorData};
use geoglot_models::text::PromptEncoder;
use geoglot_models::text::clip::{ClipText, ClipTextConfig};
use geoglot_models::tsmnet::{Losses, TsmNet, TsmNetConfig, Variant, clip_like};
use geoglot_nn::multimodal::{ContextDecoderConfig, Description, no_masks};
use geoglot_nn::transformer::Activation;
use geoglot_nn::weights::{Checkpoint, KeyMap, load_into, parameter_name};

fn open(name: &str) -> Checkpoint {
    let path: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "tests/fixtures/tsmnet", &format!("{name}.safetensors")].iter().collect();
    Checkpoint::open(path).unwrap()
}

fn paper() -> TsmNetConfig {
    let mut tower = clip_like(4, 6, 8, 4, 2, 6);
    tower.grid = (6, 5);
    TsmNetConfig {
        contexts: 2,
        context_width: 8,
        channels: 8,
        hidden: 6,
        fusion_heads: 2,
        decoder: ContextDecoderConfig { width: 8, depth: 2, heads: 2, dropout: 0.0 },
        ..TsmNetConfig::new([4, 2], tower, [0, 1, 2, 3], 6, 7)
    }
}

fn published() -> TsmNetConfig {
    TsmNetConfig {
        variant: Variant::Published,
        bands: [3, 1],
        embed: 5,
        contexts: 0,
        context_width: 0,
        classes: 4,
        ..paper()
    }
}

struct Numbers(Checkpoint);

impl Numbers {
    fn tensor<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D> {
        let shape: [usize; D] = self.0.info(name).unwrap().shape.clone().try_into().unwrap();
        Tensor::from_data(TensorData::new(self.0.read_f32(name).unwrap(), shape), device)
    }

    fn ints(&self, name: &str) -> (Vec<i32>, Vec<usize>) {
        let values = self.0.read_f32(name).unwrap().iter().map(|v| *v as i32).collect();
        (values, self.0.info(name).unwrap().shape.clone())
    }

    fn labels(&self) -> Vec<u8> {
        self.0.read_f32("labels").unwrap().iter().map(|v| *v as u8).collect()
    }

    fn close(&self, name: &str, found: &[f32]) {
        let expected = self.0.read_f32(name).unwrap();
        assert_eq!(found.len(), expected.len(), "{name}");
        let scale = expected.iter().fold(5e-2f32, |m, v| m.max(v.abs()));
        let most = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(most <= 5e-4 * scale, "{name}: differs by {most}, largest value {scale}");
    }
}

fn values<const D: usize>(t: Tensor<D>) -> Vec<f32> {
    t.into_data().iter::<f32>().collect()
}

fn load(config: &TsmNetConfig, name: &str, device: &Device) -> TsmNet {
    load_into(config.init(device), &open(name), &KeyMap::identity()).unwrap().0
}

fn text(device: &Device) -> ClipText {
    let config = ClipTextConfig {
        vocabulary: 20,
        context: 9,
        width: 8,
        depth: 1,
        heads: 2,
        hidden: 32,
        projection: 6,
        epsilon: 1e-5,
        activation: Activation::QuickGelu,
    };
    load_into(config.init(device), &open("text"), &KeyMap::identity()).unwrap().0
}

/// Class texts of the paper's network, through the frozen tower behind the learned contexts.
fn classes(net: &TsmNet, numbers: &Numbers, device: &Device) -> Tensor<2> {
    let (ids, shape) = numbers.ints("ids");
    let ids = ids.chunks(shape[1]).map(|row| row.iter().map(|&i| i as u32).collect()).collect();
    let encoder = PromptEncoder::new(text(&Device::flex()), ids, 19, 2).unwrap().on(device);
    encoder.forward(net.contexts.as_ref().unwrap().val())
}

fn description(numbers: &Numbers, device: &Device) -> Description {
    let (mask, shape) = numbers.ints("mask");
    Description {
        states: numbers.tensor("states", device),
        mask: Tensor::<2, Int>::from_data(TensorData::new(mask, [shape[0], shape[1]]), device),
        global: numbers.tensor("described", device),
        fused: vec![true, false, true],
        ids: vec![Some(0), None, Some(1)],
    }
}

fn answer(
    net: &TsmNet,
    numbers: &Numbers,
    present: &[[bool; 2]],
    classes: Tensor<2>,
    description: Option<&Description>,
    device: &Device,
) -> geoglot_models::tsmnet::Answer {
    let taps = net.config().taps;
    let layers = |branch: &Option<geoglot_models::tsmnet::Branch>, name: &str| {
        branch.as_ref().map(|b| b.forward(numbers.tensor(name, device), taps, None))
    };
    let layers = [layers(&net.optical, "optical"), layers(&net.sar, "sar")];
    net.answer(net.fuse(layers, present), Some(classes), description, &mut no_masks)
}

/// Every parameter's gradient against PyTorch's.
struct Compare<'a> {
    path: Vec<(String, String)>,
    gradients: &'a Gradients,
    numbers: &'a Numbers,
    seen: usize,
}

impl ModuleVisitor for Compare<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.push((name.to_owned(), container.to_owned()));
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = format!("grad.{}", parameter_name(&self.path));
        let Some(info) = self.numbers.0.info(&name) else { return };
        let found = param.val().grad(self.gradients).unwrap_or_else(|| panic!("{name}: no gradient"));
        let linear = self.path.last().is_some_and(|(n, c)| n == "weight" && c == "Struct:Linear");
        let found = if linear { values(found.swap_dims(0, 1)) } else { values(found) };
        assert_eq!(found.len(), info.shape.iter().product::<usize>(), "{name}");
        self.numbers.close(&name, &found);
        self.seen += 1;
    }
}

fn training(config: &TsmNetConfig, name: &str, present: &[[bool; 2]], described: bool) {
    let (device, numbers) = (Device::flex().autodiff(), Numbers(open(&format!("{name}_numbers"))));
    let net = load(config, name, &device);
    let (class_texts, words) = match described {
        true => (classes(&net, &numbers, &device), Some(description(&numbers, &device))),
        false => (numbers.tensor("classes", &device), None),
    };
    let answer = answer(&net, &numbers, present, class_texts, words.as_ref(), &device);
    let losses = Losses::of(answer, &numbers.labels(), (24, 20));
    numbers.close("loss.object", &values(losses.object.clone().unwrap()));
    numbers.close("loss.cross_entropy", &values(losses.cross_entropy.clone()));
    numbers.close("loss.dice", &values(losses.dice.clone()));
    if described {
        numbers.close("loss.scene", &values(losses.scene.clone().unwrap()));
    }
    let gradients = losses.total().backward();
    let mut compare = Compare { path: Vec::new(), gradients: &gradients, numbers: &numbers, seen: 0 };
    net.visit(&mut compare);
    let expected = numbers.0.names().filter(|n| n.starts_with("grad.")).count();
    assert_eq!(compare.seen, expected, "parameters with gradients");
}

#[test]
fn the_papers_network_agrees_in_losses_and_all_gradients() {
    training(&paper(), "paper", &[[true, true], [true, false], [false, true]], true);
}

#[test]
fn the_published_network_agrees_in_losses_and_all_gradients() {
    training(&published(), "published", &[[true, true]; 3], false);
}

#[test]
fn inference_agrees() {
    let device = Device::flex();
    for (config, name) in [(paper(), "paper"), (published(), "published")] {
        let numbers = Numbers(open(&format!("{name}_numbers")));
        let net = load(&config, name, &device);
        let (class_texts, words, present) = match name {
            "paper" => (
                classes(&net, &numbers, &device),
                Some(description(&numbers, &device)),
                [[true, true], [true, false], [false, true]],
            ),
            _ => (numbers.tensor("classes", &device), None, [[true, true]; 3]),
        };
        let answer = answer(&net, &numbers, &present, class_texts, words.as_ref(), &device);
        numbers.close("eval.map", &values(answer.map));
        numbers.close("eval.score", &values(answer.score.unwrap()));
    }
}
