//! `geoglot merge MODEL MODEL…`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args as ClapArgs, ValueEnum};
use geoglot::core::{RunManifest, prompt};
use geoglot::data::datasets::{DatasetOptions, Split};
use geoglot::eval::Bootstrap;
use geoglot::eval::protocols::ProbeOptions;
use geoglot::models::vision::MergeMethod;
use geoglot::train::merge::{Allowed, MergeError, MergePlan};
use geoglot::workflow::merge::{MergeRequest, RatioSearch, merge};
use geoglot::workflow::protocols::{Protocol, ProtocolRequest};

use super::common::{DeviceArg, Usage, at_least_one, registry};
use super::progress::Pixels;

/// Ratios of the paper's tables 8 and 9.
const TRIED: [f64; 7] = [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0];

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Method {
    /// (1 − r)·a + r·b, model after model
    Linear,
    /// Along the arc between a and b, model after model
    Slerp,
    /// a + Σ r·(b − a), a the first model
    TaskArithmetic,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Searched {
    ZeroShot,
    Retrieval,
}

/// Arguments of `merge`.
///
/// Two rounds as published: geoglot merge siglip-vit-b-16 RGB OTHERS --ratio 0.9 --ratio 0.5 --out MERGED
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Image towers: folders, weight files or names of `models list`; at least two
    #[arg(required = true, num_args = 2..)]
    models: Vec<String>,
    /// Share of each model after the first, in order; `search` tries ratios on --data [default with --data: search]
    #[arg(long = "ratio", value_name = "R|search", allow_negative_numbers = true)]
    ratios: Vec<String>,
    /// Other ratios for tensors whose names match: REGEX=R[,R…], one for each model after the first
    #[arg(long = "module", value_name = "REGEX=R,…")]
    modules: Vec<String>,
    /// How weights are merged
    #[arg(long, value_enum, default_value = "linear")]
    method: Method,
    /// Name of the space of models that do not name theirs
    #[arg(long)]
    space: Option<String>,
    /// Merge although preprocessing or activation differ; the settings are those of the model whose architecture the result has
    #[arg(long)]
    accept_settings: bool,
    /// Merge models of other image sizes: positions are resampled to the grid of the model whose architecture the result has
    #[arg(long)]
    resample_positions: bool,
    /// Output folder
    #[arg(long)]
    out: PathBuf,
    /// Data set the ratios are searched on; may be given several times, the mean counts
    #[arg(long)]
    data: Vec<PathBuf>,
    /// What is measured on --data
    #[arg(long, value_enum, default_value = "zero-shot")]
    search: Searched,
    /// Ratios that are tried
    #[arg(long, value_delimiter = ',', default_values_t = TRIED, allow_negative_numbers = true)]
    tried: Vec<f64>,
    /// Figure that counts [default: top-1 for zero-shot, R@1 of both directions for retrieval]
    #[arg(long)]
    metric: Option<String>,
    /// Part of the data that is scored [default: validation, else test, else everything]
    #[arg(long)]
    split: Option<Split>,
    /// Sensor of the images, where it cannot be told from them
    #[arg(long)]
    sensor: Option<String>,
    /// Order in which the images store the sensor's bands
    #[arg(long)]
    layout: Option<String>,
    /// Template set of the class prompts
    #[arg(long, default_value = "skyscript")]
    templates: String,
    /// Text tower by name or folder, where the models' space does not say which
    #[arg(long)]
    text_model: Option<String>,
    /// Images encoded together
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Resamples of the bootstrap intervals
    #[arg(long, default_value_t = 1000)]
    replicates: usize,
    /// Seed of the intervals
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// A registry file with your own sensors
    #[arg(long)]
    sensors: Option<PathBuf>,
    /// cpu, cuda[:n] or vulkan[:n]
    #[arg(long, default_value = "cpu")]
    device: DeviceArg,
    /// Print the record of the merge as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Method, ratios (NaN where they are searched for) and modules.
    fn plan(&self) -> anyhow::Result<MergePlan> {
        let after = self.models.len() - 1;
        let mut texts = self.ratios.clone();
        if texts.is_empty() && !self.data.is_empty() {
            texts = vec!["search".into(); after];
        }
        let usage = |e: MergeError| Usage(e.to_string());
        let ratio = |text: &String| match text.as_str() {
            "search" => Ok(vec![f64::NAN]),
            _ => MergePlan::ratios(text).map_err(usage),
        };
        let ratios = texts.iter().map(ratio).collect::<Result<Vec<_>, _>>()?.concat();
        if ratios.len() != after {
            return Err(Usage(format!(
                "{} ratios for {} models: give --ratio once for each model after the first, or search for ratios with --data",
                ratios.len(),
                self.models.len()
            ))
            .into());
        }
        if ratios.iter().any(|r| r.is_nan()) && self.data.is_empty() {
            return Err(Usage("--ratio search needs --data".into()).into());
        }
        let module = |text: &String| MergePlan::module(text).map_err(usage);
        let method = match self.method {
            Method::Linear => MergeMethod::Linear,
            Method::Slerp => MergeMethod::Slerp,
            Method::TaskArithmetic => MergeMethod::TaskArithmetic,
        };
        Ok(MergePlan { method, ratios, modules: self.modules.iter().map(module).collect::<Result<_, _>>()? })
    }
}

pub fn run(args: Args) -> anyhow::Result<()> {
    at_least_one(&[("--replicates", args.replicates)])?;
    let plan = args.plan()?;
    let device = args.device.open()?;
    let mut run = RunManifest::start("merge");
    let (protocol, metric) = match args.search {
        Searched::ZeroShot => (Protocol::ZeroShot, "top-1"),
        Searched::Retrieval => (Protocol::Retrieval, "R@1"),
    };
    let request = ProtocolRequest {
        protocol,
        model: String::new(),
        data: PathBuf::new(),
        dataset: DatasetOptions {
            sensor: args.sensor,
            layout: args.layout,
            registry: Arc::new(registry(args.sensors.as_ref())?),
            ..DatasetOptions::default()
        },
        split: args.split,
        templates: prompt::named(&args.templates).map_err(|e| Usage(e.to_string()))?,
        text_model: args.text_model,
        batch: args.batch,
        threshold: None,
        neighbours: 5,
        probe: ProbeOptions::default(),
        divide: (0.1, 0.2),
        bootstrap: Bootstrap { replicates: args.replicates, seed: args.seed, ..Bootstrap::default() },
        scenes: Vec::new(),
        prompts: Vec::new(),
        tsne: false,
        save_embeddings: false,
    };
    let search = RatioSearch {
        ratios: args.tried,
        data: args.data,
        protocol: request,
        metric: args.metric.unwrap_or_else(|| metric.to_owned()),
    };
    let request = MergeRequest {
        models: args.models,
        space: args.space,
        allowed: Allowed { settings: args.accept_settings, positions: args.resample_positions },
        plan,
        search: (!search.data.is_empty()).then_some(search),
    };
    let mut bar: Option<Pixels> = None;
    let mut progress = |what: &str, done: usize, all: usize| {
        if what == "ratio" {
            bar.get_or_insert_with(|| Pixels::new("trying ratios")).set(done, all);
            if done == all {
                bar = None;
            }
        }
    };
    let result = merge(&request, &args.out, &device, &mut run, &mut progress)?;
    drop(bar);
    result.warnings.iter().for_each(|w| eprintln!("warning: {w}"));
    if args.json {
        println!("{}", serde_json::to_string_pretty(&result.record)?);
        return Ok(());
    }
    if result.search.is_some() {
        print!("{}", std::fs::read_to_string(args.out.join("search.md"))?);
        println!();
    }
    for (model, ratio) in
        result.record.models.iter().zip(std::iter::once(None).chain(result.record.ratios.iter().map(Some)))
    {
        let ratio = ratio.map_or_else(String::new, |r| format!(", ratio {r}"));
        let mut notes = String::new();
        if !model.alone.is_empty() {
            notes += &format!(", {} tensors only here", model.alone.len());
        }
        if !model.left_out.is_empty() {
            notes += &format!(", without {}", model.left_out.join(", "));
        }
        if let Some((rows, columns)) = model.resampled {
            notes += &format!(", positions resampled from {rows} × {columns}");
        }
        println!("{} (SHA-256 {}){ratio}{notes}", model.model, &model.sha256[..12]);
    }
    println!("model: {} (SHA-256 {})", args.out.display(), result.hash);
    println!("next: geoglot evaluate zero-shot --model {} --data …", args.out.display());
    Ok(())
}
