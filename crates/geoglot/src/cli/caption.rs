//! `geoglot caption RECIPE` and `geoglot caption --check MANIFEST`.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use anyhow::bail;
use clap::Args as ClapArgs;
use geoglot::core::RunManifest;
use geoglot::data::captions::read_manifest;
use geoglot::workflow::captions::{caption, disagreements, load, report};

use super::common::{interrupt_flag, registry};
use super::progress::Pixels;
use super::train::print_warnings;

/// Arguments of `caption`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Recipe file (TOML)
    #[arg(required_unless_present = "check")]
    recipe: Option<PathBuf>,
    /// Override a value of the recipe, such as --set paraphrases=5
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Output folder [default: out/NAME]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Continue an interrupted run; captions made are kept
    #[arg(long)]
    resume: bool,
    /// Seed of the wording instead of the recipe's
    #[arg(long)]
    seed: Option<u64>,
    /// Do not caption: check every number in the captions of this manifest against its facts
    #[arg(long, value_name = "MANIFEST", conflicts_with_all = ["recipe", "set", "out", "resume", "seed"])]
    check: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// A registry file with your own sensors
    #[arg(long)]
    sensors: Option<PathBuf>,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    if let Some(manifest) = &args.check {
        return check(manifest, args.json);
    }
    let mut run = RunManifest::start("caption");
    let mut set = args.set.clone();
    set.extend(args.seed.map(|s| format!("seed={s}")));
    let path = args.recipe.as_deref().unwrap_or(Path::new("recipe.toml"));
    let loaded = load(path, &set)?;
    let sensors = registry(args.sensors.as_ref())?;
    let job = loaded.job(&sensors)?;
    run.seed = Some(loaded.recipe.seed);
    run.stage("find images");
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from("out").join(&loaded.recipe.name));
    let stop = interrupt_flag();
    let mut bar = Pixels::new("captions");
    let built = caption(&job, &out, args.resume, &mut run, &mut |done, all| {
        bar.set(done, all);
        !stop.load(Ordering::SeqCst)
    })?;
    drop(bar);
    print_warnings(&built.warnings);
    let mut report = report(&loaded.recipe, &built, &sensors);
    run.stage("report");
    report.add_run(&run);
    report.write(&out)?;
    run.save(&out)?;
    let statistics = &built.statistics;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&run.results)?);
        return Ok(());
    }
    println!(
        "{}: {} images, {} short and {} long captions, every number checked",
        out.join("captions.jsonl").display(),
        statistics.images,
        statistics.short.captions,
        statistics.long.captions
    );
    for image in built.images.iter().take(3) {
        println!("  {}: {}", image.key, image.short.first().map_or("", String::as_str));
    }
    println!("report: {}", out.join("report.html").display());
    Ok(())
}

fn check(manifest: &Path, json: bool) -> anyhow::Result<()> {
    let images = read_manifest(manifest)?;
    let captions: usize = images.iter().map(|i| i.short.len() + i.long.len()).sum();
    let wrong = disagreements(&images);
    if json {
        let result = serde_json::json!({ "images": images.len(), "captions": captions, "disagreements": wrong });
        println!("{}", serde_json::to_string_pretty(&result)?);
    } else {
        wrong.iter().for_each(|w| println!("{w}"));
        println!("{}: {} images, {captions} captions, {} wrong numbers", manifest.display(), images.len(), wrong.len());
    }
    if !wrong.is_empty() {
        bail!("{}: {} numbers disagree with the facts", manifest.display(), wrong.len());
    }
    Ok(())
}
