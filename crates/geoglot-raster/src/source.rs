//! What every readable raster offers: bands, a grid, windows.

use std::fmt::Debug;
use std::path::Path;

use geoglot_core::{Band, Grid, Window};
use ndarray::{Array2, Array3};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Pixels of one window.
#[derive(Debug, Clone)]
pub struct Tile {
    /// Where the pixels lie in their raster.
    pub window: Window,
    /// Values, [C, H, W].
    pub data: Array3<f32>,
    /// True where every requested band has data, [H, W].
    pub mask: Array2<bool>,
}

/// Number type in which a raster is stored. Integers are counts that need the sensor's scale; floats are taken as physical already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum SampleType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F16,
    F32,
    F64,
}

impl SampleType {
    /// True for whole numbers.
    pub fn is_integer(self) -> bool {
        !matches!(self, Self::F16 | Self::F32 | Self::F64)
    }

    /// Bytes a value takes.
    pub fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 | Self::F16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }
}

impl std::fmt::Display for SampleType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", format!("{self:?}").to_lowercase())
    }
}

/// Name of a band that has none: `band 1` for the first, at index 0.
pub fn placeholder_name(index: usize) -> String {
    format!("band {}", index + 1)
}

/// A raster opened for windowed reading. Opening reads metadata only.
pub trait BandSource: Send + Sync + Debug {
    /// The file or folder, for messages.
    fn path(&self) -> &Path;

    /// Where the pixels lie.
    fn grid(&self) -> &Grid;

    /// Every band, in file order, with the scale, offset and nodata value of its stored numbers.
    fn bands(&self) -> &[Band];

    /// Number type of the stored values; where bands differ, the widest.
    fn sample_type(&self) -> SampleType;

    /// Stored values of `bands` (indices into [`BandSource::bands`], any order, repeats allowed) in `window`, unscaled; the mask is false where any
    /// requested band is nodata or not finite.
    ///
    /// # Errors
    /// Windows outside the grid, unknown band indices, damaged files.
    fn read_stored(&self, bands: &[usize], window: Window) -> Result<Tile>;

    /// Physical values: [`BandSource::read_stored`] × scale + offset, each exactly once. Masked-out pixels are 0 in every band, so that no
    /// nodata number can leak into a product.
    ///
    /// # Errors
    /// As [`BandSource::read_stored`].
    fn read(&self, bands: &[usize], window: Window) -> Result<Tile> {
        let mut tile = self.read_stored(bands, window)?;
        for (mut plane, &index) in tile.data.outer_iter_mut().zip(bands) {
            let band = &self.bands()[index];
            let (scale, offset) = (band.scale as f32, band.offset as f32);
            ndarray::Zip::from(&mut plane)
                .and(&tile.mask)
                .for_each(|v, &valid| *v = if valid { *v * scale + offset } else { 0.0 });
        }
        Ok(tile)
    }

    /// Columns that a reader of many small windows should keep to while it goes down the rows, so that each stored block is decoded
    /// once and few are held. The grid's width where it makes no difference.
    fn columns_at_once(&self) -> usize {
        self.grid().width
    }

    /// Indices of every band, in file order.
    fn all_bands(&self) -> Vec<usize> {
        (0..self.bands().len()).collect()
    }
}

/// Checks a request before a reader touches the file.
///
/// # Errors
/// [`Error::Core`] for a window outside the grid, [`Error::Bands`] for an index outside the bands.
pub fn check_request(source: &dyn BandSource, bands: &[usize], window: Window) -> Result<()> {
    source.grid().check(window)?;
    match bands.iter().find(|&&b| b >= source.bands().len()) {
        Some(b) => Err(Error::bands(
            source.path(),
            format!("band number {} was asked for, but there are {} bands", b + 1, source.bands().len()),
        )),
        None => Ok(()),
    }
}
