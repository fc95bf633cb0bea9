//! `geoglot index …`: archives of embeddings.

mod manage;
mod search;

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use geoglot::core::small_file;
use geoglot::index::{Archive, BBox, Filter, Footprint, Time};

use super::common::Usage;

/// Arguments of `index`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an empty archive for a model's vectors, or for vectors of a space of your own
    Create(manage::Create),
    /// Embed scenes into an archive with its model; scenes that are in it are not computed again
    Add(Box<manage::Add>),
    /// Find tiles by words, image or place, with filters
    Search(Box<search::Args>),
    /// Write an archive, or the part of it that passes filters, as GeoParquet or GeoJSON
    Export(manage::Export),
    /// Add the vectors of GeoParquet files
    Import(manage::Import),
    /// Show what is in an archive
    Info(manage::Info),
    /// Read every byte of an archive and say what is damaged; fails if anything is
    Verify(manage::Verify),
    /// Make a damaged archive readable; damaged files are moved aside
    Repair(manage::Verify),
    /// Merge the files of an archive and drop deleted records
    Compact(manage::Verify),
}

pub fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::Create(args) => manage::create(args),
        Command::Add(args) => manage::add(*args),
        Command::Search(args) => search::run(*args),
        Command::Export(args) => manage::export(args),
        Command::Import(args) => manage::import(args),
        Command::Info(args) => manage::info(args),
        Command::Verify(args) => manage::verify_archive(args),
        Command::Repair(args) => manage::repair_archive(args),
        Command::Compact(args) => manage::compact(args),
    }
}

/// Which records count, for `search` and `export`.
#[derive(Debug, ClapArgs)]
struct FilterArgs {
    /// Only tiles that meet this box: west,south,east,north in degrees (west above east crosses the antimeridian)
    #[arg(long, allow_hyphen_values = true, value_name = "W,S,E,N")]
    bbox: Option<String>,
    /// Only tiles that meet the areas of this GeoJSON file
    #[arg(long, value_name = "GEOJSON")]
    area: Option<PathBuf>,
    /// Only from this date or time on
    #[arg(long)]
    from: Option<String>,
    /// Only up to this date (its end) or time
    #[arg(long)]
    to: Option<String>,
    /// Only this sensor; may be repeated
    #[arg(long)]
    sensor: Vec<String>,
    /// Only up to this cloud share, 0 to 1
    #[arg(long, value_name = "SHARE")]
    max_cloud: Option<f32>,
    /// Only up to this share of pixels without data, 0 to 1
    #[arg(long, value_name = "SHARE")]
    max_nodata: Option<f32>,
    /// Keep records whose place, time, sensor or share is unknown
    #[arg(long)]
    keep_unknown: bool,
}

impl FilterArgs {
    fn filter(&self) -> anyhow::Result<Filter> {
        let mut filter = Filter::new().keep_unknown(self.keep_unknown).sensors(&self.sensor);
        if let Some(text) = &self.bbox {
            filter = filter.bbox(bbox("--bbox", text)?);
        }
        if let Some(path) = &self.area {
            let text = small_file::read_text(path, small_file::TEXT)?;
            let area = Footprint::from_geojson(&text).map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))?;
            filter = filter.area(area);
        }
        let from = self.from.as_deref().map(|t| date("--from", t, false)).transpose()?;
        let to = self.to.as_deref().map(|t| date("--to", t, true)).transpose()?;
        if let (Some(a), Some(b)) = (from, to)
            && a > b
        {
            return Err(Usage(format!("--from {a} lies after --to {b}")).into());
        }
        filter = filter.time(from, to);
        if let Some(value) = self.max_cloud {
            filter = filter.max_cloud(share("--max-cloud", value)?);
        }
        if let Some(value) = self.max_nodata {
            filter = filter.max_nodata(share("--max-nodata", value)?);
        }
        Ok(filter)
    }

    /// Where and when the archive's records are, for filters by place or time that none passes.
    fn remark(&self, archive: &Archive) -> String {
        let info = archive.info();
        let mut remark = String::new();
        if (self.bbox.is_some() || self.area.is_some())
            && let Some([w, s, e, n]) = info.bbox
        {
            remark += &format!("; the archive lies within {w:.4},{s:.4},{e:.4},{n:.4} (W,S,E,N)");
        }
        if (self.from.is_some() || self.to.is_some())
            && let Some([first, last]) = info.times
        {
            remark += &format!("; its records are from {first} to {last}");
        }
        remark
    }
}

fn bbox(name: &str, text: &str) -> anyhow::Result<BBox> {
    text.parse().map_err(|e| Usage(format!("{name}: {e}")).into())
}

/// A date or time; a plain date as an end means the end of that day.
pub fn date(name: &str, text: &str, is_end: bool) -> anyhow::Result<Time> {
    let time = Time::parse(text).map_err(|e| Usage(format!("{name}: {e}")))?;
    Ok(if is_end && text.len() == 10 { Time(time.0 + 86_400_000 - 1) } else { time })
}

/// A share from 0 to 1.
pub fn share(name: &str, value: f32) -> anyhow::Result<f32> {
    match (0.0..=1.0).contains(&value) {
        true => Ok(value),
        false => Err(Usage(format!("{name} {value}: expected a share from 0 to 1 (20 % is 0.2)")).into()),
    }
}

/// Texts that say something.
pub fn texts(name: &str, texts: &[String]) -> anyhow::Result<()> {
    match texts.iter().find(|t| !t.chars().any(char::is_alphanumeric)) {
        Some(empty) => Err(Usage(format!("{name} \"{empty}\": there is no word in it")).into()),
        None => Ok(()),
    }
}
