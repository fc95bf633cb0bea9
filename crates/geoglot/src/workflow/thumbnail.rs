//! Small pictures of values that were read for a tower.

use std::path::Path;

use super::images::{TowerScene, Values};
use super::picture::cut;
use crate::core::{Band, Grid, Window};
use crate::raster::preview::quick_look;
use crate::raster::{BandSource, SampleType, Tile, check_request};

/// Longest side of a thumbnail in pixels.
const THUMBNAIL: usize = 128;

/// Pixels of a tile as a raster, for previews.
#[derive(Debug)]
struct Piece<'a> {
    grid: Grid,
    bands: &'a [Band],
    pixels: Tile,
}

impl BandSource for Piece<'_> {
    fn path(&self) -> &Path {
        Path::new("tile")
    }

    fn grid(&self) -> &Grid {
        &self.grid
    }

    fn bands(&self) -> &[Band] {
        self.bands
    }

    fn sample_type(&self) -> SampleType {
        SampleType::F32
    }

    fn read_stored(&self, bands: &[usize], window: Window) -> crate::raster::Result<Tile> {
        check_request(self, bands, window)?;
        Ok(cut(&self.pixels, bands, window))
    }

    fn read(&self, bands: &[usize], window: Window) -> crate::raster::Result<Tile> {
        // The values are physical already.
        self.read_stored(bands, window)
    }
}

impl TowerScene {
    /// A small picture of values, PNG bytes.
    ///
    /// # Errors
    /// Memory only; none in practice.
    pub fn thumbnail(&self, values: &Values) -> anyhow::Result<Vec<u8>> {
        let (height, width) = values.mask.dim();
        let grid = Grid::unreferenced(width, height);
        let pixels = Tile { window: grid.window(), data: values.data.clone(), mask: values.mask.clone() };
        let look = quick_look(&Piece { grid, bands: &self.bands, pixels }, THUMBNAIL)?;
        Ok(look.image.to_png()?)
    }
}
