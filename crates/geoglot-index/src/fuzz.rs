//! Entry points for fuzzing: each takes any bytes as one of the formats this crate reads, uses what it finds, and says whether that was
//! something.
//!
//! They must neither panic nor reserve memory out of proportion to the input.

use std::path::Path;

use bytes::Bytes as Shared;

use crate::codes::{Codes, QueryCode, Rotation};
use crate::format::columns::Columns;
use crate::format::container::Bytes;
use crate::format::manifest::Manifest;
use crate::format::thumbs::Thumbs;
use crate::format::vectors::Vectors;
use crate::import::Source;
use crate::segment::Table;
use crate::{Footprint, RecordId};

/// `archive.json`.
pub fn manifest(bytes: &[u8]) -> bool {
    let Ok(manifest) = Manifest::parse(Path::new("archive.json"), bytes) else { return false };
    let _ = manifest.live();
    true
}

/// A `.vec` file.
pub fn vectors(bytes: &[u8]) -> bool {
    let Ok(vectors) = Vectors::new(Bytes::hold(bytes)) else { return false };
    let query = vec![1.0; vectors.dim];
    for row in 0..vectors.rows {
        let _ = (vectors.row(row), vectors.dot(row, &query));
    }
    true
}

/// A `.col` file.
pub fn columns(bytes: &[u8]) -> bool {
    let Ok(columns) = Columns::new(Bytes::hold(bytes)) else { return false };
    for row in 0..columns.rows {
        let sensor = columns.sensors.get(columns.sensor_indices()[row] as usize);
        let _ = (columns.bbox(row), columns.time(row), sensor, columns.find(RecordId(columns.ids()[row])));
    }
    true
}

/// A `.code` file.
pub fn codes(bytes: &[u8]) -> bool {
    let Ok(codes) = Codes::new(Bytes::hold(bytes)) else { return false };
    let query = vec![1.0; codes.dim];
    let code = QueryCode::new(&query, &Rotation::new(codes.dim));
    let mut upper = vec![0.0; codes.rows];
    codes.bound(&code, &codes.centre_scores(&query), 1.0, 0, &mut upper);
    true
}

/// A `.png` file of thumbnails.
pub fn thumbs(bytes: &[u8]) -> bool {
    let Ok(thumbs) = Thumbs::new(Bytes::hold(bytes)) else { return false };
    let _: usize = (0..thumbs.rows).filter_map(|row| thumbs.get(row)).map(<[u8]>::len).sum();
    true
}

/// A segment's `.parquet`.
pub fn table(bytes: &[u8]) -> bool {
    let table = Table::from_bytes("fuzz.parquet".into(), Shared::copy_from_slice(bytes));
    let _ = (table.descriptor(), table.read(Some(&[0]), Some(&["id"])));
    table.read(None, None).is_ok()
}

/// A GeoParquet file to import.
pub fn geoparquet(bytes: &[u8]) -> bool {
    let Ok(source) = Source::open("fuzz.parquet".into(), Shared::copy_from_slice(bytes)) else { return false };
    let _ = source.space();
    source.read(None, 64, |_, _| Ok(())).is_ok()
}

/// Well-known binary.
pub fn wkb(bytes: &[u8]) -> bool {
    let Ok(footprint) = Footprint::from_wkb(bytes) else { return false };
    let _ = (footprint.bbox(), footprint.area(), footprint.meets(&footprint));
    assert_eq!(Footprint::from_wkb(&footprint.to_wkb()).expect("own bytes are read"), footprint);
    true
}

/// GeoJSON.
pub fn geojson(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| Footprint::from_geojson(text).is_ok())
}
