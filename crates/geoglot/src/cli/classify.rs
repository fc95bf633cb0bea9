//! `geoglot classify`: zero-shot classes of whole images.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args as ClapArgs, ValueEnum};
use geoglot::core::{Legend, RunManifest, atomic, prompt, small_file};
use geoglot::models::text::class_features;
use geoglot::workflow::classify::{Choice, Classified, Pair, classify};
use serde_json::{Value, json};

use super::common::{DeviceArg, Usage, at_least_one, registry, threshold, writable};
use super::embed::save_run_beside;
use super::map::parse_scene;
use super::progress::Pixels;
use super::train::print_warnings;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Text table
    Table,
    /// JSON
    Json,
    /// CSV, one row a label
    Csv,
    /// GeoJSON: outlines of the images with their labels
    Geojson,
}

/// Arguments of `classify`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Images of any sensors: PATH[:sensor=…,bands=…]
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// Labels: "a; b; c"
    #[arg(long, required_unless_present = "labels_file", conflicts_with = "labels_file")]
    labels: Option<String>,
    /// File of labels: one a line, or a legend (TOML or JSON) with prompts
    #[arg(long)]
    labels_file: Option<PathBuf>,
    /// Image–text model: a folder or a name of `models list`
    #[arg(long)]
    model: String,
    /// Text tower, where the model has none of its own
    #[arg(long)]
    text_model: Option<String>,
    /// Templates for the labels: skyscript, land-cover, …, none
    #[arg(long, default_value = "skyscript")]
    templates: String,
    /// Labels shown for an image
    #[arg(long, short = 'k', default_value_t = 5, value_name = "K")]
    top_k: usize,
    /// Every label at or above --threshold instead of the best
    #[arg(long, requires = "threshold")]
    multi_label: bool,
    /// With --multi-label: least probability (models with a sigmoid) or least cosine (all others)
    #[arg(long, requires = "multi_label", allow_negative_numbers = true)]
    threshold: Option<f32>,
    /// What to write
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// File to write to instead of the terminal
    #[arg(long)]
    out: Option<PathBuf>,
    /// A registry file with your own sensors
    #[arg(long)]
    sensors: Option<PathBuf>,
    /// Sensor of images that name none
    #[arg(long)]
    sensor: Option<String>,
    /// cpu, cuda[:n] or vulkan[:n]
    #[arg(long, default_value = "cpu")]
    device: DeviceArg,
    /// Print JSON, as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

/// Labels of a file: a legend, or one a line.
fn labels_of(path: &Path) -> anyhow::Result<Legend> {
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("toml") || e.eq_ignore_ascii_case("json")) {
        return Ok(Legend::load(path)?);
    }
    let text = small_file::read_text(path, small_file::TEXT)?;
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
    Legend::from_names(lines).with_context(|| format!("{} (one label a line)", path.display()))
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let mut run = RunManifest::start("classify");
    let templates = prompt::named(&args.templates).map_err(|e| Usage(e.to_string()))?;
    let legend = match (&args.labels, &args.labels_file) {
        (Some(text), _) => {
            let names = text.split(';').map(str::trim).filter(|t| !t.is_empty());
            Legend::from_names(names).map_err(|e| Usage(format!("--labels \"{text}\": {e}")))?
        }
        (None, Some(path)) => labels_of(path)?,
        (None, None) => return Err(Usage("give --labels or --labels-file".into()).into()),
    };
    at_least_one(&[("--top-k", args.top_k)])?;
    threshold(args.threshold)?;
    let mut images = parse_scene(&args.images)?;
    if let Some(out) = &args.out {
        writable(&[("--out", out)], images.iter().map(|i| i.path.as_path()))?;
    }
    for image in &mut images {
        image.sensor = image.sensor.take().or_else(|| args.sensor.clone());
    }
    let registry = registry(args.sensors.as_ref())?;
    let pair = Pair::open(&args.model, args.text_model.as_deref(), &args.device.open()?)?;
    let features = class_features(pair.model.text.as_ref(), &prompt::ensemble(&legend, &templates)?)?;
    run.stage("open");
    let choice = args.threshold.map_or(Choice::Top(args.top_k), Choice::Above);
    let mut progress = Pixels::new("classifying");
    let (found, bands, warnings) =
        classify(&images, &pair, &features, choice, &registry, |done, all| progress.set(done, all))?;
    drop(progress);
    print_warnings(&warnings);
    run.stage("classify");
    run.inputs = bands;
    run.model_hash = Some(pair.model.image.fingerprint().to_owned());
    let names = legend.names();
    let text = match args.format {
        _ if args.json => format!("{}\n", serde_json::to_string_pretty(&as_json(&found, &names))?),
        Format::Json => format!("{}\n", serde_json::to_string_pretty(&as_json(&found, &names))?),
        Format::Geojson => format!("{}\n", serde_json::to_string_pretty(&as_geojson(&found, &names))?),
        Format::Csv => as_csv(&found, &names)?,
        Format::Table => as_table(&found, &names),
    };
    match &args.out {
        Some(out) => {
            atomic::write(out, text.as_bytes())?;
            run.results.insert("images".into(), found.len().into());
            save_run_beside(&run, out)?;
            println!("{} images: {}", found.len(), out.display());
        }
        None => print!("{text}"),
    }
    Ok(())
}

fn labels(image: &Classified, names: &[String]) -> Vec<Value> {
    let label = |r: &geoglot::workflow::classify::Ranked| json!({ "label": names[r.label], "probability": r.probability, "cosine": r.cosine });
    image.labels.iter().map(label).collect()
}

fn as_json(found: &[Classified], names: &[String]) -> Value {
    found.iter().map(|image| json!({ "image": image.path, "labels": labels(image, names) })).collect()
}

fn as_geojson(found: &[Classified], names: &[String]) -> Value {
    let feature = |image: &Classified| {
        json!({
            "type": "Feature",
            "geometry": image.footprint.as_ref().map(|f| f.to_geojson()),
            "properties": { "image": image.path, "labels": labels(image, names) },
        })
    };
    json!({ "type": "FeatureCollection", "features": found.iter().map(feature).collect::<Vec<_>>() })
}

fn as_csv(found: &[Classified], names: &[String]) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["image", "rank", "label", "probability", "cosine"])?;
    for image in found {
        for (k, label) in image.labels.iter().enumerate() {
            let probability = label.probability.map_or_else(String::new, |p| p.to_string());
            writer.write_record([
                &image.path.display().to_string(),
                &(k + 1).to_string(),
                &names[label.label],
                &probability,
                &label.cosine.to_string(),
            ])?;
        }
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

fn as_table(found: &[Classified], names: &[String]) -> String {
    let mut text = String::new();
    for image in found {
        text += &format!("{}\n", image.path.display());
        if image.labels.is_empty() {
            text += "        no label\n";
        }
        for label in &image.labels {
            let probability = label.probability.map_or_else(|| "       –".into(), |p| format!("{:>6.2} %", 100.0 * p));
            text += &format!("{probability}  {:>7.4}  {}\n", label.cosine, names[label.label]);
        }
    }
    text
}
