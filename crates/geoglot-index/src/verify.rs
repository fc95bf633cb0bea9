//! Checking every byte of an archive.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::format::columns::Columns;
use crate::format::container::Bytes;
use crate::format::manifest::{FileEntry, MANIFEST, Manifest, SegmentEntry, is_segment_name};
use crate::segment::{Descriptor, SEGMENTS, Segment, Table, file_path};
use crate::{Error, RecordId, Result};

/// What follows from a damaged file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Consequence {
    /// `repair` makes the manifest again from the segments (deletions since the last compaction are forgotten).
    ManifestRebuilt,
    /// `repair` makes the file again; nothing is lost.
    Rebuilt,
    /// The thumbnails of the segment are lost.
    ThumbnailsLost,
    /// The records of the segment are lost.
    RecordsLost,
    /// A complete batch that a killed writer left without entering it: `repair` enters it.
    NotEntered,
    /// Part of a batch that a killed writer left: `repair` moves it aside.
    Leftover,
}

/// A record that cannot be read any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LostRecord {
    /// Its id.
    pub id: RecordId,
    /// Its source raster, when the metadata can still be read.
    pub source: Option<String>,
}

/// One damaged, missing or surplus file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// What was expected and found.
    pub problem: String,
    /// What follows.
    pub consequence: Consequence,
    /// Number of records lost by it (each counted once, with the first file that loses it).
    pub lost: usize,
    /// The lost records, as far as they can be named.
    pub records: Vec<LostRecord>,
}

/// Result of [`verify`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// The archive.
    pub path: PathBuf,
    /// Segments checked.
    pub segments: usize,
    /// Records that are readable and whole.
    pub records: usize,
    /// Bytes read.
    pub bytes: u64,
    /// What is wrong; empty when all is well.
    pub problems: Vec<Problem>,
}

impl VerifyReport {
    /// True when nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.problems.is_empty()
    }

    /// Number of lost records.
    pub fn lost(&self) -> usize {
        self.problems.iter().map(|p| p.lost).sum()
    }
}

impl std::fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{}: {} segments, {:.1} MB read, {} records whole, {} lost, {} problems",
            self.path.display(),
            self.segments,
            self.bytes as f64 / 1e6,
            self.records,
            self.lost(),
            self.problems.len()
        )?;
        for problem in &self.problems {
            let consequence = match problem.consequence {
                Consequence::ManifestRebuilt => "repair makes it again from the segments".into(),
                Consequence::Rebuilt => "nothing is lost, repair makes it again".into(),
                Consequence::ThumbnailsLost => "its thumbnails are lost".into(),
                Consequence::RecordsLost => format!("{} records are lost", problem.lost),
                Consequence::NotEntered => "a batch not entered, repair enters it".into(),
                Consequence::Leftover => "left by a killed writer, repair moves it aside".into(),
            };
            writeln!(f, "{}: {}: {consequence}", problem.file.display(), problem.problem)?;
            for record in problem.records.iter().take(10) {
                writeln!(f, "  {} {}", record.id, record.source.as_deref().unwrap_or(""))?;
            }
            if problem.records.len() > 10 {
                writeln!(f, "  … and {} more", problem.records.len() - 10)?;
            }
        }
        Ok(())
    }
}

/// Reads every file and checks lengths, checksums and structure.
///
/// # Errors
/// [`Error::NotAnArchive`] when there is neither manifest nor segment; [`Error::Version`]; [`Error::Io`] when the folder
/// cannot be listed. Damage is no error but in the report.
pub fn verify(path: &Path) -> Result<VerifyReport> {
    let mut report = VerifyReport { path: path.into(), segments: 0, records: 0, bytes: 0, problems: Vec::new() };
    let manifest = match Manifest::load(path) {
        Ok(manifest) => Some(manifest),
        Err(e @ (Error::Damaged { .. } | Error::NotAnArchive { .. })) if path.join(SEGMENTS).is_dir() => {
            let problem = match e {
                Error::Damaged { problem, .. } => problem,
                _ => "it is missing".into(),
            };
            let file = path.join(MANIFEST);
            let consequence = Consequence::ManifestRebuilt;
            report.problems.push(Problem { file, problem, consequence, lost: 0, records: Vec::new() });
            None
        }
        Err(e) => return Err(e),
    };
    let found = orphans_of(path, manifest.as_ref())?;
    for entry in manifest.iter().flat_map(|m| &m.segments) {
        let space = &manifest.as_ref().expect("there are entries").space;
        check_segment(path, entry, space, &mut report);
    }
    for orphan in found {
        match (&manifest, &orphan.found) {
            // Without a manifest every segment is judged by its own descriptor.
            (None, Ok((entry, descriptor))) => check_segment(path, entry, &descriptor.space, &mut report),
            (_, found) => {
                let whole = found.as_ref().is_ok_and(|(entry, _)| damage(path, entry).is_empty());
                let consequence = if whole { Consequence::NotEntered } else { Consequence::Leftover };
                let file = path.join(SEGMENTS).join(&orphan.files[0]);
                let problem = format!("not in the manifest, {} files", orphan.files.len());
                report.problems.push(Problem { file, problem, consequence, lost: 0, records: Vec::new() });
            }
        }
    }
    Ok(report)
}

/// Damaged files of a segment by extension.
pub(crate) fn damage(archive: &Path, entry: &SegmentEntry) -> BTreeMap<String, String> {
    let check = |extension: &String, expected: &FileEntry| -> Option<String> {
        let bytes = match Bytes::map(&file_path(archive, &entry.name, extension)) {
            Ok(bytes) => bytes,
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Some("it is missing".into());
            }
            // An empty file cannot be mapped everywhere.
            Err(e) => return Some(format!("cannot be read: {e}")),
        };
        if bytes.len() as u64 != expected.bytes {
            return Some(format!("{} bytes expected, {} found", expected.bytes, bytes.len()));
        }
        let found = crc32fast::hash(&bytes);
        (found != expected.crc32).then(|| format!("checksum {:08x} expected, {found:08x} found", expected.crc32))
    };
    let files = entry.files.iter();
    files.filter_map(|(extension, expected)| Some((extension.clone(), check(extension, expected)?))).collect()
}

fn check_segment(archive: &Path, entry: &SegmentEntry, space: &crate::Space, report: &mut VerifyReport) {
    report.segments += 1;
    report.bytes += entry.files.values().map(|f| f.bytes).sum::<u64>();
    let mut damage = damage(archive, entry);
    if damage.is_empty() {
        match Segment::open(archive, entry, space) {
            Ok(_) => {
                report.records += entry.live();
                return;
            }
            // All checksums are right, yet the files do not fit: written wrongly, or edited with care.
            Err(e) => drop(damage.insert("vec".into(), e.to_string())),
        }
    }
    let mut lost = if damage.contains_key("vec") || damage.contains_key("parquet") { entry.live() } else { 0 };
    report.records += entry.live() - lost;
    let mut records = if lost > 0 { name_lost(archive, entry, &damage) } else { Vec::new() };
    // The files that lose records come first, and only one of them counts them.
    let mut files: Vec<_> = damage.into_iter().collect();
    files.sort_by_key(|(extension, _)| !matches!(extension.as_str(), "vec" | "parquet"));
    for (extension, problem) in files {
        let consequence = match extension.as_str() {
            "vec" | "parquet" => Consequence::RecordsLost,
            "png" => Consequence::ThumbnailsLost,
            _ => Consequence::Rebuilt,
        };
        let file = file_path(archive, &entry.name, &extension);
        let records = std::mem::take(&mut records);
        report.problems.push(Problem { file, problem, consequence, lost: std::mem::take(&mut lost), records });
    }
}

/// Names of the live records of a segment, from whatever is whole.
fn name_lost(archive: &Path, entry: &SegmentEntry, damage: &BTreeMap<String, String>) -> Vec<LostRecord> {
    let live = |row: &usize| entry.deleted.binary_search(&(*row as u32)).is_err();
    if !damage.contains_key("parquet") {
        let read = Table::open(file_path(archive, &entry.name, "parquet"));
        if let Ok(metas) = read.and_then(|t| t.read(None, Some(&["id", "source"]))) {
            let rows = metas.into_iter().enumerate().filter(|(row, _)| live(row));
            return rows.map(|(_, m)| LostRecord { id: m.id, source: Some(m.source) }).collect();
        }
    }
    if !damage.contains_key("col") {
        let read = Bytes::map(&file_path(archive, &entry.name, "col")).and_then(Columns::new);
        if let Ok(columns) = read {
            let rows = columns.ids().iter().enumerate().filter(|(row, _)| live(row));
            return rows.map(|(_, id)| LostRecord { id: RecordId(*id), source: None }).collect();
        }
    }
    Vec::new()
}

/// Files in `segments/` of a segment that the manifest does not name.
pub(crate) struct Orphan {
    /// File names, sorted.
    pub files: Vec<String>,
    /// The entry it would have and its descriptor, when its `.parquet` can be read.
    pub found: Result<(SegmentEntry, Descriptor)>,
}

pub(crate) fn orphans(archive: &Path, manifest: &Manifest) -> Result<Vec<Orphan>> {
    orphans_of(archive, Some(manifest))
}

/// Segments outside the manifest (all, without one), newest first. Temporary files of a writer at work are not counted.
pub(crate) fn orphans_of(archive: &Path, manifest: Option<&Manifest>) -> Result<Vec<Orphan>> {
    let folder = archive.join(SEGMENTS);
    let mut stems: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let list = std::fs::read_dir(&folder).map_err(|e| Error::io(&folder, "list", e))?;
    for file in list {
        let file = file.map_err(|e| Error::io(&folder, "list", e))?.file_name().to_string_lossy().into_owned();
        let Some((stem, extension)) = file.split_once('.') else { continue };
        let known = |m: &Manifest| m.segments.iter().any(|s| s.name == stem) || m.retired.iter().any(|r| r == stem);
        if crate::segment::EXTENSIONS.contains(&extension) && is_segment_name(stem) && !manifest.is_some_and(known) {
            stems.entry(stem.to_owned()).or_default().push(file);
        }
    }
    let orphan = |(name, mut files): (String, Vec<String>)| {
        files.sort();
        let found = entry_of(archive, &name);
        Orphan { files, found }
    };
    Ok(stems.into_iter().rev().map(orphan).collect())
}

fn entry_of(archive: &Path, name: &str) -> Result<(SegmentEntry, Descriptor)> {
    let path = file_path(archive, name, "parquet");
    let table = Table::open(path.clone())?;
    let descriptor = table.descriptor()?;
    let records = table.rows()?;
    let mut files = descriptor.files.clone();
    files.insert("parquet".into(), FileEntry::of(&Bytes::map(&path)?));
    Ok((SegmentEntry { name: name.to_owned(), records, files, deleted: Vec::new() }, descriptor))
}
