//! `geoglot evaluate alignment|captions`: what alignment does to features, and how true a model's words are.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args as ClapArgs, ValueEnum};
use geoglot::core::RunManifest;
use geoglot::data::datasets::{DatasetOptions, Split};
use geoglot::eval::protocols::{AdamProbe, KindScores, ProbeOptions, ShareProbe};
use geoglot::eval::{Bootstrap, Interval};
use geoglot::models::llm::{GenerateOptions, Sampling};
use geoglot::models::spectral_llava::{Parts, SpectralLlava};
use geoglot::workflow::grounded::{AlignmentRequest, alignment};
use geoglot::workflow::said::{SaidRequest, said};

use super::common::{DeviceArg, Usage, at_least_one, registry};
use super::progress::Pixels;

/// The model, for both.
#[derive(Debug, ClapArgs)]
struct ModelArgs {
    /// Trained model: a folder that `train` wrote from a recipe of kind = "spectral-llava"
    #[arg(long)]
    model: PathBuf,
    /// The language model, where it lies elsewhere than at training
    #[arg(long)]
    llm: Option<String>,
    /// The image tower, where it lies elsewhere
    #[arg(long)]
    tower: Option<String>,
    /// Sensor of images that name none
    #[arg(long)]
    sensor: Option<String>,
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

impl ModelArgs {
    fn load(&self) -> anyhow::Result<SpectralLlava> {
        let parts = Parts { llm: self.llm.clone(), tower: self.tower.clone(), merge: false };
        Ok(SpectralLlava::load(&self.model, &parts, &self.device.open()?)?)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProbeArg {
    /// Adam, rate 1e-4, batches of 100, 100 epochs: the paper's
    Adam,
    /// Logistic regression at its optimum
    Converged,
    /// Both
    Both,
}

/// Arguments of `evaluate alignment`.
#[derive(Debug, ClapArgs)]
pub struct Alignment {
    #[command(flatten)]
    model: ModelArgs,
    /// Data set with one class an image: folder or list file
    #[arg(long)]
    data: PathBuf,
    /// Part that is used: train, validation, test [default: everything]
    #[arg(long)]
    split: Option<Split>,
    /// How probes are fitted
    #[arg(long, value_enum, default_value_t = ProbeArg::Both)]
    probe: ProbeArg,
    /// Strengths C of the probe at its optimum
    #[arg(long, value_delimiter = ',', default_values_t = [0.01, 1.0, 100.0])]
    strengths: Vec<f64>,
    /// Random divisions of every share
    #[arg(long, default_value_t = 5)]
    folds: usize,
    /// Probe the language model's states of the image tokens, too
    #[arg(long)]
    language: bool,
    /// Seed of divisions and pictures
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Output folder
    #[arg(long, default_value = "out/alignment")]
    out: PathBuf,
}

pub fn run_alignment(args: Alignment) -> anyhow::Result<()> {
    at_least_one(&[("--folds", args.folds)])?;
    if let Some(wrong) = args.strengths.iter().find(|c| !(c.is_finite() && **c > 0.0)) {
        return Err(Usage(format!("--strengths {wrong}: expected values of C above 0, such as 0.1,1,10")).into());
    }
    let mut run = RunManifest::start("evaluate alignment");
    let model = args.model.load()?;
    let converged = ShareProbe::Converged(ProbeOptions { strengths: args.strengths, ..ProbeOptions::default() });
    let adam = ShareProbe::Adam(AdamProbe::default());
    let request = AlignmentRequest {
        data: args.data,
        dataset: DatasetOptions {
            sensor: args.model.sensor.clone(),
            registry: Arc::new(registry(args.model.sensors.as_ref())?),
            ..DatasetOptions::default()
        },
        split: args.split,
        probes: match args.probe {
            ProbeArg::Adam => vec![("adam", adam)],
            ProbeArg::Converged => vec![("converged", converged)],
            ProbeArg::Both => vec![("adam", adam), ("converged", converged)],
        },
        folds: args.folds,
        language: args.language,
        batch: 32,
        seed: args.seed,
    };
    let mut bar = Pixels::new("encoding images");
    let report = alignment(&model, &request, &args.out, &mut run, &mut |done, all| bar.set(done, all))?;
    drop(bar);
    if args.model.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    for probe in report.features[0].curves.keys() {
        print!("{:<32}", format!("accuracy %, {probe}"));
        report.features[0].curves[probe].iter().for_each(|p| print!("{:>7.0} %", 100.0 * p.share));
        println!();
        for features in &report.features {
            print!("{:<32}", features.features);
            features.curves[probe].iter().for_each(|p| print!("{:>9.1}", 100.0 * p.mean));
            println!();
        }
    }
    println!("{}", args.out.join("alignment.json").display());
    Ok(())
}

/// Arguments of `evaluate captions`.
#[derive(Debug, ClapArgs)]
pub struct Captions {
    #[command(flatten)]
    model: ModelArgs,
    /// Conversations whose answers are true: a file of `geoglot instruct`
    #[arg(long)]
    data: PathBuf,
    /// Folder of the images, where it is not the file's
    #[arg(long)]
    images: Option<PathBuf>,
    /// Most entries of each kind (descriptions, lists of classes, questions), spread over the file
    #[arg(long)]
    limit: Option<usize>,
    /// Most tokens of an answer
    #[arg(long, default_value_t = 128)]
    max_tokens: usize,
    /// 0 for the likeliest words
    #[arg(long, default_value_t = 0.0)]
    temperature: f32,
    /// Resamples of the intervals
    #[arg(long, default_value_t = 1000)]
    replicates: usize,
    /// Seed of draws and intervals
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Output folder
    #[arg(long, default_value = "out/captions-scored")]
    out: PathBuf,
}

pub fn run_captions(args: Captions) -> anyhow::Result<()> {
    let limit = args.limit.unwrap_or(1);
    at_least_one(&[("--max-tokens", args.max_tokens), ("--limit", limit), ("--replicates", args.replicates)])?;
    let sampling = Sampling { temperature: args.temperature, seed: args.seed, ..Sampling::default() };
    if let Some(problem) = sampling.problem() {
        return Err(Usage(problem).into());
    }
    let mut run = RunManifest::start("evaluate captions");
    let request = SaidRequest {
        conversations: args.data,
        images: args.images,
        sensor: args.model.sensor.clone(),
        limit: args.limit,
        options: GenerateOptions { max_tokens: args.max_tokens, sampling, stop: Vec::new() },
        bootstrap: Bootstrap { replicates: args.replicates, seed: args.seed, ..Bootstrap::default() },
    };
    let registry = registry(args.model.sensors.as_ref())?;
    let model = args.model.load()?;
    let mut bar = Pixels::new("asking");
    let report = said(&model, &request, &registry, &args.out, &mut run, &mut |done, all| bar.set(done, all))?;
    drop(bar);
    if args.model.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    let figure = |i: &Interval| format!("{:.3} ({:.3}–{:.3})", i.value, i.low, i.high);
    let show = |name: &str, s: &KindScores| {
        println!("{name}, {} answers: own, and those given to other scenes", s.answers);
        println!("  recall        {}   {}", figure(&s.own.recall), figure(&s.shuffled.recall));
        println!("  precision     {}   {}", figure(&s.own.precision), figure(&s.shuffled.precision));
        println!("  hallucinated  {}   {}", figure(&s.own.hallucinated), figure(&s.shuffled.hallucinated));
        let (a, b) = (&s.wording, &s.wording_shuffled);
        println!(
            "  BLEU-4 {:.3}, {:.3}; ROUGE-L {:.3}, {:.3}; CIDEr {:.2}, {:.2}",
            a.bleu[3], b.bleu[3], a.rouge_l, b.rouge_l, a.cider, b.cider
        );
    };
    report.caption.iter().for_each(|s| show("descriptions", s));
    report.classification.iter().for_each(|s| show("classes", s));
    for (question, s) in &report.questions {
        println!(
            "{question} {} answers, {} yes: balanced accuracy {}, of other scenes' answers {:.3}",
            s.answers,
            s.yes,
            figure(&s.balanced),
            s.balanced_shuffled
        );
    }
    println!("{}", args.out.join("captions.json").display());
    Ok(())
}
