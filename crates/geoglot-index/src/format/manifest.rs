//! `archive.json`: which segments make up the archive. Replaced as a whole by every change.

use std::collections::BTreeMap;
use std::path::Path;

use geoglot_core::{atomic, small_file};
use serde::{Deserialize, Serialize};

use super::vectors::VectorType;
use crate::{Error, Result, Space};

/// Name of the manifest in the archive's folder.
pub const MANIFEST: &str = "archive.json";
const FORMAT: &str = "geoglot-archive";
/// Newest format version this program writes and reads.
pub const VERSION: u32 = 1;

/// Length and checksum of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Length in bytes.
    pub bytes: u64,
    /// CRC-32 (IEEE) of the whole file.
    pub crc32: u32,
}

impl FileEntry {
    /// The entry of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len() as u64, crc32: crc32fast::hash(bytes) }
    }
}

/// One segment: the stem of its files and what each must be like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentEntry {
    /// Stem of its files in `segments/`.
    pub name: String,
    /// Number of records.
    pub records: usize,
    /// Files by extension.
    pub files: BTreeMap<String, FileEntry>,
    /// Rows that were deleted, ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deleted: Vec<u32>,
}

impl SegmentEntry {
    /// Records that are not deleted.
    pub fn live(&self) -> usize {
        self.records - self.deleted.len().min(self.records)
    }
}

/// The manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    format: String,
    /// Format version.
    pub version: u32,
    /// When the archive was made (RFC 3339).
    pub created: String,
    /// Space of all its vectors.
    pub space: Space,
    /// How vectors are stored.
    pub vectors: VectorType,
    /// Counts every change.
    pub generation: u64,
    /// Number of the next segment.
    pub next_segment: u64,
    /// The segments.
    pub segments: Vec<SegmentEntry>,
    /// Segments that were merged into others and whose files may still be there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retired: Vec<String>,
    /// CRC-32 of the manifest with this field empty, eight hexadecimal digits.
    checksum: String,
}

impl Manifest {
    /// An archive without records.
    pub fn new(space: Space, vectors: VectorType, created: String) -> Self {
        Self {
            format: FORMAT.into(),
            version: VERSION,
            created,
            space,
            vectors,
            generation: 0,
            next_segment: 1,
            segments: Vec::new(),
            retired: Vec::new(),
            checksum: String::new(),
        }
    }

    fn sum(&self) -> String {
        let bare = Self { checksum: String::new(), ..self.clone() };
        format!("{:08x}", crc32fast::hash(&serde_json::to_vec(&bare).expect("a manifest is JSON")))
    }

    /// Reads and checks manifest bytes.
    ///
    /// # Errors
    /// [`Error::Version`] and [`Error::Damaged`], naming `path`.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Head {
            format: String,
            version: u32,
        }
        let damaged = |problem: String| Error::damaged(path, problem);
        let head: Head = serde_json::from_slice(bytes).map_err(|e| damaged(format!("not a manifest: {e}")))?;
        if head.format != FORMAT {
            return Err(damaged(format!("its format is `{}`, expected `{FORMAT}`", head.format)));
        }
        if head.version > VERSION {
            return Err(Error::Version { path: path.into(), found: head.version, expected: VERSION });
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(|e| damaged(format!("not a manifest: {e}")))?;
        if manifest.sum() != manifest.checksum {
            return Err(damaged("it does not match its checksum".into()));
        }
        // Names become file names: nothing may lead out of the archive.
        let mut names = manifest.segments.iter().map(|s| &s.name).chain(&manifest.retired);
        if let Some(bad) = names.find(|name| !is_segment_name(name)) {
            return Err(damaged(format!("`{bad}` is no segment name")));
        }
        if manifest.space.dim == 0 {
            return Err(damaged("its space is 0 wide".into()));
        }
        Ok(manifest)
    }

    /// Reads the manifest of the archive in `folder`.
    ///
    /// # Errors
    /// [`Error::NotAnArchive`] when there is none, else as [`Manifest::parse`].
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST);
        if folder.exists() && !folder.is_dir() {
            return Err(Error::NotAnArchive {
                path: folder.into(),
                problem: "it is a file, an archive is a folder".into(),
            });
        }
        if !path.exists() {
            let problem = if folder.join("segments").is_dir() {
                format!("{MANIFEST} is missing, but there are segments: `index repair` makes it again")
            } else {
                format!("no {MANIFEST}")
            };
            return Err(Error::NotAnArchive { path: folder.into(), problem });
        }
        let bytes = small_file::read(&path, small_file::LIST).map_err(|e| match e {
            geoglot_core::Error::Format { problem, .. } => Error::Damaged { path: path.clone(), problem },
            other => other.into(),
        })?;
        Self::parse(&path, &bytes)
    }

    /// Replaces the manifest of the archive in `folder`: after this, the change has happened.
    ///
    /// # Errors
    /// [`Error::Core`] naming the file; the old manifest then stays.
    pub fn save(&mut self, folder: &Path) -> Result<()> {
        self.generation += 1;
        self.checksum = self.sum();
        atomic::write_json(&folder.join(MANIFEST), self)?;
        sync_folder(folder)
    }

    /// Records that are not deleted.
    pub fn live(&self) -> usize {
        self.segments.iter().map(SegmentEntry::live).sum()
    }
}

/// True for the names [`crate::Writer`] gives: digits, letters, hyphens.
pub fn is_segment_name(name: &str) -> bool {
    !name.is_empty() && name.len() < 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// Makes renames in a folder durable.
pub fn sync_folder(folder: &Path) -> Result<()> {
    #[cfg(unix)]
    std::fs::File::open(folder).and_then(|f| f.sync_all()).map_err(|e| Error::io(folder, "sync", e))?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_manifest_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let mut manifest = Manifest::new(Space::new("s", 8, "m", None), VectorType::F16, "2024-01-01T00:00:00Z".into());
        manifest.segments.push(SegmentEntry {
            name: "000001-abcd".into(),
            records: 3,
            files: [("vec".to_string(), FileEntry::of(b"x"))].into(),
            deleted: vec![1],
        });
        manifest.save(dir.path()).unwrap();
        assert_eq!(Manifest::load(dir.path()).unwrap(), manifest);
        let bytes = std::fs::read(dir.path().join(MANIFEST)).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // A flip between kinds of white space changes nothing.
            if let Ok(read) = Manifest::parse(Path::new("m"), &flipped) {
                assert_eq!(read, manifest);
            }
        }
    }

    #[test]
    fn names_cannot_leave_the_archive() {
        assert!(is_segment_name("000001-0a1b2c3d"));
        assert!(!is_segment_name("../x") && !is_segment_name("") && !is_segment_name("a/b") && !is_segment_name("a.b"));
    }

    #[test]
    fn a_newer_version_is_named() {
        let text = r#"{"format":"geoglot-archive","version":99}"#;
        let message = Manifest::parse(Path::new("m"), text.as_bytes()).unwrap_err().to_string();
        assert!(message.contains("99"), "{message}");
    }
}
