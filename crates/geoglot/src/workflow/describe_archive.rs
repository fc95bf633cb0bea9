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
    question: String,
    text: String,
}

/// How far a run came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveDescribed {
    /// Records with a caption, those of earlier runs among them.
    pub described: usize,
    /// Records that could not be described.
    pub failed: usize,
    /// Whether every record was tried and the file is written.
    pub finished: bool,
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

/// Describes all records of the archive in `folder` and writes them to `out` (GeoParquet, with the captions as column `caption`). `listen` is told what is
/// done of how much and what went wrong (sources that cannot be read, bands the model lacks, tiles without data: passed over), and ends everything with
/// `false`. Answers are kept beside `out` until all records have one, so that the run can be resumed.
///
/// # Errors
/// Archives that cannot be read, no record that could be described, files that cannot be written.
pub fn describe_archive(
    model: &SpectralLlava,
    folder: &Path,
    out: &Path,
    registry: &Registry,
    what: ArchiveQuestion<'_>,
    listen: &mut dyn FnMut(usize, usize, Option<anyhow::Error>) -> bool,
) -> anyhow::Result<ArchiveDescribed> {
    let archive = Archive::open(folder)?;
    let rows: Vec<RowRef> = archive.filtered(&Filter::new())?;
    if rows.is_empty() {
        bail!("{}: the archive is empty", folder.display());
    }
    let metas = archive.metas(&rows)?;
    let question = what.question.unwrap_or(what.task.instruction());
    let kept_in = keeping(out);
    let mut told: HashMap<RecordId, String> = HashMap::new();
    if what.resume && kept_in.is_file() {
        let text = std::fs::read_to_string(&kept_in).with_context(|| kept_in.display().to_string())?;
        // The last line may be half written, others may answer another question.
        let kept = text.lines().filter_map(|l| serde_json::from_str::<Kept>(l).ok());
        told.extend(kept.filter(|k| k.question == question).map(|k| (k.id, k.text)));
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
    // The open scene; `None` where it could not be opened, which is said once.
    let mut scene: Option<(&str, Option<TowerScene>)> = None;
    let mut failed = 0;
    for (done, meta) in metas.iter().enumerate() {
        if told.contains_key(&meta.id) {
            continue;
        }
        let mut fault = None;
        if scene.as_ref().is_none_or(|s| s.0 != meta.source) {
            let arg = SceneArg { sensor: meta.sensor.clone(), ..SceneArg::new(&meta.source) };
            let opened = TowerScene::open(&arg, model.tower.as_ref(), registry, false);
            scene = Some((&meta.source, opened.map_err(|e| fault = Some(e)).ok()));
        }
        let open = scene.as_ref().and_then(|s| s.1.as_ref());
        match open.map(|open| answer(model, open, meta, what)) {
            Some(Ok(text)) => {
                let kept = Kept { id: meta.id, question: question.to_owned(), text };
                writeln!(keep, "{}", serde_json::to_string(&kept)?)?;
                told.insert(kept.id, kept.text);
            }
            Some(Err(error)) => fault = Some(error),
            None => {}
        }
        failed += usize::from(!told.contains_key(&meta.id));
        if !listen(done + 1, metas.len(), fault) {
            return Ok(ArchiveDescribed { described: told.len(), failed, finished: false });
        }
    }
    drop(keep);
    let remove = || std::fs::remove_file(&kept_in).with_context(|| kept_in.display().to_string());
    if told.is_empty() {
        // Answers to another question stay.
        if std::fs::read_to_string(&kept_in).is_ok_and(|kept| kept.trim().is_empty()) {
            remove()?;
        }
        bail!("{}: none of {failed} records could be described", folder.display());
    }
    let captions: Vec<(RowRef, String)> =
        rows.into_iter().zip(&metas).filter_map(|(row, meta)| Some((row, told.get(&meta.id)?.clone()))).collect();
    write_captioned_geoparquet(out, &archive, &captions, GeoParquetOptions::default())?;
    if failed == 0 {
        remove()?;
    }
    Ok(ArchiveDescribed { described: captions.len(), failed, finished: true })
}

/// What the model says of a record.
fn answer(model: &SpectralLlava, scene: &TowerScene, meta: &Meta, what: ArchiveQuestion<'_>) -> anyhow::Result<String> {
    let (seen, path) = (tile(model, scene, meta)?, Path::new(&meta.source));
    Ok(describe(model, path, &seen, what.question, what.task, what.options, &mut |_| true)?.text)
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
