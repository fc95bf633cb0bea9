//! Adding to an archive and deleting from it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::codes::Rotation;
use crate::format::manifest::Manifest;
use crate::lock::WriteLock;
use crate::record::{Record, RecordId};
use crate::segment::{self, Content, EXTENSIONS, SEGMENTS, Segment, file_path};
use crate::{Archive, Error, Result, Space};

/// Bytes of f32 vectors a segment holds at most: what adding and compacting keep in memory at a time, twice.
const SEGMENT_BYTES: usize = 256 << 20;

/// What [`Writer::add`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Added {
    /// Records added.
    pub added: usize,
    /// Records that were there already.
    pub skipped: usize,
}

/// The one writer of an archive. Every call is durable when it returns; a crash loses at most the call under way.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    pub(crate) manifest: Manifest,
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) rotation: Rotation,
    /// Records a segment holds at most.
    pub(crate) segment_rows: usize,
    /// Merge small segments once this many of one size have come together; `usize::MAX` never.
    merge_at: usize,
    _lock: WriteLock,
}

impl Writer {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        // First the manifest: a lock file must not be made in a folder that is no archive.
        Manifest::load(path)?;
        let lock = WriteLock::take(path)?;
        remove_leftovers(path)?;
        let archive = Archive::open(path)?;
        let dim = archive.space().dim;
        let mut writer = Self {
            path: path.into(),
            manifest: archive.manifest().clone(),
            segments: archive.segments,
            rotation: Rotation::new(dim),
            segment_rows: (SEGMENT_BYTES / (4 * dim)).clamp(1024, 1 << 18),
            merge_at: 16,
            _lock: lock,
        };
        writer.remove_retired();
        Ok(writer)
    }

    /// Space of the archive.
    pub fn space(&self) -> &Space {
        &self.manifest.space
    }

    /// The archive's folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of records, without the deleted.
    pub fn len(&self) -> usize {
        self.manifest.live()
    }

    /// True when there is no record.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sets how many records a segment holds at most (default: 256 MiB of f32 vectors).
    pub fn set_segment_rows(&mut self, rows: usize) {
        self.segment_rows = rows.max(1);
    }

    /// Turns the merging of many small segments while adding on (default) or off.
    pub fn set_merging(&mut self, on: bool) {
        self.merge_at = if on { 16 } else { usize::MAX };
    }

    /// True when the archive has a record: tiles already there need not be embedded again.
    pub fn contains(&self, id: RecordId) -> bool {
        self.segments.iter().any(|s| s.find(id).is_some())
    }

    /// Adds records and makes them durable. Those whose id is there already are skipped, so adding may be repeated.
    ///
    /// `space` is that of the model that made the vectors. Every call makes a segment: batches of some hundred records
    /// are better than single ones.
    ///
    /// # Errors
    /// [`Error::SpaceMismatch`]; [`Error::Vector`] and [`Error::Format`] naming the record: then nothing was added.
    /// [`Error::Io`]: then of a batch larger than a segment a part may have been added.
    pub fn add(&mut self, space: &Space, records: Vec<Record>) -> Result<Added> {
        self.manifest.space.check(space)?;
        let total = records.len();
        let mut seen = HashSet::new();
        let mut fresh: Vec<Record> =
            records.into_iter().filter(|r| seen.insert(r.meta.id) && !self.contains(r.meta.id)).collect();
        for record in &mut fresh {
            record.meta.check()?;
            let (id, source) = (record.meta.id, &record.meta.source);
            self.manifest.space.normalise(&mut record.vector, || format!("record {id} of {source}"))?;
        }
        let added = Added { added: fresh.len(), skipped: total - fresh.len() };
        let mut fresh = fresh.into_iter();
        loop {
            let mut content = Content::default();
            for record in fresh.by_ref().take(self.segment_rows) {
                content.metas.push(record.meta);
                content.vectors.extend(record.vector);
                content.thumbnails.push(record.thumbnail);
            }
            if content.metas.is_empty() {
                break;
            }
            self.commit(content)?;
        }
        self.merge_small()?;
        Ok(added)
    }

    /// Writes a segment and makes it part of the archive.
    fn commit(&mut self, content: Content) -> Result<()> {
        let segment = self.write_segment(content)?;
        let mut manifest = self.manifest.clone();
        manifest.segments.push(segment.entry.clone());
        manifest.next_segment += 1;
        manifest.save(&self.path)?;
        self.manifest = manifest;
        self.segments.push(segment);
        Ok(())
    }

    /// Writes and opens a segment under the next number; the manifest does not name it yet.
    pub(crate) fn write_segment(&self, content: Content) -> Result<Arc<Segment>> {
        let name = content.name(self.manifest.next_segment);
        let (space, kind) = (&self.manifest.space, self.manifest.vectors);
        let entry = segment::write(&self.path, name, space, kind, &self.rotation, content)?;
        Segment::open(&self.path, &entry, space)
    }

    /// Deletes records; ids that are not there are passed over. Returns how many were deleted. Their room is freed by
    /// [`Writer::compact`].
    ///
    /// # Errors
    /// [`Error::Io`]; then nothing was deleted.
    pub fn delete(&mut self, ids: &[RecordId]) -> Result<usize> {
        let mut manifest = self.manifest.clone();
        let mut count = 0;
        for (segment, entry) in self.segments.iter().zip(&mut manifest.segments) {
            let mut rows: Vec<u32> = ids.iter().filter_map(|&id| segment.find(id)).map(|row| row as u32).collect();
            rows.sort_unstable();
            rows.dedup();
            count += rows.len();
            entry.deleted.extend(rows);
            entry.deleted.sort_unstable();
        }
        if count > 0 {
            manifest.save(&self.path)?;
            self.manifest = manifest;
            self.reopen()?;
        }
        Ok(count)
    }

    /// Opens the segments that the manifest names.
    pub(crate) fn reopen(&mut self) -> Result<()> {
        let segments = self.manifest.segments.iter();
        self.segments = segments.map(|e| Segment::open(&self.path, e, &self.manifest.space)).collect::<Result<_>>()?;
        Ok(())
    }

    /// Merges segments of one size class once there are many of them: every record is rewritten a few times at most.
    fn merge_small(&mut self) -> Result<()> {
        loop {
            let class = |s: &Segment| s.entry.records.max(1).ilog2() / 3;
            let limit = self.segment_rows / 2;
            let small: Vec<_> = self.segments.iter().filter(|s| s.entry.records <= limit).collect();
            let crowded = small
                .iter()
                .map(|s| class(s))
                .find(|&c| small.iter().filter(|s| class(s) == c).count() >= self.merge_at);
            let Some(c) = crowded else { return Ok(()) };
            let names: Vec<String> = small.iter().filter(|s| class(s) == c).map(|s| s.entry.name.clone()).collect();
            self.merge(&names)?;
        }
    }

    /// Removes the files of segments that were merged into others. Readers that have them open keep them; what the system
    /// does not let go of now is removed another time.
    pub(crate) fn remove_retired(&mut self) {
        let path = &self.path;
        self.manifest.retired.retain(|name| {
            let files = EXTENSIONS.map(|extension| file_path(path, name, extension));
            files.iter().for_each(|file| drop(std::fs::remove_file(file)));
            files.iter().any(|file| file.exists())
        });
    }
}

/// Removes the temporary files of writers that were killed. The lock is held: no other writer is at work.
fn remove_leftovers(archive: &Path) -> Result<()> {
    for folder in [archive.to_path_buf(), archive.join(SEGMENTS)] {
        let entries = std::fs::read_dir(&folder).map_err(|e| Error::io(&folder, "list", e))?;
        for entry in entries.flatten() {
            if entry.path().extension().is_some_and(|e| e == "tmp") {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
    Ok(())
}
