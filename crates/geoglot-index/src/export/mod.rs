//! Results for others: a table, GeoJSON, GeoParquet, a contact sheet.

mod areas;
mod geojson;
pub mod geoparquet;
mod html;
mod text;

pub use areas::{ClassArea, write_areas_geoparquet};
pub use geojson::{to_geojson, write_geojson};
pub use geoparquet::{GeoParquetOptions, write_archive_geoparquet, write_captioned_geoparquet, write_hits_geoparquet};
pub use html::{to_html, write_html};
pub use text::to_table;
