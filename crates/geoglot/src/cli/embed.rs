//! `geoglot embed`, and what `index add` shares with it.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args as ClapArgs;
use geoglot::core::{RunManifest, prompt};
use geoglot::index::export::{GeoParquetOptions, write_archive_geoparquet};
use geoglot::index::{Archive, Error as IndexError, Filter, Space, VectorType, Writer};
use geoglot::models::vision::{ImageTower, load_image_tower};
use geoglot::raster::SceneArg;
use geoglot::workflow::archive::{space_of, text_features, text_space, text_tower};
use geoglot::workflow::dates::DateRule;
use geoglot::workflow::embed::{Embedded, embed};
use geoglot::workflow::embed_plan::{EmbedOptions, Plan};
use geoglot::workflow::similarity::{Prompts, similarity};

use super::common::{DeviceArg, Usage, at_least_one, interrupt_flag, registry};
use super::index::{date, share, texts};
use super::map::parse_scene;
use super::progress::Pixels;
use super::train::print_warnings;

/// Largest batch: all its tiles are in memory.
const MOST_TILES: usize = 4096;

/// Scenes and how they are cut, for `embed` and `index add`.
#[derive(Debug, ClapArgs)]
pub struct SceneArgs {
    /// Scenes of any sensors: PATH[:sensor=…,bands=…,variable=…], each one raster
    #[arg(required = true, value_name = "SCENE")]
    scenes: Vec<String>,
    /// Side of a tile in pixels [default: the model's input size]
    #[arg(long)]
    tile: Option<usize>,
    /// Pixels from one tile to the next [default: the tile's side]
    #[arg(long)]
    stride: Option<usize>,
    /// Leave out tiles with a larger share of pixels without data, 0 to 1
    #[arg(long, default_value_t = 0.5, value_name = "SHARE")]
    max_nodata: f32,
    /// Tiles the network sees at a time
    #[arg(long, default_value_t = 8)]
    batch: usize,
    /// When the scenes were taken: YYYY-MM-DD, RFC 3339, or `from-name` to read it from each file's name
    #[arg(long)]
    date: Option<String>,
    /// Sensor of scenes that name none
    #[arg(long)]
    sensor: Option<String>,
    /// Cloud share of the scenes, 0 to 1
    #[arg(long, value_name = "SHARE")]
    cloud: Option<f32>,
    /// Store a small picture of every tile, for HTML contact sheets
    #[arg(long)]
    thumbnails: bool,
    /// A registry file with your own sensors
    #[arg(long)]
    sensors: Option<PathBuf>,
    /// cpu, cuda[:n] or vulkan[:n]
    #[arg(long, default_value = "cpu")]
    pub device: DeviceArg,
    /// Print run.json instead of the summary
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `embed`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    scenes: SceneArgs,
    /// Image model: a folder, a weight file, or a name of `models list`
    #[arg(long)]
    model: String,
    /// One vector for every patch of the model instead of one a tile
    #[arg(long, conflicts_with_all = ["stride", "thumbnails"])]
    patches: bool,
    /// With --patches: write how much every patch is like these words (GeoTIFF and picture); may be repeated
    #[arg(long, requires = "patches", value_name = "WORDS")]
    text: Vec<String>,
    /// Templates for --text: skyscript, land-cover, …, none
    #[arg(long, default_value = "skyscript")]
    templates: String,
    /// Text tower for --text, where the model has none of its own
    #[arg(long)]
    text_model: Option<String>,
    /// Output folder: archive/, embeddings.parquet, run.json
    #[arg(long, default_value = "out/embed")]
    out: PathBuf,
    /// Continue an interrupted run: what is in the archive is not computed again
    #[arg(long)]
    resume: bool,
}

impl SceneArgs {
    fn parsed(&self) -> anyhow::Result<Vec<SceneArg>> {
        let mut scenes = parse_scene(&self.scenes)?;
        for scene in &mut scenes {
            scene.sensor = scene.sensor.take().or_else(|| self.sensor.clone());
        }
        Ok(scenes)
    }

    fn options(&self, patches: bool) -> anyhow::Result<EmbedOptions> {
        let given = |number: Option<usize>| number.unwrap_or(1);
        at_least_one(&[("--tile", given(self.tile)), ("--stride", given(self.stride)), ("--batch", self.batch)])?;
        if self.batch > MOST_TILES {
            return Err(Usage(format!("--batch {}: at most {MOST_TILES} tiles are held at a time", self.batch)).into());
        }
        share("--max-nodata", self.max_nodata)?;
        self.cloud.map(|c| share("--cloud", c)).transpose()?;
        let date = match self.date.as_deref() {
            None => DateRule::Unknown,
            Some("from-name") => DateRule::FromName,
            Some(text) => DateRule::At(date("--date", text, false)?),
        };
        Ok(EmbedOptions {
            tile: self.tile,
            stride: self.stride,
            max_nodata: self.max_nodata,
            batch: self.batch,
            patches,
            thumbnails: self.thumbnails,
            date,
            cloud: self.cloud,
        })
    }

    /// Embeds the scenes into an archive that `open` gives once all scenes have been checked.
    pub fn embed_into(
        &self,
        tower: &dyn ImageTower,
        space: &Space,
        patches: bool,
        run: &mut RunManifest,
        open: impl FnOnce() -> anyhow::Result<Writer>,
    ) -> anyhow::Result<(Plan, Embedded)> {
        let options = self.options(patches)?;
        let plan = Plan::new(&self.parsed()?, registry(self.sensors.as_ref())?, tower, options)?;
        print_warnings(&plan.warnings);
        run.stage("open");
        let mut writer = open()?;
        let stop = interrupt_flag();
        let mut tiles = Pixels::new("embedding");
        let done = embed(&plan, tower, space, &mut writer, &stop, |done, all| tiles.set(done, all))?;
        drop(tiles);
        run.stage("embed");
        run.inputs.clone_from(&plan.bands);
        run.model_hash = Some(tower.fingerprint().to_owned());
        for (name, value) in [
            ("tiles", done.tiles),
            ("added", done.added),
            ("present", done.present),
            ("without data", done.without_data),
            ("records", writer.len()),
        ] {
            run.results.insert(name.into(), value.into());
        }
        if done.interrupted {
            anyhow::bail!(
                "interrupted; {} records are in the archive, the same command (with --resume for `embed`) continues",
                writer.len()
            );
        }
        if done.added + done.present == 0 {
            eprintln!("warning: no tile has enough data (--max-nodata {})", self.max_nodata);
        }
        Ok((plan, done))
    }
}

/// What was done, for people.
pub fn print_done(done: &Embedded, records: usize) {
    println!("{} tiles: {} records added, {} there already", done.tiles, done.added, done.present);
    if done.without_data > 0 {
        println!("{} left out for lack of data", done.without_data);
    }
    println!("{records} records in the archive");
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let mut run = RunManifest::start("embed");
    let templates = prompt::named(&args.templates).map_err(|e| Usage(e.to_string()))?;
    texts("--text", &args.text)?;
    args.scenes.options(args.patches)?;
    let scenes = args.scenes.parsed()?;
    let path = args.out.join("archive");
    let exists = match Archive::open(&path) {
        Ok(_) if !args.resume => anyhow::bail!(
            "{}: an archive is already there; --resume continues it, `geoglot index add` adds other scenes, or choose another --out",
            path.display()
        ),
        Ok(_) => true,
        Err(IndexError::NotAnArchive { .. }) => false,
        Err(problem) => return Err(problem.into()),
    };
    let device = args.scenes.device.open()?;
    let tower = load_image_tower(&args.model, &device)?;
    let space = space_of(tower.as_ref(), &args.model);
    // Words that cannot be compared are found out before hours of embedding.
    let features = match args.text.is_empty() {
        true => None,
        false => {
            let text = text_tower(&space.name, &args.model, args.text_model.as_deref(), &device)?;
            space.check(&text_space(text.as_ref()))?;
            Some(text_features(text.as_ref(), &args.text, &templates)?)
        }
    };
    let (plan, done) = args.scenes.embed_into(tower.as_ref(), &space, args.patches, &mut run, || {
        if !exists {
            Archive::create(&path, space.clone(), VectorType::F32)?;
        }
        Ok(Archive::open_writer(&path)?)
    })?;
    let archive = Archive::open(&path)?;
    let parquet = args.out.join("embeddings.parquet");
    let options = GeoParquetOptions { embeddings: true, thumbnails: args.scenes.thumbnails };
    write_archive_geoparquet(&parquet, &archive, &Filter::new(), options)?;
    run.stage("export");
    let mut maps = Vec::new();
    if let Some(features) = &features {
        let (prompts, folder) = (Prompts { names: &args.text, features }, args.out.join("similarity"));
        for (arg, stem) in scenes.iter().zip(stems(&scenes)) {
            maps.push(similarity(arg, &plan, tower.as_ref(), &archive, prompts, &folder, &stem)?);
        }
        run.stage("similarity");
    }
    run.save(&args.out)?;
    if args.scenes.json {
        println!("{}", serde_json::to_string_pretty(&run)?);
        return Ok(());
    }
    print_done(&done, archive.len());
    println!("archive:     {}", path.display());
    println!("GeoParquet:  {}", parquet.display());
    for map in &maps {
        println!("similarity:  {}", map.raster.display());
        map.pictures.iter().for_each(|p| println!("picture:     {}", p.display()));
    }
    println!("next: geoglot index search {} --text \"…\"", path.display());
    Ok(())
}

/// A file name for each scene: its label, numbered where labels repeat.
fn stems(scenes: &[SceneArg]) -> Vec<String> {
    let labels: Vec<String> = scenes.iter().map(SceneArg::label).collect();
    let is_double = |k: usize| labels.iter().filter(|l| **l == labels[k]).count() > 1;
    (0..labels.len())
        .map(|k| if is_double(k) { format!("{}-{}", labels[k], k + 1) } else { labels[k].clone() })
        .collect()
}

/// Saves `run.json` beside a result file, under the file's name.
pub fn save_run_beside(run: &RunManifest, file: &Path) -> anyhow::Result<()> {
    geoglot::core::atomic::write_json(&file.with_extension("run.json"), run).context("run.json")
}
