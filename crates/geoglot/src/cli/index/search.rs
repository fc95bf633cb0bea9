//! `geoglot index search`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};
use geoglot::core::{RunManifest, prompt};
use geoglot::index::export::{GeoParquetOptions, to_geojson, to_html, to_table, write_hits_geoparquet};
use geoglot::index::{Archive, Dedup, Filter, Footprint, Hit, SearchOptions};
use geoglot::workflow::archive::{Question, TowerNames};
use serde_json::{Value, json};

use super::super::common::{DeviceArg, Usage, at_least_one, registry, threshold, writable};
use super::super::embed::save_run_beside;
use super::super::map::parse_scene;
use super::{FilterArgs, bbox, share, texts};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Text table
    Table,
    /// GeoJSON FeatureCollection
    Geojson,
    /// GeoParquet with scores, vectors and pictures (needs --out)
    Geoparquet,
    /// Contact sheet: one HTML page with the pictures in it
    Html,
}

/// Arguments of `index search`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The archive
    archive: PathBuf,
    /// Words to look for; repeated texts are averaged
    #[arg(long, value_name = "WORDS")]
    text: Vec<String>,
    /// Words to turn away from
    #[arg(long, value_name = "WORDS")]
    minus: Vec<String>,
    /// An image to find the like of: PATH[:sensor=…,bands=…]
    #[arg(long)]
    image: Option<String>,
    /// A place to find the like of: lon,lat or west,south,east,north in degrees
    #[arg(long, allow_hyphen_values = true)]
    place: Option<String>,
    /// Number of hits [default: 10, or no limit with --threshold]
    #[arg(long, short = 'k', value_name = "K")]
    top_k: Option<usize>,
    /// Only hits with this cosine or more
    #[arg(long, allow_negative_numbers = true)]
    threshold: Option<f32>,
    #[command(flatten)]
    filter: FilterArgs,
    /// Of tiles that share more than this part of the smaller one keep only the best, 0 to 1
    #[arg(long, value_name = "SHARE")]
    dedup: Option<f32>,
    /// Templates for the words: skyscript, land-cover, …, none
    #[arg(long, default_value = "skyscript")]
    templates: String,
    /// Image model, where the archive's lies elsewhere now
    #[arg(long)]
    model: Option<String>,
    /// Text tower, where the model has none of its own
    #[arg(long)]
    text_model: Option<String>,
    /// What to write
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// File to write to instead of the terminal
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print the hits as JSON
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// A registry file with your own sensors, for --image
    #[arg(long)]
    sensors: Option<PathBuf>,
    /// cpu, cuda[:n] or vulkan[:n]
    #[arg(long, default_value = "cpu")]
    device: DeviceArg,
}

/// The records at `lon,lat` or in a box.
fn place(text: &str) -> anyhow::Result<Filter> {
    let numbers: Vec<&str> = text.split(',').collect();
    let [lon, lat] = numbers[..] else { return Ok(Filter::new().bbox(bbox("--place", text)?)) };
    let usage = |problem: String| anyhow::Error::from(Usage(format!("--place {text}: {problem}")));
    let number = |t: &str| t.trim().parse::<f64>().map_err(|_| usage(format!("`{t}` is not a number; write lon,lat")));
    let point = Footprint::from_point(number(lon)?, number(lat)?).map_err(|e| usage(e.to_string()))?;
    Ok(Filter::new().area(point))
}

impl Args {
    fn question(&self) -> anyhow::Result<Question> {
        texts("--text", &self.text)?;
        texts("--minus", &self.minus)?;
        if self.text.is_empty() && self.image.is_none() && self.place.is_none() {
            return Err(Usage("say what to look for: --text, --image or --place".into()).into());
        }
        Ok(Question {
            texts: self.text.clone(),
            minus: self.minus.clone(),
            templates: prompt::named(&self.templates).map_err(|e| Usage(e.to_string()))?,
            image: self
                .image
                .as_ref()
                .map(|t| parse_scene(std::slice::from_ref(t)))
                .transpose()?
                .map(|mut v| v.remove(0)),
            place: self.place.as_deref().map(place).transpose()?,
        })
    }

    fn options(&self) -> anyhow::Result<SearchOptions> {
        at_least_one(&[("--top-k", self.top_k.unwrap_or(1))])?;
        threshold(self.threshold)?;
        let top_k = self.top_k.or(self.threshold.is_none().then_some(10));
        let dedup = match self.dedup {
            Some(value) => Some(Dedup { share: share("--dedup", value)?.into(), ..Dedup::default() }),
            None => None,
        };
        Ok(SearchOptions {
            top_k,
            min_score: self.threshold,
            filter: self.filter.filter()?,
            dedup,
            ..SearchOptions::default()
        })
    }
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let mut run = RunManifest::start("index search");
    let (question, options) = (args.question()?, args.options()?);
    if args.format == Format::Geoparquet && args.out.is_none() {
        return Err(Usage("--format geoparquet needs --out FILE".into()).into());
    }
    if let Some(out) = &args.out {
        writable(&[("--out", out)], [])?;
    }
    let archive = Archive::open(&args.archive)?;
    if archive.is_empty() {
        anyhow::bail!("{}: the archive is empty; `geoglot index add` puts scenes into it", args.archive.display());
    }
    // Said before a model is loaded.
    options.filter.check(&archive)?;
    let towers = TowerNames { model: args.model.as_deref(), text_model: args.text_model.as_deref() };
    let registry = registry(args.sensors.as_ref())?;
    let query = question.to_query(&archive, towers, &registry, &args.device.open()?)?;
    run.stage("query");
    let hits = archive.search(&query, &options)?;
    run.stage("search");
    run.model_hash = archive.space().model_hash.clone();
    run.results.insert("query".into(), question.in_words().into());
    run.results.insert("hits".into(), hits.len().into());
    let text = match args.format {
        _ if args.json => format!("{}\n", serde_json::to_string_pretty(&as_json(&question, &hits))?),
        Format::Table => to_table(&hits),
        Format::Geojson => format!("{}\n", serde_json::to_string_pretty(&to_geojson(&hits))?),
        Format::Html => to_html(&archive, &hits, &question.in_words()),
        Format::Geoparquet => String::new(),
    };
    match (&args.out, args.format) {
        (Some(out), Format::Geoparquet) => {
            write_hits_geoparquet(out, &archive, &hits, GeoParquetOptions { embeddings: true, thumbnails: true })?;
        }
        (Some(out), _) => geoglot::core::atomic::write(out, text.as_bytes())?,
        (None, _) => print!("{text}"),
    }
    if let Some(out) = &args.out {
        save_run_beside(&run, out)?;
        println!("{} hits: {}", hits.len(), out.display());
    } else if hits.is_empty() && !args.json {
        eprintln!("nothing found{}", args.filter.remark(&archive));
    }
    Ok(())
}

/// Question and hits as JSON: a GeoJSON feature's properties with id, geometry and box beside them.
fn as_json(question: &Question, hits: &[Hit]) -> Value {
    let features = to_geojson(hits);
    let flat = |feature: &Value| {
        let mut hit = feature["properties"].clone();
        for key in ["id", "bbox", "geometry"] {
            hit[key] = feature[key].clone();
        }
        hit
    };
    let hits: Vec<Value> = features["features"].as_array().into_iter().flatten().map(flat).collect();
    json!({ "query": question.in_words(), "hits": hits })
}
