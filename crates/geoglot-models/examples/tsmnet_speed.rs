//! Seconds of a training step and of inference of TSMNet, the counterpart of `benches/pytorch/tsmnet.py speed`.
//!
//!     cargo run --release -p geoglot-models --example tsmnet_speed -- --small --side 64 --batch 8

use std::time::Instant;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Distribution, Int, Tensor};
use geoglot_models::tsmnet::{Losses, TsmNet, TsmNetConfig, clip_like};
use geoglot_nn::multimodal::{ContextDecoderConfig, Description, no_masks};
use geoglot_nn::ops::adam::FusedAdamConfig;
use geoglot_nn::segmentation::resize;
use geoglot_nn::vision::engine;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let number = |name: &str, default: usize| {
        let at = args.iter().position(|a| a == name);
        at.and_then(|k| args.get(k + 1)).and_then(|v| v.parse().ok()).unwrap_or(default)
    };
    let small = args.iter().any(|a| a == "--small");
    let (steps, batch, side) = (number("--steps", 3), number("--batch", 2), number("--side", 256));
    let (classes, reduction) = (number("--classes", 7), number("--reduction", 1));
    let config = match small {
        true => TsmNetConfig {
            channels: 64,
            hidden: 64,
            ..TsmNetConfig::new([3, 1], clip_like(8, side / 8, 192, 4, 3, 384), [0, 1, 2, 3], 384, 384)
        },
        false => TsmNetConfig::new([3, 1], clip_like(16, side / 16, 768, 12, 12, 512), [3, 5, 7, 11], 512, 512),
    };
    let decoder = ContextDecoderConfig { dropout: 0.0, ..config.decoder };
    let config = TsmNetConfig { reduction, decoder, ..config };

    let device = Device::flex().autodiff();
    let mut network = config.init(&device);
    let mut optimizer = FusedAdamConfig::new().with_decoupled_decay(1e-4).init();
    let labels: Vec<u8> = (0..batch * side * side).map(|k| (k * 7 / 31 % classes) as u8).collect();
    let mut step = f64::INFINITY;
    let before = cpu_seconds();
    for _ in 0..steps {
        let start = Instant::now();
        let losses = Losses::of(answer(&network, &config, batch, side, classes, &device, false), &labels, (side, side));
        let gradients = GradientsParams::from_grads(losses.total().backward(), &network);
        network = optimizer.step(1e-4, network, gradients);
        step = step.min(start.elapsed().as_secs_f64());
    }
    let step_cpu = (cpu_seconds() - before) / steps as f64;
    let network = network.valid();
    let before = cpu_seconds();
    let mut inference = f64::INFINITY;
    for _ in 0..steps {
        let start = Instant::now();
        let answer = answer(&network, &config, batch, side, classes, &Device::flex(), true);
        let best = resize(answer.map, (side, side)).argmax(1);
        std::hint::black_box(best.into_data());
        inference = inference.min(start.elapsed().as_secs_f64());
    }
    let inference_cpu = (cpu_seconds() - before) / steps as f64;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    println!(
        "{{\"step\": {step}, \"step_cpu\": {step_cpu}, \"inference\": {inference}, \"inference_cpu\": {inference_cpu}, \"peak_mib\": {}, \"parameters\": {}}}",
        peak.map_or(0.0, |kb| kb / 1024.0),
        network.num_params()
    );
}

/// Seconds of processor time of all threads, user and system, in hundredths.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    after_name.split_whitespace().skip(11).take(2).filter_map(|v| v.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn answer(
    network: &TsmNet,
    config: &TsmNetConfig,
    batch: usize,
    side: usize,
    classes: usize,
    device: &Device,
    fast: bool,
) -> geoglot_models::tsmnet::Answer {
    let random = |shape: [usize; 4]| Tensor::<4>::random(shape, Distribution::Normal(0.0, 1.0), device);
    let run = |branch: Option<&geoglot_models::tsmnet::Branch>, bands: usize| {
        let branch = branch.expect("both modalities");
        // Packed weights are made once in real use; here the blocks are few enough for it not to matter.
        let engine = fast.then(|| engine(branch.vit.blocks.clone()));
        branch.forward(random([batch, bands, side, side]), config.taps, engine.as_deref())
    };
    let layers = [Some(run(network.optical.as_ref(), 3)), Some(run(network.sar.as_ref(), 1))];
    let normal = Distribution::Normal(0.0, 1.0);
    let description = Description {
        states: Tensor::random([batch, 20, config.states], normal, device),
        mask: Tensor::<2, Int>::ones([batch, 20], device),
        global: Tensor::random([batch, config.embed], normal, device),
        fused: vec![true; batch],
        ids: (0..batch).map(Some).collect(),
    };
    let texts = Tensor::random([classes, config.embed], normal, device);
    let fused = network.fuse(layers, &vec![[true; 2]; batch]);
    network.answer(fused, Some(texts), Some(&description), &mut no_masks)
}
