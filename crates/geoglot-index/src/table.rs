//! Records as Arrow columns: the schema of a segment's `.parquet` and of GeoParquet exports.
//!
//! Column names are those of STAC (and stac-geoparquet) where STAC has the field: `id`, `geometry` (WKB), `bbox`,
//! `datetime`, `proj:code`, `proj:wkt2`, `proj:transform`, `proj:shape`, `eo:cloud_cover` (per cent).

use std::sync::Arc;

use arrow_array::builder::{
    BinaryBuilder, Float64Builder, Int64Builder, ListBuilder, StringBuilder, TimestampMillisecondBuilder,
};
use arrow_array::{ArrayRef, FixedSizeListArray, Float32Array, RecordBatch, StructArray};
use arrow_schema::{DataType, Field, Fields, Schema, TimeUnit};
use geoglot_core::Crs;

use crate::record::Meta;
use crate::{Error, Result};

/// Which columns beside the metadata.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Extra {
    /// Vectors of this width.
    pub dim: Option<usize>,
    /// Score and rank of a search.
    pub score: bool,
    /// PNG pictures.
    pub thumbnail: bool,
}

/// Values of the extra columns.
#[derive(Debug, Default)]
pub(crate) struct ExtraValues {
    /// Vectors, [N, D].
    pub vectors: Vec<f32>,
    /// Scores.
    pub scores: Vec<f32>,
    /// Pictures.
    pub thumbnails: Vec<Option<Vec<u8>>>,
}

pub(crate) fn bbox_fields() -> Fields {
    ["xmin", "ymin", "xmax", "ymax"].map(|n| Field::new(n, DataType::Float64, false)).to_vec().into()
}

fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

/// The Arrow schema.
pub(crate) fn schema(extra: Extra) -> Schema {
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let mut fields = vec![Field::new("id", DataType::Utf8, false)];
    if extra.score {
        fields.push(Field::new("score", DataType::Float32, false));
    }
    fields.extend([
        Field::new("geometry", DataType::Binary, true),
        Field::new("bbox", DataType::Struct(bbox_fields()), true),
        Field::new("datetime", time, true),
        Field::new("sensor", DataType::Utf8, true),
        Field::new("source", DataType::Utf8, false),
        Field::new("window", list(DataType::Int64), true),
        Field::new("proj:code", DataType::Utf8, true),
        Field::new("proj:wkt2", DataType::Utf8, true),
        Field::new("proj:transform", list(DataType::Float64), true),
        Field::new("proj:shape", list(DataType::Int64), true),
        Field::new("eo:cloud_cover", DataType::Float32, true),
        Field::new("nodata_share", DataType::Float32, true),
        Field::new("caption", DataType::Utf8, true),
        Field::new("tags", list(DataType::Utf8), true),
    ]);
    if extra.thumbnail {
        fields.push(Field::new("thumbnail", DataType::Binary, true));
    }
    if let Some(dim) = extra.dim {
        let item = Arc::new(Field::new("element", DataType::Float32, false));
        fields.push(Field::new("embedding", DataType::FixedSizeList(item, dim as i32), false));
    }
    Schema::new(fields)
}

/// Records as one batch of [`schema`].
///
/// # Errors
/// [`Error::Format`] when lengths differ.
pub(crate) fn to_batch(metas: &[Meta], extra: Extra, values: ExtraValues) -> Result<RecordBatch> {
    let refuse = |e: arrow_schema::ArrowError| Error::format("record table", e.to_string());
    let strings = |of: fn(&Meta) -> Option<&str>| -> ArrayRef {
        let mut b = StringBuilder::new();
        metas.iter().for_each(|m| b.append_option(of(m)));
        Arc::new(b.finish())
    };
    let integers = |of: fn(&Meta) -> Option<Vec<i64>>| -> ArrayRef {
        let mut b = ListBuilder::new(Int64Builder::new());
        metas.iter().for_each(|m| b.append_option(of(m).map(|v| v.into_iter().map(Some))));
        Arc::new(b.finish())
    };
    let shares =
        |of: fn(&Meta) -> Option<f32>| -> ArrayRef { Arc::new(metas.iter().map(of).collect::<Float32Array>()) };

    let mut ids = StringBuilder::new();
    let mut geometry = BinaryBuilder::new();
    let mut bbox: [Float64Builder; 4] = std::array::from_fn(|_| Float64Builder::new());
    let mut times = TimestampMillisecondBuilder::new();
    let mut transforms = ListBuilder::new(Float64Builder::new());
    let mut tags = ListBuilder::new(StringBuilder::new());
    for meta in metas {
        ids.append_value(meta.id.to_string());
        geometry.append_option(meta.footprint.as_ref().map(|f| f.to_wkb()));
        let b = meta.footprint.as_ref().map(|f| f.bbox());
        let sides = b.map_or([0.0; 4], |b| [b.west, b.south, b.east, b.north]);
        bbox.iter_mut().zip(sides).for_each(|(builder, side)| builder.append_value(side));
        times.append_option(meta.time.map(|t| t.0));
        // Row-major affine as STAC has it: [dx, rx, x0, ry, dy, y0].
        let affine = meta.grid.as_ref().map(|g| g.transform);
        transforms.append_option(affine.map(|t| [t.dx, t.rx, t.x0, t.ry, t.dy, t.y0].map(Some)));
        tags.append_option((!meta.tags.is_empty()).then(|| meta.tags.iter().map(Some)));
    }
    let present = metas.iter().map(|m| m.footprint.is_some()).collect::<Vec<_>>();
    let sides = bbox.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef).collect();
    let bbox = StructArray::try_new(bbox_fields(), sides, Some(present.into())).map_err(refuse)?;

    let mut columns: Vec<ArrayRef> = vec![Arc::new(ids.finish())];
    if extra.score {
        columns.push(Arc::new(Float32Array::from(values.scores)));
    }
    columns.extend([
        Arc::new(geometry.finish()) as ArrayRef,
        Arc::new(bbox),
        Arc::new(times.finish().with_timezone("UTC")),
        strings(|m| m.sensor.as_deref()),
        strings(|m| Some(&m.source)),
        integers(|m| m.window.map(|w| vec![w.col as i64, w.row as i64, w.width as i64, w.height as i64])),
    ]);
    let mut codes = StringBuilder::new();
    let mut texts = StringBuilder::new();
    for meta in metas {
        let crs = meta.grid.as_ref().and_then(|g| g.crs.as_ref());
        codes.append_option(crs.and_then(Crs::epsg).map(|c| format!("EPSG:{c}")));
        texts.append_option(match crs {
            Some(Crs::Wkt(text)) => Some(text),
            _ => None,
        });
    }
    columns.extend([
        Arc::new(codes.finish()) as ArrayRef,
        Arc::new(texts.finish()),
        Arc::new(transforms.finish()),
        integers(|m| m.grid.as_ref().map(|g| vec![g.height as i64, g.width as i64])),
        shares(|m| m.cloud.map(|c| c * 100.0)),
        shares(|m| m.nodata),
        strings(|m| m.caption.as_deref()),
        Arc::new(tags.finish()),
    ]);
    if extra.thumbnail {
        let mut b = BinaryBuilder::new();
        values.thumbnails.iter().for_each(|t| b.append_option(t.as_deref()));
        columns.push(Arc::new(b.finish()));
    }
    if let Some(dim) = extra.dim {
        let item = Arc::new(Field::new("element", DataType::Float32, false));
        let flat = Arc::new(Float32Array::from(values.vectors));
        columns.push(Arc::new(FixedSizeListArray::try_new(item, dim as i32, flat, None).map_err(refuse)?));
    }
    RecordBatch::try_new(Arc::new(schema(extra)), columns).map_err(refuse)
}
