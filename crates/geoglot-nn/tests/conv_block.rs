//! The fused block against PyTorch's numbers, burn's own layers and finite differences.

mod common;

use burn::module::{Module, Param};
use burn::tensor::module::batch_norm_train;
use burn::tensor::{Device, Tensor};
use common::{Fixture, assert_close, normal, vec};
use geoglot_nn::cnn::CnnEncoderConfig;
use geoglot_nn::conv_block::{ConvBlock, ConvBlockConfig};
use proptest::prelude::*;

const CASES: [(usize, usize); 4] = [(5, 7), (18, 20), (1, 4), (2, 3)];

fn block(fused: bool, channels: [usize; 2], device: &Device) -> ConvBlock {
    let mut block = ConvBlockConfig::new(channels).with_fused(fused).init(device);
    let [inputs, filters] = channels;
    block.conv.weight = Param::from_tensor(normal([filters, inputs, 3, 3], 1, device));
    block.bn.gamma = Param::from_tensor(normal([filters], 2, device));
    block.bn.beta = Param::from_tensor(normal([filters], 3, device));
    block.conv.bias = Some(Param::from_tensor(normal([filters], 4, device)));
    block
}

#[test]
fn equals_pytorch() {
    let numbers = Fixture::open("conv_block.safetensors");
    for fused in [false, true] {
        for (case, (channels, filters)) in CASES.into_iter().enumerate() {
            let device = Device::flex().autodiff();
            let name = |part: &str| format!("{case}.{part}");
            let what = |part: &str| format!("fused {fused}, case {case}, {part}");
            let mut block = block(fused, [channels, filters], &device);
            let before = |part: &str| name(&format!("before.{part}"));
            block.conv.weight = Param::from_tensor(numbers.tensor(&before("conv.weight"), &device));
            block.conv.bias = Some(Param::from_tensor(numbers.tensor(&before("conv.bias"), &device)));
            block.bn.gamma = Param::from_tensor(numbers.tensor(&before("bn.weight"), &device));
            block.bn.beta = Param::from_tensor(numbers.tensor(&before("bn.bias"), &device));

            let x = numbers.tensor::<4>(&name("x"), &device).require_grad();
            let y = block.forward(x.clone());
            assert_close(&vec(y.clone()), &numbers.values(&name("y")), 1e-5, &what("y"));
            let grad = numbers.tensor::<4>(&name("grad"), &device);
            let grads = (y * grad).sum().backward();
            let of = |g: Option<Vec<f32>>, part: &str| {
                let g = g.unwrap_or_else(|| panic!("no gradient: {}", what(part)));
                assert_close(&g, &numbers.values(&name(part)), 3e-5, &what(part));
            };
            of(x.grad(&grads).map(vec), "dx");
            of(block.conv.weight.val().grad(&grads).map(vec), "dweight");
            of(block.bn.gamma.val().grad(&grads).map(vec), "dgamma");
            of(block.bn.beta.val().grad(&grads).map(vec), "dbeta");

            let x = x.detach();
            block.forward(x.clone() * 0.5);
            block.forward(x.clone() * 2.0 + 1.0);
            for (state, part) in [(&block.bn.running_mean, "running_mean"), (&block.bn.running_var, "running_var")] {
                // `value`, not `value_sync`: what a saved module would hold.
                let expected = numbers.values(&name(&format!("after.bn.{part}")));
                assert_close(&vec(state.value()), &expected, 1e-5, &what(part));
            }
            let block = block.valid();
            let y = block.forward(x.inner());
            assert_close(&vec(y), &numbers.values(&name("eval")), 1e-5, &what("eval"));
        }
    }
}

/// Output, gradients and running statistics of one training step.
fn step(block: &ConvBlock, x: &Tensor<4>, direction: &Tensor<4>) -> Vec<(&'static str, Vec<f32>)> {
    let x = x.clone().require_grad();
    let y = block.forward(x.clone());
    let grads = (y.clone() * direction.clone()).sum().backward();
    vec![
        ("output", vec(y)),
        ("dx", vec(x.grad(&grads).unwrap())),
        ("dweight", vec(block.conv.weight.val().grad(&grads).unwrap())),
        ("dgamma", vec(block.bn.gamma.val().grad(&grads).unwrap())),
        ("dbeta", vec(block.bn.beta.val().grad(&grads).unwrap())),
        ("running mean", vec(block.bn.running_mean.value())),
        ("running variance", vec(block.bn.running_var.value())),
    ]
}

fn composed(block: &ConvBlock, device: &Device) -> ConvBlock {
    let [filters, channels, ..] = block.conv.weight.dims();
    let mut other = self::block(false, [channels, filters], device);
    other.conv = block.conv.clone();
    other.bn.gamma = block.bn.gamma.clone();
    other.bn.beta = block.bn.beta.clone();
    other
}

/// Whether a pooling window's largest value before the rectifier lies within `margin` of its second or of zero.
fn has_tie(block: &ConvBlock, x: &Tensor<4>, margin: f32) -> bool {
    let y = block.conv.forward(x.clone());
    let y = batch_norm_train(y, block.bn.gamma.val(), block.bn.beta.val(), block.bn.epsilon).output;
    let [batch, filters, height, width] = y.dims();
    let values = vec(y);
    let window = |plane: usize, row: usize, column: usize| {
        let at = |k: usize| values[(plane * height + row + k / 2) * width + column + k % 2];
        let mut window = [0, 1, 2, 3].map(at);
        window.sort_by(f32::total_cmp);
        window
    };
    let corners = |plane| (0..height / 2).flat_map(move |r| (0..width / 2).map(move |c| (plane, 2 * r, 2 * c)));
    (0..batch * filters)
        .flat_map(corners)
        .map(|(plane, row, column)| window(plane, row, column))
        .any(|[.., second, largest]| largest.abs() < margin || (largest > 0.0 && largest - second < margin))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn equals_the_composed_block(
        batch in 2usize..40,
        channels in 1usize..40,
        filters in 1usize..40,
        height in 2usize..13,
        width in 2usize..13,
    ) {
        let device = Device::flex().autodiff();
        let fused = block(true, [channels, filters], &device);
        let composed = composed(&fused, &device);
        let x = normal([batch, channels, height, width], 11, &device) + 1.0;
        let direction = normal([batch, filters, height / 2, width / 2], 12, &device);
        // Rounding decides a tie, and with it where a gradient goes.
        prop_assume!(!has_tie(&composed, &x, 1e-5));
        for ((what, found), (_, expected)) in step(&fused, &x, &direction).iter().zip(step(&composed, &x, &direction)) {
            assert_close(found, &expected, 2e-4, what);
        }
        let (fused, composed) = (fused.valid(), composed.valid());
        let x = x.inner();
        assert_close(&vec(fused.forward(x.clone())), &vec(composed.forward(x)), 2e-5, "inference");
    }
}

#[test]
fn gradient_agrees_with_finite_differences() {
    let device = Device::flex().autodiff();
    let block = block(true, [3, 5], &device);
    let x = normal([6, 3, 7, 7], 13, &device);
    let direction = normal([6, 5, 3, 3], 14, &device);
    let loss = |block: &ConvBlock, x: Tensor<4>| -> f64 {
        vec(block.forward(x) * direction.clone()).iter().map(|&v| f64::from(v)).sum()
    };
    let tracked = x.clone().require_grad();
    let grads = (block.forward(tracked.clone()) * direction.clone()).sum().backward();

    // Along a random direction the derivative is the inner product with the gradient; a small step keeps all but few
    // pooling winners.
    let epsilon = 1e-4;
    let check = |what: &str, gradient: Vec<f32>, plus: f64, minus: f64, along: Vec<f32>| {
        let expected: f64 = gradient.iter().zip(&along).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
        let found = (plus - minus) / (2.0 * epsilon);
        assert!(
            (found - expected).abs() < 0.02 * expected.abs().max(1.0),
            "{what}: finite difference {found}, gradient {expected}"
        );
    };
    let along = normal(x.dims(), 15, &device);
    check(
        "x",
        vec(tracked.grad(&grads).unwrap()),
        loss(&block, x.clone() + along.clone() * epsilon),
        loss(&block, x.clone() - along.clone() * epsilon),
        vec(along),
    );
    let weight = block.conv.weight.val();
    let along = normal(weight.dims(), 16, &device);
    let shifted = |sign: f64| {
        let mut block = block.clone();
        let moved = weight.clone().detach().set_require_grad(false) + along.clone() * (sign * epsilon);
        block.conv.weight = Param::from_tensor(moved);
        loss(&block, x.clone())
    };
    check("weight", vec(weight.grad(&grads).unwrap()), shifted(1.0), shifted(-1.0), vec(along.clone()));
}

#[test]
fn runs_under_gradient_checkpointing_and_without_input_gradient() {
    for device in [Device::flex().autodiff(), Device::flex().autodiff().gradient_checkpointing()] {
        let block = block(true, [4, 6], &device);
        // Data made on the plain device are constants of the graph.
        let plain = Device::flex();
        let x = normal([5, 4, 6, 6], 17, &plain);
        let grads = block.forward(x.clone()).sum().backward();
        let fused = vec(block.conv.weight.val().grad(&grads).unwrap());
        let other = composed(&block, &device);
        let x = Tensor::from_data(x.into_data(), &device);
        let grads = other.forward(x).sum().backward();
        let expected = vec(other.conv.weight.val().grad(&grads).unwrap());
        assert_close(&fused, &expected, 2e-4, "dweight");
    }
}

#[test]
fn a_frozen_block_keeps_its_statistics_and_passes_gradients() {
    let device = Device::flex().autodiff();
    let block = block(true, [2, 3], &device).freeze();
    let before = vec(block.bn.running_var.value());
    let x = normal([2, 2, 4, 4], 18, &device).require_grad();
    let grads = block.forward(x.clone()).sum().backward();
    assert!(vec(x.grad(&grads).unwrap()).iter().all(|g| g.is_finite()));
    assert_eq!(vec(block.bn.running_var.value()), before);
}

#[test]
fn nan_is_not_hidden() {
    let device = Device::flex();
    let encoder = CnnEncoderConfig::lidar(1, 11).init(&device).unwrap();
    let mut patch = vec![0.5f32; 2 * 121];
    patch[60] = f32::NAN;
    let x = Tensor::<1>::from_floats(patch.as_slice(), &device).reshape([2, 1, 11, 11]);
    let out = vec(encoder.forward(x));
    assert!(out[..256].iter().all(|v| v.is_nan()));
    assert!(out[256..].iter().all(|v| v.is_finite()));
}

#[test]
fn training_is_the_same_on_one_thread_and_on_many() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let device = Device::flex().autodiff();
            let block = block(true, [6, 10], &device);
            let x = normal([37, 6, 11, 11], 19, &device);
            let direction = normal([37, 10, 5, 5], 20, &device);
            step(&block, &x, &direction)
        })
    };
    let one = run(1);
    for threads in [1, 2, 5] {
        for ((what, found), (_, expected)) in run(threads).iter().zip(&one) {
            let first = found.iter().zip(expected).position(|(a, b)| a.to_bits() != b.to_bits());
            if let Some(i) = first {
                panic!("{what}[{i}] on {threads} threads: {} and {}", found[i], expected[i]);
            }
        }
    }
}
