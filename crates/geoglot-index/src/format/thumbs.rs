//! The `.png` file: thumbnails, one after another, behind their offsets.

use std::ops::Range;

use super::container::{self, Bytes, HEADER, Kind, Layout, append};
use crate::{Error, Result};

/// The file's bytes; `None` when no record has a thumbnail.
pub fn pack(thumbnails: &[Option<Vec<u8>>]) -> Option<Vec<u8>> {
    if thumbnails.iter().all(Option::is_none) {
        return None;
    }
    let mut offsets = vec![0u64];
    let mut pictures: Vec<u8> = Vec::new();
    for thumbnail in thumbnails {
        pictures.extend(thumbnail.as_deref().unwrap_or_default());
        offsets.push(pictures.len() as u64);
    }
    let mut payload = Vec::with_capacity(8 * offsets.len() + 64 + pictures.len());
    append(&mut payload, &offsets);
    append(&mut payload, &pictures);
    Some(container::pack(Kind::Thumbs, thumbnails.len(), 0, 0, &payload))
}

/// A `.png` file, mapped.
#[derive(Debug)]
pub struct Thumbs {
    bytes: Bytes,
    /// Number of records.
    pub rows: usize,
    offsets: Range<usize>,
    start: usize,
}

impl Thumbs {
    /// Checks header and layout and takes the bytes.
    ///
    /// # Errors
    /// [`Error::Format`].
    pub fn new(bytes: Bytes) -> Result<Self> {
        let header = container::parse(Kind::Thumbs, &bytes)?;
        let mut layout = Layout::default();
        let (offsets, pictures) = (layout.next(header.rows + 1, 8), layout.next(0, 1));
        match (offsets, pictures) {
            (Some(offsets), Some(pictures)) if pictures.start <= bytes.len() - HEADER => {
                Ok(Self { rows: header.rows, offsets, start: pictures.start, bytes })
            }
            _ => Err(Error::format("thumbnail file", format!("too short for {} records", header.rows))),
        }
    }

    /// The picture of a row, if it has one.
    pub fn get(&self, row: usize) -> Option<&[u8]> {
        let payload = &self.bytes[HEADER..];
        let offsets: &[u64] = bytemuck::cast_slice(&payload[self.offsets.clone()]);
        let (from, to) = (*offsets.get(row)? as usize, *offsets.get(row + 1)? as usize);
        // `get`: damaged offsets must not panic.
        payload.get(self.start..)?.get(from..to).filter(|p| !p.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thumbnails_survive() {
        assert!(pack(&[None, None]).is_none());
        let list = [Some(b"one".to_vec()), None, Some(b"three".to_vec())];
        let thumbs = Thumbs::new(Bytes::hold(&pack(&list).unwrap())).unwrap();
        for (row, picture) in list.iter().enumerate() {
            assert_eq!(thumbs.get(row), picture.as_deref());
        }
        assert_eq!(thumbs.get(3), None);
        assert!(Thumbs::new(Bytes::hold(&container::pack(Kind::Thumbs, 9, 0, 0, &[0; 16]))).is_err());
        let wild = container::pack(Kind::Thumbs, 1, 0, 0, &[255; 128]);
        assert_eq!(Thumbs::new(Bytes::hold(&wild)).unwrap().get(0), None);
    }
}
