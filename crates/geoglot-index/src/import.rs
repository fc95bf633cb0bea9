//! GeoParquet files of embeddings, own and others', into an archive.

use std::path::{Path, PathBuf};

use arrow_schema::{DataType, Schema};
use bytes::Bytes as Shared;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::export::geoparquet::SPACE_KEY;
use crate::format::container::Bytes;
use crate::guard::{guarded, guarded_batches};
use crate::record::{Record, RecordId};
use crate::writer::{Added, Writer};
use crate::{Error, Result, Space, table_read};

/// Names a column of vectors usually has.
const USUAL: [&str; 5] = ["embedding", "embeddings", "vector", "vectors", "emb"];
/// Records added at a time.
const BATCH: usize = 8192;

/// How to read a GeoParquet file.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Space of the vectors; needed for files that do not name it.
    pub space: Option<Space>,
    /// Column of the vectors; by default the usual names, or the only list of floats.
    pub column: Option<String>,
}

/// What [`import_geoparquet`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Imported {
    /// Rows read.
    pub rows: usize,
    /// Records added and skipped.
    pub added: Added,
    /// Rows without a vector, passed over.
    pub without_vector: usize,
}

/// The space a GeoParquet file names, if it was written by this crate.
///
/// # Errors
/// [`Error::Io`], [`Error::Parquet`], [`Error::Import`].
pub fn geoparquet_space(path: &Path) -> Result<Option<Space>> {
    Source::open(path.into(), share(path)?)?.space()
}

/// Adds the rows of a GeoParquet file: vectors from a list column of floats (f16, f32, f64; fixed-size or not), footprints
/// from a WKB geometry column, the rest from the columns that [`crate::export`] writes, where they are there. Adding the
/// same file again skips what is there.
///
/// # Errors
/// [`Error::Import`] naming what is missing; [`Error::SpaceMismatch`]; what [`Writer::add`] returns.
pub fn import_geoparquet(path: &Path, writer: &mut Writer, options: &ImportOptions) -> Result<Imported> {
    let source = Source::open(path.into(), share(path)?)?;
    let named = source.space()?;
    let space = match (&options.space, named) {
        (Some(given), Some(named)) => {
            given.check(&named)?;
            named
        }
        (given, named) => given.clone().or(named).ok_or_else(|| {
            source.refuse("it does not say in which space its vectors are: name the model (or space) that made them")
        })?,
    };
    writer.space().check(&space)?;
    let mut report = Imported::default();
    source.read(options.column.as_deref(), BATCH, |records, without| {
        report.rows += records.len() + without;
        report.without_vector += without;
        let added = writer.add(&space, records)?;
        report.added.added += added.added;
        report.added.skipped += added.skipped;
        Ok(())
    })?;
    Ok(report)
}

/// A file as shared bytes, mapped.
fn share(path: &Path) -> Result<Shared> {
    struct Owner(Bytes);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    Ok(Shared::from_owner(Owner(Bytes::map(path)?)))
}

/// An open GeoParquet file.
pub(crate) struct Source {
    path: PathBuf,
    builder: ParquetRecordBatchReaderBuilder<Shared>,
}

impl Source {
    pub fn open(path: PathBuf, bytes: Shared) -> Result<Self> {
        let builder = guarded(|| ParquetRecordBatchReaderBuilder::try_new(bytes)).map_err(Error::parquet(&path))?;
        Ok(Self { path, builder })
    }

    fn refuse(&self, problem: impl Into<String>) -> Error {
        Error::Import { path: self.path.clone(), problem: problem.into() }
    }

    fn entry(&self, key: &str) -> Option<&str> {
        let pairs = self.builder.metadata().file_metadata().key_value_metadata();
        pairs.into_iter().flatten().find(|p| p.key == key).and_then(|p| p.value.as_deref())
    }

    pub fn space(&self) -> Result<Option<Space>> {
        let read = self.entry(SPACE_KEY).map(serde_json::from_str::<Space>).transpose();
        read.map_err(|e| self.refuse(format!("its `{SPACE_KEY}` entry cannot be read: {e}")))
    }

    /// The geometry column; checks encoding and reference system.
    fn geometry(&self) -> Result<String> {
        let Some(text) = self.entry("geo") else { return Ok("geometry".into()) };
        let geo: Value =
            serde_json::from_str(text).map_err(|e| self.refuse(format!("its `geo` entry is not JSON: {e}")))?;
        let name = geo["primary_column"].as_str().unwrap_or("geometry").to_owned();
        let column = &geo["columns"][&name];
        if let Some(encoding) = column["encoding"].as_str().filter(|e| *e != "WKB") {
            return Err(self.refuse(format!("geometries are encoded as `{encoding}`; write them as WKB")));
        }
        let id = &column["crs"]["id"];
        let lon_lat = match (id["authority"].as_str(), &id["code"]) {
            _ if column["crs"].is_null() => true,
            (Some("OGC"), Value::String(code)) => code == "CRS84",
            (Some("EPSG"), code) => *code == 4326 || *code == "4326",
            _ => false,
        };
        if !lon_lat {
            let name = column["crs"]["name"].as_str().unwrap_or("without a name");
            return Err(self.refuse(format!(
                "its geometries are in the reference system `{name}`; write them in EPSG:4326 (geopandas: to_crs(4326))"
            )));
        }
        Ok(name)
    }

    /// The column of vectors.
    fn column(&self, wanted: Option<&str>) -> Result<String> {
        let schema: &Schema = self.builder.schema();
        let is_vector = |name: &str| -> bool {
            let Ok(field) = schema.field_with_name(name) else { return false };
            match field.data_type() {
                DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                    matches!(item.data_type(), DataType::Float16 | DataType::Float32 | DataType::Float64)
                }
                _ => false,
            }
        };
        let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        if let Some(wanted) = wanted {
            if is_vector(wanted) {
                return Ok(wanted.into());
            }
            return Err(self
                .refuse(format!("it has no column `{wanted}` of lists of floats; its columns: {}", names.join(", "))));
        }
        if let Some(usual) = USUAL.iter().find(|n| is_vector(n)) {
            return Ok((*usual).into());
        }
        let lists: Vec<&&str> =
            names.iter().filter(|n| is_vector(n) && !n.starts_with("proj:") && **n != "bbox").collect();
        match lists[..] {
            [one] => Ok((*one).into()),
            [] => Err(self.refuse(format!("no column holds lists of floats; its columns: {}", names.join(", ")))),
            _ => Err(self.refuse(format!("several columns hold lists of floats; name one of: {}", names.join(", ")))),
        }
    }

    /// Calls `take` with the records of each batch and the number of rows without a vector.
    pub fn read(
        self,
        column: Option<&str>,
        batch: usize,
        mut take: impl FnMut(Vec<Record>, usize) -> Result<()>,
    ) -> Result<()> {
        let (geometry, column) = (self.geometry()?, self.column(column)?);
        let Self { path, builder } = self;
        let refuse = |problem: String| Error::Import { path: path.clone(), problem };
        let file = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let reader = guarded(|| builder.with_batch_size(batch).build()).map_err(Error::parquet(&path))?;
        let mut start = 0;
        for batch in guarded_batches(reader) {
            let batch = batch.map_err(|e| refuse(format!("row {start} and following: {e}")))?;
            let vectors = table_read::vectors(&batch, &column).map_err(|e| refuse(e.to_string()))?;
            let thumbnails = table_read::binaries(&batch, "thumbnail").unwrap_or_else(|_| vec![None; batch.num_rows()]);
            let wkb = table_read::binaries(&batch, &geometry).unwrap_or_else(|_| vec![None; batch.num_rows()]);
            // Rows without an id of ours are named by file, own id or place in the file, geometry and vector: adding the
            // file again finds them there.
            let fallback = |row: usize, id: Option<&str>| {
                let number = (start + row).to_string();
                let vector: &[u8] = vectors[row].as_deref().map_or(&[], bytemuck::cast_slice);
                RecordId::of_parts(&[
                    file.as_bytes(),
                    id.unwrap_or(&number).as_bytes(),
                    wkb[row].unwrap_or_default(),
                    vector,
                ])
            };
            let metas = table_read::metas(&batch, &geometry, &file, fallback).map_err(|e| refuse(e.to_string()))?;
            let (mut records, mut without) = (Vec::with_capacity(metas.len()), 0);
            for ((meta, vector), thumbnail) in metas.into_iter().zip(&vectors).zip(thumbnails) {
                match vector {
                    Some(v) => {
                        records.push(Record { meta, vector: v.clone(), thumbnail: thumbnail.map(<[u8]>::to_vec) })
                    }
                    None => without += 1,
                }
            }
            start += batch.num_rows();
            take(records, without)?;
        }
        Ok(())
    }
}
