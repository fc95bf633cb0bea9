//! Opening any readable raster by its content and name.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::formats::{EnviSource, FolderSource, envi, hdf5, mat, netcdf, npy};
use crate::{BandSource, Error, Resampling, Result, tiff};

/// Order of the axes of an array file (MATLAB, npy, HDF5), which cannot say so itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Axes {
    /// Rows, columns, bands.
    Hwc,
    /// Bands, rows, columns.
    Chw,
    /// Rows, columns: one band.
    Hw,
}

/// What a reader cannot know from the file alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceOptions {
    /// Variable or data set to read, where a file holds several (MATLAB, HDF5, NetCDF).
    pub variable: Option<String>,
    /// Order of the axes; `None` lets the reader decide by the shape, or fail where the shape is ambiguous.
    pub axes: Option<Axes>,
}

/// Opens a raster for windowed reading: GeoTIFF, MATLAB v5 and v7.3, HDF5, NetCDF, npy, ENVI, folders of one-band GeoTIFFs; with the
/// feature `gdal` whatever else GDAL reads. The format is told by the content, not by the file's ending.
///
/// # Errors
/// [`Error::Io`]; [`Error::Format`] for damaged files; [`Error::Unsupported`] for other formats.
pub fn open(path: &Path, options: &SourceOptions) -> Result<Arc<dyn BandSource>> {
    if path.is_dir() {
        return Ok(Arc::new(FolderSource::open(path, Resampling::default())?));
    }
    let mut start = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| Error::io(path, "open", e))?;
    file.take(16).read_to_end(&mut start).map_err(|e| Error::io(path, "read", e))?;
    let ending = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let begins = |signature: &[u8]| start.starts_with(signature);
    if [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"].iter().any(|magic| begins(*magic)) {
        return Ok(Arc::new(tiff::open(path)?));
    }
    // An HDF5 file of MATLAB begins with a block of MATLAB's own.
    if begins(b"MATLAB 7.3") {
        return Ok(Arc::new(hdf5::open(path, options)?));
    }
    if begins(b"\x89HDF\r\n") {
        let classic = ["nc", "nc4", "cdf"].contains(&ending.as_str());
        return Ok(if classic { Arc::new(netcdf::open(path, options)?) } else { Arc::new(hdf5::open(path, options)?) });
    }
    if begins(b"CDF\x01") || begins(b"CDF\x02") || begins(b"CDF\x05") {
        return Ok(Arc::new(netcdf::open(path, options)?));
    }
    if begins(b"\x93NUMPY") {
        return Ok(Arc::new(npy::open(path, options)?));
    }
    if begins(b"MATLAB 5.0") || ending == "mat" {
        return Ok(Arc::new(mat::open(path, options)?));
    }
    if envi::is_envi(path) {
        return Ok(Arc::new(EnviSource::open(path)?));
    }
    other(path, &start)
}

#[cfg(feature = "gdal")]
fn other(path: &Path, _: &[u8]) -> Result<Arc<dyn BandSource>> {
    Ok(Arc::new(crate::gdal::open(path)?))
}

#[cfg(not(feature = "gdal"))]
fn other(path: &Path, start: &[u8]) -> Result<Arc<dyn BandSource>> {
    if start.is_empty() {
        return Err(Error::format(path, "is empty"));
    }
    Err(Error::Unsupported {
        path: path.into(),
        what: "the format of this file".into(),
        remedy: "readable are GeoTIFF, MATLAB (v5, v7.3), HDF5, NetCDF, npy, ENVI and folders of GeoTIFFs; convert it with `gdal_translate IN OUT.tif`, or build with the feature `gdal`".into(),
    })
}
