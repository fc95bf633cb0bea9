//! `geoglot info FILE…`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use clap::Args as ClapArgs;
use geoglot::core::{Registry, small_file};
use geoglot::models::hub::Hub;
use geoglot::models::mmlgnet::load_card;
use geoglot::models::vision::{ImageOptions, ImageTower, TowerFiles};
use geoglot::raster::preview::{ansi, ascii, quick_look};
use geoglot::raster::stats::{SceneStats, Warning, scene_stats, warnings};
use geoglot::raster::{Scene, SceneArg, SceneInput, is_placeholder};
use geoglot::workflow::picture::open_scene;
use serde_json::{Value, json};

use super::common::{registry, writable};
use super::map::parse_scene;

/// Arguments of `info`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Rasters ([name=]path[:sensor=…,bands=…,variable=…]), folders of one-band files, or model folders
    #[arg(required = true)]
    files: Vec<String>,
    /// Write a quick-look PNG
    #[arg(long, value_name = "PNG")]
    preview: Option<PathBuf>,
    /// Skip the pass over the pixels: no statistics, warnings or quick-look
    #[arg(long)]
    quick: bool,
    /// A registry file with your own sensors
    #[arg(long)]
    sensors: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let registry = registry(args.sensors.as_ref())?;
    let mut all = Vec::new();
    for text in &args.files {
        if text.contains(":preset=") {
            image_tower(Path::new(text), args.json)?;
            continue;
        }
        if ["config.json", "open_clip_config.json"].iter().any(|name| Path::new(text).join(name).is_file()) {
            model_folder(Path::new(text), args.json)?;
            continue;
        }
        let arg: SceneArg = parse_scene(std::slice::from_ref(text))?.remove(0);
        if let Some(preview) = &args.preview {
            writable(&[("--preview", preview)], [arg.path.as_path()])?;
        }
        let scene = open_scene(&arg, &registry)?;
        let input = &scene.inputs()[0];
        let stats = if args.quick { None } else { Some(scene_stats(input.source().as_ref())?) };
        let found = stats.as_ref().map_or_else(Vec::new, |s| warnings(s, input.bands()));
        if args.json {
            all.push(as_json(&scene, input, stats.as_ref(), &found));
        } else {
            print(&scene, stats.as_ref(), &found);
            if let Some(note) = unnamed(input, &registry, text) {
                println!("note: {note}");
            }
        }
        if args.quick {
            continue;
        }
        let look = quick_look(input.source().as_ref(), 1024)?;
        if let Some(path) = &args.preview {
            look.image.save_png(path)?;
        }
        if !args.json {
            println!("quick-look ({}):", look.caption);
            let color = std::io::stdout().is_terminal();
            println!("{}", if color { ansi(&look.image, 72) } else { ascii(&look.image, 72) });
        }
    }
    if args.json && !all.is_empty() {
        println!("{}", serde_json::to_string_pretty(&all)?);
    }
    Ok(())
}

/// What to do about bands without names, with the registry's sensors that have so many.
fn unnamed(input: &SceneInput, registry: &Registry, text: &str) -> Option<String> {
    let count = input.bands().len();
    if count < 3 || !input.bands().iter().all(|b| is_placeholder(&b.name) && b.wavelength_um.is_none()) {
        return None;
    }
    let fits: Vec<String> = registry
        .sensors()
        .iter()
        .flat_map(|s| {
            let layouts: Vec<_> = s.layouts_of(count).map(|l| format!("{},layout={}", s.id, l.name)).collect();
            let whole = layouts.is_empty() && s.bands.len() == count;
            layouts.into_iter().chain(whole.then(|| s.id.clone()))
        })
        .collect();
    let separator = if text.contains(":") { "," } else { ":" };
    let known = if fits.is_empty() { String::new() } else { format!(". With {count} bands: {}", fits.join("; ")) };
    Some(format!(
        "the bands have no names and geoglot does not guess them; say {text}{separator}sensor=NAME[,layout=…|,bands=…]{known}"
    ))
}

fn print(scene: &Scene, stats: Option<&SceneStats>, found: &[Warning]) {
    print!("{}", scene.describe());
    if let Some(stats) = stats {
        println!("  {:.2} % of the pixels have no data in some band", 100.0 * stats.masked_share);
        println!("       {:<28} {:>11} {:>11} {:>11} {:>11} {:>8}", "band", "min", "mean", "max", "std", "nodata %");
        for (k, band) in stats.bands.iter().enumerate() {
            println!(
                "  {:>3}  {:<28} {:>11.5} {:>11.5} {:>11.5} {:>11.5} {:>8.2}",
                k + 1,
                band.name,
                band.min,
                band.mean,
                band.max,
                band.std,
                100.0 * band.nodata_share
            );
        }
    }
    for warning in found {
        println!("warning: {warning}");
    }
}

fn as_json(scene: &Scene, input: &SceneInput, stats: Option<&SceneStats>, found: &[Warning]) -> Value {
    json!({
        "path": input.source().path(),
        "name": input.name(),
        "grid": scene.grid(),
        "crs": scene.grid().crs_name(),
        "bounds": scene.grid().bounds(),
        "sample": input.source().sample_type().to_string(),
        "bands": input.bands(),
        "binding": input.binding().to_string(),
        "scaling": input.scaling(),
        "statistics": stats,
        "warnings": scene.warnings().iter().cloned().chain(found.iter().map(ToString::to_string)).collect::<Vec<_>>(),
    })
}

/// Whether a folder holds an image tower: geoglot's own card says so, and published configurations have no `system`.
fn is_image_tower(folder: &Path) -> bool {
    let card = small_file::read(&folder.join("config.json"), small_file::TEXT).ok();
    let card: Option<Value> = card.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    card.is_none_or(|json| json.get("system").is_none_or(|s| s == "vision-tower"))
}

/// Shows an image tower: network, bands, preprocessing.
fn image_tower(folder: &Path, json: bool) -> anyhow::Result<()> {
    let options = ImageOptions::default();
    let files = match folder.to_str().filter(|name| name.contains(":preset=")) {
        Some(name) => TowerFiles::resolve(name, &options, &Hub::from_env()?)?,
        None => TowerFiles::open(folder, &options)?,
    };
    let tower = files.load(&Device::flex())?;
    if json {
        let card = json!({
            "path": folder, "space": tower.space(), "fingerprint": tower.fingerprint(), "tower": tower.config(),
        });
        println!("{}", serde_json::to_string_pretty(&card)?);
    } else {
        println!("{}: image tower, fingerprint {}", folder.display(), tower.fingerprint());
        tower.describe().lines().for_each(|line| println!("  {line}"));
    }
    Ok(())
}

/// Shows a model's card.
pub fn model_folder(folder: &Path, json: bool) -> anyhow::Result<()> {
    if is_image_tower(folder) {
        return image_tower(folder, json);
    }
    let card = load_card(folder)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&card)?);
        return Ok(());
    }
    println!("{}: {} model, SHA-256 {}", folder.display(), card.system, card.weights_sha256);
    println!("  text space  {} ({} wide)", card.space, card.architecture.embed);
    println!("  patch       {} pixels", card.architecture.patch);
    println!("  licence     {}", card.license);
    println!("  split       {}", card.split);
    for (name, bands) in &card.bands {
        println!("  input {name}: {} bands", bands.len());
        for band in bands {
            let wavelength = band.wavelength_um.map_or_else(|| "–".into(), |w| format!("{w:.4} µm"));
            println!("    {:<28} {wavelength:>10}  {}", band.label(), band.unit.symbol());
        }
        if let Some(step) = card.normalisation.get(name) {
            let method = &step["scaling"]["method"]["method"];
            let components = step["pca"]["components"]
                .as_array()
                .map_or_else(String::new, |c| format!(", {} principal components", c.len()));
            println!(
                "    normalised once by {}{components}, fitted on the training pixels",
                method.as_str().unwrap_or("its stored statistics")
            );
        }
    }
    println!("  classes:");
    for (k, class) in card.legend.classes.iter().enumerate() {
        println!("    {:>3}  {:<28} {}", class.id, class.name, card.legend.words(k).join(" | "));
    }
    Ok(())
}
