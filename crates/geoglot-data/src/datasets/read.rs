//! Pixels of one item.

use std::path::Path;
use std::sync::Arc;

use geoglot_core::{Band, Grid};
use geoglot_raster::{BandSource, OpenOptions, SampleType, Scene, SceneArg, is_placeholder};
use ndarray::{Array2, Array3};

use super::dataset::Dataset;
use super::error::{Error, Result};
use super::item::{Item, Labelling};
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

    /// The classes of the item's pixels as ids of [`Dataset::legend`], [H, W]; 0 where a pixel has none.
    ///
    /// # Errors
    /// [`Error::Usage`] for sets without label rasters; [`Error::Image`] for rasters of another size and values that are no class.
    pub fn label_raster(&self, i: usize) -> Result<Array2<u16>> {
        if self.labelling() != Labelling::Raster {
            return Err(Error::Usage(format!("{}: its items have no label rasters", self.root().display())));
        }
        let item = self.item(i)?;
        let read = || {
            let grid = self.open_scene(item)?.grid().clone();
            geobench::label_raster(&item.path, self.classes().len(), (grid.height, grid.width))
        };
        read().map_err(|e| self.at(item, e))
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
        let (arg, source) = match self.format {
            Format::GeoBench => {
                let source = geobench::source(&item.path, &mut arg)?;
                (with_colour(arg, source.as_ref()), source)
            }
            _ => open_source(&arg)?,
        };
        big_enough(&item.path, source.grid())?;
        Ok(Scene::from_sources(vec![(arg, source)], &self.registry, OpenOptions::default())?)
    }
}

/// Opens a raster, a PNG or a JPEG, these as one band with `variable=grey`; the input comes back with the sensor `rgb` where the image cannot be anything else.
pub(crate) fn open_source(arg: &SceneArg) -> Result<(SceneArg, Arc<dyn BandSource>)> {
    let source: Arc<dyn BandSource> = if arg.path.is_file() && ImageSource::recognises(&arg.path)? {
        let image = ImageSource::open(&arg.path)?;
        Arc::new(if arg.variable.as_deref() == Some("grey") { image.grey() } else { image })
    } else {
        geoglot_raster::open(&arg.path, &arg.source_options())?
    };
    Ok((with_colour(arg.clone(), source.as_ref()), source))
}

fn with_colour(arg: SceneArg, source: &dyn BandSource) -> SceneArg {
    let colour = arg.sensor.is_none() && is_colour(source);
    SceneArg { sensor: if colour { Some("rgb".into()) } else { arg.sensor.clone() }, ..arg }
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
