//! `geoglot index create|add|export|import|info|verify|repair|compact`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};
use geoglot::core::{RunManifest, atomic};
use geoglot::index::export::{GeoParquetOptions, to_geojson, write_archive_geoparquet};
use geoglot::index::{
    Archive, Error as IndexError, Hit, ImportOptions, Space, VectorType, geoparquet_space, import_geoparquet, repair,
    verify,
};
use geoglot::models::vision::load_image_tower;
use geoglot::workflow::archive::space_of;
use serde_json::json;

use super::super::common::{DeviceArg, Usage, writable};
use super::super::embed::{SceneArgs, print_done, save_run_beside};
use super::FilterArgs;

/// Arguments of `index create`.
#[derive(Debug, ClapArgs)]
pub struct Create {
    /// Folder to make
    archive: PathBuf,
    /// Image model whose vectors it is for
    #[arg(long, required_unless_present = "space", conflicts_with = "space")]
    model: Option<String>,
    /// Name of a space of vectors made elsewhere
    #[arg(long, requires = "width")]
    space: Option<String>,
    /// Width of that space's vectors
    #[arg(long, requires = "space")]
    width: Option<usize>,
    /// Store 16-bit floats: half the room, scores to about 0.001
    #[arg(long)]
    half: bool,
    /// cpu, cuda[:n] or vulkan[:n]
    #[arg(long, default_value = "cpu")]
    device: DeviceArg,
}

pub fn create(args: Create) -> anyhow::Result<()> {
    let space = match (&args.model, &args.space, args.width) {
        (Some(model), _, _) => space_of(load_image_tower(model, &args.device.open()?)?.as_ref(), model),
        (None, Some(name), Some(width)) => Space::new(name, width, name, None),
        _ => return Err(Usage("give --model, or --space and --width".into()).into()),
    };
    let kind = if args.half { VectorType::F16 } else { VectorType::F32 };
    print!("{}", Archive::create(&args.archive, space, kind)?.info());
    Ok(())
}

/// Arguments of `index add`.
#[derive(Debug, ClapArgs)]
pub struct Add {
    /// The archive
    archive: PathBuf,
    #[command(flatten)]
    scenes: SceneArgs,
    /// The archive's model, where it lies elsewhere now
    #[arg(long)]
    model: Option<String>,
}

pub fn add(args: Add) -> anyhow::Result<()> {
    let mut run = RunManifest::start("index add");
    let archive = Archive::open(&args.archive)?;
    let model = args.model.as_deref().unwrap_or(&archive.space().model);
    let tower = load_image_tower(model, &args.scenes.device.open()?).map_err(|e| match args.model {
        Some(_) => anyhow::Error::from(e),
        None => anyhow::anyhow!("the archive's model does not load: {e}. Name it with --model if it lies elsewhere"),
    })?;
    let space = space_of(tower.as_ref(), model);
    archive.space().check(&space)?;
    let open = || Ok(Archive::open_writer(&args.archive)?);
    let (_, done) = args.scenes.embed_into(tower.as_ref(), &space, false, &mut run, open)?;
    run.save(&args.archive)?;
    if args.scenes.json {
        println!("{}", serde_json::to_string_pretty(&run)?);
    } else {
        print_done(&done, Archive::open(&args.archive)?.len());
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ExportFormat {
    /// GeoParquet 1.1 with vectors and the draft STAC embedding fields
    Geoparquet,
    /// GeoJSON, without vectors
    Geojson,
}

/// Arguments of `index export`.
#[derive(Debug, ClapArgs)]
pub struct Export {
    /// The archive
    archive: PathBuf,
    /// File to write
    #[arg(long)]
    out: PathBuf,
    /// Format
    #[arg(long, value_enum, default_value_t = ExportFormat::Geoparquet)]
    format: ExportFormat,
    #[command(flatten)]
    filter: FilterArgs,
    /// With the pictures of the tiles (GeoParquet)
    #[arg(long)]
    thumbnails: bool,
    /// Without the vectors (GeoParquet)
    #[arg(long)]
    no_embeddings: bool,
}

pub fn export(args: Export) -> anyhow::Result<()> {
    let mut run = RunManifest::start("index export");
    writable(&[("--out", &args.out)], [])?;
    let archive = Archive::open(&args.archive)?;
    let filter = args.filter.filter()?;
    let count = match args.format {
        ExportFormat::Geoparquet => {
            let options = GeoParquetOptions { embeddings: !args.no_embeddings, thumbnails: args.thumbnails };
            write_archive_geoparquet(&args.out, &archive, &filter, options)?
        }
        ExportFormat::Geojson => {
            let rows = archive.filtered(&filter)?;
            let metas = archive.metas(&rows)?.into_iter().zip(&rows);
            let hits: Vec<Hit> = metas.map(|(meta, &row)| Hit { rank: 0, score: 0.0, meta, row }).collect();
            let mut collection = to_geojson(&hits);
            for feature in collection["features"].as_array_mut().into_iter().flatten() {
                if let Some(properties) = feature["properties"].as_object_mut() {
                    // Nothing was searched for.
                    properties.retain(|name, _| name != "rank" && name != "score");
                }
            }
            atomic::write_json(&args.out, &collection)?;
            hits.len()
        }
    };
    run.results.insert("records".into(), count.into());
    run.model_hash = archive.space().model_hash.clone();
    run.stage("export");
    save_run_beside(&run, &args.out)?;
    println!("{count} records: {}", args.out.display());
    Ok(())
}

/// Arguments of `index import`.
#[derive(Debug, ClapArgs)]
pub struct Import {
    /// The archive; made when it is not there and the first file names its space
    archive: PathBuf,
    /// GeoParquet files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Space of the vectors, for files that do not name it: it must be the archive's
    #[arg(long)]
    space: Option<String>,
    /// Column of the vectors
    #[arg(long)]
    column: Option<String>,
}

pub fn import(args: Import) -> anyhow::Result<()> {
    match Archive::open(&args.archive) {
        Ok(_) => {}
        Err(IndexError::NotAnArchive { path, problem }) => match geoparquet_space(&args.files[0])? {
            Some(space) => drop(Archive::create(&args.archive, space, VectorType::F32)?),
            None => {
                eprintln!(
                    "{} does not name its space: make the archive with `geoglot index create`",
                    args.files[0].display()
                );
                return Err(IndexError::NotAnArchive { path, problem }.into());
            }
        },
        Err(problem) => return Err(problem.into()),
    }
    let mut writer = Archive::open_writer(&args.archive)?;
    let space = args.space.as_ref().map(|name| Space::new(name, writer.space().dim, name, None));
    let options = ImportOptions { space, column: args.column.clone() };
    for file in &args.files {
        let done = import_geoparquet(file, &mut writer, &options)?;
        println!(
            "{}: {} rows, {} records added, {} there already, {} without vector",
            file.display(),
            done.rows,
            done.added.added,
            done.added.skipped,
            done.without_vector
        );
    }
    println!("{} records in the archive", writer.len());
    Ok(())
}

/// Arguments of `index info`.
#[derive(Debug, ClapArgs)]
pub struct Info {
    /// The archive
    archive: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn info(args: Info) -> anyhow::Result<()> {
    let info = Archive::open(&args.archive)?.info();
    if args.json {
        println!("{}", serde_json::to_string_pretty(&info)?);
    } else {
        print!("{info}");
    }
    Ok(())
}

/// Arguments of `index verify`, `repair` and `compact`.
#[derive(Debug, ClapArgs)]
pub struct Verify {
    /// The archive
    archive: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn verify_archive(args: Verify) -> anyhow::Result<()> {
    let report = verify(&args.archive)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    if !report.is_whole() {
        anyhow::bail!(
            "{}: {} problems, {} records lost; `geoglot index repair` makes the rest usable",
            args.archive.display(),
            report.problems.len(),
            report.lost()
        );
    }
    Ok(())
}

pub fn repair_archive(args: Verify) -> anyhow::Result<()> {
    let report = repair(&args.archive)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    println!("{}: {} records whole, {} lost", args.archive.display(), report.records, report.lost);
    println!("{} files made again, {} records of unfinished batches entered", report.rebuilt.len(), report.entered);
    if let Some(aside) = &report.aside {
        println!("{} damaged files moved to {}", report.moved.len(), aside.display());
    }
    if report.lost > 0 {
        println!("`geoglot index add` with the same scenes computes the lost records again");
    }
    Ok(())
}

pub fn compact(args: Verify) -> anyhow::Result<()> {
    let done = Archive::open_writer(&args.archive)?.compact()?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&json!(done))?);
    } else {
        println!("{} segments became {}, {} records dropped", done.segments_before, done.segments_after, done.dropped);
    }
    Ok(())
}
