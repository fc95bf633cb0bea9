//! `geoglot train RECIPE`.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use geoglot::core::{BandUse, RunManifest, atomic};
use geoglot::train::llava::LlavaRecipe;
use geoglot::train::mae::MaskedRecipe;
use geoglot::train::segmentation::SegmentRecipe;
use geoglot::train::{Ended, Recipe};
use geoglot::workflow::fold::{FoldPlace, TextSide, train_fold};
use geoglot::workflow::llava::{pretrain_spectral, train_llava};
use geoglot::workflow::prepare::prepare;
use geoglot::workflow::text;

use super::common::{DeviceArg, Usage, interrupt_flag};
use super::progress::Progress;
use super::segmentation;

/// What every command with a recipe takes.
#[derive(Debug, Clone, ClapArgs)]
pub struct RecipeArgs {
    /// Recipe file (TOML)
    pub recipe: PathBuf,
    /// Override a value of the recipe, such as --set train.epochs=20
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Output folder [default: out/NAME]
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Continue an interrupted run; finished parts are kept
    #[arg(long)]
    pub resume: bool,
    /// Training seed instead of the recipe's
    #[arg(long)]
    pub seed: Option<u64>,
    /// cpu, cuda[:n] or vulkan[:n]
    #[arg(long, default_value = "cpu")]
    pub device: DeviceArg,
}

impl RecipeArgs {
    /// The recipe with its overrides.
    pub fn load(&self) -> anyhow::Result<Recipe> {
        let mut set = self.set.clone();
        set.extend(self.seed.map(|s| format!("train.seed={s}")));
        Ok(Recipe::load(&self.recipe, &set)?)
    }

    /// The recipe as one of segmentation, where it says that it is; `None` for the others.
    pub fn load_segmentation(&self) -> anyhow::Result<Option<SegmentRecipe>> {
        if !SegmentRecipe::recognises(&self.recipe) {
            return Ok(None);
        }
        let mut set = self.set.clone();
        set.extend(self.seed.map(|s| format!("train.seed={s}")));
        Ok(Some(SegmentRecipe::load(&self.recipe, &set)?))
    }

    /// The output folder.
    pub fn out(&self, recipe: &Recipe) -> PathBuf {
        self.out_named(&recipe.name)
    }

    /// The output folder of a recipe of this name.
    pub fn out_named(&self, name: &str) -> PathBuf {
        self.out.clone().unwrap_or_else(|| PathBuf::from("out").join(name))
    }
}

/// Arguments of `train`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Fold whose training pixels are used, from 1
    #[arg(long, default_value_t = 1)]
    fold: usize,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    if let Some(recipe) = args.recipe.load_segmentation()? {
        return segmentation::train(&args.recipe, &recipe, args.fold);
    }
    if MaskedRecipe::recognises(&args.recipe.recipe) || LlavaRecipe::recognises(&args.recipe.recipe) {
        return train_words(&args.recipe);
    }
    let device = args.recipe.device.open()?;
    let mut run = RunManifest::start("train");
    let recipe = args.recipe.load()?;
    let out = args.recipe.out(&recipe);
    let prepared = prepare(&recipe)?;
    print_bands(&prepared.bands);
    print_warnings(&prepared.warnings);
    let folds = prepared.splits.len();
    if args.fold == 0 || args.fold > folds {
        return Err(Usage(format!("--fold {}: the split has folds 1 to {folds}", args.fold)).into());
    }
    let tower = text::open(&recipe.text.tower, &device)?;
    let text = TextSide::new(&recipe, &prepared, tower.as_ref())?;
    eprintln!("{}", prepared.splits[args.fold - 1].describe());
    run.stage("prepare");
    let place = FoldPlace { folder: &out, resume: args.recipe.resume };
    let mut progress = Progress::new(&recipe.name, interrupt_flag());
    let model = train_fold(&recipe, &prepared, args.fold - 1, &text, Some(place), &device, &mut progress)?;
    drop(progress);
    run.stage("train");
    if model.ended == Ended::Interrupted {
        anyhow::bail!("interrupted after {} epochs; continue with the same command and --resume", model.history.len());
    }
    run.seed = Some(recipe.train.seed);
    run.inputs.clone_from(&prepared.bands);
    run.model_hash = Some(model.hash.clone());
    run.split = Some(prepared.splits[args.fold - 1].describe());
    run.results.insert("validation OA".into(), model.card.training["validation_oa"].clone());
    run.save(&out)?;
    atomic::write(&out.join("recipe.toml"), recipe.rooted()?.to_toml()?.as_bytes())?;
    println!("model: {} (SHA-256 {})", out.display(), model.hash);
    if let Some(oa) = model.card.training["validation_oa"].as_f64() {
        println!(
            "validation OA {:.2} % in epoch {} of {}",
            100.0 * oa,
            model.card.training["best_epoch"],
            model.history.len()
        );
    }
    println!(
        "next: geoglot map --model {} --scene …   or   geoglot evaluate {}",
        out.display(),
        args.recipe.recipe.display()
    );
    Ok(())
}

/// Trains an encoder on masked tokens, or projector and adapters of a model that answers in words.
fn train_words(args: &RecipeArgs) -> anyhow::Result<()> {
    let (device, mut run) = (args.device.open()?, RunManifest::start("train"));
    let registry = super::common::registry(None)?;
    let mut set = args.set.clone();
    if MaskedRecipe::recognises(&args.recipe) {
        set.extend(args.seed.map(|s| format!("train.seed={s}")));
        let recipe = MaskedRecipe::load(&args.recipe, &set)?;
        let out = args.out_named(&recipe.name);
        let mut progress = Progress::new(&recipe.name, interrupt_flag());
        let hash = pretrain_spectral(&recipe, &registry, &out, args.resume, &device, &mut run, &mut progress)?;
        drop(progress);
        println!("encoder: {} (SHA-256 {hash})", out.display());
        println!("next: name it as model.tower in a recipe of kind = \"spectral-llava\"");
        return Ok(());
    }
    set.extend(args.seed.map(|s| format!("seed={s}")));
    let recipe = LlavaRecipe::load(&args.recipe, &set)?;
    let out = args.out_named(&recipe.name);
    let mut progress = Progress::new(&recipe.name, interrupt_flag());
    let result = train_llava(&recipe, &registry, &out, args.resume, &device, &mut run, &mut progress)?;
    drop(progress);
    for ((name, stage), count) in result.stages.iter().zip(&result.conversations) {
        let loss = stage.history.last().map_or(f64::NAN, |e| e.loss);
        println!("{name}: {count} conversations, last loss {loss:.3}");
    }
    println!("model: {}", out.display());
    println!("next: geoglot describe SCENE --model {}", out.display());
    Ok(())
}

/// Prints which band of which file stands for what, shortened in the middle for many bands; `run.json` has all.
pub fn print_bands(inputs: &[BandUse]) {
    for input in inputs {
        let labels: Vec<String> = input
            .bands
            .iter()
            .map(|b| b.wavelength_um.map_or_else(|| b.label(), |w| format!("{} {w:.3} µm", b.label())))
            .collect();
        let shown = match labels.as_slice() {
            [first @ .., last] if labels.len() > 8 => format!("{}, …, {last}", first[..6].join(", ")),
            all => all.join(", "),
        };
        eprintln!("input {}: {} bands of {}: {shown}", input.input, labels.len(), input.path);
    }
}

/// Prints what the user should know about the files.
pub fn print_warnings(warnings: &[String]) {
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
}
