//! Class-id rasters.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use geoglot_core::{Grid, Legend, Registry, Window};
use ndarray::Array2;

use crate::scene_align::align;
use crate::scene_arg::{ScaleRule, SceneArg};
use crate::scene_bind::Bound;
use crate::warp::Resampling;
use crate::{BandSource, Error, Result};

/// Class ids of every pixel, and where the pixels lie. Pixels that the file marks as nodata hold `unlabelled`.
#[derive(Debug, Clone, PartialEq)]
pub struct Labels {
    path: PathBuf,
    ids: Array2<u16>,
    grid: Option<Grid>,
}

impl Labels {
    /// Reads a raster of class ids; pixels without data get the id 0.
    ///
    /// # Errors
    /// What reading the file gives; [`Error::Bands`] when it has several bands and none is chosen; [`Error::Format`] for values that are
    /// not class ids (fractions, negative numbers, above 65535), saying where.
    pub fn open(arg: &SceneArg, registry: &Registry) -> Result<Self> {
        Self::from_source(crate::open(&arg.path, &arg.source_options())?, arg, registry, None)
    }

    /// Reads a raster of class ids onto `grid`: by nearest pixels where it lies on another grid, as it is where it has the same size and
    /// one of the two has no reference system. Pixels it does not cover get the id 0.
    ///
    /// # Errors
    /// As [`Labels::open`]; [`Error::Align`] for another size without reference system.
    pub fn open_on(arg: &SceneArg, registry: &Registry, grid: &Grid) -> Result<Self> {
        Self::from_source(crate::open(&arg.path, &arg.source_options())?, arg, registry, Some(grid))
    }

    fn from_source(
        source: Arc<dyn BandSource>,
        arg: &SceneArg,
        registry: &Registry,
        grid: Option<&Grid>,
    ) -> Result<Self> {
        // Ids are never scaled, whatever the file or a sensor says.
        let arg = SceneArg { scale: ScaleRule::None, offset: None, ..arg.clone() };
        let mut source: Arc<dyn BandSource> = Arc::new(Bound::new(source, &arg, registry)?);
        if source.bands().len() != 1 {
            return Err(Error::bands(
                source.path(),
                format!("has {} bands, but labels have one; choose it: {}:1", source.bands().len(), arg.path.display()),
            ));
        }
        if let Some(grid) = grid {
            source = align("labels", source, grid, Resampling::Nearest, &mut Vec::new())?.0;
        }
        let grid = source.grid().clone();
        let mut ids = Array2::zeros((grid.height, grid.width));
        for row in (0..grid.height).step_by(512) {
            let window = Window::new(0, row, grid.width, 512.min(grid.height - row));
            let tile = source.read_stored(&[0], window)?;
            for (((_, r, c), &value), &valid) in tile.data.indexed_iter().zip(&tile.mask) {
                if valid {
                    ids[[row + r, c]] = id_of(source.path(), value, row + r, c)?;
                }
            }
        }
        let placed = grid.is_georeferenced().then_some(grid);
        Ok(Self { path: source.path().into(), ids, grid: placed })
    }

    /// Labels made elsewhere; `path` is for messages.
    pub fn new(path: impl Into<PathBuf>, ids: Array2<u16>, grid: Option<Grid>) -> Self {
        Self { path: path.into(), ids, grid }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Class ids, [H, W].
    pub fn ids(&self) -> &Array2<u16> {
        &self.ids
    }

    /// The grid, where the file is georeferenced.
    pub fn grid(&self) -> Option<&Grid> {
        self.grid.as_ref()
    }

    /// The same labels on another grid, by nearest pixels; pixels outside get `unlabelled`.
    ///
    /// # Errors
    /// [`Error::Align`] when the sizes differ and one of the two has no reference system, or reprojection is not possible.
    pub fn align_to(&self, grid: &Grid, unlabelled: u16) -> Result<Self> {
        let own = self.grid.clone().unwrap_or_else(|| Grid::unreferenced(self.ids.ncols(), self.ids.nrows()));
        let source: Arc<dyn BandSource> = Arc::new(InMemory {
            path: self.path.clone(),
            ids: self.ids.clone(),
            grid: own,
            bands: vec![geoglot_core::Band::named("class")],
        });
        let (source, _) = align("labels", source, grid, Resampling::Nearest, &mut Vec::new())?;
        let mut ids = Array2::from_elem((grid.height, grid.width), unlabelled);
        for row in (0..grid.height).step_by(512) {
            let window = Window::new(0, row, grid.width, 512.min(grid.height - row));
            let tile = source.read_stored(&[0], window)?;
            for (((_, r, c), &value), &valid) in tile.data.indexed_iter().zip(&tile.mask) {
                if valid {
                    ids[[row + r, c]] = value as u16;
                }
            }
        }
        Ok(Self { path: self.path.clone(), ids, grid: grid.is_georeferenced().then(|| grid.clone()) })
    }

    /// Number of pixels of each id.
    pub fn counts(&self) -> BTreeMap<u16, usize> {
        let mut counts = BTreeMap::new();
        for &id in &self.ids {
            *counts.entry(id).or_default() += 1;
        }
        counts
    }

    /// Ids that are neither a class of `legend` nor its "no label", with their number of pixels.
    pub fn outside(&self, legend: &Legend) -> Vec<(u16, usize)> {
        let known = |id: u16| id == legend.unlabelled || legend.index_of(id).is_some();
        self.counts().into_iter().filter(|(id, _)| !known(*id)).collect()
    }

    /// Makes sure that every id is in the legend and at least one pixel has a class.
    ///
    /// # Errors
    /// [`Error::Format`] listing ids outside the legend with their pixels, or saying that nothing is labelled.
    pub fn check(&self, legend: &Legend) -> Result<()> {
        let outside = self.outside(legend);
        if !outside.is_empty() {
            let list = outside.iter().map(|(id, n)| format!("{id} ({n} pixels)")).collect::<Vec<_>>().join(", ");
            let known = legend.classes.iter().map(|c| format!("{} {}", c.id, c.name)).collect::<Vec<_>>().join(", ");
            return Err(Error::format(
                &self.path,
                format!(
                    "holds class ids that the legend lacks: {list}. The legend has: {known}; \"no label\" is {}. Add the classes or change the labels",
                    legend.unlabelled
                ),
            ));
        }
        if self.ids.iter().all(|&id| id == legend.unlabelled) {
            return Err(Error::format(
                &self.path,
                format!("no pixel is labelled: every pixel holds {}", legend.unlabelled),
            ));
        }
        Ok(())
    }
}

fn id_of(path: &Path, value: f32, row: usize, col: usize) -> Result<u16> {
    if value.fract() == 0.0 && (0.0..=f32::from(u16::MAX)).contains(&value) {
        return Ok(value as u16);
    }
    Err(Error::format(
        path,
        format!(
            "is not a class map: {value} at col {col} row {row} is no class id (whole numbers from 0 to 65535); a value for \"no data\" can be given with nodata={value}"
        ),
    ))
}

/// Ids as a raster, to be resampled.
#[derive(Debug)]
struct InMemory {
    path: PathBuf,
    ids: Array2<u16>,
    grid: Grid,
    bands: Vec<geoglot_core::Band>,
}

impl BandSource for InMemory {
    fn path(&self) -> &Path {
        &self.path
    }

    fn grid(&self) -> &Grid {
        &self.grid
    }

    fn bands(&self) -> &[geoglot_core::Band] {
        &self.bands
    }

    fn sample_type(&self) -> crate::SampleType {
        crate::SampleType::U16
    }

    fn read_stored(&self, bands: &[usize], window: Window) -> Result<crate::Tile> {
        crate::check_request(self, bands, window)?;
        let part = self.ids.slice(ndarray::s![window.row..window.row_end(), window.col..window.col_end()]);
        let data = ndarray::Array3::from_shape_fn((bands.len(), window.height, window.width), |(_, r, c)| {
            f32::from(part[[r, c]])
        });
        Ok(crate::Tile { window, data, mask: Array2::from_elem((window.height, window.width), true) })
    }
}
