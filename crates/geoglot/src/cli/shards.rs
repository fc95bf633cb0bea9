//! `geoglot shards write|info|verify`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::bail;
use clap::{Args as ClapArgs, Subcommand};
use geoglot::core::RunManifest;
use geoglot::data::datasets::{Dataset, DatasetOptions, Format, Split};
use geoglot::data::shards::{
    DatasetSource, ManifestSource, Modality, OnFault, ReadOptions, SampleSource, ShardFolder, ShardIndex, WriteOptions,
    verify, write_shards,
};
use geoglot::train::contrastive::PretrainRecipe;
use geoglot::workflow::pretrain::teach_shards;
use serde_json::json;

use super::common::{DeviceArg, interrupt_flag, registry};
use super::progress::Pixels;

/// Arguments of `shards`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a data set, or the images a captions.jsonl lists, as WebDataset shards
    Write(Write),
    /// Copy the shards a recipe trains on, with what its teachers say of each image
    Teach(Teach),
    /// Say what a folder of shards holds
    Info(Folder),
    /// Read every sample of a folder of shards and compare with its index
    Verify(Folder),
}

/// Arguments of `shards write`.
#[derive(Debug, ClapArgs)]
struct Write {
    /// Data set: folder or list file, or a list of captions (.jsonl)
    data: PathBuf,
    /// Folder to write
    #[arg(long)]
    out: PathBuf,
    /// Most samples of a shard
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    samples: u64,
    /// Most MiB of a shard
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..))]
    mib: u64,
    /// Continue an interrupted job
    #[arg(long)]
    resume: bool,
    /// Leave faulty items out with a warning
    #[arg(long)]
    skip_faulty: bool,
    /// Part of the data set: train, validation, test [default: everything]
    #[arg(long)]
    split: Option<Split>,
    /// Layout of the data set, where it cannot be told from the folder
    #[arg(long)]
    format: Option<Format>,
    /// Folder of the images, where it is not beside the list
    #[arg(long)]
    images: Option<PathBuf>,
    /// Sensor of the images, where it cannot be told from them
    #[arg(long)]
    sensor: Option<String>,
    /// Order in which the images store the sensor's bands
    #[arg(long)]
    layout: Option<String>,
    /// A registry file with your own sensors
    #[arg(long)]
    sensors: Option<PathBuf>,
    /// Print the index as JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `shards teach`.
#[derive(Debug, ClapArgs)]
struct Teach {
    /// Recipe of image-text training with one data set, a folder of shards, and [[distill]] sections
    recipe: PathBuf,
    /// Folder to write
    #[arg(long)]
    out: PathBuf,
    /// Another value for a key of the recipe, key.path=value
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Continue an interrupted job
    #[arg(long)]
    resume: bool,
    /// A registry file with your own sensors
    #[arg(long)]
    sensors: Option<PathBuf>,
    /// cpu, cuda[:n] or vulkan[:n]
    #[arg(long, default_value = "cpu")]
    device: DeviceArg,
}

/// Arguments of `shards info` and `shards verify`.
#[derive(Debug, ClapArgs)]
struct Folder {
    /// Folder of shards, with or without shards.json, or one tar file
    folder: PathBuf,
    /// Samples need no text
    #[arg(long)]
    no_text: bool,
    /// Suffix of the image where samples have several
    #[arg(long)]
    image: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::Write(args) => write(args),
        Command::Teach(args) => teach(&args),
        Command::Info(args) => info(&args),
        Command::Verify(args) => check(&args),
    }
}

/// The list of captions that `data` is or holds.
fn captions(data: &Path) -> Option<PathBuf> {
    let inside = data.join("captions.jsonl");
    match data.extension().is_some_and(|e| e.eq_ignore_ascii_case("jsonl")) {
        true => Some(data.into()),
        false => inside.is_file().then_some(inside),
    }
}

fn write(args: Write) -> anyhow::Result<()> {
    let mut run = RunManifest::start("shards write");
    let sensors = Arc::new(registry(args.sensors.as_ref())?);
    let on_fault = if args.skip_faulty { OnFault::Skip } else { OnFault::Fail };
    let source: Box<dyn SampleSource> = match captions(&args.data) {
        Some(list) if args.format.is_none() => {
            Box::new(ManifestSource::open(&list, args.sensor, args.layout, sensors)?)
        }
        _ => {
            let options = DatasetOptions {
                format: args.format,
                images: args.images,
                skip_faulty: args.skip_faulty,
                sensor: args.sensor,
                layout: args.layout,
                registry: sensors,
                ..DatasetOptions::default()
            };
            let set = Dataset::open(&args.data, &options)?;
            set.warnings().iter().for_each(|w| eprintln!("note: {w}"));
            let items = set.indices(args.split);
            if items.is_empty() {
                let parts: Vec<String> = set.splits().iter().map(Split::to_string).collect();
                bail!("{}: no item is in that part; the set has {}", args.data.display(), parts.join(", "));
            }
            Box::new(DatasetSource::new(set, items))
        }
    };
    run.stage("open");
    let options = WriteOptions { samples: args.samples, bytes: args.mib << 20, resume: args.resume };
    let (stop, mut bar) = (interrupt_flag(), Pixels::new("writing shards"));
    let mut progress = |done: usize, all: usize| {
        bar.set(done, all);
        !stop.load(Ordering::SeqCst)
    };
    let index = write_shards(source.as_ref(), &args.out, options, on_fault, &mut progress)?;
    drop(bar);
    let Some(index) = index else { bail!("interrupted; continue with the same command and --resume") };
    run.stage("write");
    run.results.insert("samples".into(), index.samples().into());
    run.results.insert("skipped".into(), index.skipped.into());
    run.save(&args.out)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&index)?);
    } else {
        print_index(&args.out, &index);
        println!("next: geoglot shards verify {}", args.out.display());
    }
    Ok(())
}

fn teach(args: &Teach) -> anyhow::Result<()> {
    let mut run = RunManifest::start("shards teach");
    let recipe = PretrainRecipe::load(&args.recipe, &args.overrides)?;
    let device = args.device.open()?;
    let options = WriteOptions { resume: args.resume, ..WriteOptions::default() };
    let mut bar = Pixels::new("teachers");
    let sensors = registry(args.sensors.as_ref())?;
    let index = teach_shards(&recipe, &args.out, &sensors, options, &device, |done, all| bar.set(done, all))?;
    drop(bar);
    run.stage("teachers");
    run.results.insert("samples".into(), index.samples().into());
    run.save(&args.out)?;
    print_index(&args.out, &index);
    println!("next: geoglot train with this folder as data.set.0.path and `stored = true` in each [[distill]]");
    Ok(())
}

fn print_index(folder: &Path, index: &ShardIndex) {
    let bytes: u64 = index.shards.iter().map(|s| s.bytes).sum();
    let kinds: Vec<(Modality, u64)> = index.modalities.iter().map(|m| (m.modality(), m.samples)).collect();
    print_counts(folder, index.shards.len(), index.samples(), bytes, &kinds);
    if index.skipped > 0 {
        println!("left out as faulty: {}", index.skipped);
    }
    if !index.complete {
        println!("note: the job that writes these shards did not end; repeat it with --resume");
    }
}

fn print_counts(folder: &Path, shards: usize, samples: u64, bytes: u64, kinds: &[(Modality, u64)]) {
    let mib = bytes as f64 / f64::from(1 << 20);
    println!("{}: {samples} samples in {shards} shards, {mib:.1} MiB", folder.display());
    kinds.iter().for_each(|(modality, count)| println!("{count} of {modality}"));
}

impl Folder {
    fn options(&self) -> ReadOptions {
        ReadOptions { need_text: !self.no_text, image: self.image.clone(), ..ReadOptions::default() }
    }
}

fn info(args: &Folder) -> anyhow::Result<()> {
    let folder = ShardFolder::open(&args.folder)?;
    if let Some(index) = folder.index() {
        match args.json {
            true => println!("{}", serde_json::to_string_pretty(index)?),
            false => print_index(&args.folder, index),
        }
        return Ok(());
    }
    let catalogue = folder.catalogue(&args.options(), OnFault::Skip)?;
    let entries = catalogue.entries();
    let count = |k: usize| entries.iter().filter(|e| e.modality == k).count() as u64;
    let kinds: Vec<_> = catalogue.modalities().iter().cloned().enumerate().map(|(k, m)| (m, count(k))).collect();
    let mut bytes = 0;
    for shard in folder.shards() {
        bytes += std::fs::metadata(shard)?.len();
    }
    if args.json {
        let kinds: Vec<_> = kinds.iter().map(|(m, n)| json!({ "modality": m.to_string(), "samples": n })).collect();
        let all = json!({ "shards": folder.shards().len(), "samples": entries.len(), "bytes": bytes,
                          "faults": catalogue.faults(), "modalities": kinds });
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        print_counts(&args.folder, folder.shards().len(), entries.len() as u64, bytes, &kinds);
        if catalogue.faults() > 0 {
            println!("note: {} samples or shards are faulty; `geoglot shards verify` names them", catalogue.faults());
        }
    }
    Ok(())
}

fn check(args: &Folder) -> anyhow::Result<()> {
    let folder = ShardFolder::open(&args.folder)?;
    let report = verify(&folder, &args.options())?;
    if args.json {
        let kinds: Vec<_> =
            report.modalities.iter().map(|(m, n)| json!({ "modality": m.to_string(), "samples": n })).collect();
        let all = json!({ "shards": report.shards, "samples": report.samples, "bytes": report.bytes,
                          "modalities": kinds, "problems": report.problems });
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        print_counts(&args.folder, report.shards, report.samples, report.bytes, &report.modalities);
        report.problems.iter().for_each(|p| println!("problem: {p}"));
    }
    match report.problems.len() {
        0 => Ok(()),
        n => bail!("{}: {n} problems", args.folder.display()),
    }
}
