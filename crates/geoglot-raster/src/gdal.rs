//! Every other raster through the system's GDAL library (feature `gdal`): JPEG 2000, VRT, HDF4 and so on.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use gdal::raster::GdalDataType;
use gdal::{Dataset, Metadata};
use geoglot_core::{Affine, Band, Crs, Grid, Window};
use ndarray::{Array2, Array3};

use crate::{BandSource, Error, Result, SampleType, Tile, check_request, placeholder_name};

/// A raster opened by GDAL. GDAL's handles serve one thread at a time.
#[derive(Debug)]
pub struct GdalSource {
    path: PathBuf,
    dataset: Mutex<Dataset>,
    grid: Grid,
    bands: Vec<Band>,
    sample: SampleType,
}

fn gdal_error(path: &Path, error: impl std::fmt::Display) -> Error {
    Error::format(path, format!("GDAL cannot read it: {error}"))
}

fn sample_type(kind: GdalDataType) -> Option<SampleType> {
    Some(match kind {
        GdalDataType::UInt8 => SampleType::U8,
        GdalDataType::UInt16 => SampleType::U16,
        GdalDataType::Int16 => SampleType::I16,
        GdalDataType::UInt32 => SampleType::U32,
        GdalDataType::Int32 => SampleType::I32,
        GdalDataType::UInt64 => SampleType::U64,
        GdalDataType::Int64 => SampleType::I64,
        GdalDataType::Float32 => SampleType::F32,
        GdalDataType::Float64 => SampleType::F64,
        // A variant of GDAL 3.7 and later only.
        other if other.name() == "Int8" => SampleType::I8,
        _ => return None,
    })
}

/// Opens a raster with GDAL.
///
/// # Errors
/// [`Error::Format`] with GDAL's own words; [`Error::Unsupported`] for complex numbers and files whose rasters are sub-datasets.
pub fn open(path: &Path) -> Result<GdalSource> {
    let fail = |e: gdal::errors::GdalError| gdal_error(path, e);
    let dataset = Dataset::open(path).map_err(fail)?;
    let count = dataset.raster_count();
    if count == 0 {
        return Err(Error::Unsupported {
            path: path.into(),
            what: "a file whose rasters are sub-datasets".into(),
            remedy: "copy the one you need with `gdal_translate` (gdalinfo lists them)".into(),
        });
    }
    let (width, height) = dataset.raster_size();
    let mut bands = Vec::new();
    let mut sample = None;
    for k in 1..=count {
        let band = dataset.rasterband(k).map_err(fail)?;
        let kind = sample_type(band.band_type()).ok_or_else(|| Error::Unsupported {
            path: path.into(),
            what: format!("samples of type {}", band.band_type().name()),
            remedy: "convert the file to real numbers".into(),
        })?;
        if sample.is_none_or(|s: SampleType| s.bytes() < kind.bytes() || (s.is_integer() && !kind.is_integer())) {
            sample = Some(kind);
        }
        let name = band.description().unwrap_or_default();
        bands.push(Band {
            scale: band.scale().filter(|s| *s != 0.0).unwrap_or(1.0),
            offset: band.offset().unwrap_or(0.0),
            nodata: band.no_data_value(),
            ..Band::named(if name.is_empty() { placeholder_name(k - 1) } else { name })
        });
    }
    let transform = dataset.geo_transform().ok();
    let transform = transform.map(|t| Affine { x0: t[0], dx: t[1], rx: t[2], y0: t[3], ry: t[4], dy: t[5] });
    let crs = transform.and_then(|_| dataset.spatial_ref().ok()).and_then(|mut srs| {
        let _ = srs.auto_identify_epsg();
        let code = srs.auth_code().ok().filter(|_| srs.auth_name().is_some_and(|n| n == "EPSG"));
        match code {
            Some(code) => u32::try_from(code).ok().map(Crs::Epsg),
            None => srs.to_wkt().ok().filter(|text| !text.is_empty()).map(Crs::Wkt),
        }
    });
    let grid = Grid { crs, transform: transform.unwrap_or(Affine::identity()), width, height };
    let sample = sample.unwrap_or(SampleType::F64);
    Ok(GdalSource { path: path.into(), dataset: Mutex::new(dataset), grid, bands, sample })
}

impl BandSource for GdalSource {
    fn path(&self) -> &Path {
        &self.path
    }

    fn grid(&self) -> &Grid {
        &self.grid
    }

    fn bands(&self) -> &[Band] {
        &self.bands
    }

    fn sample_type(&self) -> SampleType {
        self.sample
    }

    fn read_stored(&self, bands: &[usize], window: Window) -> Result<Tile> {
        check_request(self, bands, window)?;
        let mut data = Array3::zeros((bands.len(), window.height, window.width));
        let mut mask = Array2::from_elem((window.height, window.width), true);
        let size = (window.width, window.height);
        // A panic of another thread leaves the handle as it was.
        let dataset = self.dataset.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (mut plane, &index) in data.outer_iter_mut().zip(bands) {
            let fail = |e: gdal::errors::GdalError| gdal_error(&self.path, e);
            let band = dataset.rasterband(index + 1).map_err(fail)?;
            // As f64, so that nodata is compared before rounding.
            let values =
                band.read_as::<f64>((window.col as isize, window.row as isize), size, size, None).map_err(fail)?;
            let nodata = self.bands[index].nodata;
            for ((out, valid), &value) in plane.iter_mut().zip(mask.iter_mut()).zip(values.data()) {
                *out = value as f32;
                *valid &= out.is_finite() && Some(value) != nodata;
            }
        }
        Ok(Tile { window, data, mask })
    }
}
