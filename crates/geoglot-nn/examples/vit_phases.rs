//! Where the time of a training step of the any-band vision transformer goes, on random images.
//!
//! ```text
//! cargo run --release -p geoglot-nn --example vit_phases -- [--base] [--steps N]
//! ```
//!
//! The tower is that of `recipes/rsicd-anyband.toml` with batches of 100; `--base` takes ViT-B/16 at 224 pixels with batches of 8.
//! Prints one JSON object: median milliseconds of a step and of its parts.

use std::time::Instant;

use burn::optim::GradientsParams;
use burn::tensor::{Device, Distribution, Int, Tensor};
use geoglot_nn::losses::{Direction, Targets, contrastive_loss, l2_normalise};
use geoglot_nn::ops::adam::FusedAdamConfig;
use geoglot_nn::transformer::Activation;
use geoglot_nn::vision::{
    FinalNorm, KernelLayout, PatchKind, Pooling, PositionResampling, VitConfig, WavelengthConfig,
};

const TEXTS: usize = 384;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let base = arguments.iter().any(|a| a == "--base");
    let steps = arguments.iter().skip_while(|a| *a != "--steps").nth(1).and_then(|n| n.parse().ok()).unwrap_or(8);
    let layout = KernelLayout::BandRowColumnWidth;
    let (size, batch, width, depth, heads, wavelength) = match base {
        false => (
            96,
            100,
            192,
            4,
            3,
            WavelengthConfig { embedding: 64, weight_tokens: 16, heads: 4, hidden: 256, layout, padding: 0 },
        ),
        true => (
            224,
            8,
            768,
            12,
            12,
            WavelengthConfig { embedding: 128, weight_tokens: 128, heads: 4, hidden: 2048, layout, padding: 0 },
        ),
    };
    let config = VitConfig {
        patch: 16,
        embed: PatchKind::Wavelength(wavelength),
        grid: (size / 16, size / 16),
        width,
        depth,
        heads,
        hidden: 4 * width,
        epsilon: 1e-6,
        activation: Activation::Gelu,
        class_token: false,
        class_position: false,
        registers: 0,
        pre_norm: false,
        layer_scale: false,
        norm: FinalNorm::Tokens,
        pooling: Pooling::Map,
        projection: Some(TEXTS),
        projection_bias: true,
        positions: PositionResampling::default(),
    };
    let device = Device::flex().autodiff();
    device.seed(1);
    let mut vit = config.init(&device);
    let mut optimizer = FusedAdamConfig::new().init();
    let normal = Distribution::Normal(0.0, 1.0);
    let images = Tensor::<4>::random([batch, 3, size, size], normal, &device);
    let texts = l2_normalise(Tensor::<2>::random([batch, TEXTS], normal, &device));
    let labels: Vec<i32> = (0..batch as i32).collect();
    let mut times: [Vec<f64>; 5] = Default::default();
    for _ in 0..steps + 2 {
        let begin = Instant::now();
        let mut marks = vec![begin];
        let labels = Tensor::<1, Int>::from_ints(labels.as_slice(), &device);
        let tokens = vit.forward(images.clone(), &[0.665, 0.56, 0.49]);
        marks.push(Instant::now());
        let logits = l2_normalise(vit.pool(tokens)).matmul(texts.clone().transpose()) * 10.0;
        let loss = contrastive_loss(logits, labels, Targets::Diagonal, Direction::Both);
        marks.push(Instant::now());
        let gradients = GradientsParams::from_grads(loss.backward(), &vit);
        marks.push(Instant::now());
        vit = optimizer.step(1e-4, vit, gradients);
        marks.push(Instant::now());
        for (k, pair) in marks.windows(2).enumerate() {
            times[k].push((pair[1] - pair[0]).as_secs_f64() * 1e3);
        }
        times[4].push(begin.elapsed().as_secs_f64() * 1e3);
    }
    let median = |values: &[f64]| {
        let mut sorted = values[2.min(values.len() - 1)..].to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    };
    let [trunk, head, backward, optimizer, step] = times.map(|t| median(&t));
    println!(
        "{{\"step_ms\": {step:.1}, \"trunk_ms\": {trunk:.1}, \"head_ms\": {head:.1}, \"backward_ms\": {backward:.1}, \"optimizer_ms\": {optimizer:.1}}}"
    );
}
