//! An archive of embeddings on disk: append, filter, search, export.
//!
//! # Brief overview
//! An [`Archive`] is a folder of immutable segments and a manifest. It sees vectors, never models.
//! 1. [`Archive::create`] makes one in a [`Space`]; [`Archive::open_writer`] gives its one [`Writer`], whose
//!    [`Writer::add`] takes [`Record`]s: a vector and where, when and from what it was made. Adding is durable,
//!    idempotent by [`RecordId`], and safe against being killed.
//! 2. [`Archive::open`] gives a snapshot for reading. A [`Query`] (a vector, a weighted sum, or a place) and
//!    [`SearchOptions`] (top-k or threshold, [`Filter`], [`Dedup`]) go into [`Archive::search`], which returns [`Hit`]s.
//! 3. [`mod@export`] writes hits or whole archives as table, GeoJSON, GeoParquet and HTML; [`import_geoparquet`] reads GeoParquet.
//! 4. [`verify()`] reads every byte; [`repair()`] makes a damaged archive readable; [`Writer::compact`] merges segments.
//!
//! Feature `usearch` adds `build_approximate` and `Approx`, an HNSW graph for archives of tens of millions of records.
//!
//! ```
//! use geoglot_index::{Archive, Meta, Query, Record, RecordId, SearchOptions, Space, VectorType};
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = dir.path().join("archive");
//! let space = Space::new("demo", 3, "some-model", None);
//! Archive::create(&path, space.clone(), VectorType::F32)?;
//! let mut writer = Archive::open_writer(&path)?;
//! let record = |name: &str, vector: [f32; 3]| Record {
//!     meta: Meta::new(RecordId::new(name, None, "some-model", ""), name),
//!     vector: vector.to_vec(),
//!     thumbnail: None,
//! };
//! writer.add(&space, vec![record("lake.tif", [1.0, 0.0, 0.0]), record("town.tif", [0.0, 1.0, 0.0])])?;
//! let archive = Archive::open(&path)?;
//! let hits = archive.search(&Query::new(&space, &[0.9, 0.1, 0.0])?, &SearchOptions::top(1))?;
//! assert_eq!(hits[0].meta.source, "lake.tif");
//! # Ok::<(), geoglot_index::Error>(())
//! ```
#![warn(missing_docs)]

#[cfg(feature = "usearch")]
mod approx;
mod archive;
pub mod codes;
mod compact;
mod error;
pub mod export;
mod filter;
mod footprint;
pub mod format;
pub mod fuzz;
mod geo_format;
mod guard;
mod import;
mod lock;
mod query;
mod record;
mod repair;
mod search;
mod segment;
mod simd;
mod space;
mod table;
mod table_read;
mod verify;
mod writer;

#[cfg(feature = "usearch")]
pub use approx::{Approx, ApproxOptions, build_approximate};
pub use archive::{Archive, Info, RowRef};
pub use compact::Compacted;
pub use error::{Error, Result};
pub use filter::Filter;
pub use footprint::{BBox, Footprint, Polygon, Position};
pub use format::vectors::VectorType;
pub use import::{ImportOptions, Imported, geoparquet_space, import_geoparquet};
pub use query::{Query, QuerySum};
pub use record::{Meta, Record, RecordId, Time};
pub use repair::{RepairReport, repair};
pub use search::{Dedup, Hit, Mode, Scored, SearchOptions};
pub use space::Space;
pub use verify::{Consequence, LostRecord, Problem, VerifyReport, verify};
pub use writer::{Added, Writer};
