//! `geoglot ablate RECIPE`.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use geoglot::core::RunManifest;
use geoglot::eval::over_runs;
use geoglot::train::contrastive::PretrainRecipe;
use geoglot::train::open_segmentation::OpenRecipe;
use geoglot::train::{Observer, Recipe};
use geoglot::workflow::ablate::ablate;
use geoglot::workflow::ablate_towers::{TowerAblationRequest, ablate_towers};
use geoglot::workflow::open_segment;

use super::common::{Usage, interrupt_flag, registry};
use super::progress::Progress;
use super::train::{AnyRecipe, RecipeArgs};

/// Arguments of `ablate`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Trainings of every variant, with the recipe's seed and those after it
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: Option<u64>,
    /// Only the variants of these names (image–text, open segmentation)
    #[arg(long = "variant", value_name = "NAME")]
    variants: Vec<String>,
    /// A registry file with your own sensors (image–text; other recipes name it in data.sensors)
    #[arg(long)]
    sensors: Option<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    match args.recipe.load()? {
        AnyRecipe::ImageText(recipe) => towers(&args, &recipe),
        AnyRecipe::LandCover(recipe) => {
            if !args.variants.is_empty() || args.sensors.is_some() {
                return Err(Usage("--variant and --sensors are for image–text recipes ([[data.set]])".into()).into());
            }
            land_cover(&args, *recipe)
        }
        AnyRecipe::OpenSegmentation(recipe) => open_segmentation(&args, &recipe),
        _ => {
            Err(Usage("there are no ablations of recipes of this kind; compare runs of `geoglot evaluate`".into())
                .into())
        }
    }
}

fn land_cover(args: &Args, mut recipe: Recipe) -> anyhow::Result<()> {
    let device = args.recipe.device.open()?;
    let mut run = RunManifest::start("ablate");
    if let Some(count) = args.seeds {
        recipe.ablation.seeds = (0..count).map(|k| recipe.train.seed.wrapping_add(k)).collect();
    }
    let out = args.recipe.out.clone().unwrap_or_else(|| args.recipe.out(&recipe.name).join("ablation"));
    let stop = interrupt_flag();
    let observer = |title: &str| -> Box<dyn Observer> { Box::new(Progress::new(title, stop.clone())) };
    let (report, files) = ablate(&recipe, &out, args.recipe.resume, &device, &mut run, observer)?;
    if args.json {
        println!("{}", std::fs::read_to_string(&files.json)?);
        return Ok(());
    }
    for table in &report.tables {
        println!("{}", table.title);
        println!("  {:<24} {:>15} {:>15} {:>17}", table.varied, "OA %", "AA %", "kappa");
        for row in &table.rows {
            let [oa, aa, kappa] = over_runs(&row.runs);
            let cell = |v: Option<(f64, f64)>, factor: f64, digits: usize| match v {
                None => "–".into(),
                Some((mean, _)) if row.runs.len() < 2 => format!("{:.digits$}", factor * mean),
                Some((mean, std)) => format!("{:.digits$} ± {:.digits$}", factor * mean, factor * std),
            };
            println!(
                "  {:<24} {:>15} {:>15} {:>17}",
                row.variant,
                cell(oa, 100.0, 2),
                cell(aa, 100.0, 2),
                cell(kappa, 1.0, 4)
            );
        }
    }
    println!("report: {}", files.html.display());
    Ok(())
}

fn open_segmentation(args: &Args, recipe: &OpenRecipe) -> anyhow::Result<()> {
    if args.sensors.is_some() {
        return Err(Usage("--sensors is for image–text recipes; this one names the file in data.sensors".into()).into());
    }
    let device = args.recipe.device.open()?;
    let mut run = RunManifest::start("ablate");
    let variants = chosen(open_segment::variants(recipe), |v| &v.name, &args.variants)?;
    let out = args.recipe.out.clone().unwrap_or_else(|| args.recipe.out(&recipe.name).join("ablation"));
    let stop = interrupt_flag();
    let observer = |title: &str| -> Box<dyn Observer> { Box::new(Progress::new(title, stop.clone())) };
    let request = open_segment::AblationRequest {
        recipe,
        variants: &variants,
        seeds: args.seeds.unwrap_or(1) as usize,
        resume: args.recipe.resume,
        device: &device,
    };
    let table = open_segment::ablate(&request, &out, &mut run, observer)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&table)?);
        return Ok(());
    }
    print!("{}", table.text());
    println!("table: {}", out.join("ablation.txt").display());
    Ok(())
}

/// The variants called `names`, or all of them.
fn chosen<T>(all: Vec<T>, name: impl Fn(&T) -> &String, names: &[String]) -> anyhow::Result<Vec<T>> {
    if let Some(unknown) = names.iter().find(|n| all.iter().all(|v| name(v) != *n)) {
        let known = all.iter().map(|v| name(v).as_str()).collect::<Vec<_>>().join("; ");
        return Err(Usage(format!("--variant {unknown}: there is none; the variants are: {known}")).into());
    }
    Ok(all.into_iter().filter(|v| names.is_empty() || names.contains(name(v))).collect())
}

fn towers(args: &Args, recipe: &PretrainRecipe) -> anyhow::Result<()> {
    let device = args.recipe.device.open()?;
    let mut run = RunManifest::start("ablate");
    let variants = chosen(recipe.variants()?, |v| &v.name, &args.variants)?;
    let out = args.recipe.out.clone().unwrap_or_else(|| args.recipe.out(&recipe.name).join("ablation"));
    let stop = interrupt_flag();
    let observer = |title: &str| -> Box<dyn Observer> { Box::new(Progress::new(title, stop.clone())) };
    let request = TowerAblationRequest {
        recipe,
        variants: &variants,
        seeds: args.seeds.unwrap_or(1) as usize,
        registry: &registry(args.sensors.as_ref())?,
        resume: args.recipe.resume,
        device: &device,
    };
    let table = ablate_towers(&request, &out, &mut run, observer)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&table)?);
        return Ok(());
    }
    print!("{}", table.text());
    println!("table: {}", out.join("ablation.txt").display());
    Ok(())
}
