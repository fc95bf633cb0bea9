//! Recipes of image–text training (`[[data.set]]`): what `geoglot train` does with them.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use geoglot::core::{Registry, RunManifest};
use geoglot::train::contrastive::{PretrainRecipe, export_start};
use geoglot::workflow::pretrain::{Prepared, pretrain, start};
use geoglot::workflow::text;

use super::common::{Usage, interrupt_flag, registry};
use super::progress::Progress;
use super::train::{RecipeArgs, print_warnings};

/// What `train` takes for these recipes alone.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Do not train: write first weights, text features and every step's batch to this folder, so that another program can train the same
    /// (image–text)
    #[arg(long, value_name = "FOLDER")]
    export: Option<PathBuf>,
    /// A registry file with your own sensors (image–text; other recipes name it in data.sensors)
    #[arg(long)]
    sensors: Option<PathBuf>,
    /// Devices that share each step, from --device on: cuda:0 and 2 are cuda:0 and cuda:1 (image–text) [default: 1]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=64))]
    devices: Option<u64>,
}

impl Args {
    /// Refuses them for recipes of other kinds.
    pub fn refuse(&self) -> anyhow::Result<()> {
        let given = [
            ("--export", self.export.is_some()),
            ("--sensors", self.sensors.is_some()),
            ("--devices", self.devices.is_some()),
        ];
        match given.iter().find(|g| g.1) {
            Some((name, _)) => {
                Err(Usage(format!("{name} is for image–text recipes; this one has no [[data.set]]")).into())
            }
            None => Ok(()),
        }
    }
}

/// Opens sets and texts of a recipe and says what they are.
pub fn open(args: &RecipeArgs, recipe: &PretrainRecipe, sensors: &Registry) -> anyhow::Result<Prepared> {
    let tower = text::open(&recipe.text.tower, &args.device.open()?)?;
    let prepared = Prepared::new(recipe, sensors, tower.as_ref())?;
    print_warnings(&prepared.warnings);
    for (set, bands) in prepared.sets.iter().zip(&prepared.bands) {
        let names: Vec<String> = bands.bands.iter().map(|b| b.label()).collect();
        eprintln!("{}: {} images, bands {}", set.0, set.1.len(), names.join(", "));
    }
    eprintln!("{} different texts in the space {}", prepared.texts.len(), prepared.space);
    Ok(prepared)
}

pub fn train(args: &RecipeArgs, recipe: &PretrainRecipe, own: &Args) -> anyhow::Result<()> {
    let devices = args.device.open_many(own.devices.unwrap_or(1) as usize)?;
    let mut run = RunManifest::start("train");
    let prepared = open(args, recipe, &registry(own.sensors.as_ref())?)?;
    run.stage("prepare");
    if let Some(folder) = &own.export {
        let config = recipe.model.config(prepared.space.width);
        export_start(folder, start(recipe)?.as_ref(), &config, &prepared.data(), &recipe.train, &devices[0])?;
        println!("first weights, texts and plan: {}", folder.display());
        return Ok(());
    }
    let out = args.out(&recipe.name);
    let mut progress = Progress::new(&recipe.name, interrupt_flag());
    let result = pretrain(recipe, &prepared, &out, args.resume, &devices, &mut run, &mut progress)?;
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
