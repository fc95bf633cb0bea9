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
