//! Polygons of a class map as GeoParquet 1.1.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, Float64Builder, StringBuilder};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StructArray, UInt16Array};
use arrow_schema::{DataType, Field, Schema};
use geoglot_core::atomic;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use super::geoparquet::geo_metadata;
use crate::footprint::Footprint;
use crate::table::bbox_fields;
use crate::{Error, Result};

/// One polygon of a class map.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassArea {
    /// Class id.
    pub id: u16,
    /// Class name.
    pub class: String,
    /// Its colour, `#rrggbb`.
    pub color: String,
    /// Number of pixels.
    pub pixels: usize,
    /// Where it lies.
    pub footprint: Footprint,
}

/// Writes class areas as GeoParquet: `id`, `class`, `color`, `pixels`, `geometry` (WKB, longitude first) and its box as covering column.
///
/// # Errors
/// [`Error::Parquet`], [`Error::Core`]; the file is then as it was before.
pub fn write_areas_geoparquet(path: &Path, areas: &[ClassArea]) -> Result<()> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::UInt16, false),
        Field::new("class", DataType::Utf8, false),
        Field::new("color", DataType::Utf8, false),
        Field::new("pixels", DataType::Int64, false),
        Field::new("geometry", DataType::Binary, false),
        Field::new("bbox", DataType::Struct(bbox_fields()), false),
    ]));
    let (mut classes, mut colors, mut geometry) = (StringBuilder::new(), StringBuilder::new(), BinaryBuilder::new());
    let mut sides: [Float64Builder; 4] = std::array::from_fn(|_| Float64Builder::new());
    for area in areas {
        classes.append_value(&area.class);
        colors.append_value(&area.color);
        geometry.append_value(area.footprint.to_wkb());
        let b = area.footprint.bbox();
        sides.iter_mut().zip([b.west, b.south, b.east, b.north]).for_each(|(side, v)| side.append_value(v));
    }
    let refuse = |e: arrow_schema::ArrowError| Error::parquet(path)(e.into());
    let sides = sides.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(areas.iter().map(|a| a.id).collect::<UInt16Array>()),
        Arc::new(classes.finish()),
        Arc::new(colors.finish()),
        Arc::new(areas.iter().map(|a| a.pixels as i64).collect::<Int64Array>()),
        Arc::new(geometry.finish()),
        Arc::new(StructArray::try_new(bbox_fields(), sides, None).map_err(refuse)?),
    ];
    let batch = RecordBatch::try_new(schema.clone(), columns).map_err(refuse)?;
    let geo = geo_metadata(areas.iter().map(|a| &a.footprint)).to_string();
    atomic::produce(path, |temporary| {
        let file = File::create(temporary).map_err(|e| Error::io(path, "create", e))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_key_value_metadata(Some(vec![KeyValue::new("geo".into(), geo)]))
            .build();
        let mut writer = ArrowWriter::try_new(file, schema, Some(properties)).map_err(Error::parquet(path))?;
        writer.write(&batch).map_err(Error::parquet(path))?;
        writer.close().map_err(Error::parquet(path))?;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;
    use crate::footprint::Polygon;

    #[test]
    fn areas_are_read_back_with_their_holes() {
        let square = |a: f64, b: f64| vec![[a, a], [b, a], [b, b], [a, b], [a, a]];
        let hole: Vec<_> = square(9.2, 9.4).into_iter().rev().collect();
        let footprint = Footprint::new(vec![Polygon { rings: vec![square(9.0, 10.0), hole] }]).unwrap();
        let area = ClassArea { id: 3, class: "water".into(), color: "#0000ff".into(), pixels: 84, footprint };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        write_areas_geoparquet(&path, std::slice::from_ref(&area)).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap();
        let keys = reader.metadata().file_metadata().key_value_metadata().unwrap();
        let geo = keys.iter().find(|k| k.key == "geo").and_then(|k| k.value.clone()).unwrap();
        assert!(geo.contains("\"1.1.0\"") && geo.contains("[9.0,9.0,10.0,10.0]"), "{geo}");
        let batch = reader.build().unwrap().next().unwrap().unwrap();
        let column = |name: &str| batch.column_by_name(name).unwrap();
        let found = Footprint::from_wkb(column("geometry").as_binary::<i32>().value(0)).unwrap();
        assert_eq!(found, area.footprint);
        assert_eq!(column("class").as_string::<i32>().value(0), "water");
        write_areas_geoparquet(&path, &[]).unwrap();
    }
}
