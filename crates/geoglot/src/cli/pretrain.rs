//! `geoglot pretrain RECIPE`.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use geoglot::core::{Registry, RunManifest};
use geoglot::train::contrastive::{PretrainRecipe, export_start};
use geoglot::workflow::pretrain::{Prepared, pretrain, start};
use geoglot::workflow::text;

use super::common::{interrupt_flag, registry};
use super::progress::Progress;
use super::train::{RecipeArgs, print_warnings};

/// Arguments of `pretrain`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Do not train: write first weights, text features and every step's batch to this folder, so that another program can train the same
    #[arg(long, value_name = "FOLDER")]
    export: Option<PathBuf>,
    /// A registry file with your own sensors
    #[arg(long)]
    sensors: Option<PathBuf>,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let device = args.recipe.device.open()?;
    let mut run = RunManifest::start("pretrain");
    let mut set = args.recipe.set.clone();
    set.extend(args.recipe.seed.map(|s| format!("train.seed={s}")));
    let recipe = PretrainRecipe::load(&args.recipe.recipe, &set)?;
    let sensors: Registry = registry(args.sensors.as_ref())?;
    let tower = text::open(&recipe.text.tower, &device)?;
    let prepared = Prepared::new(&recipe, &sensors, tower.as_ref())?;
    print_warnings(&prepared.warnings);
    for (set, bands) in prepared.sets.iter().zip(&prepared.bands) {
        let names: Vec<String> = bands.bands.iter().map(|b| b.label()).collect();
        eprintln!("{}: {} images, bands {}", set.0, set.1.len(), names.join(", "));
    }
    eprintln!("{} different texts in the space {}", prepared.texts.len(), prepared.space);
    run.stage("prepare");
    if let Some(folder) = &args.export {
        let config = recipe.model.config(prepared.space.width);
        export_start(folder, start(&recipe)?.as_ref(), &config, &prepared.data(), &recipe.train, &device)?;
        println!("first weights, texts and plan: {}", folder.display());
        return Ok(());
    }
    let out = args.recipe.out.clone().unwrap_or_else(|| PathBuf::from("out").join(&recipe.name));
    let mut progress = Progress::new(&recipe.name, interrupt_flag());
    let result = pretrain(&recipe, &prepared, &out, args.recipe.resume, &device, &mut run, &mut progress)?;
    drop(progress);
    println!("model: {} (SHA-256 {})", out.display(), result.hash);
    if let (Some(first), Some(last)) = (result.trained.history.first(), result.trained.history.last()) {
        println!(
            "loss {:.4} in the first epoch, {:.4} in the last; {} steps each",
            first.loss, last.loss, result.trained.steps_per_epoch
        );
    }
    println!("next: geoglot evaluate zero-shot --model {} --data …", out.display());
    Ok(())
}
