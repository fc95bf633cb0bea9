//! Contrastive losses against PyTorch's numbers.

mod common;

use burn::module::Param;
use burn::tensor::{Device, Int, Tensor};
use common::{Fixture, assert_close, vec};
use geoglot_nn::losses::{
    Direction, Targets, TemperatureConfig, class_contrastive_loss, contrastive_loss, l2_normalise,
};

const DIRECTIONS: [(Direction, &str); 3] =
    [(Direction::VisionToText, "v2t"), (Direction::TextToVision, "t2v"), (Direction::Both, "both")];

#[test]
fn equal_pytorch() {
    let numbers = Fixture::open("losses.safetensors");
    let device = Device::flex().autodiff();
    let labels = numbers.ints("labels", &device);
    let prompts = numbers.tensor::<2>("prompts", &device);
    for (kind, text) in
        [("prompts", prompts.clone().select(0, labels.clone())), ("texts", numbers.tensor::<2>("t", &device))]
    {
        for (targets, target) in [(Targets::Diagonal, "diagonal"), (Targets::SameLabel, "same-label")] {
            for (direction, name) in DIRECTIONS {
                let key = format!("{kind}.{target}.{name}");
                let check = |loss: Tensor<1>, v: &Tensor<2>, tau: &Tensor<1>| {
                    let grads = loss.clone().backward();
                    for (found, part) in [
                        (vec(loss), "loss"),
                        (vec(v.grad(&grads).unwrap()), "dv"),
                        (vec(tau.grad(&grads).unwrap()), "dtau"),
                    ] {
                        let part = format!("{key}.{part}");
                        assert_close(&found, &numbers.values(&part), 2e-5, &part);
                    }
                };
                let v = numbers.tensor::<2>("v", &device).require_grad();
                let temperature = TemperatureConfig::new().init(&device);
                let scale = temperature.scale().reshape([1, 1]);
                let logits = v.clone().matmul(text.clone().transpose()) * scale;
                let loss = contrastive_loss(logits, labels.clone(), targets, direction);
                check(loss, &v, &temperature.tau.val());

                // With one prompt per class, the class form gives the numbers of both kinds of target.
                if kind == "prompts" {
                    let v = numbers.tensor::<2>("v", &device).require_grad();
                    let temperature = TemperatureConfig::new().init(&device);
                    let scale = temperature.scale().reshape([1, 1]);
                    let logits = v.clone().matmul(prompts.clone().transpose()) * scale;
                    let loss = class_contrastive_loss(logits, &numbers.labels("labels"), direction);
                    check(loss, &v, &temperature.tau.val());
                }
            }
        }
    }
}

#[test]
fn large_logits_stay_finite() {
    let device = Device::flex().autodiff();
    let logits = Tensor::<2>::from_floats([[1e4, -1e4], [5e3, 1e4]], &device).require_grad();
    let labels = Tensor::<1, Int>::from_ints([0, 1], &device);
    for (direction, _) in DIRECTIONS {
        let dense = contrastive_loss(logits.clone(), labels.clone(), Targets::Diagonal, direction);
        let classes = class_contrastive_loss(logits.clone(), &[0, 1], direction);
        for loss in [dense, classes] {
            let grads = loss.clone().backward();
            assert!(vec(loss)[0].abs() < 1e-6);
            assert!(vec(logits.grad(&grads).unwrap()).iter().all(|g| g.is_finite()));
        }
    }
}

#[test]
fn temperature_is_clamped_and_recovers() {
    let device = Device::flex().autodiff();
    let mut temperature = TemperatureConfig::new().init(&device);
    assert_close(&vec(temperature.scale()), &[1.0 / 0.07], 1e-6, "start");
    temperature.tau = Param::from_tensor(Tensor::from_floats([9.0], &device));
    assert_close(&vec(temperature.scale()), &[100.0], 1e-6, "clamped");
    let temperature = temperature.constrain();
    let grads = temperature.scale().backward();
    let slope = vec(temperature.tau.val().grad(&grads).unwrap());
    assert_close(&slope, &[100.0], 1e-4, "slope at the clamp");
}

#[test]
fn normalised_rows_have_length_one_and_zero_rows_no_nan() {
    let device = Device::flex().autodiff();
    let x = Tensor::<2>::from_floats([[3.0, 4.0], [0.0, 0.0]], &device).require_grad();
    let y = l2_normalise(x.clone());
    let grads = y.clone().sum().backward();
    assert_close(&vec(y), &[0.6, 0.8, 0.0, 0.0], 1e-6, "rows");
    assert!(vec(x.grad(&grads).unwrap()).iter().all(|g| g.is_finite()));
}

#[test]
fn names_of_choices_are_those_of_recipes() {
    assert_eq!(serde_json::to_string(&Direction::VisionToText).unwrap(), "\"v2t\"");
    assert_eq!(serde_json::to_string(&Targets::SameLabel).unwrap(), "\"same-label\"");
}
