//! Rasters of one image on the image's grid.

use std::path::Path;
use std::sync::Arc;

use geoglot_core::{Grid, Registry, Unit, Window};
use geoglot_raster::{BandSource, Footprints, OpenOptions, Resampling, ScaleRule, Scene, SceneArg};
use ndarray::Array2;

use super::error::{Error, Result};
use crate::datasets::open_source;

/// An image opened for its grid and bands.
pub(super) struct Image {
    pub(super) arg: SceneArg,
    source: Arc<dyn BandSource>,
    pub(super) scene: Scene,
}

impl Image {
    pub(super) fn open(arg: &SceneArg, registry: &Registry) -> Result<Self> {
        let arg = SceneArg { name: Some("image".into()), ..arg.clone() };
        let (arg, source) = open_source(&arg)?;
        let inputs = vec![(arg.clone(), source.clone())];
        let scene = Scene::from_sources(inputs, registry, OpenOptions::default())?;
        Ok(Self { arg, source, scene })
    }

    pub(super) fn grid(&self) -> &Grid {
        self.scene.grid()
    }

    /// Pixel size in metres: of the grid, where it is metric.
    pub(super) fn gsd(&self) -> Option<f64> {
        let grid = self.grid();
        let projected = grid.crs.as_ref()?.epsg().is_some_and(|code| (32601..=32760).contains(&code) || code == 2154);
        let (x, y) = grid.pixel_size();
        (projected && (x - y).abs() < 1e-6 * x).then_some(x)
    }

    /// Longitude and latitude of the middle, where the image says where it lies.
    pub(super) fn geoloc(&self) -> Option<[f64; 2]> {
        let grid = self.grid();
        let middle = Window::new(grid.width / 2, grid.height / 2, 1, 1);
        let ring = Footprints::new(&self.arg.path, grid).ok()?.ring(middle, 1).ok()?;
        let [lon, lat] = ring.first()?;
        let round = |v: &f64| (v * 1e5).round() / 1e5;
        Some([round(lon), round(lat)])
    }

    /// Values of the first band of `arg` on the image's grid with their mask, both [H, W].
    fn values(&self, arg: &SceneArg, registry: &Registry, exact: bool) -> Result<(Array2<f32>, Array2<bool>)> {
        let mut arg = SceneArg { name: Some("other".into()), ..arg.clone() };
        if exact {
            // Ids are never scaled or mixed.
            arg = SceneArg { scale: ScaleRule::None, offset: None, resampling: Some(Resampling::Nearest), ..arg };
        }
        let (arg, source) = open_source(&arg)?;
        let image = (self.arg.clone(), self.source.clone());
        let scene = Scene::from_sources(vec![image, (arg.clone(), source)], registry, OpenOptions::default())?;
        let bands = scene.input("other")?.bands().len();
        if bands != 1 {
            return Err(Error::image(
                &arg.path,
                format!("has {bands} bands where one is needed; choose it: PATH:bands=1"),
            ));
        }
        let tile = scene.read("other", &[0], scene.grid().window())?;
        let (values, _) = tile.data.into_raw_vec_and_offset();
        let values = Array2::from_shape_vec(tile.mask.dim(), values)
            .map_err(|e| Error::image(&arg.path, format!("has an impossible size: {e}")))?;
        Ok((values, tile.mask))
    }

    /// Whole numbers, `None` where there is no data.
    pub(super) fn integers(&self, arg: &SceneArg, registry: &Registry) -> Result<Array2<Option<i64>>> {
        let (values, mask) = self.values(arg, registry, true)?;
        let mut whole = Array2::from_elem(values.dim(), None);
        for ((at, value), valid) in values.indexed_iter().zip(&mask) {
            if *valid {
                if value.fract() != 0.0 {
                    let problem = format!(
                        "is not a class map: {value} at col {} row {} is no whole number; a value for \"no data\" can be given with nodata={value}",
                        at.1, at.0
                    );
                    return Err(Error::image(&arg.path, problem));
                }
                whole[at] = Some(*value as i64);
            }
        }
        Ok(whole)
    }

    /// Class ids; pixels without data hold `unlabelled`.
    pub(super) fn classes(&self, arg: &SceneArg, registry: &Registry, unlabelled: u16) -> Result<Array2<u16>> {
        let mut ids = Array2::from_elem((self.grid().height, self.grid().width), unlabelled);
        for (at, value) in self.integers(arg, registry)?.indexed_iter() {
            if let Some(value) = value {
                ids[at] = u16::try_from(*value).map_err(|_| {
                    Error::image(&arg.path, format!("{value} at col {} row {} is no class id (0 to 65535)", at.1, at.0))
                })?;
            }
        }
        Ok(ids)
    }

    /// Heights in metres with their mask.
    pub(super) fn heights(&self, arg: &SceneArg, registry: &Registry) -> Result<(Array2<f32>, Array2<bool>)> {
        let (values, mut mask) = self.values(arg, registry, false)?;
        ndarray::Zip::from(&mut mask).and(&values).for_each(|m, v| *m &= v.is_finite());
        Ok((values, mask))
    }

    /// Whether the image's only band is heights.
    pub(super) fn is_heights(&self) -> bool {
        let bands = self.scene.inputs()[0].bands();
        bands.len() == 1 && matches!(bands[0].unit, Unit::Metre | Unit::Unitless)
    }
}

/// `path` under `root`, as an input.
pub(super) fn under(root: &Path, arg: &SceneArg, path: &Path) -> SceneArg {
    SceneArg { path: root.join(path), ..arg.clone() }
}
