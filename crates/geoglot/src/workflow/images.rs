//! Scenes and pictures as an image tower reads them: opened, bands bound, prepared exactly once.

use anyhow::bail;
use burn::tensor::{Device, Tensor, TensorData};
use ndarray::{Array2, Array3, Axis, s};

use super::display::{BandLimits, display_limits};
use super::picture::open_scene;
use crate::core::{Band, BandUse, Grid, Registry, Window};
use crate::models::geolangbind::bind_wavelengths;
use crate::models::vision::{BandNeed, BoundPreprocess, ImageBatch, ImagePreprocess, ImageTower, ValueScale};
use crate::raster::stats::scene_stats;
use crate::raster::{Footprints, Scene, SceneArg};

/// Values (pixels × bands) of an image that is embedded as a whole; 1 GiB as f32.
const MOST_VALUES: usize = 1 << 28;

/// A rectangle of a scene that may reach beyond its borders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// First column; negative left of the scene.
    pub col: isize,
    /// First row; negative above the scene.
    pub row: isize,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl Place {
    /// The part inside a scene, and where it begins in this rectangle (column, row); `None` for a rectangle outside.
    pub fn inside(&self, grid: &Grid) -> Option<(Window, (usize, usize))> {
        let clip = |start: isize, length: usize, size: usize| {
            let (first, last) = (start.max(0) as usize, (start + length as isize).clamp(0, size as isize) as usize);
            (first < last).then(|| (first, last - first, (first as isize - start) as usize))
        };
        let (col, width, left) = clip(self.col, self.width, grid.width)?;
        let (row, height, top) = clip(self.row, self.height, grid.height)?;
        Some((Window::new(col, row, width, height), (left, top)))
    }
}

impl From<Window> for Place {
    fn from(w: Window) -> Self {
        Self { col: w.col as isize, row: w.row as isize, width: w.width, height: w.height }
    }
}

/// Values of a [`Place`] before the tower's preprocessing.
#[derive(Debug, Clone)]
pub struct Values {
    /// Physical values of the bands read, [C, H, W]; NaN where there is no data.
    pub data: Array3<f32>,
    /// True where every band has data, [H, W].
    pub mask: Array2<bool>,
}

impl Values {
    /// Share of a window (in pixels of these values) without data, 0–1.
    pub fn nodata(&self, window: Window) -> f32 {
        let mask = self.mask.slice(s![window.row..window.row_end(), window.col..window.col_end()]);
        mask.iter().filter(|valid| !**valid).count() as f32 / window.area().max(1) as f32
    }
}

/// A scene whose bands are bound to an image tower.
#[derive(Debug)]
pub struct TowerScene {
    scene: Scene,
    /// Bands that are read: positions of the input and of the band in it.
    taken: Vec<(usize, usize)>,
    pub(super) bands: Vec<Band>,
    preprocess: BoundPreprocess,
    /// Limits of each band that become 0 and 255, for towers that read bytes.
    display: Option<Vec<BandLimits>>,
    footprints: Option<Footprints>,
    source: String,
    warnings: Vec<String>,
}

impl TowerScene {
    /// Opens `arg` and binds its bands to `tower`. With `check_only`, percentiles that a tower's preprocessing may need are not
    /// computed: the scene tells whether it can be read, and nothing else.
    ///
    /// # Errors
    /// What opening says; bands that the tower lacks, without wavelength or without range; images smaller than a patch.
    pub fn open(arg: &SceneArg, tower: &dyn ImageTower, registry: &Registry, check_only: bool) -> anyhow::Result<Self> {
        let name = arg.path.display().to_string();
        Self::bind(arg, tower, registry, check_only).map_err(|problem| {
            // Errors of bands and sizes do not know the file; those of reading name it already.
            if format!("{problem:#}").contains(&name) { problem } else { problem.context(name) }
        })
    }

    fn bind(arg: &SceneArg, tower: &dyn ImageTower, registry: &Registry, check_only: bool) -> anyhow::Result<Self> {
        Self::new(open_scene(arg, registry)?, tower, tower.preprocess(), None, check_only)
    }

    /// Binds the bands of all inputs of `scene`, one input behind the other, to `tower` under a preprocessing that may be another than the
    /// tower's own; `taken` says which bands to read, as positions of input and band, where the tower is not to choose.
    ///
    /// # Errors
    /// As [`TowerScene::open`].
    pub fn new(
        scene: Scene,
        tower: &dyn ImageTower,
        preprocess: &ImagePreprocess,
        taken: Option<Vec<(usize, usize)>>,
        check_only: bool,
    ) -> anyhow::Result<Self> {
        let mut warnings = scene.warnings().to_vec();
        let (width, height) = (scene.grid().width, scene.grid().height);
        if width.min(height) < tower.patch() {
            bail!(
                "{width} × {height} px is smaller than one patch of the model ({0} × {0} px): nothing can be told from so little",
                tower.patch()
            );
        }
        let all = || {
            let inputs = scene.inputs().iter().enumerate();
            inputs.flat_map(|(i, input)| (0..input.bands().len()).map(move |b| (i, b))).collect::<Vec<_>>()
        };
        let mut taken = taken.unwrap_or_else(all);
        let band = |&(i, b): &(usize, usize)| scene.inputs()[i].bands()[b].clone();
        let given: Vec<Band> = taken.iter().map(band).collect();
        taken = tower.bands().select(&given)?.into_iter().map(|k| taken[k]).collect();
        let bands: Vec<Band> = taken.iter().map(band).collect();
        if let BandNeed::Any(placeholders) = tower.bands() {
            bind_wavelengths(&bands, placeholders)?;
        }
        let percentiles = match preprocess.values {
            ValueScale::Percentiles(..) if check_only => Some(vec![(0.0, 1.0); bands.len()]),
            ValueScale::Percentiles(low, high) => {
                let stats = scene.inputs().iter().map(|input| scene_stats(input.source().as_ref()));
                let stats = stats.collect::<Result<Vec<_>, _>>()?;
                let of =
                    |&(i, b): &(usize, usize)| (stats[i].bands[b].percentile(low), stats[i].bands[b].percentile(high));
                Some(taken.iter().map(of).collect())
            }
            _ => None,
        };
        let bound = preprocess.bind(tower.bands(), &bands, percentiles.as_deref())?;
        let display = match preprocess.values {
            ValueScale::Byte => display_limits(&bands, &mut warnings)?,
            _ => None,
        };
        let file = scene.inputs()[0].source().path().to_path_buf();
        let footprints = match Footprints::new(&file, scene.grid()) {
            Ok(footprints) => Some(footprints),
            Err(_) if !scene.grid().is_georeferenced() => None,
            Err(problem) => {
                warnings.push(format!("no footprints on Earth: {problem}"));
                None
            }
        };
        let source = std::fs::canonicalize(&file).unwrap_or(file).display().to_string();
        Ok(Self { scene, taken, bands, preprocess: bound, display, footprints, source, warnings })
    }

    /// The scene.
    pub fn scene(&self) -> &Scene {
        &self.scene
    }

    /// Where its pixels lie.
    pub fn grid(&self) -> &Grid {
        self.scene.grid()
    }

    /// Columns to keep to while tiles are read row by row, as [`crate::raster::BandSource::columns_at_once`].
    pub fn columns_at_once(&self) -> usize {
        let inputs = self.scene.inputs().iter().map(|input| input.source().columns_at_once());
        inputs.min().unwrap_or(self.grid().width)
    }

    /// Bands that reach the network, in its order.
    pub fn bands(&self) -> &[Band] {
        self.preprocess.bands()
    }

    /// Absolute path of the raster.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What a careful reader should know.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Positions of input and band in the scene of the bands that are read.
    pub fn taken(&self) -> &[(usize, usize)] {
        &self.taken
    }

    /// The sensor of all bands, when they have one in common.
    pub fn sensor(&self) -> Option<&str> {
        let first = self.bands.first()?.sensor.as_deref()?;
        self.bands.iter().all(|b| b.sensor.as_deref() == Some(first)).then_some(first)
    }

    /// Band mapping for `run.json`.
    pub fn band_use(&self) -> BandUse {
        BandUse { input: self.scene.inputs()[0].name().into(), path: self.source.clone(), bands: self.bands().to_vec() }
    }

    /// The bands in one line: two band sets of one file give different records.
    pub fn band_key(&self) -> String {
        let key = |b: &Band| format!("{}@{}", b.label(), b.wavelength_um.unwrap_or(f32::NAN));
        self.bands().iter().map(key).collect::<Vec<_>>().join("+")
    }

    /// The outline of a window in longitude and latitude, as [`Footprints::ring`]; `None` for rasters without place on Earth.
    ///
    /// # Errors
    /// As [`Footprints::ring`].
    pub fn ring(&self, window: Window, per_edge: usize) -> anyhow::Result<Option<Vec<[f64; 2]>>> {
        Ok(self.footprints.as_ref().map(|f| f.ring(window, per_edge)).transpose()?)
    }

    /// Reads a rectangle; what lies outside the scene has no data.
    ///
    /// # Errors
    /// Damaged files.
    pub fn read(&self, place: Place) -> anyhow::Result<Values> {
        let size = (place.height, place.width);
        let mut data = Array3::from_elem((self.taken.len(), size.0, size.1), f32::NAN);
        let mut mask = Array2::from_elem(size, false);
        if let Some((window, (left, top))) = place.inside(self.grid()) {
            let (rows, cols) = (top..top + window.height, left..left + window.width);
            let mut whole = mask.slice_mut(s![rows.clone(), cols.clone()]);
            whole.fill(true);
            let mut inner = data.slice_mut(s![.., rows, cols]);
            for (i, input) in self.scene.inputs().iter().enumerate() {
                // Position among the bands read, and in the input.
                let own: Vec<(usize, usize)> =
                    self.taken.iter().enumerate().filter(|(_, t)| t.0 == i).map(|(k, t)| (k, t.1)).collect();
                if own.is_empty() {
                    continue;
                }
                let positions: Vec<usize> = own.iter().map(|o| o.1).collect();
                let tile = input.source().read(&positions, window)?;
                whole.zip_mut_with(&tile.mask, |all, &one| *all &= one);
                for (&(k, _), from) in own.iter().zip(tile.data.outer_iter()) {
                    let limits = self.display.as_ref().and_then(|d| d[k]);
                    let mut to = inner.index_axis_mut(Axis(0), k);
                    ndarray::Zip::from(&mut to).and(&from).and(&tile.mask).for_each(|to, &v, &valid| {
                        *to = match limits {
                            _ if !valid => f32::NAN,
                            // To the nearest whole number; a cast is what compilers make fast.
                            Some((low, high)) => {
                                f32::from((((v - low) / (high - low)).clamp(0.0, 1.0) * 255.0 + 0.5) as u8)
                            }
                            None => v,
                        };
                    });
                }
            }
        }
        Ok(Values { data, mask })
    }

    /// Reads the whole image, for one vector of all of it.
    ///
    /// # Errors
    /// Images too large to be held in memory; damaged files; images without any data.
    pub fn read_whole(&self) -> anyhow::Result<Values> {
        let (width, height) = (self.grid().width, self.grid().height);
        if width.saturating_mul(height).saturating_mul(self.taken.len()) > MOST_VALUES {
            bail!(
                "{}: {width} × {height} px in {} bands is too large to be embedded as one image; cut it, or use `geoglot embed`, \
                 which works tile by tile",
                self.source,
                self.taken.len()
            );
        }
        let values = self.read(self.grid().window().into())?;
        if !values.mask.iter().any(|valid| *valid) {
            bail!("{}: no pixel has data in every band; check its nodata value (nodata=…)", self.source);
        }
        Ok(values)
    }

    /// Values as network input, [c, h, w].
    ///
    /// # Errors
    /// As [`BoundPreprocess::apply`].
    pub fn prepare(&self, values: &Values) -> anyhow::Result<Array3<f32>> {
        Ok(self.preprocess.apply(values.data.view())?)
    }
}

/// Prepared images of one size as a batch.
///
/// # Panics
/// For no image, or images of different sizes.
pub fn batch(images: &[Array3<f32>], bands: &[Band], device: &Device) -> ImageBatch {
    let (c, h, w) = images[0].dim();
    let views: Vec<_> = images.iter().map(|image| image.view()).collect();
    let (values, _) = ndarray::stack(Axis(0), &views).expect("images of one size").into_raw_vec_and_offset();
    ImageBatch::preprocessed(
        Tensor::from_data(TensorData::new(values, [images.len(), c, h, w]), device),
        bands.to_vec(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rectangles_are_cut_at_the_borders() {
        let grid = Grid::unreferenced(10, 8);
        let place = Place { col: -2, row: 5, width: 6, height: 6 };
        assert_eq!(place.inside(&grid), Some((Window::new(0, 5, 4, 3), (2, 0))));
        assert_eq!(Place { col: 10, ..place }.inside(&grid), None);
        assert_eq!(Place { row: -6, ..place }.inside(&grid), None);
    }
}
