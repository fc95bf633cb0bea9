//! `geoglot instruct MANIFEST…`: conversations for training a model that answers in words.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use geoglot::core::RunManifest;
use geoglot::data::instruct::InstructOptions;
use geoglot::workflow::llava::instruct;

use super::common::{Usage, registry, writable};
use super::embed::save_run_beside;
use super::progress::Pixels;
use super::train::print_warnings;

/// Arguments of `instruct`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Manifests of `geoglot caption` (captions.jsonl)
    #[arg(required = true, value_name = "MANIFEST")]
    manifests: Vec<PathBuf>,
    /// File to write (LLaVA's JSON)
    #[arg(long)]
    out: PathBuf,
    /// Answer every description with the class labels only, for alignment on labels
    #[arg(long)]
    labels_only: bool,
    /// Leave out what only spectra know: vegetation, water, snow, cloud and haze shares
    #[arg(long)]
    no_spectral: bool,
    /// Folder for pictures of the images' colours (PNG), named in the entries, for captioners that see nothing else
    #[arg(long)]
    previews: Option<PathBuf>,
    /// Seed of the wording
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// A registry file with your own sensors
    #[arg(long)]
    sensors: Option<PathBuf>,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    writable(&[("--out", &args.out)], args.manifests.iter().map(PathBuf::as_path))?;
    if args.out.extension().is_none_or(|e| e != "json") {
        return Err(Usage(format!("--out {}: LLaVA's format is a .json file", args.out.display())).into());
    }
    let mut run = RunManifest::start("instruct");
    let options = InstructOptions {
        spectral: !args.no_spectral,
        labels_only: args.labels_only,
        seed: args.seed,
        ..InstructOptions::default()
    };
    let registry = registry(args.sensors.as_ref())?;
    let mut bar = Pixels::new("conversations");
    let (count, warnings) =
        instruct(&args.manifests, &args.out, args.previews.as_deref(), &registry, options, |done, all| {
            bar.set(done, all);
        })?;
    drop(bar);
    print_warnings(&warnings);
    run.seed = Some(args.seed);
    run.results.insert("conversations".into(), count.into());
    save_run_beside(&run, &args.out)?;
    println!("{count} conversations: {}", args.out.display());
    Ok(())
}
