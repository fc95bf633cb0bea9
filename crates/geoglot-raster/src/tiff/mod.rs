//! GeoTIFF and cloud-optimised GeoTIFF: windowed reading and streaming writing.

mod cog;
mod crs;
mod decode;
mod metadata;
mod pam;
mod reader;
mod tiler;
mod writer;

pub use metadata::SENSOR_ITEM;
pub use reader::{TiffSource, open, open_bytes};
pub use writer::{Codec, Overviews, RasterSpec, RasterWriter};
