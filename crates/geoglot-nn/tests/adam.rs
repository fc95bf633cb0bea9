//! The fused Adam against PyTorch's numbers, and its state on disk.

mod common;

use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use common::{Fixture, assert_close, vec};
use geoglot_nn::ops::adam::FusedAdamConfig;

#[derive(Module, Debug)]
struct Vector {
    p: Param<Tensor<1>>,
}

#[test]
fn equals_pytorch() {
    let numbers = Fixture::open("losses.safetensors");
    let device = Device::flex().autodiff();
    let grads = numbers.tensor::<2>("adam.grads", &device);
    for (name, decay) in [("adam.plain", 0.0), ("adam.decay", 0.1)] {
        let mut optim = FusedAdamConfig::new().with_weight_decay(decay).init();
        let mut model = Vector { p: Param::from_tensor(numbers.tensor("adam.start", &device)) };
        for step in 0..12 {
            let direction = grads.clone().narrow(0, step, 1).reshape([37]);
            let backward = (model.p.val() * direction).sum().backward();
            let gradients = GradientsParams::from_grads(backward, &model);
            model = optim.step(0.05, model, gradients);
        }
        assert_close(&vec(model.p.val()), &numbers.values(name), 2e-6, name);
        assert!(model.p.val().is_require_grad());
    }
}

#[derive(Module, Debug)]
struct Layer {
    matrix: Param<Tensor<2>>,
    vector: Param<Tensor<1>>,
}

#[test]
fn decoupled_decay_equals_adamw_in_two_groups() {
    let numbers = Fixture::open("transformers.safetensors");
    let device = Device::flex().autodiff();
    let grads =
        (numbers.tensor::<3>("adamw.matrix.grads", &device), numbers.tensor::<2>("adamw.vector.grads", &device));
    let mut model = Layer {
        matrix: Param::from_tensor(numbers.tensor("adamw.matrix.start", &device)),
        vector: Param::from_tensor(numbers.tensor("adamw.vector.start", &device)),
    };
    let mut optim = FusedAdamConfig::new().with_beta_2(0.98).with_epsilon(1e-6).with_decoupled_decay(0.3).init();
    for step in 0..12 {
        let matrix = (model.matrix.val() * grads.0.clone().narrow(0, step, 1).reshape([5, 7])).sum();
        let vector = (model.vector.val() * grads.1.clone().narrow(0, step, 1).reshape([9])).sum();
        let gradients = GradientsParams::from_grads((matrix + vector).backward(), &model);
        model = optim.step(0.05, model, gradients);
    }
    assert_close(&vec(model.matrix.val()), &numbers.values("adamw.matrix"), 2e-6, "matrix");
    assert_close(&vec(model.vector.val()), &numbers.values("adamw.vector"), 2e-6, "vector");
}
