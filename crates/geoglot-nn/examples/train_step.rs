//! Times one MMLGNet training step: encoders, fusion, contrastive loss, backward, Adam.
//!
//! ```text
//! cargo run --release -p geoglot-nn --example train_step -- --bands 144
//! python benches/pytorch/mmlgnet_step.py --bands 144
//! ```
//!
//! `--composed` takes burn's own layers and Adam instead of the fused operations. Prints one JSON object: median
//! milliseconds of a step and of its phases.

use std::time::Instant;

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, Distribution, Int, Tensor};
use geoglot_nn::cnn::{CnnEncoder, CnnEncoderConfig};
use geoglot_nn::losses::{
    Direction, Targets, Temperature, TemperatureConfig, class_contrastive_loss, contrastive_loss, l2_normalise,
};
use geoglot_nn::ops::adam::FusedAdamConfig;

#[derive(Module, Debug)]
struct Mmlgnet {
    hsi: CnnEncoder,
    lidar: CnnEncoder,
    fusion: Linear,
    temperature: Temperature,
}

impl Mmlgnet {
    fn forward(&self, hsi: Tensor<4>, lidar: Tensor<4>) -> Tensor<2> {
        let features = Tensor::cat(vec![self.hsi.forward(hsi), self.lidar.forward(lidar)], 1);
        l2_normalise(self.fusion.forward(features))
    }
}

struct Options {
    bands: usize,
    lidar_bands: usize,
    patch: usize,
    batch: usize,
    classes: usize,
    width: usize,
    threads: usize,
    warmup: usize,
    steps: usize,
    composed: bool,
    /// The [B, K] form of the loss instead of the [B, B] one.
    class_loss: bool,
}

impl Options {
    fn from_args() -> Result<Self, String> {
        let mut options = Self {
            bands: 144,
            lidar_bands: 1,
            patch: 11,
            batch: 128,
            classes: 15,
            width: 512,
            threads: 2,
            warmup: 10,
            steps: 40,
            composed: false,
            class_loss: false,
        };
        let mut args = std::env::args().skip(1);
        while let Some(name) = args.next() {
            let field = match name.as_str() {
                "--composed" => {
                    options.composed = true;
                    continue;
                }
                "--class-loss" => {
                    options.class_loss = true;
                    continue;
                }
                "--bands" => &mut options.bands,
                "--lidar-bands" => &mut options.lidar_bands,
                "--patch" => &mut options.patch,
                "--batch" => &mut options.batch,
                "--classes" => &mut options.classes,
                "--width" => &mut options.width,
                "--threads" => &mut options.threads,
                "--warmup" => &mut options.warmup,
                "--steps" => &mut options.steps,
                _ => return Err(format!("unknown option {name}")),
            };
            let value = args.next().and_then(|v| v.parse().ok());
            *field = value.ok_or_else(|| format!("{name} needs a number"))?;
        }
        Ok(options)
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::from_args()?;
    rayon::ThreadPoolBuilder::new().num_threads(options.threads).build_global()?;
    let device = Device::flex().autodiff();
    device.seed(1);
    let fused = !options.composed;
    let encoder = |config: CnnEncoderConfig| config.with_fused(fused).init(&device);
    let mut model = Mmlgnet {
        hsi: encoder(CnnEncoderConfig::hyperspectral(options.bands, options.patch))?,
        lidar: encoder(CnnEncoderConfig::lidar(options.lidar_bands, options.patch))?,
        fusion: LinearConfig::new(512 + 256, options.width).init(&device),
        temperature: TemperatureConfig::new().init(&device),
    };
    let mut optim = match fused {
        true => FusedAdamConfig::new().init(),
        false => AdamConfig::new().with_epsilon(1e-8).init(),
    };
    let normal = Distribution::Normal(0.0, 1.0);
    let patches = |bands| {
        let dims = [options.batch, bands, options.patch, options.patch];
        Tensor::<4>::random(dims, normal, &device)
    };
    let (hsi, lidar) = (patches(options.bands), patches(options.lidar_bands));
    let prompts = l2_normalise(Tensor::random([options.classes, options.width], normal, &device));
    let classes: Vec<usize> = (0..options.batch).map(|i| i % options.classes).collect();
    let ids: Vec<i32> = classes.iter().map(|&class| class as i32).collect();
    let labels = Tensor::<1, Int>::from_ints(ids.as_slice(), &device);
    let text = prompts.clone().select(0, labels.clone());

    let names = ["forward_ms", "backward_ms", "optimizer_ms", "step_ms"];
    let mut phases = [const { Vec::new() }; 4];
    let mut last = 0.0f32;
    for step in 0..options.warmup + options.steps {
        let start = Instant::now();
        let v = model.forward(hsi.clone(), lidar.clone());
        let scale = model.temperature.scale().reshape([1, 1]);
        let loss = if options.class_loss {
            let logits = v.matmul(prompts.clone().transpose()) * scale;
            class_contrastive_loss(logits, &classes, Direction::Both)
        } else {
            let logits = v.matmul(text.clone().transpose()) * scale;
            contrastive_loss(logits, labels.clone(), Targets::Diagonal, Direction::Both)
        };
        last = loss.clone().into_scalar();
        let forward = start.elapsed();
        let grads = GradientsParams::from_grads(loss.backward(), &model);
        let backward = start.elapsed();
        model = optim.step(1e-3, model, grads);
        let whole = start.elapsed();
        if step >= options.warmup {
            let times = [forward, backward - forward, whole - backward, whole];
            for (phase, time) in phases.iter_mut().zip(times) {
                phase.push(time.as_secs_f64() * 1e3);
            }
        }
    }
    let mut result = serde_json::json!({
        "framework": if fused { "geoglot, fused operations" } else { "geoglot, burn's own layers" },
        "bands": options.bands,
        "lidar_bands": options.lidar_bands,
        "patch": options.patch,
        "batch": options.batch,
        "threads": options.threads,
        "steps": options.steps,
        "loss": last,
    });
    for (name, mut phase) in names.into_iter().zip(phases) {
        let rounded = (median(&mut phase) * 1e3).round() / 1e3;
        result[name] = rounded.into();
    }
    println!("{result}");
    Ok(())
}
