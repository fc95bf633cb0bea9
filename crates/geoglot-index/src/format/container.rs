//! Header and checksums of the archive's own binary files, and reading them through a memory map.

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use memmap2::Mmap;

use crate::{Error, Result};

/// Length of the header; the payload starts there, aligned for vector instructions.
pub const HEADER: usize = 64;
const MAGIC: &[u8; 8] = b"GEOGLOT\0";
const VERSION: u32 = 1;

/// Kind of a file, also its extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Vectors.
    Vectors,
    /// Columns of fixed width.
    Columns,
    /// Codes for the coarse pass.
    Codes,
    /// Thumbnails.
    Thumbs,
}

impl Kind {
    fn tag(self) -> &'static [u8; 4] {
        match self {
            Self::Vectors => b"VEC ",
            Self::Columns => b"COL ",
            Self::Codes => b"CODE",
            Self::Thumbs => b"PNG ",
        }
    }

    /// What the file is called in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vectors => "vector file",
            Self::Columns => "column file",
            Self::Codes => "code file",
            Self::Thumbs => "thumbnail file",
        }
    }
}

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Number of records.
    pub rows: usize,
    /// Values in a record (vectors and codes), else 0.
    pub dim: usize,
    /// Kind-specific detail: for vectors the type of a value.
    pub detail: u32,
    /// CRC-32 of the payload.
    pub payload_crc: u32,
}

/// Header and payload as one block of bytes.
pub fn pack(kind: Kind, rows: usize, dim: usize, detail: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    bytes.extend(MAGIC);
    bytes.extend(kind.tag());
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((rows as u64).to_le_bytes());
    bytes.extend((dim as u32).to_le_bytes());
    bytes.extend(detail.to_le_bytes());
    bytes.extend((payload.len() as u64).to_le_bytes());
    bytes.extend(crc32fast::hash(payload).to_le_bytes());
    bytes.resize(HEADER - 4, 0);
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    bytes.extend(payload);
    bytes
}

/// Reads a header and checks it and the length, but not the payload's checksum (see [`check_payload`]).
///
/// # Errors
/// [`Error::Format`] saying what differs.
pub fn parse(kind: Kind, bytes: &[u8]) -> Result<Header> {
    let refuse = |problem: String| Err(Error::format(kind.name(), problem));
    let Some(header) = bytes.get(..HEADER) else {
        return refuse(format!("{} bytes, shorter than the header of {HEADER}", bytes.len()));
    };
    let u32_at = |i: usize| u32::from_le_bytes(header[i..i + 4].try_into().expect("4 bytes"));
    let u64_at = |i: usize| u64::from_le_bytes(header[i..i + 8].try_into().expect("8 bytes"));
    if &header[..8] != MAGIC || &header[8..12] != kind.tag() {
        return refuse("the first bytes are not those of this kind of file".into());
    }
    if u32_at(12) != VERSION {
        return refuse(format!("version {}, this program reads version {VERSION}", u32_at(12)));
    }
    if crc32fast::hash(&header[..HEADER - 4]) != u32_at(HEADER - 4) {
        return refuse("the header does not match its checksum".into());
    }
    let length = u64_at(32);
    if length != (bytes.len() - HEADER) as u64 {
        return refuse(format!("{length} bytes announced, {} there", bytes.len() - HEADER));
    }
    let rows = usize::try_from(u64_at(16)).ok().filter(|&r| r <= u32::MAX as usize);
    let Some(rows) = rows else { return refuse(format!("{} rows", u64_at(16))) };
    Ok(Header { rows, dim: u32_at(24) as usize, detail: u32_at(28), payload_crc: u32_at(40) })
}

/// Checks the payload's checksum: reads the whole file.
///
/// # Errors
/// [`Error::Format`].
pub fn check_payload(kind: Kind, bytes: &[u8]) -> Result<()> {
    let header = parse(kind, bytes)?;
    if crc32fast::hash(&bytes[HEADER..]) == header.payload_crc {
        return Ok(());
    }
    Err(Error::format(kind.name(), "the content does not match its checksum"))
}

/// A file in memory: mapped, or (in tests and fuzzing) held.
#[derive(Debug)]
pub enum Bytes {
    /// Memory map of a file.
    Mapped(Mmap),
    /// Eight-byte aligned copy and its length.
    Held(Vec<u64>, usize),
}

impl Bytes {
    /// Maps a file read-only.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub fn map(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
        // SAFETY: files of an archive are written once under another name and renamed; nobody changes them in place.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::io(path, "map", e))?;
        Ok(Self::Mapped(map))
    }

    /// An aligned copy.
    pub fn hold(bytes: &[u8]) -> Self {
        let mut held = vec![0u64; bytes.len().div_ceil(8)];
        bytemuck::cast_slice_mut(&mut held)[..bytes.len()].copy_from_slice(bytes);
        Self::Held(held, bytes.len())
    }

    /// Asks the system to read ahead (`whole`), or not to (single rows are wanted).
    pub fn advise(&self, whole: bool) {
        #[cfg(unix)]
        if let Self::Mapped(map) = self {
            let advice = if whole { memmap2::Advice::WillNeed } else { memmap2::Advice::Random };
            // Only a hint: a system that knows it not is no failure.
            let _ = map.advise(advice);
        }
        #[cfg(not(unix))]
        let _ = whole;
    }
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Held(words, length) => &bytemuck::cast_slice(words)[..*length],
        }
    }
}

/// Lays out arrays one after another, each starting at a multiple of 64 bytes.
#[derive(Default)]
pub(crate) struct Layout {
    /// Bytes so far.
    pub end: usize,
}

impl Layout {
    /// Where the next array of `count` values of `size` bytes lies; `None` when the sizes overflow.
    pub fn next(&mut self, count: usize, size: usize) -> Option<Range<usize>> {
        let start = self.end.checked_next_multiple_of(64)?;
        self.end = start.checked_add(count.checked_mul(size)?)?;
        Some(start..self.end)
    }
}

/// Appends an array as [`Layout`] lays it out.
pub(crate) fn append<T: bytemuck::NoUninit>(payload: &mut Vec<u8>, values: &[T]) {
    payload.resize(payload.len().next_multiple_of(64), 0);
    payload.extend_from_slice(bytemuck::cast_slice(values));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_cut_is_seen() {
        let bytes = pack(Kind::Vectors, 3, 2, 0, &[7u8; 24]);
        assert!(check_payload(Kind::Vectors, &bytes).is_ok());
        assert!(parse(Kind::Codes, &bytes).is_err());
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(check_payload(Kind::Vectors, &flipped).is_err(), "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert!(parse(Kind::Vectors, &bytes[..cut]).is_err(), "{cut} bytes");
        }
    }
}
