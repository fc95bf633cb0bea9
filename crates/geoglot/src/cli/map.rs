//! `geoglot map`.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args as ClapArgs;
use geoglot::core::{Legend, RunManifest, prompt};
use geoglot::raster::{OpenOptions, Scene, SceneArg};
use geoglot::workflow::map::{MapRequest, map};
use geoglot::workflow::segment::{self, SegmentMap, is_segmenter};

use super::common::{DeviceArg, Usage, registry};
use super::progress::Pixels;
use super::train::{print_bands, print_warnings};

/// Arguments of `map`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Folder of a trained model
    #[arg(long)]
    model: PathBuf,
    /// An input of the scene: NAME=PATH[:sensor=…,bands=…]; give every input the model was trained on
    #[arg(long, required = true, value_name = "NAME=PATH")]
    scene: Vec<String>,
    /// Output folder
    #[arg(long, default_value = "out/map")]
    out: PathBuf,
    /// Classes in your own words instead of the model's: "water; tall trees; asphalt"
    #[arg(long, conflicts_with = "legend")]
    classes: Option<String>,
    /// Classes from a legend file (TOML or JSON) with names, colours and prompts
    #[arg(long)]
    legend: Option<PathBuf>,
    /// Template set for the prompts (land-cover, mmlgnet, skyscript, none) instead of the model's
    #[arg(long)]
    templates: Option<String>,
    /// Text tower by name or folder, where the model's space does not say which
    #[arg(long)]
    text: Option<String>,
    /// Map only this box, in the scene's map coordinates: minx,miny,maxx,maxy
    #[arg(long, value_parser = parse_box, allow_hyphen_values = true, value_name = "MINX,MINY,MAXX,MAXY")]
    bbox: Option<Box4>,
    /// Pixels whose best cosine similarity is below this get no class
    #[arg(long, allow_negative_numbers = true)]
    background: Option<f32>,
    /// Image tower by name or folder, where the one a segmentation model names lies elsewhere
    #[arg(long)]
    tower: Option<String>,
    /// Pixels from one tile to the next of a segmentation model; less is smoother and slower [default: half a tile]
    #[arg(long)]
    stride: Option<usize>,
    /// Do not write the similarity (or probability) of every class
    #[arg(long)]
    no_scores: bool,
    /// Do not write the confidence
    #[arg(long)]
    no_confidence: bool,
    /// A registry file with your own sensors
    #[arg(long)]
    sensors: Option<PathBuf>,
    /// cpu, cuda[:n] or vulkan[:n]
    #[arg(long, default_value = "cpu")]
    device: DeviceArg,
    /// Print run.json instead of the summary
    #[arg(long)]
    json: bool,
}

/// Scene arguments as written on the command line.
pub fn parse_scene(texts: &[String]) -> anyhow::Result<Vec<SceneArg>> {
    texts.iter().map(|t| t.parse::<SceneArg>().map_err(|e| Usage(format!("--scene {t}: {e}")).into())).collect()
}

/// `minx,miny,maxx,maxy`; a name of its own, as clap takes an array for several values.
pub(super) type Box4 = [f64; 4];

pub(super) fn parse_box(text: &str) -> Result<Box4, String> {
    let numbers: Result<Vec<f64>, _> = text.split(',').map(|n| n.trim().parse()).collect();
    match numbers.ok().and_then(|n| Box4::try_from(n).ok()) {
        Some(b) if b.iter().all(|v| v.is_finite()) && b[0] < b[2] && b[1] < b[3] => Ok(b),
        _ => Err("expected four numbers minx,miny,maxx,maxy with minx < maxx and miny < maxy".into()),
    }
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let device = args.device.open()?;
    let mut run = RunManifest::start("map");
    let registry = registry(args.sensors.as_ref())?;
    let scene = Scene::open(&parse_scene(&args.scene)?, &registry, OpenOptions::default())?;
    print_bands(&scene.band_use());
    print_warnings(scene.warnings());
    print_warnings(&scene.suspicious_values()?);
    let segments = is_segmenter(&args.model);
    if segments {
        let words = [
            ("--classes", args.classes.is_some()),
            ("--legend", args.legend.is_some()),
            ("--templates", args.templates.is_some()),
            ("--text", args.text.is_some()),
            ("--background", args.background.is_some()),
        ];
        if let Some((flag, _)) = words.iter().find(|(_, given)| *given) {
            let model = args.model.display();
            return Err(Usage(format!(
                "{flag}: {model} is a segmentation model, which knows the classes it was trained on and no others"
            ))
            .into());
        }
    } else if args.tower.is_some() || args.stride.is_some() {
        let model = args.model.display();
        return Err(Usage(format!("--tower and --stride belong to segmentation models; {model} is none")).into());
    }
    let legend = match (&args.classes, &args.legend) {
        (Some(text), _) => {
            let names = text.split(';').map(str::trim).filter(|t| !t.is_empty());
            Some(Legend::from_names(names).context("--classes \"a; b; c\"")?)
        }
        (None, Some(path)) => Some(Legend::load(path)?),
        (None, None) => None,
    };
    let templates = args.templates.as_deref().map(prompt::named).transpose().map_err(|e| Usage(e.to_string()))?;
    let request = MapRequest {
        legend,
        templates,
        tower: args.text.clone(),
        bbox: args.bbox,
        scores: !args.no_scores,
        confidence: !args.no_confidence,
        background: args.background,
    };
    run.stage("open");
    run.inputs = scene.band_use();
    let mut pixels = Pixels::new("mapping");
    let tell = |done, all| pixels.set(done, all);
    let result = if segments {
        let how = SegmentMap { tower: args.tower.clone(), stride: args.stride };
        segment::map(&args.model, scene, &request, &how, &args.out, &device, tell)?
    } else {
        map(&args.model, &scene, &request, &args.out, &device, tell)?
    };
    drop(pixels);
    run.stage("map");
    run.model_hash = Some(result.model_hash.clone());
    let all = result.counts.iter().sum::<usize>().max(1) as f64;
    for (class, count) in result.legend.classes.iter().zip(&result.counts) {
        run.results
            .insert(class.name.clone(), serde_json::json!({ "pixels": count, "percent": 100.0 * *count as f64 / all }));
    }
    run.results.insert("unlabelled pixels".into(), result.unlabelled.into());
    run.save(&args.out)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&run)?);
        return Ok(());
    }
    for (class, count) in result.legend.classes.iter().zip(&result.counts) {
        println!("{:>6.2} %  {}", 100.0 * *count as f64 / all, class.name);
    }
    println!("class map:   {}", result.classes.display());
    println!("picture:     {}", result.preview.display());
    if let Some(path) = &result.scores {
        println!("{}: {}", if segments { "probability" } else { "similarity " }, path.display());
    }
    if let Some(path) = &result.confidence {
        println!("confidence:  {}", path.display());
    }
    Ok(())
}
