//! One segment: writing its files, opening them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes as Shared;
use geoglot_core::atomic;
use parquet::arrow::ArrowWriter;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::{KeyValue, PageIndexPolicy};
use parquet::file::properties::WriterProperties;
use serde::{Deserialize, Serialize};

use crate::codes::{self, Codes, Rotation};
use crate::format::columns::{self, Columns};
use crate::format::container::Bytes;
use crate::format::manifest::{FileEntry, SegmentEntry, sync_folder};
use crate::format::thumbs::{self, Thumbs};
use crate::format::vectors::{self, VectorType, Vectors};
use crate::guard::{guarded, guarded_batches};
use crate::record::Meta;
use crate::table::{Extra, ExtraValues, to_batch};
use crate::{Error, RecordId, Result, Space, table_read};

/// Folder of the segments in an archive.
pub(crate) const SEGMENTS: &str = "segments";
/// Extensions of a segment's files.
pub(crate) const EXTENSIONS: [&str; 5] = ["vec", "code", "col", "png", "parquet"];
/// Key of the descriptor in the Parquet metadata.
const KEY: &str = "geoglot:segment";

/// Path of a file of a segment.
pub(crate) fn file_path(archive: &Path, name: &str, extension: &str) -> PathBuf {
    archive.join(SEGMENTS).join(format!("{name}.{extension}"))
}

/// What a segment's `.parquet` says of the segment, so that the manifest can be made again from the segments alone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Descriptor {
    pub space: Space,
    pub vectors: VectorType,
    /// The other files; without the derived ones the segment is still complete.
    pub files: BTreeMap<String, FileEntry>,
}

/// Content of a segment to write.
#[derive(Debug, Default)]
pub(crate) struct Content {
    pub metas: Vec<Meta>,
    /// [N, D], of length 1.
    pub vectors: Vec<f32>,
    pub thumbnails: Vec<Option<Vec<u8>>>,
}

impl Content {
    /// The stem of its files: number and a hash of its ids, so that a batch added again after a crash takes the same name.
    pub fn name(&self, number: u64) -> String {
        let mut hash = crc32fast::Hasher::new();
        self.metas.iter().for_each(|m| hash.update(&m.id.0));
        format!("{number:06}-{:08x}", hash.finalize())
    }
}

/// Writes all files of a segment; the `.parquet` last. Nothing refers to them until the manifest does.
pub(crate) fn write(
    archive: &Path,
    name: String,
    space: &Space,
    kind: VectorType,
    rotation: &Rotation,
    content: Content,
) -> Result<SegmentEntry> {
    let mut files = BTreeMap::new();
    let mut put = |extension: &str, bytes: &[u8]| -> Result<()> {
        atomic::write(&file_path(archive, &name, extension), bytes)?;
        files.insert(extension.to_owned(), FileEntry::of(bytes));
        Ok(())
    };
    let packed = vectors::pack(&content.vectors, space.dim, kind);
    put("vec", &packed)?;
    put("code", &make_codes(packed, content.vectors, rotation)?)?;
    put("col", &columns::pack(&content.metas)?)?;
    if let Some(bytes) = thumbs::pack(&content.thumbnails) {
        put("png", &bytes)?;
    }
    let descriptor = Descriptor { space: space.clone(), vectors: kind, files };
    let bytes =
        table_bytes(&content.metas, &descriptor).map_err(Error::parquet(file_path(archive, &name, "parquet")))?;
    atomic::write(&file_path(archive, &name, "parquet"), &bytes)?;
    let mut files = descriptor.files;
    files.insert("parquet".into(), FileEntry::of(&bytes));
    sync_folder(&archive.join(SEGMENTS))?;
    Ok(SegmentEntry { name, records: content.metas.len(), files, deleted: Vec::new() })
}

/// Codes belong to the vectors as stored: with f16 those differ a little from the ones given.
fn make_codes(packed: Vec<u8>, given: Vec<f32>, rotation: &Rotation) -> Result<Vec<u8>> {
    let stored = Vectors::new(Bytes::hold(&packed))?;
    drop((packed, given));
    codes_of(&stored, rotation)
}

/// The `.code` file of stored vectors.
pub(crate) fn codes_of(stored: &Vectors, rotation: &Rotation) -> Result<Vec<u8>> {
    let mut buffer = Vec::new();
    Ok(codes::pack(stored.rows(0, stored.rows, &mut buffer), stored.dim, rotation))
}

fn table_bytes(metas: &[Meta], descriptor: &Descriptor) -> parquet::errors::Result<Vec<u8>> {
    let extra = Extra::default();
    let batch = to_batch(metas, extra, ExtraValues::default())
        .map_err(|e| parquet::errors::ParquetError::General(e.to_string()))?;
    let text = serde_json::to_string(descriptor).expect("a descriptor is JSON");
    let geo = crate::export::geoparquet::geo_metadata(metas.iter().filter_map(|m| m.footprint.as_ref()));
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        // Small pages: a hit reads one of each column.
        .set_data_page_row_count_limit(1024)
        .set_write_batch_size(1024)
        .set_key_value_metadata(Some(vec![
            KeyValue::new("geo".into(), geo.to_string()),
            KeyValue::new(KEY.into(), text),
        ]))
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties))?;
    writer.write(&batch)?;
    writer.into_inner()
}

/// A segment's metadata table.
#[derive(Debug)]
pub(crate) struct Table {
    path: PathBuf,
    bytes: Shared,
    metadata: OnceLock<ArrowReaderMetadata>,
}

impl Table {
    pub fn open(path: PathBuf) -> Result<Self> {
        struct Owner(Bytes);
        impl AsRef<[u8]> for Owner {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        let bytes = Shared::from_owner(Owner(Bytes::map(&path)?));
        Ok(Self::from_bytes(path, bytes))
    }

    pub fn from_bytes(path: PathBuf, bytes: Shared) -> Self {
        Self { path, bytes, metadata: OnceLock::new() }
    }

    fn metadata(&self) -> Result<&ArrowReaderMetadata> {
        if let Some(known) = self.metadata.get() {
            return Ok(known);
        }
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let loaded = guarded(|| ArrowReaderMetadata::load(&self.bytes, options)).map_err(Error::parquet(&self.path))?;
        Ok(self.metadata.get_or_init(|| loaded))
    }

    pub fn rows(&self) -> Result<usize> {
        Ok(self.metadata()?.metadata().file_metadata().num_rows().max(0) as usize)
    }

    pub fn descriptor(&self) -> Result<Descriptor> {
        let pairs = self.metadata()?.metadata().file_metadata().key_value_metadata();
        let text = pairs.into_iter().flatten().find(|p| p.key == KEY).and_then(|p| p.value.as_deref());
        let text = text.ok_or_else(|| Error::damaged(&self.path, format!("it has no `{KEY}` entry")))?;
        serde_json::from_str(text).map_err(|e| Error::damaged(&self.path, format!("its `{KEY}` entry: {e}")))
    }

    /// Metadata of some rows (ascending, each once), or of all. Columns not in `columns` stay empty.
    pub fn read(&self, rows: Option<&[u32]>, columns: Option<&[&str]>) -> Result<Vec<Meta>> {
        let metadata = self.metadata()?.clone();
        let total = self.rows()?;
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(self.bytes.clone(), metadata);
        if let Some(names) = columns {
            let mask = ProjectionMask::columns(builder.parquet_schema(), names.iter().copied());
            builder = builder.with_projection(mask);
        }
        if let Some(rows) = rows {
            let mut selectors = Vec::with_capacity(2 * rows.len());
            let mut at = 0;
            for &row in rows {
                let row = row as usize;
                if row < at || row >= total {
                    return Err(Error::damaged(&self.path, format!("row {row} of {total} was asked for")));
                }
                selectors.extend([RowSelector::skip(row - at), RowSelector::select(1)]);
                at = row + 1;
            }
            builder = builder.with_row_selection(RowSelection::from(selectors));
        }
        let mut metas = Vec::with_capacity(rows.map_or(total, <[u32]>::len));
        let reader = guarded(|| builder.build()).map_err(Error::parquet(&self.path))?;
        for batch in guarded_batches(reader) {
            let batch = batch.map_err(|e| Error::damaged(&self.path, e.to_string()))?;
            let none = |_: usize, _: Option<&str>| RecordId([0; 16]);
            let read = table_read::metas(&batch, "geometry", "", none);
            metas.extend(read.map_err(|e| Error::damaged(&self.path, e.to_string()))?);
        }
        Ok(metas)
    }
}

/// An open segment; shared by snapshots.
#[derive(Debug)]
pub(crate) struct Segment {
    pub entry: SegmentEntry,
    pub vectors: Vectors,
    pub codes: Codes,
    pub columns: Columns,
    pub table: Table,
    pub thumbs: Option<Thumbs>,
}

impl Segment {
    /// Opens all files and checks that they fit each other (not their checksums: see `verify`).
    pub fn open(archive: &Path, entry: &SegmentEntry, space: &Space) -> Result<Arc<Self>> {
        let path = |extension: &str| file_path(archive, &entry.name, extension);
        let map = |extension: &str| -> Result<Bytes> {
            let path = path(extension);
            let bytes = Bytes::map(&path)?;
            let announced = entry.files.get(extension).map(|f| f.bytes);
            if announced != Some(bytes.len() as u64) {
                let announced = announced.map_or("not announced".into(), |b| format!("{b} bytes announced"));
                return Err(Error::damaged(path, format!("{announced}, {} there", bytes.len())));
            }
            Ok(bytes)
        };
        fn named<T>(path: PathBuf, result: Result<T>) -> Result<T> {
            result.map_err(|e| Error::damaged(path, e.to_string()))
        }
        let vectors = named(path("vec"), Vectors::new(map("vec")?))?;
        let codes = named(path("code"), Codes::new(map("code")?))?;
        let columns = named(path("col"), Columns::new(map("col")?))?;
        let thumbs = match entry.files.contains_key("png") {
            true => Some(named(path("png"), Thumbs::new(map("png")?))?),
            false => None,
        };
        map("parquet")?;
        let table = Table::open(path("parquet"))?;
        let counts = [vectors.rows, codes.rows, columns.rows, thumbs.as_ref().map_or(entry.records, |t| t.rows)];
        if counts.iter().any(|&c| c != entry.records) {
            return Err(Error::damaged(
                path("*"),
                format!("{} records announced, the files have {counts:?}", entry.records),
            ));
        }
        if vectors.dim != space.dim || codes.dim != space.dim {
            let problem = format!("{} wide, but the space {space} is {}", vectors.dim, space.dim);
            return Err(Error::damaged(path("vec"), problem));
        }
        vectors.bytes().advise(false);
        codes.bytes().advise(true);
        Ok(Arc::new(Self { entry: entry.clone(), vectors, codes, columns, table, thumbs }))
    }

    /// True unless the row was deleted.
    pub fn is_live(&self, row: usize) -> bool {
        self.entry.deleted.binary_search(&(row as u32)).is_err()
    }

    /// The live row with an id.
    pub fn find(&self, id: RecordId) -> Option<usize> {
        self.columns.find(id).filter(|&row| self.is_live(row))
    }
}
