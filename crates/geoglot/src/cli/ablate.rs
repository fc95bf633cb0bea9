//! `geoglot ablate RECIPE`.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use geoglot::core::RunManifest;
use geoglot::eval::over_runs;
use geoglot::train::contrastive::PretrainRecipe;
use geoglot::train::{Observer, Recipe};
use geoglot::workflow::ablate::ablate;
use geoglot::workflow::ablate_towers::{TowerAblationRequest, ablate_towers};

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
    /// Only the variants of these names (image–text)
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

fn towers(args: &Args, recipe: &PretrainRecipe) -> anyhow::Result<()> {
    let device = args.recipe.device.open()?;
    let mut run = RunManifest::start("ablate");
    let all = recipe.variants()?;
    let known = || all.iter().map(|v| v.name.as_str()).collect::<Vec<_>>().join("; ");
    if let Some(name) = args.variants.iter().find(|n| all.iter().all(|v| v.name != **n)) {
        return Err(Usage(format!("--variant {name}: there is none; the variants are: {}", known())).into());
    }
    let chosen = |name: &String| args.variants.is_empty() || args.variants.contains(name);
    let variants: Vec<_> = all.iter().filter(|v| chosen(&v.name)).cloned().collect();
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
