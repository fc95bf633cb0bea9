//! Pixels of one item.

use std::path::Path;
use std::sync::Arc;

use geoglot_core::{Band, Grid};
use geoglot_raster::{BandSource, OpenOptions, SampleType, Scene, SceneArg, SourceOptions, is_placeholder};
use ndarray::{Array2, Array3};

use super::dataset::{Dataset, Item};
use super::error::{Error, Result};
use super::{Format, ImageSource, geobench};

/// Shortest side an image may have: nothing can be told from less.
const SHORTEST_SIDE: usize = 2;

/// Pixels of one item with what they mean.
#[derive(Debug, Clone)]
pub struct Pixels {
    /// Physical values, [C, H, W]; 0 where the mask is false.
    pub data: Array3<f32>,
    /// True where every band has data, [H, W].
    pub mask: Array2<bool>,
    /// The bands, in the order of the channels.
    pub bands: Vec<Band>,
    /// Where the pixels lie, where the image says it.
    pub grid: Grid,
}

impl Dataset {
    /// The item's image as a scene of one input, named after its file; only metadata is read.
    ///
    /// # Errors
    /// [`Error::Image`] for images of one pixel, [`Error::Raster`] for damaged ones; for items of a list both name the record.
    pub fn scene(&self, i: usize) -> Result<Scene> {
        let item = self.item(i)?;
        self.open_scene(item).map_err(|e| self.at(item, e))
    }

    /// The item's pixels, all bands.
    ///
    /// # Errors
    /// As [`Dataset::scene`].
    pub fn read(&self, i: usize) -> Result<Pixels> {
        let item = self.item(i)?;
        let read = || -> Result<Pixels> {
            let scene = self.open_scene(item)?;
            let grid = scene.grid().clone();
            let input = &scene.inputs()[0];
            let tile = scene.read(input.name(), &input.source().all_bands(), grid.window())?;
            Ok(Pixels { data: tile.data, mask: tile.mask, bands: input.bands().to_vec(), grid })
        };
        read().map_err(|e| self.at(item, e))
    }

    /// The bands of the first item; those of the others are the same in every layout known here, which [`Dataset::read`] states for each.
    ///
    /// # Errors
    /// As [`Dataset::scene`].
    pub fn bands(&self) -> Result<Vec<Band>> {
        Ok(self.scene(0)?.inputs()[0].bands().to_vec())
    }

    /// Says which record of the list an error belongs to.
    fn at(&self, item: &Item, error: Error) -> Error {
        match &self.list {
            Some(list) if !item.place.is_empty() => Error::record(list, &item.place, error.to_string()),
            _ => error,
        }
    }

    fn open_scene(&self, item: &Item) -> Result<Scene> {
        let mut arg =
            SceneArg { sensor: self.sensor.clone(), layout: self.layout.clone(), ..SceneArg::new(&item.path) };
        let source: Arc<dyn BandSource> = match self.format {
            Format::GeoBench => geobench::source(&item.path, &mut arg)?,
            _ if item.path.is_file() && ImageSource::recognises(&item.path)? => {
                Arc::new(ImageSource::open(&item.path)?)
            }
            _ => geoglot_raster::open(&item.path, &SourceOptions::default())?,
        };
        big_enough(&item.path, source.grid())?;
        if arg.sensor.is_none() && is_colour(source.as_ref()) {
            arg.sensor = Some("rgb".into());
        }
        Ok(Scene::from_sources(vec![(arg, source)], &self.registry, OpenOptions::default())?)
    }
}

fn big_enough(path: &Path, grid: &Grid) -> Result<()> {
    if grid.width < SHORTEST_SIDE || grid.height < SHORTEST_SIDE {
        return Err(Error::image(
            path,
            format!("has {}×{} pixels; at least {SHORTEST_SIDE}×{SHORTEST_SIDE} are needed", grid.width, grid.height),
        ));
    }
    Ok(())
}

/// Three unnamed byte bands are a colour image (UCM's and NWPU's TIFFs).
pub(crate) fn is_colour(source: &dyn BandSource) -> bool {
    let unnamed = source.bands().iter().all(|b| b.wavelength_um.is_none() && is_placeholder(&b.name));
    source.sample_type() == SampleType::U8 && source.bands().len() == 3 && unnamed
}
