//! What every readable raster offers: bands, a grid, windows.

use std::fmt::Debug;
use std::path::Path;

use geoglot_core::{Band, Grid, Window};
use ndarray::{Array2, Array3};

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

/// A raster opened for windowed reading. Opening reads metadata only.
pub trait BandSource: Send + Sync + Debug {
    /// The file or folder, for messages.
    fn path(&self) -> &Path;

    /// Where the pixels lie.
    fn grid(&self) -> &Grid;

    /// Every band, in file order, with the scale, offset and nodata value of its stored numbers.
    fn bands(&self) -> &[Band];

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
