//! `geoglot evaluate RECIPE`, and the protocols `geoglot evaluate zero-shot|…`.

use clap::Args as ClapArgs;
use geoglot::core::RunManifest;
use geoglot::eval::{Interval, Report};
use geoglot::workflow::evaluate::evaluate;
use geoglot::workflow::fold::TextSide;
use geoglot::workflow::prepare::prepare;
use geoglot::workflow::text;

use super::common::{Usage, interrupt_flag};
use super::progress::Progress;
use super::train::{AnyRecipe, RecipeArgs, print_bands, print_warnings};
use super::{open_segmentation, protocols, segmentation};

/// Arguments of `evaluate`.
#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, subcommand_value_name = "PROTOCOL")]
pub struct Args {
    #[command(subcommand)]
    protocol: Option<protocols::Command>,
    #[command(flatten)]
    recipe: Option<RecipeArgs>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    match (args.protocol, args.recipe) {
        (Some(protocol), _) => protocols::run(protocol),
        (None, Some(recipe)) => evaluate_recipe(recipe, args.json),
        (None, None) => Err(Usage(
            "give a recipe, or a protocol: zero-shot, retrieval, multilabel, probe, knn, alignment or captions".into(),
        )
        .into()),
    }
}

fn evaluate_recipe(args: RecipeArgs, json: bool) -> anyhow::Result<()> {
    let recipe = match args.load()? {
        AnyRecipe::LandCover(recipe) => recipe,
        AnyRecipe::Segmentation(recipe) => return segmentation::evaluate(&args, &recipe, json),
        AnyRecipe::OpenSegmentation(recipe) => return open_segmentation::evaluate(&args, &recipe, json),
        AnyRecipe::Masked(_) | AnyRecipe::SpectralLlava(_) => {
            return Err(Usage(
                "this recipe has no folds to score; train it, then geoglot evaluate probe, alignment or captions"
                    .into(),
            )
            .into());
        }
        AnyRecipe::ImageText(recipe) => {
            return Err(Usage(format!(
                "an image–text recipe has no folds to score; train it, then geoglot evaluate zero-shot --model out/{} --data …",
                recipe.name
            ))
            .into());
        }
    };
    let device = args.device.open()?;
    let mut run = RunManifest::start("evaluate");
    let out = args.out(&recipe.name);
    let prepared = prepare(&recipe)?;
    print_bands(&prepared.bands);
    print_warnings(&prepared.warnings);
    let tower = text::open(&recipe.text.tower, &device)?;
    let text = TextSide::new(&recipe, &prepared, tower.as_ref())?;
    for split in &prepared.splits {
        eprintln!("{}", split.describe());
    }
    run.stage("prepare");
    let stop = interrupt_flag();
    let folds = prepared.splits.len();
    let observer = |fold: usize| -> Box<dyn geoglot::train::Observer> {
        Box::new(Progress::new(format!("fold {} of {folds}", fold + 1), stop.clone()))
    };
    let result = evaluate(&recipe, &prepared, &text, &out, args.resume, &device, &mut run, observer)?;
    if json {
        println!("{}", std::fs::read_to_string(&result.files.json)?);
    } else {
        print_table(&result.report);
        println!("report: {}", result.files.html.display());
    }
    Ok(())
}

/// The table of methods.
pub fn print_table(report: &Report) {
    let figure = |v: Option<Interval>, factor: f64| {
        v.map_or_else(
            || "–".into(),
            |v| format!("{:6.2} ({:.2}–{:.2})", factor * v.value, factor * v.low, factor * v.high),
        )
    };
    println!("{} — {}", report.title, report.split.sentence);
    println!("{:<28} {:<22} {:<22} {:<22} {:<22}", "method", "OA %", "AA %", "kappa", "mIoU %");
    for method in &report.methods {
        let s = &method.scores;
        println!(
            "{:<28} {:<22} {:<22} {:<22} {:<22}",
            method.name,
            figure(s.oa, 100.0),
            figure(s.aa, 100.0),
            figure(s.kappa, 1.0),
            figure(s.mean_iou, 100.0)
        );
    }
    for note in report.notes() {
        println!("note: {note}");
    }
}
