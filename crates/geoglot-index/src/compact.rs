//! Merging segments: fewer, larger files, without deleted and doubled records.

use std::collections::HashSet;

use serde::Serialize;

use crate::segment::{Content, SEGMENTS, Segment};
use crate::verify::orphans;
use crate::{Result, Writer};

/// What [`Writer::compact`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Compacted {
    /// Segments before.
    pub segments_before: usize,
    /// Segments after.
    pub segments_after: usize,
    /// Deleted and doubled records dropped.
    pub dropped: usize,
}

impl Writer {
    /// Merges segments up to the size limit, drops deleted and doubled records, and removes files that no manifest needs
    /// any more. Keeps one segment in memory at a time; readers go on with what they have open.
    ///
    /// # Errors
    /// [`crate::Error::Io`] and [`crate::Error::Damaged`]; the archive is then as it was, or partly compacted.
    pub fn compact(&mut self) -> Result<Compacted> {
        let mut report = Compacted { segments_before: self.segments.len(), ..Compacted::default() };
        let stored: usize = self.segments.iter().map(|s| s.entry.records).sum();
        let doubled = self.doubled();
        if !doubled.is_empty() {
            self.delete_rows(&doubled)?;
        }
        // Runs of neighbours that fit into one segment, or single segments with deleted records.
        let mut runs: Vec<(usize, Vec<String>)> = Vec::new();
        for segment in &self.segments {
            let live = segment.entry.live();
            match runs.last_mut() {
                Some((size, names)) if *size + live <= self.segment_rows => {
                    *size += live;
                    names.push(segment.entry.name.clone());
                }
                _ => runs.push((live, vec![segment.entry.name.clone()])),
            }
        }
        for (_, names) in runs {
            let has_deleted =
                |name: &String| self.segments.iter().any(|s| &s.entry.name == name && !s.entry.deleted.is_empty());
            if names.len() > 1 || names.iter().any(has_deleted) {
                self.merge(&names)?;
            }
        }
        self.remove_redundant_orphans()?;
        report.segments_after = self.segments.len();
        report.dropped = stored - self.segments.iter().map(|s| s.entry.records).sum::<usize>();
        Ok(report)
    }

    /// Replaces segments by one with their live records (or by none, when there are none).
    pub(crate) fn merge(&mut self, names: &[String]) -> Result<()> {
        let (old, kept): (Vec<_>, Vec<_>) = self.segments.iter().cloned().partition(|s| names.contains(&s.entry.name));
        let mut content = Content::default();
        for segment in &old {
            let mut buffer = Vec::new();
            let vectors = segment.vectors.rows(0, segment.vectors.rows, &mut buffer);
            for (row, meta) in segment.table.read(None, None)?.into_iter().enumerate() {
                if segment.is_live(row) {
                    content.metas.push(meta);
                    let dim = segment.vectors.dim;
                    content.vectors.extend_from_slice(&vectors[row * dim..][..dim]);
                    content.thumbnails.push(segment.thumbs.as_ref().and_then(|t| t.get(row)).map(<[u8]>::to_vec));
                }
            }
        }
        let at = self.segments.iter().position(|s| names.contains(&s.entry.name)).unwrap_or(0);
        let mut segments = kept;
        let mut manifest = self.manifest.clone();
        if !content.metas.is_empty() {
            segments.insert(at.min(segments.len()), self.write_segment(content)?);
            manifest.next_segment += 1;
        }
        manifest.segments = segments.iter().map(|s| s.entry.clone()).collect();
        // Named in the same step: a crash before their files are gone must not bring the old segments back.
        manifest.retired.extend(old.iter().map(|s| s.entry.name.clone()));
        manifest.save(self.path())?;
        self.manifest = manifest;
        self.segments = segments;
        self.remove_retired();
        Ok(())
    }

    /// Live rows whose id an earlier live row has: (segment, row).
    fn doubled(&self) -> Vec<(usize, u32)> {
        let mut doubled = Vec::new();
        for (i, segment) in self.segments.iter().enumerate() {
            for (row, id) in segment.columns.ids().iter().enumerate().filter(|(row, _)| segment.is_live(*row)) {
                if self.segments[..i].iter().any(|s| s.find(crate::RecordId(*id)).is_some()) {
                    doubled.push((i, row as u32));
                }
            }
        }
        doubled
    }

    fn delete_rows(&mut self, rows: &[(usize, u32)]) -> Result<()> {
        let mut manifest = self.manifest.clone();
        for &(segment, row) in rows {
            manifest.segments[segment].deleted.push(row);
        }
        for entry in &mut manifest.segments {
            entry.deleted.sort_unstable();
            entry.deleted.dedup();
        }
        manifest.save(self.path())?;
        self.manifest = manifest;
        self.reopen()
    }

    /// Files of segments outside the manifest are removed when every record in them is in the archive (also deleted).
    fn remove_redundant_orphans(&self) -> Result<()> {
        let known: HashSet<[u8; 16]> = self.segments.iter().flat_map(|s| s.columns.ids().iter().copied()).collect();
        for orphan in orphans(self.path(), &self.manifest)? {
            let Ok((entry, _)) = &orphan.found else { continue };
            let Ok(segment) = Segment::open(self.path(), entry, self.space()) else { continue };
            if segment.columns.ids().iter().all(|id| known.contains(id)) {
                for file in &orphan.files {
                    let _ = std::fs::remove_file(self.path().join(SEGMENTS).join(file));
                }
            }
        }
        Ok(())
    }
}
