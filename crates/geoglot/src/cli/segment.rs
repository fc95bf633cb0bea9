//! `geoglot segment`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args as ClapArgs;
use geoglot::core::RunManifest;
use geoglot::workflow::open_segment::{SegmentRequest, class_words, is_open_model, segment};
use geoglot::workflow::picture::open_scene_of;

use super::common::{DeviceArg, Usage, registry, writable};
use super::map::{Box4, parse_box, parse_scene};
use super::progress::Pixels;
use super::train::{print_bands, print_warnings};

/// Arguments of `segment`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Folder of a model trained from a recipe of kind = "open-segmentation"
    #[arg(long)]
    model: PathBuf,
    /// An input of the scene: optical=PATH[:sensor=…,bands=…] and sar=PATH[…], in one (optical=A,sar=B) or two arguments; one may be missing
    #[arg(long, required = true, value_name = "NAME=PATH")]
    scene: Vec<String>,
    /// Classes in any words: "water; forest|woodland; bare soil", several texts of a class with | between [default: the model's own]
    #[arg(long)]
    classes: Option<String>,
    /// What the scene shows, in a sentence
    #[arg(long)]
    describe: Option<String>,
    /// Pixels whose best cosine similarity is below this get no class
    #[arg(long, allow_negative_numbers = true)]
    background: Option<f32>,
    /// Add this to the cosine of classes that the model was not trained on: it prefers those it knows; 0.1 to 0.2 is usual
    #[arg(long, default_value_t = 0.0)]
    lift: f32,
    /// The mask, a GeoTIFF
    #[arg(long, default_value = "out/mask.tif")]
    out: PathBuf,
    /// Write the similarity of every class to this GeoTIFF
    #[arg(long)]
    scores: Option<PathBuf>,
    /// Write polygons to this file: GeoParquet where it ends in .parquet, else GeoJSON
    #[arg(long)]
    polygons: Option<PathBuf>,
    /// Leave out polygons of fewer pixels
    #[arg(long, default_value_t = 1, requires = "polygons")]
    least: usize,
    /// Segment only this box, in the scene's map coordinates: minx,miny,maxx,maxy
    #[arg(long, value_parser = parse_box, allow_hyphen_values = true, value_name = "MINX,MINY,MAXX,MAXY")]
    bbox: Option<Box4>,
    /// Pixels from one tile to the next; less is smoother and slower [default: half a tile]
    #[arg(long)]
    stride: Option<usize>,
    /// Keep what does not depend on the words in this folder: other words then need no encoding
    #[arg(long)]
    cache: Option<PathBuf>,
    /// Text tower by name or folder, where the one the model names lies elsewhere
    #[arg(long)]
    text: Option<String>,
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

/// `optical=A,sar=B` as two arguments.
fn apart(texts: &[String]) -> Vec<String> {
    let mut out = Vec::new();
    for text in texts {
        let cut = [",optical=", ",sar="].iter().filter_map(|m| text.find(m)).min();
        match cut {
            Some(at) => {
                out.push(text[..at].to_owned());
                out.extend(apart(&[text[at + 1..].to_owned()]));
            }
            None => out.push(text.clone()),
        }
    }
    out
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let device = args.device.open()?;
    let mut run = RunManifest::start("segment");
    let inputs = parse_scene(&apart(&args.scene))?;
    let mut outputs = vec![("--out", args.out.as_path())];
    outputs.extend(args.scores.as_deref().map(|path| ("--scores", path)));
    outputs.extend(args.polygons.as_deref().map(|path| ("--polygons", path)));
    writable(&outputs, inputs.iter().map(|i| i.path.as_path()))?;
    if !is_open_model(&args.model) {
        let model = args.model.display();
        return Err(Usage(format!(
            "{model} is no model of open-vocabulary segmentation; `geoglot train` makes one from a recipe of kind = \"open-segmentation\", and \
             `geoglot map` uses the others"
        ))
        .into());
    }
    if args.background.is_some_and(|b| !(-1.0..=1.0).contains(&b)) {
        return Err(Usage("--background: cosines lie between -1 and 1".into()).into());
    }
    if !(0.0..=2.0).contains(&args.lift) {
        return Err(Usage("--lift: give 0 to 2, a difference of cosines".into()).into());
    }
    let classes = match &args.classes {
        Some(list) => class_words(list).map_err(|e| Usage(format!("--classes: {e:#}")))?,
        None => Vec::new(),
    };
    let scene = open_scene_of(&inputs, &registry(args.sensors.as_ref())?)?;
    print_bands(&scene.band_use());
    print_warnings(scene.warnings());
    run.inputs = scene.band_use();
    run.stage("open");
    let request = SegmentRequest {
        classes,
        describe: args.describe.clone(),
        background: args.background,
        lift: args.lift,
        scores: args.scores.clone(),
        polygons: args.polygons.clone().map(|path| (path, args.least)),
        stride: args.stride,
        cache: args.cache.clone(),
        bbox: args.bbox,
        text: args.text.clone(),
    };
    let mut pixels = Pixels::new("segmenting");
    let result = segment(&args.model, scene, &request, &args.out, &device, |done, all| pixels.set(done, all))
        .with_context(|| args.model.display().to_string())?;
    drop(pixels);
    print_warnings(&result.warnings);
    run.stage("segment");
    run.model_hash = Some(result.model_hash.clone());
    let all = result.counts.iter().sum::<usize>().max(1) as f64;
    for (class, count) in result.legend.classes.iter().zip(&result.counts) {
        let share = serde_json::json!({ "pixels": count, "percent": 100.0 * *count as f64 / all });
        run.results.insert(class.name.clone(), share);
    }
    run.results.insert("unlabelled pixels".into(), result.unlabelled.into());
    run.save(args.out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&run)?);
        return Ok(());
    }
    for (class, count) in result.legend.classes.iter().zip(&result.counts) {
        println!("{:>6.2} %  {}", 100.0 * *count as f64 / all, class.name);
    }
    println!("mask:        {}", args.out.display());
    if let Some(path) = &args.scores {
        println!("similarity:  {}", path.display());
    }
    if let Some(path) = &args.polygons {
        println!("polygons:    {} ({} of them)", path.display(), result.polygons);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_in_one_argument_are_taken_apart() {
        let one = ["optical=a.tif:sensor=sentinel-2-l2a,bands=B02+B03,sar=b.tif:sensor=sentinel-1".to_owned()];
        assert_eq!(apart(&one), ["optical=a.tif:sensor=sentinel-2-l2a,bands=B02+B03", "sar=b.tif:sensor=sentinel-1"]);
        assert_eq!(apart(&["sar=b.tif".to_owned()]), ["sar=b.tif"]);
    }
}
