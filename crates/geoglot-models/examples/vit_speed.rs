//! Time of an image tower's forward pass on the CPU, random weights.
//!
//! `cargo run --release -p geoglot-models --example vit_speed [PRESET] [BATCH] [THREADS] [RUNS] [ENGINE]`
//!
//! PRESET is a name of `presets.toml` (open-clip-vit-b-16, siglip-so400m-14-384, …), ENGINE `fused` or `composed`. Prints one line of JSON.
//! The peer is `benches/pytorch/vit_speed.py`.

use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor};
use geoglot_core::Band;
use geoglot_models::SpaceId;
use geoglot_models::geolangbind::RGB;
use geoglot_models::vision::{ImageBatch, ImageTower, Preset, VitTower};
use geoglot_nn::vision::{Composed, Engine, VitBlock, engine};

/// Processor time of this process, all threads, in seconds (Linux; 0 elsewhere): on a busy machine it tells more than the clock.
fn processor_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // User and system time are the 12th and 13th fields after the program's name in parentheses, in ticks of 10 ms.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    fields.get(11..13).map_or(0.0, |t| t.iter().filter_map(|t| t.parse::<f64>().ok()).sum::<f64>() / 100.0)
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let get = |i: usize, default: &str| args.get(i).map_or(default.to_owned(), String::clone);
    let (preset, kind) = (get(0, "open-clip-vit-b-16"), get(4, "fused"));
    let number = |i: usize, default: &str| get(i, default).parse::<usize>().expect("a whole number");
    let (batch, threads, runs) = (number(1, "8"), number(2, "1"), number(3, "5").max(1));
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().expect("the first use of the pool");
    let config = Preset::named(&preset).expect("a preset").config().expect("a sound preset");
    let device = Device::flex();
    let (height, width) = config.preprocess.size;
    let make = |blocks: Vec<VitBlock>| -> Box<dyn Engine> {
        if kind == "composed" { Box::new(Composed::new(&blocks)) } else { engine(blocks) }
    };
    let space = SpaceId::new("random", config.vit.output());
    let tower = VitTower::with_engine(config.vit.init(&device), config, space, String::new(), device.clone(), make);
    let bands: Vec<Band> = RGB.iter().map(|w| Band { wavelength_um: Some(*w), ..Band::named(w.to_string()) }).collect();
    let random = |count| {
        let pixels = Tensor::random([count, 3, height, width], Distribution::Normal(0., 1.), &device);
        ImageBatch::preprocessed(pixels, bands.clone())
    };
    let images = random(batch);
    tower.encode(&random(2)).expect("a forward pass");
    let before = processor_seconds();
    let mut seconds: Vec<f64> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            tower.encode(&images).expect("a forward pass");
            start.elapsed().as_secs_f64()
        })
        .collect();
    let processor = (processor_seconds() - before) / runs as f64;
    seconds.sort_by(f64::total_cmp);
    let (best, median) = (seconds[0], seconds[runs / 2]);
    println!(
        "{{\"preset\": \"{preset}\", \"engine\": \"{kind}\", \"batch\": {batch}, \"threads\": {threads}, \"runs\": {runs}, \
         \"seconds_min\": {best:.4}, \"seconds_median\": {median:.4}, \"cpu_seconds\": {processor:.4}, \"tiles_per_second\": {:.2}}}",
        batch as f64 / best
    );
}
