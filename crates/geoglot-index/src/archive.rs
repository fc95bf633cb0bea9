//! An archive: a folder of segments and a manifest. Making it, opening a snapshot, saying what is in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::footprint::BBox;
use crate::format::manifest::{MANIFEST, Manifest};
use crate::format::vectors::VectorType;
use crate::lock::WriteLock;
use crate::record::{Meta, RecordId, Time};
use crate::segment::{SEGMENTS, Segment};
use crate::{Error, Result, Space, Writer};

/// A snapshot of an archive: what was in it when it was opened. Writers do not disturb it.
///
/// Only headers and lengths are checked on opening; [`crate::verify()`] reads everything.
#[derive(Debug, Clone)]
pub struct Archive {
    path: PathBuf,
    manifest: Manifest,
    pub(crate) segments: Vec<Arc<Segment>>,
}

/// Which record of a snapshot: segment and row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowRef {
    /// Index of the segment.
    pub segment: u32,
    /// Row in it.
    pub row: u32,
}

/// What is in an archive.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Info {
    /// The archive's folder.
    pub path: PathBuf,
    /// Space of its vectors.
    pub space: Space,
    /// How vectors are stored.
    pub vectors: VectorType,
    /// When it was made (RFC 3339).
    pub created: String,
    /// Number of changes so far.
    pub generation: u64,
    /// Records, without the deleted.
    pub records: usize,
    /// Deleted records that `compact` would drop.
    pub deleted: usize,
    /// Segments.
    pub segments: usize,
    /// Bytes by kind of file (its extension).
    pub bytes: BTreeMap<String, u64>,
    /// Records by sensor; the empty name stands for unknown.
    pub sensors: BTreeMap<String, usize>,
    /// Earliest and latest time (RFC 3339), of records that have one.
    pub times: Option<[String; 2]>,
    /// West, south, east, north around all footprints.
    pub bbox: Option<[f64; 4]>,
    /// Records without footprint: no place filter finds them.
    pub unplaced: usize,
}

impl Archive {
    /// Makes an empty archive in `path`, which must not hold one yet.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Io`], [`Error::Vector`] for a space without width, [`Error::Damaged`] where segments lie without a
    /// manifest: a new archive would write over them.
    pub fn create(path: &Path, space: Space, vectors: VectorType) -> Result<Self> {
        if space.dim == 0 || space.dim > 1 << 16 {
            let problem = format!("a width of {}; spaces are 1 to 65,536 wide", space.dim);
            return Err(Error::Vector { what: format!("space `{}`", space.name), problem });
        }
        if path.join(MANIFEST).exists() {
            return Err(Error::Exists { path: path.into() });
        }
        let segments = path.join(SEGMENTS);
        std::fs::create_dir_all(&segments).map_err(|e| Error::io(&segments, "create", e))?;
        let _lock = WriteLock::take(path)?;
        if path.join(MANIFEST).exists() {
            return Err(Error::Exists { path: path.into() });
        }
        if segments.read_dir().is_ok_and(|mut files| files.next().is_some()) {
            let problem = "it is missing, but there are segments".into();
            return Err(Error::Damaged { path: path.join(MANIFEST), problem });
        }
        let space = Space { normalised: true, ..space };
        Manifest::new(space, vectors, Time::now().to_string()).save(path)?;
        Self::open(path)
    }

    /// Opens a snapshot for reading. A writer may be at work.
    ///
    /// # Errors
    /// [`Error::NotAnArchive`], [`Error::Version`], [`Error::Damaged`] naming the file.
    pub fn open(path: &Path) -> Result<Self> {
        // Compaction may remove segments between reading the manifest and opening them: then there is a newer manifest.
        let mut generation = None;
        loop {
            let manifest = Manifest::load(path)?;
            let opened = manifest.segments.iter().map(|entry| Segment::open(path, entry, &manifest.space)).collect();
            match opened {
                Ok(segments) => return Ok(Self { path: path.into(), manifest, segments }),
                Err(Error::Io { path: file, source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                    if generation == Some(manifest.generation) {
                        return Err(Error::damaged(file, "it is missing"));
                    }
                    generation = Some(manifest.generation);
                }
                Err(other) => return Err(other),
            }
        }
    }

    /// Opens for adding. Only one process at a time can.
    ///
    /// # Errors
    /// [`Error::Locked`] naming who writes, else as [`Archive::open`].
    pub fn open_writer(path: &Path) -> Result<Writer> {
        Writer::open(path)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Space of its vectors.
    pub fn space(&self) -> &Space {
        &self.manifest.space
    }

    /// How vectors are stored.
    pub fn vector_type(&self) -> VectorType {
        self.manifest.vectors
    }

    /// Number of records, without the deleted.
    pub fn len(&self) -> usize {
        self.manifest.live()
    }

    /// True when there is no record.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The record with an id.
    pub fn find(&self, id: RecordId) -> Option<RowRef> {
        self.segments
            .iter()
            .enumerate()
            .find_map(|(s, segment)| segment.find(id).map(|row| RowRef { segment: s as u32, row: row as u32 }))
    }

    /// All records in order of storage.
    pub fn rows(&self) -> impl Iterator<Item = RowRef> {
        self.segments.iter().enumerate().flat_map(|(s, segment)| {
            let live = (0..segment.entry.records).filter(|&row| segment.is_live(row));
            live.map(move |row| RowRef { segment: s as u32, row: row as u32 })
        })
    }

    /// The vector of a record, `[D]`, of length 1.
    pub fn vector(&self, row: RowRef) -> Vec<f32> {
        self.segments[row.segment as usize].vectors.row(row.row as usize)
    }

    /// The thumbnail of a record, PNG bytes.
    pub fn thumbnail(&self, row: RowRef) -> Option<&[u8]> {
        self.segments[row.segment as usize].thumbs.as_ref()?.get(row.row as usize)
    }

    /// Metadata of records, in the order asked for.
    ///
    /// # Errors
    /// [`Error::Parquet`] and [`Error::Damaged`] naming the file.
    pub fn metas(&self, rows: &[RowRef]) -> Result<Vec<Meta>> {
        self.metas_of(rows, None)
    }

    /// As [`Archive::metas`], reading some columns only; the others stay empty.
    pub(crate) fn metas_of(&self, rows: &[RowRef], columns: Option<&[&str]>) -> Result<Vec<Meta>> {
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_unstable_by_key(|&i| rows[i]);
        let mut metas: Vec<Option<Meta>> = vec![None; rows.len()];
        for group in order.chunk_by(|&a, &b| rows[a].segment == rows[b].segment) {
            let mut wanted: Vec<u32> = group.iter().map(|&i| rows[i].row).collect();
            wanted.dedup();
            let read = self.segments[rows[group[0]].segment as usize].table.read(Some(&wanted), columns)?;
            for &i in group {
                let found = wanted.binary_search(&rows[i].row).ok().and_then(|at| read.get(at));
                metas[i] = found.cloned();
            }
        }
        metas
            .into_iter()
            .collect::<Option<_>>()
            .ok_or_else(|| Error::damaged(&self.path, "a metadata table is too short"))
    }

    /// What is in the archive; reads the column files.
    pub fn info(&self) -> Info {
        let mut info = Info {
            path: self.path.clone(),
            space: self.space().clone(),
            vectors: self.manifest.vectors,
            created: self.manifest.created.clone(),
            generation: self.manifest.generation,
            records: self.len(),
            deleted: self.manifest.segments.iter().map(|s| s.records - s.live()).sum(),
            segments: self.segments.len(),
            bytes: BTreeMap::new(),
            sensors: BTreeMap::new(),
            times: None,
            bbox: None,
            unplaced: 0,
        };
        let (mut times, mut bbox): (Option<(Time, Time)>, Option<BBox>) = (None, None);
        for segment in &self.segments {
            for (extension, file) in &segment.entry.files {
                *info.bytes.entry(extension.clone()).or_default() += file.bytes;
            }
            let columns = &segment.columns;
            for row in (0..columns.rows).filter(|&row| segment.is_live(row)) {
                let sensor = columns.sensors.get(columns.sensor_indices()[row] as usize);
                match sensor.and_then(|s| info.sensors.get_mut(s)) {
                    Some(count) => *count += 1,
                    None => *info.sensors.entry(sensor.cloned().unwrap_or_default()).or_default() += 1,
                }
                if let Some(t) = columns.time(row) {
                    times = Some(times.map_or((t, t), |(a, b)| (a.min(t), b.max(t))));
                }
                match columns.bbox(row) {
                    Some(b) => bbox = Some(bbox.map_or(b, |all| all.union(&b))),
                    None => info.unplaced += 1,
                }
            }
        }
        info.times = times.map(|(a, b)| [a.to_string(), b.to_string()]);
        info.bbox = bbox.map(|b| [b.west, b.south, b.east, b.north]);
        info
    }
}

impl std::fmt::Display for Info {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let total: u64 = self.bytes.values().sum();
        writeln!(f, "archive   {}", self.path.display())?;
        writeln!(f, "space     {}", self.space)?;
        writeln!(f, "created   {}", self.created)?;
        writeln!(f, "records   {} in {} segments ({} deleted)", self.records, self.segments, self.deleted)?;
        writeln!(f, "size      {:.1} MB, vectors {}", total as f64 / 1e6, self.vectors.stac_name())?;
        if let Some([from, to]) = &self.times {
            writeln!(f, "time      {from} to {to}")?;
        }
        if let Some([west, south, east, north]) = self.bbox {
            writeln!(f, "place     {west:.4},{south:.4},{east:.4},{north:.4} ({} without place)", self.unplaced)?;
        }
        for (sensor, count) in &self.sensors {
            writeln!(f, "sensor    {} {count}", if sensor.is_empty() { "(unknown)" } else { sensor })?;
        }
        Ok(())
    }
}
