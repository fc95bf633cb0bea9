//! `geoglot demo`: the whole way on a generated scene.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use geoglot::core::{Registry, RunManifest};
use geoglot::data::synth::{SynthConfig, generate, write};
use geoglot::raster::{OpenOptions, Scene};
use geoglot::train::Recipe;
use geoglot::workflow::evaluate::evaluate;
use geoglot::workflow::fold::TextSide;
use geoglot::workflow::map::{MapRequest, map};
use geoglot::workflow::prepare::prepare;
use geoglot::workflow::text;

use super::common::{DeviceArg, interrupt_flag};
use super::evaluate::print_table;
use super::map::parse_scene;
use super::progress::{Pixels, Progress};

/// Arguments of `demo`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Output folder
    #[arg(long, default_value = "geoglot-demo")]
    out: PathBuf,
    /// Side of the scene in pixels
    #[arg(long, default_value_t = 300)]
    size: usize,
    /// Most epochs
    #[arg(long, default_value_t = 12)]
    epochs: usize,
    /// Text tower
    #[arg(long, default_value = "minilm")]
    text: String,
    /// Seed of scene and training
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// cpu, cuda[:n] or vulkan[:n]
    #[arg(long, default_value = "cpu")]
    device: DeviceArg,
}

/// Words the model never saw, for the map that the demo proposes next.
const OTHER_WORDS: &str = "a lake or river; forest; streets; houses and halls; grassland; ploughed earth; a wheat field; bushes; fruit trees; plastic sports pitch";

/// The recipe of the demo, written beside its data, so that every step can be repeated by hand.
const RECIPE: &str = include_str!("demo.toml");

pub fn run(args: Args) -> anyhow::Result<()> {
    let device = args.device.open()?;
    let mut run = RunManifest::start("demo");
    let data = args.out.join("scene");
    println!(
        "1. generating a scene of {0}×{0} pixels: 63 hyperspectral bands, surface and terrain heights, 12 classes",
        args.size
    );
    let config = SynthConfig { width: args.size, height: args.size, seed: args.seed, ..SynthConfig::default() };
    write(&generate(&config, Registry::builtin())?, &data)?;
    let file = args.out.join("recipe.toml");
    geoglot::core::atomic::write(&file, RECIPE.as_bytes())?;
    run.stage("scene");

    let tower = text::open_or_fallback(&args.text, &device)?;
    if let Some(notice) = &tower.notice {
        eprintln!("note: {notice}");
    }
    println!("2. words: text tower {}, every class described by prompts (scene/legend.toml)", tower.tower.space().name);
    let set = [
        format!("train.epochs={}", args.epochs),
        format!("train.seed={}", args.seed),
        format!(
            "text.tower={:?}",
            if tower.tower.space().name.starts_with("hashed") { "hashed-words" } else { &args.text }
        ),
    ];
    let recipe = Recipe::load(&file, &set)?;
    geoglot::core::atomic::write(&file, recipe.to_toml()?.as_bytes())?;
    let mut prepared = prepare(&recipe)?;
    // One fold is enough to show; `geoglot evaluate` on the same recipe runs all.
    prepared.splits.truncate(1);
    println!("3. {}", prepared.splits[0].describe());
    let text = TextSide::new(&recipe, &prepared, tower.tower.as_ref())?;
    run.stage("prepare");
    println!("4. training MMLGNet, then testing it beside a random forest and a classifier that sees coordinates only");
    let stop = interrupt_flag();
    let observer =
        |_: usize| -> Box<dyn geoglot::train::Observer> { Box::new(Progress::new("training", stop.clone())) };
    let evaluation = evaluate(&recipe, &prepared, &text, &args.out, false, &device, &mut run, observer)?;
    print_table(&evaluation.report);

    println!("5. mapping the whole scene");
    let inputs = ["hsi", "lidar"].map(|name| format!("{name}={}", input(&recipe, name)));
    let scene = Scene::open(&parse_scene(&inputs)?, Registry::builtin(), OpenOptions::default())?;
    let request = MapRequest { scores: true, confidence: true, ..MapRequest::default() };
    let mut pixels = Pixels::new("mapping");
    let model = args.out.join("fold-1");
    let result = map(&model, &scene, &request, &args.out.join("map"), &device, |done, all| pixels.set(done, all))?;
    drop(pixels);
    run.stage("map");
    run.save(&args.out)?;

    let seconds: f64 = run.seconds.values().sum();
    println!("\ndone in {seconds:.0} s. Open these:");
    println!("  report   {}", evaluation.files.html.display());
    println!("  picture  {}", result.preview.display());
    println!("  GeoTIFF  {} (classes, colours and names for QGIS)", result.classes.display());
    println!("next:");
    println!(
        "  geoglot map --model {} {} --classes {OTHER_WORDS:?} --out other-words",
        model.display(),
        scene_flags(&inputs)
    );
    println!("  geoglot evaluate {} --out all-folds", file.display());
    println!("  geoglot info YOUR.tif");
    Ok(())
}

fn input(recipe: &Recipe, name: &str) -> String {
    let text = &recipe.data.scene[0].inputs[name];
    recipe.folder.join("scene").join(text).display().to_string()
}

fn scene_flags(inputs: &[String]) -> String {
    inputs.iter().map(|i| format!("--scene {i}")).collect::<Vec<_>>().join(" ")
}
