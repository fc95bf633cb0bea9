//! Making a damaged archive readable again.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use geoglot_core::atomic;
use serde::Serialize;

use crate::codes::Rotation;
use crate::format::columns;
use crate::format::container::Bytes;
use crate::format::manifest::{FileEntry, MANIFEST, Manifest, SegmentEntry};
use crate::format::vectors::Vectors;
use crate::lock::WriteLock;
use crate::record::Time;
use crate::segment::{SEGMENTS, Segment, Table, codes_of, file_path};
use crate::verify::{damage, orphans};
use crate::{Archive, Error, Result, Space};

/// What [`repair`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RepairReport {
    /// Records in the archive now.
    pub records: usize,
    /// Records lost with their segments.
    pub lost: usize,
    /// Files made again.
    pub rebuilt: Vec<PathBuf>,
    /// Records of batches that had not been entered, now entered.
    pub entered: usize,
    /// Segments whose thumbnails are lost.
    pub without_thumbnails: usize,
    /// Where damaged files were moved, when there were any.
    pub aside: Option<PathBuf>,
    /// Files moved there.
    pub moved: Vec<String>,
}

/// Where damaged files go.
struct Aside<'a> {
    archive: &'a Path,
    folder: PathBuf,
    report: RepairReport,
}

impl Aside<'_> {
    /// Moves a file out of the archive; one that is not there is passed over.
    fn put(&mut self, file: &Path) -> Result<()> {
        let Some(name) = file.file_name().filter(|_| file.exists()) else { return Ok(()) };
        std::fs::create_dir_all(&self.folder).map_err(|e| Error::io(&self.folder, "create", e))?;
        std::fs::rename(file, self.folder.join(name)).map_err(|e| Error::io(file, "move aside", e))?;
        self.report.moved.push(name.to_string_lossy().into_owned());
        self.report.aside = Some(self.folder.clone());
        Ok(())
    }

    fn put_segment(&mut self, name: &str) -> Result<()> {
        crate::segment::EXTENSIONS.iter().try_for_each(|ext| self.put(&file_path(self.archive, name, ext)))
    }
}

/// Makes the archive readable again: damaged segments are moved to `aside-…/` (never deleted), derived files and the
/// manifest are made again, complete batches that were not entered are entered.
///
/// # Errors
/// [`Error::Locked`] while a writer is at work; [`Error::NotAnArchive`] when neither manifest nor any segment can be read;
/// [`Error::Version`]; [`Error::Io`].
pub fn repair(path: &Path) -> Result<RepairReport> {
    if !path.join(SEGMENTS).is_dir() && !path.join(MANIFEST).exists() {
        return Err(Error::NotAnArchive { path: path.into(), problem: "neither manifest nor segments".into() });
    }
    std::fs::create_dir_all(path.join(SEGMENTS)).map_err(|e| Error::io(path, "create segments in", e))?;
    let _lock = WriteLock::take(path)?;
    let folder = path.join(format!("aside-{}", Time::now().0));
    let mut aside = Aside { archive: path, folder, report: RepairReport::default() };
    let mut manifest = match Manifest::load(path) {
        Ok(manifest) => manifest,
        Err(Error::Damaged { .. } | Error::NotAnArchive { .. }) => {
            let manifest = manifest_from_segments(path)?;
            aside.put(&path.join(MANIFEST))?;
            aside.report.rebuilt.push(path.join(MANIFEST));
            manifest
        }
        Err(e) => return Err(e),
    };
    let rotation = Rotation::new(manifest.space.dim);
    for mut entry in std::mem::take(&mut manifest.segments) {
        if mend(&mut aside, &mut entry, &manifest.space, &rotation)? {
            manifest.segments.push(entry);
        } else {
            aside.report.lost += entry.live();
        }
    }
    enter_orphans(&mut aside, &mut manifest, &rotation)?;
    manifest.save(path)?;
    aside.report.records = Archive::open(path)?.len();
    Ok(aside.report)
}

/// An empty manifest with the space of the newest readable segment.
fn manifest_from_segments(path: &Path) -> Result<Manifest> {
    let none = Manifest::new(Space::new("", 1, "", None), Default::default(), String::new());
    let found = orphans(path, &none)?;
    let newest = found.iter().find_map(|o| o.found.as_ref().ok()).ok_or_else(|| Error::NotAnArchive {
        path: path.into(),
        problem: "the manifest is damaged and no segment can be read".into(),
    })?;
    let mut manifest = Manifest::new(newest.1.space.clone(), newest.1.vectors, Time::now().to_string());
    let number = |files: &[String]| files.first().and_then(|f| f.split('-').next()?.parse::<u64>().ok());
    manifest.next_segment = found.iter().filter_map(|o| number(&o.files)).max().unwrap_or(0) + 1;
    Ok(manifest)
}

/// Mends a segment in place; false when its records are lost and its files were moved aside.
fn mend(aside: &mut Aside, entry: &mut SegmentEntry, space: &Space, rotation: &Rotation) -> Result<bool> {
    let archive = aside.archive;
    let damage = damage(archive, entry);
    if damage.contains_key("vec") || damage.contains_key("parquet") {
        aside.put_segment(&entry.name)?;
        return Ok(false);
    }
    for extension in damage.keys() {
        let path = file_path(archive, &entry.name, extension);
        let bytes = match extension.as_str() {
            "code" => codes_of(&Vectors::new(Bytes::map(&file_path(archive, &entry.name, "vec"))?)?, rotation)?,
            "col" => columns::pack(&Table::open(file_path(archive, &entry.name, "parquet"))?.read(None, None)?)?,
            _ => {
                aside.put(&path)?;
                aside.report.without_thumbnails += 1;
                continue;
            }
        };
        aside.put(&path)?;
        atomic::write(&path, &bytes)?;
        entry.files.insert(extension.clone(), FileEntry::of(&bytes));
        aside.report.rebuilt.push(path);
    }
    if damage.contains_key("png") {
        entry.files.remove("png");
    }
    if Segment::open(archive, entry, space).is_err() {
        aside.put_segment(&entry.name)?;
        return Ok(false);
    }
    Ok(true)
}

/// Enters complete segments that the manifest does not name, without the records it has already.
fn enter_orphans(aside: &mut Aside, manifest: &mut Manifest, rotation: &Rotation) -> Result<()> {
    let mut known: HashSet<[u8; 16]> = HashSet::new();
    for entry in &manifest.segments {
        known.extend(Segment::open(aside.archive, entry, &manifest.space)?.columns.ids());
    }
    let was_rebuilt = aside.report.rebuilt.contains(&aside.archive.join(MANIFEST));
    for orphan in orphans(aside.archive, manifest)? {
        let stem = orphan.files[0].split('.').next().unwrap_or_default().to_owned();
        let fits =
            matches!(&orphan.found, Ok((_, d)) if manifest.space.matches(&d.space) && d.vectors == manifest.vectors);
        let (true, Ok((mut entry, _))) = (fits, orphan.found) else {
            aside.put_segment(&stem)?;
            continue;
        };
        if !mend(aside, &mut entry, &manifest.space, rotation)? {
            // Never entered: nobody counted on these, unless the manifest itself was lost.
            aside.report.lost += if was_rebuilt { entry.records } else { 0 };
            continue;
        }
        let ids = Segment::open(aside.archive, &entry, &manifest.space)?.columns.ids().to_vec();
        let doubled = ids.iter().enumerate().filter(|(_, id)| known.contains(*id));
        entry.deleted = doubled.map(|(row, _)| row as u32).collect();
        if entry.live() == 0 {
            aside.put_segment(&stem)?;
            continue;
        }
        aside.report.entered += if was_rebuilt { 0 } else { entry.live() };
        known.extend(ids);
        manifest.segments.push(entry);
    }
    manifest.segments.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(())
}
