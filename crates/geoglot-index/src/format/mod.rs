//! The files of a segment.
//!
//! A segment is a set of files with one stem in `segments/`:
//!
//! | file | holds | when damaged |
//! |---|---|---|
//! | `.vec` | vectors, f32 or f16, row-major | its records are lost |
//! | `.parquet` | metadata, a GeoParquet table without vectors | its records are lost |
//! | `.col` | ids, boxes, times, shares, sensors in columns of fixed width, for filters | made again from `.parquet` |
//! | `.code` | two bits a value and a few centres, for the coarse pass of a search | made again from `.vec` |
//! | `.png` | thumbnails, one after another (only when there are some) | the thumbnails are lost |
//!
//! Own files start with a [`container`] header (magic, kind, version, rows, width, length, checksums); the manifest and the
//! segment's `.parquet` repeat length and CRC-32 of every file. All numbers are little endian.

pub mod columns;
pub mod container;
pub mod manifest;
pub mod thumbs;
pub mod vectors;

#[cfg(target_endian = "big")]
compile_error!("geoglot-index maps little-endian files into memory and does not run on big-endian machines");
