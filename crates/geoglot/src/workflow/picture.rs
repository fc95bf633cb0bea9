//! Rasters of all readable formats, and pictures (PNG, JPEG), as scenes of one input.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use ndarray::{Axis, s};

use crate::core::{Band, Grid, Registry, Window};
use crate::data::datasets::ImageSource;
use crate::raster::{BandSource, OpenOptions, SampleType, Scene, SceneArg, Tile, check_request};

/// Opens one raster, PNG or JPEG as a scene of one input.
///
/// # Errors
/// As [`Scene::open`], and damaged pictures.
pub fn open_scene(arg: &SceneArg, registry: &Registry) -> anyhow::Result<Scene> {
    open_scene_of(std::slice::from_ref(arg), registry)
}

/// As [`open_scene`], of several inputs.
///
/// # Errors
/// As [`open_scene`].
pub fn open_scene_of(args: &[SceneArg], registry: &Registry) -> anyhow::Result<Scene> {
    let open = |arg: &SceneArg| -> anyhow::Result<(SceneArg, Arc<dyn BandSource>)> {
        if arg.path.is_file() && ImageSource::recognises(&arg.path)? {
            let image = Picture { image: ImageSource::open(&arg.path)?, pixels: OnceLock::new() };
            return Ok((arg.clone(), Arc::new(image)));
        }
        Ok((arg.clone(), crate::raster::open(&arg.path, &arg.source_options())?))
    };
    let sources = args.iter().map(open).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Scene::from_sources(sources, registry, OpenOptions::default())?)
}

/// A PNG or JPEG, decoded once when pixels are first asked for: both formats can only be decoded whole.
#[derive(Debug)]
struct Picture {
    image: ImageSource,
    pixels: OnceLock<Tile>,
}

impl BandSource for Picture {
    fn path(&self) -> &Path {
        self.image.path()
    }

    fn grid(&self) -> &Grid {
        self.image.grid()
    }

    fn bands(&self) -> &[Band] {
        self.image.bands()
    }

    fn sample_type(&self) -> SampleType {
        self.image.sample_type()
    }

    fn read_stored(&self, bands: &[usize], window: Window) -> crate::raster::Result<Tile> {
        check_request(self, bands, window)?;
        let whole = match self.pixels.get() {
            Some(whole) => whole,
            None => {
                let read = self.image.read_stored(&self.image.all_bands(), self.image.grid().window())?;
                self.pixels.get_or_init(|| read)
            }
        };
        Ok(cut(whole, bands, window))
    }
}

/// Bands and a window of a whole raster in memory.
pub(super) fn cut(whole: &Tile, bands: &[usize], window: Window) -> Tile {
    let (rows, cols) = (window.row..window.row_end(), window.col..window.col_end());
    Tile {
        window,
        data: whole.data.slice(s![.., rows.clone(), cols.clone()]).select(Axis(0), bands),
        mask: whole.mask.slice(s![rows, cols]).to_owned(),
    }
}
