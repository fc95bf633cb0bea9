//! `geoglot evaluate zero-shot|retrieval|multilabel|probe|knn|alignment|captions`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args as ClapArgs, Subcommand};
use geoglot::core::{RunManifest, prompt};
use geoglot::data::datasets::{DatasetOptions, Split};
use geoglot::eval::protocols::ProbeOptions;
use geoglot::eval::{Bootstrap, Interval, ProtocolReport};
use geoglot::raster::SceneArg;
use geoglot::workflow::protocols::{Protocol, ProtocolRequest, run_protocol};

use super::common::{DeviceArg, Usage, at_least_one, registry};
use super::llava_scores;
use super::progress::Pixels;

/// The protocols.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Classify by the nearest class prompts: top-1, top-5, confusion matrix
    ZeroShot(Common),
    /// Find captions by image and images by caption: recall at 1, 5 and 10
    Retrieval(Common),
    /// Give every class whose prompts are near enough: precision, recall, F1, average precision
    Multilabel {
        #[command(flatten)]
        common: Common,
        /// Cosine from which a label is given [default: chosen on the validation, else the training part]
        #[arg(long, allow_negative_numbers = true)]
        threshold: Option<f32>,
    },
    /// Fit a logistic regression on frozen vectors
    Probe {
        #[command(flatten)]
        common: Common,
        /// Strengths C to choose from [default: 0.001 to 1000 in powers of ten]
        #[arg(long, value_delimiter = ',')]
        strengths: Vec<f64>,
    },
    /// Classify by the nearest training images
    Knn {
        #[command(flatten)]
        common: Common,
        /// Number of neighbours
        #[arg(short, long, default_value_t = 5)]
        k: usize,
    },
    /// Probe a Spectral-LLaVA's image features before and after alignment with words, by the share of training images
    Alignment(llava_scores::Alignment),
    /// Ask a Spectral-LLaVA about images whose answers are known: classes named and made up, wording, questions of yes or no
    Captions(llava_scores::Captions),
}

/// What every protocol takes.
#[derive(Debug, ClapArgs)]
pub struct Common {
    /// Image tower: a folder, a weight file or a name of `models list`
    #[arg(long)]
    model: String,
    /// Data set: folder or list file
    #[arg(long)]
    data: PathBuf,
    /// Part that is scored: train, validation, test [default: test when the set is divided, else everything]
    #[arg(long)]
    split: Option<Split>,
    /// Sensor of the images, where it cannot be told from them
    #[arg(long)]
    sensor: Option<String>,
    /// Order in which the images store the sensor's bands
    #[arg(long)]
    layout: Option<String>,
    /// Leave faulty records out with a warning
    #[arg(long)]
    skip_faulty: bool,
    /// Template set of the class prompts: skyscript, skyscript-building, skyscript-road, land-cover, mmlgnet, none
    #[arg(long, default_value = "skyscript")]
    templates: String,
    /// Text tower by name or folder, where the model's space does not say which
    #[arg(long)]
    text_model: Option<String>,
    /// Output folder [default: out/PROTOCOL]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Images encoded together
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Resamples of the bootstrap intervals
    #[arg(long, default_value_t = 1000)]
    replicates: usize,
    /// Seed of intervals, picture and division
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Validation and test shares of a set that comes undivided
    #[arg(long, value_delimiter = ',', num_args = 2, default_values_t = [0.1, 0.2])]
    divide: Vec<f64>,
    /// Make feature maps of a scene: PATH[:sensor=…,bands=…]
    #[arg(long = "feature-maps", value_name = "SCENE")]
    feature_maps: Vec<String>,
    /// Prompt of a heat map over the scenes of --feature-maps
    #[arg(long)]
    prompt: Vec<String>,
    /// No picture of tiles and texts
    #[arg(long)]
    no_tsne: bool,
    /// Write embeddings.json: vectors of the images and what they were scored with
    #[arg(long)]
    save_embeddings: bool,
    /// A registry file with your own sensors
    #[arg(long)]
    sensors: Option<PathBuf>,
    /// cpu, cuda[:n] or vulkan[:n]
    #[arg(long, default_value = "cpu")]
    device: DeviceArg,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(command: Command) -> anyhow::Result<()> {
    let mut probe = ProbeOptions::default();
    let (mut given, mut neighbours) = (None, 5);
    let (protocol, name, args) = match command {
        Command::ZeroShot(common) => (Protocol::ZeroShot, "zero-shot", common),
        Command::Retrieval(common) => (Protocol::Retrieval, "retrieval", common),
        Command::Multilabel { common, threshold } => {
            given = threshold;
            (Protocol::Multilabel, "multilabel", common)
        }
        Command::Probe { common, strengths } => {
            if !strengths.is_empty() {
                probe.strengths = strengths;
            }
            (Protocol::Probe, "probe", common)
        }
        Command::Knn { common, k } => {
            neighbours = k;
            (Protocol::Knn, "knn", common)
        }
        Command::Alignment(args) => return llava_scores::run_alignment(args),
        Command::Captions(args) => return llava_scores::run_captions(args),
    };
    let device = args.device.open()?;
    let mut run = RunManifest::start(&format!("evaluate {name}"));
    let scene = |text: &String| -> anyhow::Result<SceneArg> {
        text.parse().map_err(|e| Usage(format!("--feature-maps {text}: {e}")).into())
    };
    if !args.prompt.is_empty() && args.feature_maps.is_empty() {
        return Err(Usage("--prompt is for heat maps: name the scene with --feature-maps".into()).into());
    }
    at_least_one(&[("--replicates", args.replicates)])?;
    let request = ProtocolRequest {
        protocol,
        model: args.model,
        data: args.data,
        dataset: DatasetOptions {
            sensor: args.sensor,
            layout: args.layout,
            skip_faulty: args.skip_faulty,
            registry: Arc::new(registry(args.sensors.as_ref())?),
            ..DatasetOptions::default()
        },
        split: args.split,
        templates: prompt::named(&args.templates).map_err(|e| Usage(e.to_string()))?,
        text_model: args.text_model,
        batch: args.batch,
        threshold: given,
        neighbours,
        probe,
        divide: (args.divide[0], args.divide[1]),
        bootstrap: Bootstrap { replicates: args.replicates, seed: args.seed, ..Bootstrap::default() },
        scenes: args.feature_maps.iter().map(scene).collect::<anyhow::Result<_>>()?,
        prompts: args.prompt,
        tsne: !args.no_tsne,
        save_embeddings: args.save_embeddings,
    };
    let out = args.out.unwrap_or_else(|| PathBuf::from("out").join(name));
    let mut bars: Option<(String, Pixels)> = None;
    let mut progress = |what: &str, done: usize, all: usize| {
        let title = if what == "images" { "encoding images" } else { "feature maps" };
        // A new kind of work, or the next part of the data set, gets a bar of its own.
        if bars.as_ref().is_none_or(|(key, _)| *key != format!("{what} {all}")) {
            bars = Some((format!("{what} {all}"), Pixels::new(title)));
        }
        if let Some((_, bar)) = &mut bars {
            bar.set(done, all);
        }
    };
    let (report, files) = run_protocol(&request, &out, &device, &mut run, &mut progress)?;
    drop(bars);
    if args.json {
        println!("{}", std::fs::read_to_string(&files.json)?);
    } else {
        print_sections(&report);
        println!("report: {}", files.html.display());
    }
    Ok(())
}

/// The main table of each section.
fn print_sections(report: &ProtocolReport) {
    let figure = |v: &Option<Interval>| match v {
        Some(v) if v.low < v.high => {
            format!("{:.2} ({:.2}–{:.2})", 100.0 * v.value, 100.0 * v.low, 100.0 * v.high)
        }
        Some(v) => format!("{:.2}", 100.0 * v.value),
        None => "–".into(),
    };
    println!("{}\n{}", report.title, report.summary);
    if let Some(split) = &report.split {
        println!("{}", split.sentence);
    }
    for section in &report.sections {
        print!("{:<16}", section.table.rows_are);
        section.table.columns.iter().for_each(|c| print!(" {:<22}", format!("{c} %")));
        println!();
        for row in &section.table.rows {
            print!("{:<16}", row.name);
            row.values.iter().for_each(|v| print!(" {:<22}", figure(v)));
            println!();
        }
        section.notes.iter().for_each(|n| println!("note: {n}"));
    }
    report.warnings.iter().for_each(|w| println!("note: {w}"));
}
