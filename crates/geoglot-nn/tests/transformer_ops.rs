//! The operations of a transformer's training step against PyTorch's numbers and burn's own operations.

mod common;

use burn::module::{Module, Param};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor, TensorData};
use common::{Fixture, assert_close, normal, vec};
use geoglot_nn::ops::{After, attention, layer_norm, linear, patches};
use geoglot_nn::transformer::Activation;
use geoglot_nn::vision::{
    FinalNorm, KernelLayout, PatchKind, Pooling, PositionResampling, VitConfig, WavelengthConfig,
};
use proptest::prelude::*;

const ACTIVATIONS: [(&str, Activation); 4] = [
    ("gelu", Activation::Gelu),
    ("gelu-tanh", Activation::GeluTanh),
    ("quick-gelu", Activation::QuickGelu),
    ("relu", Activation::Relu),
];

/// Reads the gradient of one input.
type Leaf<'a> = &'a dyn Fn(&burn::tensor::Gradients) -> Vec<f32>;
/// Gradients by parameter name; `None` for frozen ones.
type NamedGradients = Vec<(String, Option<Vec<f32>>)>;

/// Gradients agree with PyTorch's to this share of the largest one.
const TOLERANCE: f32 = 1e-5;

/// A case of the fixture whose inputs want gradients.
struct Case<'a> {
    numbers: &'a Fixture,
    name: &'a str,
    device: Device,
}

impl Case<'_> {
    fn leaf<const D: usize>(&self, part: &str) -> Tensor<D> {
        self.numbers.tensor::<D>(&format!("{}.{part}", self.name), &self.device).require_grad()
    }

    fn gradients<const D: usize>(&self, y: Tensor<D>) -> burn::tensor::Gradients {
        let expected = self.numbers.values(&format!("{}.y", self.name));
        assert_close(&vec(y.clone()), &expected, 3e-6, &format!("{}.y", self.name));
        (y * self.numbers.tensor::<D>(&format!("{}.direction", self.name), &self.device)).sum().backward()
    }

    fn check<const D: usize>(&self, leaf: &Tensor<D>, part: &str, gradients: &burn::tensor::Gradients) {
        let what = format!("{}.d{part}", self.name);
        let found = leaf.grad(gradients).unwrap_or_else(|| panic!("no {what}"));
        assert_close(&vec(found), &self.numbers.values(&what), TOLERANCE, &what);
    }
}

#[test]
fn linear_equals_pytorch() {
    let numbers = Fixture::open("transformers.safetensors");
    let mut cases = vec![("linear.nothing".to_owned(), None), ("linear.add".to_owned(), None)];
    cases.extend(ACTIVATIONS.map(|(name, activation)| (format!("linear.{name}"), Some(activation))));
    for (name, activation) in &cases {
        let case = Case { numbers: &numbers, name, device: Device::flex().autodiff() };
        let (x, weight, bias) = (case.leaf::<3>("x"), case.leaf::<2>("weight"), case.leaf::<1>("bias"));
        let residual = (name == "linear.add").then(|| case.leaf::<3>("residual"));
        let after = match (&residual, activation) {
            (Some(residual), _) => After::Add(residual),
            (None, Some(activation)) => After::Activation(*activation),
            (None, None) => After::Nothing,
        };
        let gradients = case.gradients(linear(&x, &weight, Some(&bias), after).unwrap());
        case.check(&x, "x", &gradients);
        case.check(&weight, "weight", &gradients);
        case.check(&bias, "bias", &gradients);
        if let Some(residual) = &residual {
            case.check(residual, "residual", &gradients);
        }
    }
}

#[test]
fn layer_norm_equals_pytorch() {
    let numbers = Fixture::open("transformers.safetensors");
    let case = Case { numbers: &numbers, name: "norm", device: Device::flex().autodiff() };
    let (x, gamma, beta) = (case.leaf::<3>("x"), case.leaf::<1>("gamma"), case.leaf::<1>("beta"));
    let gradients = case.gradients(layer_norm(&x, &gamma, Some(&beta), 1e-6).unwrap());
    case.check(&x, "x", &gradients);
    case.check(&gamma, "gamma", &gradients);
    case.check(&beta, "beta", &gradients);
}

#[test]
fn attention_equals_pytorch() {
    let numbers = Fixture::open("transformers.safetensors");
    for (name, heads) in [("attention.short", 3), ("attention.long", 2), ("attention.one", 4)] {
        let case = Case { numbers: &numbers, name, device: Device::flex().autodiff() };
        let [q, k, v] = ["q", "k", "v"].map(|part| case.leaf::<3>(part));
        let gradients = case.gradients(attention(&q, &k, &v, heads).unwrap());
        case.check(&q, "q", &gradients);
        case.check(&k, "k", &gradients);
        case.check(&v, "v", &gradients);
    }
}

/// y, then the gradients of the leaves.
type Results = Vec<Vec<f32>>;

fn results<const D: usize>(y: Tensor<D>, seed: u64, leaves: &[Leaf<'_>]) -> Results {
    let direction = normal(y.dims(), seed, &y.device());
    let gradients = (y.clone() * direction).sum().backward();
    let mut all = vec![vec(y)];
    all.extend(leaves.iter().map(|leaf| leaf(&gradients)));
    all
}

fn of<const D: usize>(leaf: &Tensor<D>) -> impl Fn(&burn::tensor::Gradients) -> Vec<f32> + '_ {
    move |gradients| vec(leaf.grad(gradients).expect("a gradient"))
}

/// Within 2e-5 of the largest result, or of 1: inputs are of that size, and where the exact gradient is 0 their rounding remains.
fn agree(found: &Results, expected: &Results, what: &str) {
    for (k, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.len(), expected.len(), "{what}, result {k}");
        let scale = expected.iter().fold(1f32, |m, v| m.max(v.abs()));
        for (f, e) in found.iter().zip(expected) {
            assert!((f - e).abs() <= 2e-5 * scale, "{what}, result {k}: found {f}, expected {e} (scale {scale})");
        }
    }
}

/// Normal numbers whose storage order is not that of the axes: the last two are swapped.
fn swapped(dims: [usize; 3], seed: u64, device: &Device) -> Tensor<3> {
    normal([dims[0], dims[2], dims[1]], seed, device).swap_dims(1, 2)
}

fn plain_attention(q: Tensor<3>, k: Tensor<3>, v: Tensor<3>, heads: usize) -> Tensor<3> {
    let ([b, m, d], n) = (q.dims(), k.dims()[1]);
    let split = |t: Tensor<3>, len| t.reshape([b, len, heads, d / heads]).swap_dims(1, 2);
    let scores = split(q, m).matmul(split(k, n).swap_dims(2, 3)) / ((d / heads) as f32).sqrt();
    softmax(scores, 3).matmul(split(v, n)).swap_dims(1, 2).reshape([b, m, d])
}

fn plain_norm(x: Tensor<3>, gamma: Tensor<1>, beta: Option<Tensor<1>>, epsilon: f64) -> Tensor<3> {
    let centred = x.clone() - x.mean_dim(2);
    let variance = (centred.clone() * centred.clone()).mean_dim(2);
    let y = centred / (variance + epsilon).sqrt() * gamma.unsqueeze::<3>();
    match beta {
        Some(beta) => y + beta.unsqueeze::<3>(),
        None => y,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Any shapes, stored in order or not, with and without bias: the same as burn's own operations.
    #[test]
    fn linear_equals_plain_operations(
        b in 1usize..4, m in 1usize..90, k in 1usize..40, n in 1usize..70, kind in 0usize..6, bias: bool, in_order: bool, seed: u64,
    ) {
        let device = Device::flex().autodiff();
        let x = if in_order { normal([b, m, k], seed, &device) } else { swapped([b, m, k], seed, &device) }.detach().require_grad();
        let weight = if in_order { normal([k, n], seed ^ 1, &device) } else { normal([n, k], seed ^ 1, &device).transpose() };
        let weight = weight.detach().require_grad();
        let shift = normal::<1>([n], seed ^ 2, &device).require_grad();
        let residual = swapped([b, m, n], seed ^ 3, &device).detach().require_grad();
        let shift_or_none = bias.then_some(&shift);
        let after = match kind {
            0 => After::Nothing,
            1 => After::Add(&residual),
            other => After::Activation(ACTIVATIONS[other - 2].1),
        };
        let plain = x.clone().matmul(weight.clone().unsqueeze::<3>());
        let plain = if bias { plain + shift.clone().unsqueeze::<3>() } else { plain };
        let plain = match after {
            After::Nothing => plain,
            After::Add(residual) => residual.clone() + plain,
            After::Activation(activation) => activation.forward(plain),
        };
        let (dx, dw, db, dr) = (of(&x), of(&weight), of(&shift), of(&residual));
        let mut leaves: Vec<Leaf<'_>> = vec![&dx, &dw];
        if bias {
            leaves.push(&db);
        }
        if kind == 1 {
            leaves.push(&dr);
        }
        let found = results(linear(&x, &weight, shift_or_none, after).unwrap(), seed ^ 4, &leaves);
        agree(&found, &results(plain, seed ^ 4, &leaves), "linear");
    }

    #[test]
    fn layer_norm_equals_plain_operations(
        b in 1usize..4, m in 1usize..90, n in 2usize..70, bias: bool, in_order: bool, seed: u64,
    ) {
        let device = Device::flex().autodiff();
        let x = if in_order { normal([b, m, n], seed, &device) } else { swapped([b, m, n], seed, &device) } * 2.0 + 0.5;
        let x = x.detach().require_grad();
        let [gamma, beta] = [1, 2].map(|k| normal::<1>([n], seed ^ k, &device).require_grad());
        let (dx, dg, db) = (of(&x), of(&gamma), of(&beta));
        let mut leaves: Vec<Leaf<'_>> = vec![&dx, &dg];
        if bias {
            leaves.push(&db);
        }
        let found = results(layer_norm(&x, &gamma, bias.then_some(&beta), 1e-3).unwrap(), seed ^ 4, &leaves);
        let plain = plain_norm(x.clone(), gamma.clone(), bias.then(|| beta.clone()), 1e-3);
        agree(&found, &results(plain, seed ^ 4, &leaves), "layer norm");
    }

    #[test]
    fn attention_equals_plain_operations(
        b in 1usize..4, m in 1usize..300, n in 1usize..80, head in 1usize..18, heads in 1usize..5, in_order: bool, seed: u64,
    ) {
        let device = Device::flex().autodiff();
        let d = head * heads;
        let side = |len, k| if in_order { normal([b, len, d], seed ^ k, &device) } else { swapped([b, len, d], seed ^ k, &device) };
        let [q, k, v] = [(m, 1), (n, 2), (n, 3)].map(|(len, k)| side(len, k).detach().require_grad());
        let leaves: [Leaf<'_>; 3] = [&of(&q), &of(&k), &of(&v)];
        let found = results(attention(&q, &k, &v, heads).unwrap(), seed ^ 4, &leaves);
        let plain = plain_attention(q.clone(), k.clone(), v.clone(), heads);
        agree(&found, &results(plain, seed ^ 4, &leaves), "attention");
    }

    #[test]
    fn patches_are_cut_and_put_back(
        b in 1usize..4, c in 1usize..5, h in 1usize..20, w in 1usize..20, patch in 1usize..8, seed: u64,
    ) {
        let device = Device::flex().autodiff();
        let images = normal::<4>([b, c, w, h], seed, &device).swap_dims(2, 3).detach().require_grad();
        let (rows, columns) = (h / patch, w / patch);
        prop_assume!(rows * columns > 0);
        let plain = images
            .clone()
            .slice([0..b, 0..c, 0..rows * patch, 0..columns * patch])
            .reshape([b, c, rows, patch, columns, patch])
            .permute([0, 2, 4, 1, 3, 5])
            .reshape([b * rows * columns, c * patch * patch]);
        let leaves: [Leaf<'_>; 1] = [&of(&images)];
        let found = results(patches(&images, patch).unwrap(), seed ^ 4, &leaves);
        prop_assert_eq!(found, results(plain, seed ^ 4, &leaves));
    }
}

#[test]
fn extreme_scores_stay_finite() {
    let device = Device::flex().autodiff();
    let large = |seed| (normal::<3>([1, 6, 8], seed, &device) * 60.0).detach().require_grad();
    let [q, k, v] = [large(1), large(2), large(3)];
    let leaves: [Leaf<'_>; 3] = [&of(&q), &of(&k), &of(&v)];
    let found = results(attention(&q, &k, &v, 2).unwrap(), 4, &leaves);
    assert!(found.iter().flatten().all(|v| v.is_finite()));
    let expected = results(plain_attention(q.clone(), k.clone(), v.clone(), 2), 4, &leaves);
    // Output and the values' gradients; those of queries and keys are rounding where one score outweighs all others.
    for k in [0, 3] {
        assert_close(&found[k], &expected[k], 1e-3, "large scores");
    }
}

#[test]
fn an_empty_batch_gives_gradients_of_zero() {
    let device = Device::flex().autodiff();
    let x = Tensor::<3>::from_data(TensorData::new(Vec::<f32>::new(), [0, 4, 6]), &device).require_grad();
    let weight = normal::<2>([6, 6], 1, &device).require_grad();
    let y = linear(&x, &weight, None, After::Activation(Activation::Gelu)).unwrap();
    let y = attention(&y, &y, &y, 2).unwrap();
    let gradients = y.sum().backward();
    assert_eq!(vec(weight.grad(&gradients).unwrap()), vec![0.0; 36]);
}

#[test]
fn other_tensors_are_left_to_burn() {
    let device = Device::flex();
    let x = normal::<3>([2, 3, 4], 1, &device);
    let weight = normal::<2>([4, 4], 2, &device);
    assert!(linear(&x, &weight, None, After::Nothing).is_none(), "no gradients are tracked");
    assert!(attention(&x, &x, &x, 2).is_none());
    assert!(layer_norm(&x, &normal::<1>([4], 3, &device), None, 1e-6).is_none());
    assert!(patches(&normal::<4>([1, 1, 4, 4], 1, &device), 2).is_none());
    let half = normal::<3>([2, 3, 4], 1, &device.autodiff()).cast(burn::tensor::DType::F16);
    assert!(attention(&half, &half, &half, 2).is_none(), "another type");
}

fn config(layer_scale: bool, class_token: bool) -> VitConfig {
    VitConfig {
        patch: 4,
        embed: PatchKind::Wavelength(WavelengthConfig {
            embedding: 16,
            weight_tokens: 5,
            heads: 2,
            hidden: 24,
            layout: KernelLayout::BandRowColumnWidth,
            padding: 0,
        }),
        grid: (3, 3),
        width: 24,
        depth: 2,
        heads: 3,
        hidden: 40,
        epsilon: 1e-6,
        activation: Activation::Gelu,
        class_token,
        class_position: class_token,
        registers: usize::from(class_token),
        pre_norm: class_token,
        layer_scale,
        norm: FinalNorm::Tokens,
        pooling: Pooling::Map,
        projection: Some(7),
        projection_bias: true,
        positions: PositionResampling::default(),
    }
}

/// Loss and every parameter's gradient, by name, of one step.
fn step(layer_scale: bool, class_token: bool, frozen: bool) -> (f32, NamedGradients) {
    struct Collect<'a> {
        gradients: &'a burn::tensor::Gradients,
        path: Vec<String>,
        found: Vec<(String, Option<Vec<f32>>)>,
    }
    impl burn::module::ModuleVisitor for Collect<'_> {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.path.push(name.to_owned());
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.found.push((self.path.join("."), param.val().grad(self.gradients).map(vec)));
        }
    }
    struct Deterministic(u64);
    impl burn::module::ModuleMapper for Deterministic {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            self.0 += 1;
            let (id, tensor, mapper) = param.consume();
            let new = normal(tensor.dims(), self.0, &tensor.device()) * 0.2;
            Param::from_mapped_value(id, new.detach().require_grad(), mapper)
        }
    }
    let device = Device::flex().autodiff();
    let mut vit = config(layer_scale, class_token).init(&device).map(&mut Deterministic(0));
    if frozen {
        vit.blocks = vit.blocks.into_iter().map(Module::no_grad).collect();
    }
    let images = normal::<4>([3, 4, 12, 12], 99, &device);
    let y = vit.pool(vit.forward(images, &[0.49, 0.56, 0.665, 0.842]));
    let loss = (y.clone() * y).sum();
    let mut collect = Collect { gradients: &loss.clone().backward(), path: Vec::new(), found: Vec::new() };
    vit.visit(&mut collect);
    (loss.into_scalar(), collect.found)
}

#[test]
fn a_step_is_the_same_each_time() {
    for (layer_scale, class_token) in [(false, false), (true, true)] {
        let first = step(layer_scale, class_token, false);
        assert_eq!(first, step(layer_scale, class_token, false));
        let without: Vec<_> = first.1.iter().filter(|(_, g)| g.is_none()).map(|(name, _)| name).collect();
        assert!(without.is_empty(), "no gradient for {without:?}");
    }
}

#[test]
fn frozen_blocks_get_no_gradient_and_pass_one_on() {
    let (loss, all) = step(true, true, false);
    let (same, some) = step(true, true, true);
    assert_eq!(loss, same);
    for ((name, all), (_, some)) in all.iter().zip(&some) {
        match name.starts_with("blocks") {
            true => assert!(some.is_none(), "{name} is frozen"),
            false => assert_eq!(all, some, "{name}"),
        }
    }
}
