//! `geoglot train RECIPE`.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use geoglot::core::{BandUse, RunManifest, atomic};
use geoglot::train::contrastive::PretrainRecipe;
use geoglot::train::llava::LlavaRecipe;
use geoglot::train::mae::MaskedRecipe;
use geoglot::train::open_segmentation::OpenRecipe;
use geoglot::train::recipe::Kind;
use geoglot::train::segmentation::SegmentRecipe;
use geoglot::train::{Ended, Recipe};
use geoglot::workflow::fold::{FoldPlace, TextSide, train_fold};
use geoglot::workflow::prepare::prepare;
use geoglot::workflow::text;

use super::common::{DeviceArg, Usage, interrupt_flag};
use super::progress::Progress;
use super::{llava, open_segmentation, pretrain, segmentation};

/// What every command with a recipe takes.
#[derive(Debug, Clone, ClapArgs)]
pub struct RecipeArgs {
    /// Recipe file (TOML)
    pub recipe: PathBuf,
    /// Override a value of the recipe, such as --set train.epochs=20 or, in lists by number or name, --set distill.0.weight=2
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
    pub fn load(&self) -> anyhow::Result<AnyRecipe> {
        let mut set = self.set.clone();
        let kind = Kind::of(&self.recipe);
        let seed = if kind == Kind::SpectralLlava { "seed" } else { "train.seed" };
        set.extend(self.seed.map(|s| format!("{seed}={s}")));
        Ok(match kind {
            Kind::LandCover => AnyRecipe::LandCover(Box::new(Recipe::load(&self.recipe, &set)?)),
            Kind::Segmentation => AnyRecipe::Segmentation(Box::new(SegmentRecipe::load(&self.recipe, &set)?)),
            Kind::OpenSegmentation => AnyRecipe::OpenSegmentation(Box::new(OpenRecipe::load(&self.recipe, &set)?)),
            Kind::Masked => AnyRecipe::Masked(Box::new(MaskedRecipe::load(&self.recipe, &set)?)),
            Kind::SpectralLlava => AnyRecipe::SpectralLlava(Box::new(LlavaRecipe::load(&self.recipe, &set)?)),
            Kind::ImageText => AnyRecipe::ImageText(Box::new(PretrainRecipe::load(&self.recipe, &set)?)),
        })
    }

    /// The output folder of a recipe of this name.
    pub fn out(&self, name: &str) -> PathBuf {
        self.out.clone().unwrap_or_else(|| PathBuf::from("out").join(name))
    }
}

/// A recipe of any kind.
pub enum AnyRecipe {
    /// Land cover with class prompts.
    LandCover(Box<Recipe>),
    /// A decode head on a frozen tower.
    Segmentation(Box<SegmentRecipe>),
    /// Maps of any words from optical and radar images.
    OpenSegmentation(Box<OpenRecipe>),
    /// An encoder of Sentinel-2 on masked tokens.
    Masked(Box<MaskedRecipe>),
    /// A language model that reads an image tower's tokens.
    SpectralLlava(Box<LlavaRecipe>),
    /// An any-band tower into the space of a text tower.
    ImageText(Box<PretrainRecipe>),
}

/// Arguments of `train`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Fold whose training pixels are used, from 1 (land cover and segmentation) [default: 1]
    #[arg(long)]
    fold: Option<usize>,
    #[command(flatten)]
    image_text: pretrain::Args,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let recipe = args.recipe.load()?;
    match &recipe {
        AnyRecipe::ImageText(recipe) if args.fold.is_none() => {
            return pretrain::train(&args.recipe, recipe, &args.image_text);
        }
        AnyRecipe::ImageText(_) => {
            return Err(Usage("--fold: image–text recipes ([[data.set]]) have no folds".into()).into());
        }
        _ => args.image_text.refuse()?,
    }
    let fold = args.fold.unwrap_or(1);
    match recipe {
        AnyRecipe::Segmentation(recipe) => segmentation::train(&args.recipe, &recipe, fold),
        AnyRecipe::Masked(recipe) => llava::train_masked(&args.recipe, &recipe),
        AnyRecipe::SpectralLlava(recipe) => llava::train(&args.recipe, &recipe),
        AnyRecipe::OpenSegmentation(recipe) => open_segmentation::train(&args.recipe, &recipe, fold),
        AnyRecipe::LandCover(recipe) => land_cover(&args.recipe, &recipe, fold),
        AnyRecipe::ImageText(_) => unreachable!("dealt with above"),
    }
}

fn land_cover(args: &RecipeArgs, recipe: &Recipe, fold: usize) -> anyhow::Result<()> {
    let device = args.device.open()?;
    let mut run = RunManifest::start("train");
    let out = args.out(&recipe.name);
    let prepared = prepare(recipe)?;
    print_bands(&prepared.bands);
    print_warnings(&prepared.warnings);
    let folds = prepared.splits.len();
    if fold == 0 || fold > folds {
        return Err(Usage(format!("--fold {fold}: the split has folds 1 to {folds}")).into());
    }
    let tower = text::open(&recipe.text.tower, &device)?;
    let text = TextSide::new(recipe, &prepared, tower.as_ref())?;
    eprintln!("{}", prepared.splits[fold - 1].describe());
    run.stage("prepare");
    let place = FoldPlace { folder: &out, resume: args.resume };
    let mut progress = Progress::new(&recipe.name, interrupt_flag());
    let model = train_fold(recipe, &prepared, fold - 1, &text, Some(place), &device, &mut progress)?;
    drop(progress);
    run.stage("train");
    if model.ended == Ended::Interrupted {
        anyhow::bail!("interrupted after {} epochs; continue with the same command and --resume", model.history.len());
    }
    run.seed = Some(recipe.train.seed);
    run.inputs.clone_from(&prepared.bands);
    run.model_hash = Some(model.hash.clone());
    run.split = Some(prepared.splits[fold - 1].describe());
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
    println!("next: geoglot map --model {} --scene …   or   geoglot evaluate {}", out.display(), args.recipe.display());
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
