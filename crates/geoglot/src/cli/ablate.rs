//! `geoglot ablate RECIPE`.

use clap::Args as ClapArgs;
use geoglot::core::RunManifest;
use geoglot::eval::over_runs;
use geoglot::workflow::ablate::ablate;

use super::common::interrupt_flag;
use super::progress::Progress;
use super::train::{AnyRecipe, RecipeArgs};

/// Arguments of `ablate`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let device = args.recipe.device.open()?;
    let mut run = RunManifest::start("ablate");
    let AnyRecipe::LandCover(recipe) = args.recipe.load()? else {
        anyhow::bail!("{}: ablations are of land-cover recipes", args.recipe.recipe.display())
    };
    let out = args.recipe.out.clone().unwrap_or_else(|| args.recipe.out(&recipe.name).join("ablation"));
    let stop = interrupt_flag();
    let observer = |title: &str| -> Box<dyn geoglot::train::Observer> { Box::new(Progress::new(title, stop.clone())) };
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
