//! GeoParquet 1.1: one row a record, footprint as WKB, box as covering column, vector as fixed-size list.
//!
//! The file metadata carries a STAC Collection with the fields of the draft STAC embedding extension (`emb:*`,
//! version 0.0.1) under `stac:collection`, and the space under `geoglot:space` so that [`crate::import_geoparquet`] knows it.

use std::fs::File;
use std::path::Path;

use geoglot_core::atomic;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};

use crate::archive::{Archive, RowRef};
use crate::filter::Filter;
use crate::footprint::{BBox, Footprint};
use crate::record::{Meta, Time};
use crate::search::Hit;
use crate::table::{Extra, ExtraValues, schema, to_batch};
use crate::{Error, Result, Space};

/// Key of the [`Space`] in the file metadata.
pub const SPACE_KEY: &str = "geoglot:space";
/// Rows written at a time.
const CHUNK: usize = 8192;
/// Size of a row group in bytes of vectors (the GeoParquet guide advises about 128 MB).
const GROUP_BYTES: usize = 128 << 20;

/// What a GeoParquet file contains beside the metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GeoParquetOptions {
    /// The vectors, as column `embedding`.
    pub embeddings: bool,
    /// PNG thumbnails, as column `thumbnail`.
    pub thumbnails: bool,
}

impl Default for GeoParquetOptions {
    fn default() -> Self {
        Self { embeddings: true, thumbnails: false }
    }
}

/// Writes hits, best first, with their scores.
///
/// # Errors
/// [`Error::Parquet`], [`Error::Core`]; the file is then as it was before.
pub fn write_hits_geoparquet(path: &Path, archive: &Archive, hits: &[Hit], options: GeoParquetOptions) -> Result<()> {
    let extra = extra(archive, options, true);
    write(path, archive, extra, |writer| {
        for chunk in hits.chunks(CHUNK) {
            let metas: Vec<Meta> = chunk.iter().map(|h| h.meta.clone()).collect();
            let rows: Vec<RowRef> = chunk.iter().map(|h| h.row).collect();
            let mut values = values_of(archive, &rows, extra);
            values.scores = chunk.iter().map(|h| h.score).collect();
            writer.put(&metas, values)?;
        }
        Ok(())
    })
}

/// Writes all records that pass a filter, in order of storage, keeping some thousand in memory. Returns their number.
///
/// # Errors
/// [`Error::Filter`], [`Error::Parquet`], [`Error::Core`]; the file is then as it was before.
pub fn write_archive_geoparquet(
    path: &Path,
    archive: &Archive,
    filter: &Filter,
    options: GeoParquetOptions,
) -> Result<usize> {
    let extra = extra(archive, options, false);
    let rows = archive.filtered(filter)?;
    write(path, archive, extra, |writer| {
        for rows in rows.chunks(CHUNK) {
            writer.put(&archive.metas(rows)?, values_of(archive, rows, extra))?;
        }
        Ok(())
    })?;
    Ok(rows.len())
}

/// Writes records with captions of their own instead of the stored ones, in the order given.
///
/// # Errors
/// As [`write_archive_geoparquet`].
pub fn write_captioned_geoparquet(
    path: &Path,
    archive: &Archive,
    captions: &[(RowRef, String)],
    options: GeoParquetOptions,
) -> Result<()> {
    let extra = extra(archive, options, false);
    write(path, archive, extra, |writer| {
        for chunk in captions.chunks(CHUNK) {
            let rows: Vec<RowRef> = chunk.iter().map(|c| c.0).collect();
            let mut metas = archive.metas(&rows)?;
            metas.iter_mut().zip(chunk).for_each(|(meta, (_, caption))| meta.caption = Some(caption.clone()));
            writer.put(&metas, values_of(archive, &rows, extra))?;
        }
        Ok(())
    })
}

fn extra(archive: &Archive, options: GeoParquetOptions, score: bool) -> Extra {
    Extra { dim: options.embeddings.then_some(archive.space().dim), score, thumbnail: options.thumbnails }
}

fn values_of(archive: &Archive, rows: &[RowRef], extra: Extra) -> ExtraValues {
    let mut values = ExtraValues::default();
    for &row in rows {
        if extra.dim.is_some() {
            values.vectors.extend(archive.vector(row));
        }
        if extra.thumbnail {
            values.thumbnails.push(archive.thumbnail(row).map(<[u8]>::to_vec));
        }
    }
    values
}

/// A file under way, and what its metadata has to say about the rows.
struct Writer<'a> {
    path: &'a Path,
    inner: ArrowWriter<File>,
    extra: Extra,
    seen: Seen,
    sources: Vec<String>,
    times: Option<(Time, Time)>,
    chips: Vec<[usize; 2]>,
}

impl Writer<'_> {
    fn put(&mut self, metas: &[Meta], values: ExtraValues) -> Result<()> {
        for meta in metas {
            meta.footprint.iter().for_each(|f| self.seen.add(f));
            if self.sources.len() < 100 && !self.sources.contains(&meta.source) {
                self.sources.push(meta.source.clone());
            }
            if let Some(t) = meta.time {
                self.times = Some(self.times.map_or((t, t), |(a, b)| (a.min(t), b.max(t))));
            }
            if let Some(chip) = meta.window.map(|w| [w.height, w.width])
                && self.chips.len() < 2
                && !self.chips.contains(&chip)
            {
                self.chips.push(chip);
            }
        }
        let batch = to_batch(metas, self.extra, values)?;
        self.inner.write(&batch).map_err(Error::parquet(self.path))
    }
}

fn write(path: &Path, archive: &Archive, extra: Extra, fill: impl FnOnce(&mut Writer) -> Result<()>) -> Result<()> {
    atomic::produce(path, |temporary| {
        let file = File::create(temporary).map_err(|e| Error::io(path, "create", e))?;
        let width = 4 * extra.dim.unwrap_or(64);
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some((GROUP_BYTES / width).max(1024)))
            // Vectors do not repeat: a dictionary would only cost time.
            .set_column_dictionary_enabled("embedding.list.element".into(), false)
            .build();
        let inner = ArrowWriter::try_new(file, schema(extra).into(), Some(properties)).map_err(Error::parquet(path))?;
        let (sources, chips) = (Vec::new(), Vec::new());
        let mut writer = Writer { path, inner, extra, seen: Seen::default(), sources, times: None, chips };
        fill(&mut writer)?;
        let collection = collection(archive.space(), extra, &writer);
        let space = serde_json::to_string(archive.space()).expect("a space is JSON");
        for (key, value) in
            [("geo", writer.seen.geo().to_string()), ("stac:collection", collection.to_string()), (SPACE_KEY, space)]
        {
            writer.inner.append_key_value_metadata(KeyValue::new(key.into(), value));
        }
        writer.inner.close().map_err(Error::parquet(path))?;
        Ok(())
    })
}

/// What the `geo` entry says of the geometries.
#[derive(Default)]
struct Seen {
    polygon: bool,
    multi: bool,
    bbox: Option<BBox>,
}

impl Seen {
    fn add(&mut self, footprint: &Footprint) {
        *(if footprint.polygons().len() > 1 { &mut self.multi } else { &mut self.polygon }) = true;
        let b = footprint.bbox();
        self.bbox = Some(self.bbox.map_or(b, |all| all.union(&b)));
    }

    fn geo(&self) -> Value {
        let mut types = Vec::new();
        types.extend(self.polygon.then_some("Polygon"));
        types.extend(self.multi.then_some("MultiPolygon"));
        // No `crs`: then it is OGC:CRS84, longitude first.
        let mut column = json!({
            "encoding": "WKB",
            "geometry_types": types,
            "covering": { "bbox": {
                "xmin": ["bbox", "xmin"], "ymin": ["bbox", "ymin"], "xmax": ["bbox", "xmax"], "ymax": ["bbox", "ymax"],
            } },
        });
        if let Some(b) = self.bbox {
            column["bbox"] = json!([b.west, b.south, b.east, b.north]);
        }
        json!({ "version": "1.1.0", "primary_column": "geometry", "columns": { "geometry": column } })
    }
}

/// The `geo` entry for these footprints.
pub(crate) fn geo_metadata<'a>(footprints: impl Iterator<Item = &'a Footprint>) -> Value {
    let mut seen = Seen::default();
    footprints.for_each(|f| seen.add(f));
    seen.geo()
}

/// A STAC Collection with the fields of the draft embedding extension.
fn collection(space: &Space, extra: Extra, writer: &Writer) -> Value {
    let whole_earth = BBox { west: -180.0, south: -90.0, east: 180.0, north: 90.0 };
    let b = writer.seen.bbox.unwrap_or(whole_earth);
    let interval = writer.times.map_or([None, None], |(a, z)| [Some(a.to_string()), Some(z.to_string())]);
    let mut links = vec![json!({ "rel": "emb:model", "href": model_href(space), "title": space.model })];
    links.extend(writer.sources.iter().map(|s| json!({ "rel": "emb:source-data", "href": s })));
    if writer.sources.is_empty() {
        links.push(json!({ "rel": "emb:source-data", "href": "." }));
    }
    let mut collection = json!({
        "type": "Collection",
        "stac_version": "1.0.0",
        "stac_extensions": ["https://stac-extensions.github.io/embeddings/v0.0.1/schema.json"],
        "id": space.name,
        "description": format!("Tile embeddings in the space {space}"),
        "license": "other",
        "extent": {
            "spatial": { "bbox": [[b.west, b.south, b.east, b.north]] },
            "temporal": { "interval": [interval] },
        },
        "emb:type": "chip",
        "emb:dimensions": space.dim,
        "data_type": "float32",
        "emb:fit_for_use": ["retrieval", "classification"],
        "links": links,
        "summaries": { "emb:type": ["chip"], "emb:dimensions": [space.dim], "data_type": ["float32"] },
    });
    if let [chip] = writer.chips[..] {
        collection["emb:chip_layout"] = json!({ "layout_type": "regular_grid", "chip_size": chip });
    }
    if extra.dim.is_some() {
        let asset = json!({
            "type": "application/vnd.apache.parquet", "roles": ["data"], "title": "Column `embedding`",
        });
        collection["item_assets"] = json!({ "embeddings": asset });
    }
    collection
}

fn model_href(space: &Space) -> String {
    let is_hub_id = space.model.split('/').count() == 2 && !space.model.contains([' ', ':', '\\']);
    if is_hub_id { format!("https://huggingface.co/{}", space.model) } else { space.model.clone() }
}
