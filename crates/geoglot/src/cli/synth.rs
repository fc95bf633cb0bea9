//! `geoglot synth`.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use geoglot::core::{RunManifest, small_file};
use geoglot::data::synth::{SynthConfig, generate, write};

use super::common::{Usage, registry};

/// Arguments of `synth`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Output folder
    #[arg(long, default_value = "out/synth")]
    out: PathBuf,
    /// Size in pixels: N or WIDTHxHEIGHT
    #[arg(long, default_value = "500")]
    size: String,
    /// Pixel size in metres
    #[arg(long, default_value_t = 1.0)]
    gsd: f64,
    /// Optical sensors of the registry to render, comma separated
    #[arg(long = "sensor", value_delimiter = ',', default_value = "aisa-eagle")]
    sensor: Vec<String>,
    /// Share of the scene under clouds, 0 to 0.9
    #[arg(long, default_value_t = 0.0)]
    clouds: f32,
    /// Share of the scene under snow, 0 to 1
    #[arg(long, default_value_t = 0.0)]
    snow: f32,
    /// Haze left in the images, 1 for the ordinary amount, 0 to 10
    #[arg(long, default_value_t = 1.0)]
    haze: f32,
    /// Number of scenes, with seeds one after another
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// A TOML file with every option of the generator; the other options are then not looked at, but for --seed, --count and --out
    #[arg(long)]
    config: Option<PathBuf>,
    /// Seed: the same seed gives the same bytes
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// A registry file with your own sensors
    #[arg(long)]
    sensors: Option<PathBuf>,
}

fn size(text: &str) -> anyhow::Result<(usize, usize)> {
    let (w, h) = text.split_once(['x', '×']).unwrap_or((text, text));
    match (w.trim().parse(), h.trim().parse()) {
        (Ok(w), Ok(h)) => Ok((w, h)),
        _ => Err(Usage(format!("--size {text}: expected N or WIDTHxHEIGHT")).into()),
    }
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let registry = registry(args.sensors.as_ref())?;
    let base = match &args.config {
        Some(path) => {
            let text = small_file::read_text(path, small_file::TEXT)?;
            toml::from_str(&text).map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))?
        }
        None => {
            let (width, height) = size(&args.size)?;
            SynthConfig {
                width,
                height,
                gsd: args.gsd,
                sensors: args.sensor.clone(),
                clouds: args.clouds,
                snow: args.snow,
                haze: args.haze,
                ..SynthConfig::default()
            }
        }
    };
    for k in 0..args.count {
        let config = SynthConfig { seed: args.seed + k, ..base.clone() };
        let folder = if args.count == 1 { args.out.clone() } else { args.out.join(format!("scene-{}", config.seed)) };
        let mut run = RunManifest::start("synth");
        run.seed = Some(config.seed);
        let scene = generate(&config, &registry)?;
        run.stage("generate");
        write(&scene, &folder)?;
        run.stage("write");
        run.save(&folder)?;
        println!("{}: {}×{} pixels, {} classes", folder.display(), config.width, config.height, scene.legend.len());
        if let Some(caption) = scene.captions.first() {
            println!("  {}", caption.text);
        }
    }
    Ok(())
}
