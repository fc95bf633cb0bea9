//! Captions of an archive's records: each tile is read from its source again and described, and the archive is written with them as a column.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::describe::{Seen, SeenTile, describe};
use super::images::{TowerScene, batch};
use crate::core::Registry;
use crate::index::export::{GeoParquetOptions, write_captioned_geoparquet};
use crate::index::{Archive, Filter, Meta, RecordId, RowRef};
use crate::models::llm::GenerateOptions;
use crate::models::spectral_llava::{SpectralLlava, Task};
use crate::raster::SceneArg;

/// What is asked of every record.
#[derive(Debug, Clone, Copy)]
pub struct ArchiveQuestion<'a> {
    /// The question; the task's own when there is none.
    pub question: Option<&'a str>,
    /// The task.
    pub task: Task,
    /// How answers are made.
    pub options: &'a GenerateOptions,
    /// Goes on where an interrupted run stopped.
    pub resume: bool,
}

/// A line of the file that keeps answers until all are there.
#[derive(Serialize, Deserialize)]
struct Kept {
    id: RecordId,
    text: String,
}

/// Where answers are kept meanwhile.
fn keeping(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".answers.jsonl");
    name.into()
}

/// Whether `path` is an archive of embeddings.
pub fn is_archive(path: &Path) -> bool {
    path.join("archive.json").is_file()
}

/// Describes all records of the archive in `folder` and writes them to `out` (GeoParquet, with the captions as column `caption`); the number of
/// records, and whether `listen`, which is told what is done of how much, wanted to go on. Answers are kept beside `out` until then, so that an
/// interrupted run can be resumed.
///
/// # Errors
/// Archives and sources that cannot be read, records without source pixels, bands the model lacks.
pub fn describe_archive(
    model: &SpectralLlava,
    folder: &Path,
    out: &Path,
    registry: &Registry,
    what: ArchiveQuestion<'_>,
    listen: &mut dyn FnMut(usize, usize) -> bool,
) -> anyhow::Result<(usize, bool)> {
    let archive = Archive::open(folder)?;
    let rows: Vec<RowRef> = archive.filtered(&Filter::new())?;
    if rows.is_empty() {
        bail!("{}: the archive is empty", folder.display());
    }
    let metas = archive.metas(&rows)?;
    let kept_in = keeping(out);
    let mut told: HashMap<RecordId, String> = HashMap::new();
    if what.resume && kept_in.is_file() {
        let text = std::fs::read_to_string(&kept_in).with_context(|| kept_in.display().to_string())?;
        // The last line may be half written.
        told.extend(text.lines().filter_map(|l| serde_json::from_str::<Kept>(l).ok()).map(|k| (k.id, k.text)));
    }
    let mut keep = OpenOptions::new()
        .create(true)
        .write(true)
        .append(what.resume)
        .truncate(!what.resume)
        .open(&kept_in)
        .with_context(|| kept_in.display().to_string())?;
    if what.resume {
        writeln!(keep)?;
    }
    let mut scene: Option<(String, TowerScene)> = None;
    for (done, meta) in metas.iter().enumerate() {
        if told.contains_key(&meta.id) {
            continue;
        }
        if scene.as_ref().is_none_or(|s| s.0 != meta.source) {
            let arg = SceneArg { sensor: meta.sensor.clone(), ..SceneArg::new(&meta.source) };
            scene = Some((meta.source.clone(), TowerScene::open(&arg, model.tower.as_ref(), registry, false)?));
        }
        let (_, open) = scene.as_ref().expect("opened above");
        let seen = tile(model, open, meta)?;
        let path = Path::new(&meta.source);
        let text = describe(model, path, &seen, what.question, what.task, what.options, &mut |_| true)?.text;
        writeln!(keep, "{}", serde_json::to_string(&Kept { id: meta.id, text: text.clone() })?)?;
        told.insert(meta.id, text);
        if !listen(done + 1, metas.len()) {
            return Ok((told.len(), false));
        }
    }
    let captions: Vec<(RowRef, String)> =
        rows.into_iter().zip(&metas).filter_map(|(row, meta)| Some((row, told.get(&meta.id)?.clone()))).collect();
    write_captioned_geoparquet(out, &archive, &captions, GeoParquetOptions::default())?;
    drop(keep);
    std::fs::remove_file(&kept_in).with_context(|| kept_in.display().to_string())?;
    Ok((captions.len(), true))
}

/// The pixels of a record as the model sees them.
fn tile(model: &SpectralLlava, scene: &TowerScene, meta: &Meta) -> anyhow::Result<Seen> {
    let window = meta.window.unwrap_or_else(|| scene.grid().window());
    let values = scene.read(window.into())?;
    if !values.mask.iter().any(|m| *m) {
        bail!("{}: the tile at column {}, row {} has no data any more", meta.source, window.col, window.row);
    }
    let images = batch(&[scene.prepare(&values)?], scene.bands(), model.tower.device());
    let tokens = model.look(&images)?.swap_remove(0);
    let tiles = vec![SeenTile { window: [window.col, window.row, window.width, window.height], tokens }];
    Ok(Seen { tiles, bands: scene.band_use(), warnings: Vec::new() })
}
