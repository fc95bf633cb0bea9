//! The command line: arguments, exit codes, logging. Each command is one file.

mod ablate;
mod caption;
mod classify;
mod common;
mod demo;
mod describe;
mod embed;
mod evaluate;
mod index;
mod info;
mod instruct;
mod llava;
mod llava_scores;
mod map;
mod merge;
mod models;
mod open_segmentation;
mod pretrain;
mod progress;
mod protocols;
mod segment;
mod segmentation;
mod shards;
mod synth;
mod train;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Ask any sensor's imagery in plain words.
///
/// Start with `geoglot demo`; then `geoglot info YOUR.tif` shows what geoglot understands of your own file.
#[derive(Debug, Parser)]
#[command(name = "geoglot", version, propagate_version = true, arg_required_else_help = true, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Say more (-v: progress details, -vv: everything)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a scene, train a land-cover model on it, and write map, report and GeoTIFF
    Demo(demo::Args),
    /// Show what geoglot understands of rasters and models: sensor, bands and wavelengths, grid, nodata, statistics
    Info(info::Args),
    /// Train what a recipe describes: land cover with class prompts; an any-band image tower into the space of a text tower, from images
    /// with captions ([[data.set]]); a decode head on a frozen image tower (kind = "segmentation")
    #[command(alias = "pretrain")]
    Train(Box<train::Args>),
    /// Score a recipe's folds beside its baselines, or a model on a data set: zero-shot, retrieval, multilabel, probe, knn,
    /// alignment, captions
    Evaluate(evaluate::Args),
    /// Run the ablations of a recipe: loss direction, text tower, modality, elevation channels; of image–text recipes teachers and their heads
    Ablate(ablate::Args),
    /// Build captions of images from labels, heights, masks or boxes, with every number checked against them
    Caption(Box<caption::Args>),
    /// Map a whole scene with a trained model: classes, similarities or probabilities, confidence
    Map(map::Args),
    /// Segment a scene of optical and SAR into classes of any words, with a description if you like
    Segment(Box<segment::Args>),
    /// Merge the weights of image towers, or search for the best ratios on data sets
    Merge(merge::Args),
    /// Say what images show, in labels of your own words
    Classify(classify::Args),
    /// Say in words what scenes show, answer questions about them, or talk about one
    Describe(Box<describe::Args>),
    /// Build conversations about images from their captions and spectra, to train a model that answers in words
    Instruct(instruct::Args),
    /// Turn scenes of any sensor into an archive of embeddings: tiles or patches, place, date, sensor
    Embed(Box<embed::Args>),
    /// Archives of embeddings: make, fill, search in words, export, check
    Index(index::Args),
    /// Image–text pairs in WebDataset shards: write, describe, check
    Shards(shards::Args),
    /// Generate aligned synthetic scenes of any sensors with labels, legend, facts and captions
    Synth(synth::Args),
    /// List, fetch and show models
    Models(models::Args),
}

/// Runs the program: 0 when all went well, 1 on failure, 2 for wrong arguments.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let level = match cli.verbose {
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("GEOGLOT_LOG").unwrap_or_else(|_| {
        tracing_subscriber::EnvFilter::new(format!(
            "warn,geoglot={level},geoglot_raster={level},geoglot_models={level},geoglot_train={level},geoglot_data={level},geoglot_index={level}"
        ))
    });
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .without_time()
        .with_target(false)
        .init();
    let result = match cli.command {
        Command::Demo(args) => demo::run(args),
        Command::Info(args) => info::run(args),
        Command::Train(args) => train::run(*args),
        Command::Evaluate(args) => evaluate::run(args),
        Command::Ablate(args) => ablate::run(args),
        Command::Caption(args) => caption::run(*args),
        Command::Map(args) => map::run(args),
        Command::Segment(args) => segment::run(*args),
        Command::Merge(args) => merge::run(args),
        Command::Classify(args) => classify::run(args),
        Command::Describe(args) => describe::run(*args),
        Command::Instruct(args) => instruct::run(args),
        Command::Embed(args) => embed::run(*args),
        Command::Index(args) => index::run(args),
        Command::Shards(args) => shards::run(args),
        Command::Synth(args) => synth::run(args),
        Command::Models(args) => models::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", chain(&error));
            // Wrong arguments found late (a device, a scene specification) are still usage errors.
            ExitCode::from(if error.is::<common::Usage>() { 2 } else { 1 })
        }
    }
}

/// The error and its causes; a cause that the text before it quotes already is not said again.
fn chain(error: &anyhow::Error) -> String {
    error
        .chain()
        .map(ToString::to_string)
        .reduce(|said, cause| if said.contains(&cause) { said } else { format!("{said}: {cause}") })
        .unwrap_or_default()
}
