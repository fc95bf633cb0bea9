//! Recipes of `kind = "segmentation"`: what `geoglot train` and `geoglot evaluate` do with them.

use geoglot::core::{RunManifest, atomic};
use geoglot::train::segmentation::{Features, SegmentRecipe};
use geoglot::train::{Ended, Observer};
use geoglot::workflow::fold::FoldPlace;
use geoglot::workflow::segment::{self, Prepared, Setting, TileSet, feature_options, prepare, train_fold};

use super::common::{Usage, interrupt_flag};
use super::evaluate::print_table;
use super::progress::{Pixels, Progress};
use super::train::{RecipeArgs, print_bands, print_warnings};

fn open(args: &RecipeArgs, recipe: &SegmentRecipe) -> anyhow::Result<(Setting, Prepared)> {
    let setting = Setting::new(recipe, &args.device.open()?)?;
    eprintln!(
        "image tower {}: blocks {:?} of {}, tiles of {} px seen as {} px",
        setting.name,
        setting.taps,
        setting.tower.depth(),
        setting.tile,
        setting.input
    );
    let prepared = prepare(recipe, &setting)?;
    print_bands(&prepared.band_use);
    print_warnings(&prepared.warnings);
    Ok((setting, prepared))
}

pub fn train(args: &RecipeArgs, recipe: &SegmentRecipe, fold: usize) -> anyhow::Result<()> {
    let device = args.device.open()?;
    let mut run = RunManifest::start("train");
    let out = args.out(&recipe.name);
    let (setting, prepared) = open(args, recipe)?;
    let folds = prepared.folds.len();
    if fold == 0 || fold > folds {
        return Err(Usage(format!("--fold {fold}: the split has folds 1 to {folds}")).into());
    }
    let sentence = prepared.folds[fold - 1].sentence.clone();
    eprintln!("{sentence}");
    run.stage("prepare");
    let tiles = TileSet::new(&prepared, &setting);
    let mut bar = Pixels::new("image tower");
    let options = feature_options(recipe, &out);
    let features = Features::prepare(setting.tower.as_ref(), &tiles, setting.taps, options, |k, n| bar.set(k, n))?;
    drop(bar);
    run.stage("features");
    let place = FoldPlace { folder: &out, resume: args.resume };
    let mut progress = Progress::new(&recipe.name, interrupt_flag());
    let model = train_fold(recipe, &setting, &prepared, &tiles, &features, fold - 1, place, &device, &mut progress)?;
    drop(progress);
    run.stage("train");
    if model.ended == Ended::Interrupted {
        anyhow::bail!("interrupted after {} epochs; continue with the same command and --resume", model.history.len());
    }
    features.remove();
    run.seed = Some(recipe.train.seed);
    run.inputs.clone_from(&prepared.band_use);
    run.model_hash = Some(model.card.weights_sha256.clone());
    run.split = Some(sentence);
    run.results.insert("training tiles".into(), model.tiles.into());
    for (name, key) in [("validation OA", "validation_oa"), ("validation mIoU", "validation_miou")] {
        run.results.insert(name.into(), model.card.training[key].clone());
    }
    run.save(&out)?;
    atomic::write(&out.join("recipe.toml"), recipe.to_toml()?.as_bytes())?;
    println!("model: {} (SHA-256 {})", out.display(), model.card.weights_sha256);
    if let Some(miou) = model.card.training["validation_miou"].as_f64() {
        println!("validation mIoU {:.2} % in epoch {} of {}", 100.0 * miou, model.best_epoch, model.history.len());
    }
    println!("next: geoglot map --model {} --scene …   or   geoglot evaluate {}", out.display(), args.recipe.display());
    Ok(())
}

pub fn evaluate(args: &RecipeArgs, recipe: &SegmentRecipe, json: bool) -> anyhow::Result<()> {
    let device = args.device.open()?;
    let mut run = RunManifest::start("evaluate");
    let out = args.out(&recipe.name);
    let (setting, prepared) = open(args, recipe)?;
    for fold in &prepared.folds {
        eprintln!("{}", fold.sentence);
    }
    run.stage("prepare");
    let stop = interrupt_flag();
    let folds = prepared.folds.len();
    let observer = |fold: usize| -> Box<dyn Observer> {
        Box::new(Progress::new(format!("fold {} of {folds}", fold + 1), stop.clone()))
    };
    let mut bar = Pixels::new("image tower");
    let result =
        segment::evaluate(recipe, &setting, &prepared, &out, args.resume, &device, &mut run, observer, |k, n| {
            bar.set(k, n)
        })?;
    drop(bar);
    if json {
        println!("{}", std::fs::read_to_string(&result.files.json)?);
    } else {
        print_table(&result.report);
        println!("report: {}", result.files.html.display());
    }
    Ok(())
}
