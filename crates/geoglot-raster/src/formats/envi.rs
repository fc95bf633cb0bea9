//! ENVI rasters: a text header (`.hdr`) beside a flat binary file.
//!
//! Header fields as in the ENVI header file documentation of NV5 Geospatial.

mod header;

use std::path::{Path, PathBuf};

use geoglot_core::{Affine, Band, Grid, Unit, Window};
use ndarray::Array3;

use super::flat::Flat;
use super::mask_of;
use crate::{BandSource, Error, Result, SampleType, Tile, check_request, placeholder_name};

pub use header::{EnviHeader, Interleave, parse_envi_header};

/// An ENVI raster, read by window.
#[derive(Debug)]
pub struct EnviSource {
    path: PathBuf,
    grid: Grid,
    bands: Vec<Band>,
    sample: SampleType,
    flat: Flat,
}

/// The header and the data file of an ENVI raster, given either.
fn pair(path: &Path) -> Result<(PathBuf, PathBuf)> {
    let is_header = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("hdr"));
    if is_header {
        let stem = path.with_extension("");
        let name = |ext: &str| stem.with_extension(ext);
        // `scene.img.hdr` beside `scene.img`; `scene.hdr` beside `scene`, `scene.img`, …
        let candidates = [stem.clone()]
            .into_iter()
            .chain(["img", "dat", "raw", "bsq", "bil", "bip", "bin", "sli", "IMG", "DAT", "RAW"].map(name));
        return match candidates.into_iter().find(|c| c.is_file()) {
            Some(data) => Ok((path.into(), data)),
            None => Err(Error::format(
                path,
                format!(
                    "has no data file beside it; expected {} or the same name ending in .img, .dat, .raw, .bsq, .bil, .bip",
                    stem.display()
                ),
            )),
        };
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".hdr");
    let candidates = [path.with_extension("hdr"), beside.into(), path.with_extension("HDR")];
    match candidates.iter().find(|c| c.is_file()) {
        Some(header) => Ok((header.clone(), path.into())),
        None => Err(Error::format(path, format!("has no ENVI header beside it; expected {}", candidates[0].display()))),
    }
}

/// True when an ENVI header belongs to `path`, or is it.
pub fn is_envi(path: &Path) -> bool {
    let Ok((header, _)) = pair(path) else { return false };
    let mut start = [0u8; 8];
    let read = std::fs::File::open(header).and_then(|mut f| std::io::Read::read(&mut f, &mut start));
    read.is_ok_and(|n| String::from_utf8_lossy(&start[..n]).trim_start_matches('\u{feff}').starts_with("ENVI"))
}

impl EnviSource {
    /// Opens an ENVI raster by its header or its data file; only the header is read.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] for headers that contradict themselves or a data file that is too short.
    pub fn open(path: &Path) -> Result<Self> {
        const HEADER_LIMIT: u64 = 64 << 20;
        let (header_path, data) = pair(path)?;
        let size = std::fs::metadata(&header_path).map_err(|e| Error::io(&header_path, "read", e))?.len();
        if size > HEADER_LIMIT {
            return Err(Error::format(&header_path, format!("is {size} bytes long, too long for an ENVI header")));
        }
        let text = std::fs::read(&header_path).map_err(|e| Error::io(&header_path, "read", e))?;
        let header = parse_envi_header(&String::from_utf8_lossy(&text)).map_err(|e| Error::format(&header_path, e))?;
        let (w, h, c) = (header.samples, header.lines, header.bands);
        let shape = [c, h, w];
        let impossible =
            || Error::format(&header_path, format!("declares {c} bands of {h}×{w} pixels, more than can be addressed"));
        let strides = match header.interleave {
            Interleave::Bsq => [h.checked_mul(w).ok_or_else(impossible)?, w, 1],
            Interleave::Bil => [w, c.checked_mul(w).ok_or_else(impossible)?, 1],
            Interleave::Bip => [1, w.checked_mul(c).ok_or_else(impossible)?, c],
        };
        let flat = Flat::open(&data, header.offset, &shape, &strides, header.sample, header.big_endian)?;
        let grid = Grid {
            crs: header.crs.clone(),
            transform: header.transform.unwrap_or_else(Affine::identity),
            width: w,
            height: h,
        };
        Ok(Self { path: path.into(), grid, bands: bands(&header), sample: header.sample, flat })
    }
}

fn bands(header: &EnviHeader) -> Vec<Band> {
    let reflectance = header.reflectance_scale;
    (0..header.bands)
        .map(|k| Band {
            wavelength_um: header.wavelengths.as_ref().map(|w| w[k]),
            fwhm_um: header.fwhm.as_ref().map(|w| w[k]),
            unit: if reflectance.is_some() { Unit::Reflectance } else { Unit::Unitless },
            // Gains and the reflectance scale say the same in two ways; never both.
            scale: match (&header.gains, reflectance) {
                (_, Some(scale)) => 1.0 / scale,
                (Some(gains), None) => gains[k],
                (None, None) => 1.0,
            },
            offset: match (&header.offsets, reflectance) {
                (Some(offsets), None) => offsets[k],
                _ => 0.0,
            },
            nodata: header.nodata,
            range: reflectance.map(|_| (0.0, 1.0)),
            ..Band::named(header.names.as_ref().map_or_else(|| placeholder_name(k), |n| n[k].clone()))
        })
        .collect()
}

impl BandSource for EnviSource {
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
        let index =
            [bands.to_vec(), (window.row..window.row_end()).collect(), (window.col..window.col_end()).collect()];
        let data = self.flat.read(&index)?;
        let data: Array3<f32> = data.into_dimensionality().map_err(|e| Error::format(&self.path, e))?;
        let used: Vec<&Band> = bands.iter().map(|&b| &self.bands[b]).collect();
        let mask = mask_of(data.view(), &used);
        Ok(Tile { window, data, mask })
    }
}
