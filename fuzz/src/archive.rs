//! Parsers of `geoglot-index`. Each target says whether the parser took the bytes.

use geoglot_index::fuzz;

use super::raster::Target;

/// Every target of this file.
pub const TARGETS: &[Target] = &[
    ("archive_codes", archive_codes),
    ("archive_columns", archive_columns),
    ("archive_manifest", fuzz::manifest),
    ("archive_table", fuzz::table),
    ("archive_thumbs", archive_thumbs),
    ("archive_vectors", archive_vectors),
    ("geojson", fuzz::geojson),
    ("geoparquet", fuzz::geoparquet),
    ("wkb", fuzz::wkb),
];

/// Length of the header of an archive's own files; its length field and checksum.
const HEADER: usize = 64;

/// The bytes with length and checksum of the header put right, so that what lies behind them is reached.
fn sealed(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    if bytes.len() >= HEADER && bytes.starts_with(b"GEOGLOT") {
        let length = (bytes.len() - HEADER) as u64;
        bytes[32..40].copy_from_slice(&length.to_le_bytes());
        let sum = crc32fast::hash(&bytes[..HEADER - 4]);
        bytes[HEADER - 4..HEADER].copy_from_slice(&sum.to_le_bytes());
    }
    bytes
}

/// Coarse codes of vectors.
pub fn archive_codes(data: &[u8]) -> bool {
    fuzz::codes(&sealed(data))
}

/// Columns that filters look at.
pub fn archive_columns(data: &[u8]) -> bool {
    fuzz::columns(&sealed(data))
}

/// Pictures of tiles.
pub fn archive_thumbs(data: &[u8]) -> bool {
    fuzz::thumbs(&sealed(data))
}

/// Vectors.
pub fn archive_vectors(data: &[u8]) -> bool {
    fuzz::vectors(&sealed(data))
}
