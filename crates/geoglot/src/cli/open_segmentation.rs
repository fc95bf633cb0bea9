//! Recipes of `kind = "open-segmentation"`: what `geoglot train` and `geoglot evaluate` do with them.

use geoglot::core::{RunManifest, atomic};
use geoglot::train::open_segmentation::OpenRecipe;
use geoglot::train::{Ended, Observer};
use geoglot::workflow::fold::FoldPlace;
use geoglot::workflow::open_segment::{self, Prepared, TextWords, prepare, train_fold};

use super::common::{Usage, interrupt_flag};
use super::evaluate::print_table;
use super::progress::Progress;
use super::train::{RecipeArgs, print_bands, print_warnings};

fn open(args: &RecipeArgs, recipe: &OpenRecipe) -> anyhow::Result<(Prepared, TextWords)> {
    let prepared = prepare(recipe)?;
    print_bands(&prepared.band_use);
    print_warnings(&prepared.warnings);
    let words = TextWords::new(recipe, &prepared, &args.device.open()?)?;
    Ok((prepared, words))
}

pub fn train(args: &RecipeArgs, recipe: &OpenRecipe, fold: usize) -> anyhow::Result<()> {
    let device = args.device.open()?;
    let mut run = RunManifest::start("train");
    let out = args.out(&recipe.name);
    let (prepared, words) = open(args, recipe)?;
    let folds = prepared.folds.len();
    if fold == 0 || fold > folds {
        return Err(Usage(format!("--fold {fold}: the split has folds 1 to {folds}")).into());
    }
    let sentence = prepared.folds[fold - 1].sentence.clone();
    eprintln!("{sentence}");
    run.stage("prepare");
    let place = FoldPlace { folder: &out, resume: args.resume };
    let mut progress = Progress::new(&recipe.name, interrupt_flag());
    let network = train_fold(recipe, &prepared, &words, fold - 1, place, &device, &mut progress)?;
    drop(progress);
    run.stage("train");
    if network.ended == Ended::Interrupted {
        anyhow::bail!(
            "interrupted after {} epochs; continue with the same command and --resume",
            network.history.len()
        );
    }
    let card = &network.model.card;
    run.seed = Some(recipe.train.seed);
    run.inputs.clone_from(&prepared.band_use);
    run.model_hash = Some(card.weights_sha256.clone());
    run.split = Some(sentence);
    run.results.insert("training tiles".into(), network.tiles.into());
    for (name, key) in [("validation OA", "validation_oa"), ("validation mIoU", "validation_miou")] {
        run.results.insert(name.into(), card.training[key].clone());
    }
    run.save(&out)?;
    atomic::write(&out.join("recipe.toml"), recipe.to_toml()?.as_bytes())?;
    println!("model: {} (SHA-256 {})", out.display(), card.weights_sha256);
    if let Some(miou) = card.training["validation_miou"].as_f64() {
        println!("validation mIoU {:.2} % in epoch {} of {}", 100.0 * miou, network.best_epoch, network.history.len());
    }
    println!(
        "next: geoglot segment --model {} --scene optical=… --scene sar=… --classes \"water; …\" --out mask.tif   or   geoglot evaluate {}",
        out.display(),
        args.recipe.display()
    );
    Ok(())
}

pub fn evaluate(args: &RecipeArgs, recipe: &OpenRecipe, json: bool) -> anyhow::Result<()> {
    let device = args.device.open()?;
    let mut run = RunManifest::start("evaluate");
    let out = args.out(&recipe.name);
    let (prepared, words) = open(args, recipe)?;
    for fold in &prepared.folds {
        eprintln!("{}", fold.sentence);
    }
    run.stage("prepare");
    let stop = interrupt_flag();
    let folds = prepared.folds.len();
    let observer = |fold: usize| -> Box<dyn Observer> {
        Box::new(Progress::new(format!("fold {} of {folds}", fold + 1), stop.clone()))
    };
    let result = open_segment::evaluate(recipe, &prepared, &words, &out, args.resume, &device, &mut run, observer)?;
    if json {
        println!("{}", std::fs::read_to_string(&result.files.json)?);
        return Ok(());
    }
    print_table(&result.report);
    for (name, value) in result.report.facts.iter().filter(|(name, _)| name.starts_with("mIoU of")) {
        println!("{name}: {value}");
    }
    println!("report: {}", result.files.html.display());
    Ok(())
}
