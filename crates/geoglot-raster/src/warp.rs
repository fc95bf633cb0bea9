//! Bringing a raster onto another grid, window by window.

use std::path::Path;
use std::sync::Arc;

use geoglot_core::{Affine, Band, Crs, Grid, Window};
use ndarray::{Array2, Array3, Axis, s};
use proj4rs::Proj;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{BandSource, Error, Result, SampleType, Tile, check_request};

/// Source pixels read at once for one part of a window, over all bands.
const MAX_SOURCE_SAMPLES: usize = 32 << 20;

/// How a value between pixels is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resampling {
    /// The pixel that covers the point: for class ids, masks, anything that must not be mixed.
    Nearest,
    /// Weighted mean of the four pixels around the point, of those that are valid; invalid where the covering pixel is.
    #[default]
    Bilinear,
}

impl std::str::FromStr for Resampling {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "nearest" => Ok(Self::Nearest),
            "bilinear" => Ok(Self::Bilinear),
            other => Err(Error::Usage(format!("unknown resampling `{other}`; known: nearest, bilinear"))),
        }
    }
}

/// A raster seen on another grid. Points are pixel centres; points outside the raster are invalid.
#[derive(Debug)]
pub struct Resampled {
    inner: Arc<dyn BandSource>,
    grid: Grid,
    resampling: Resampling,
    mapping: Mapping,
}

/// From target pixels to source pixels.
struct Mapping {
    target: Affine,
    source: Affine,
    /// Target and source reference system, when they differ.
    projections: Option<(Proj, Proj)>,
}

impl std::fmt::Debug for Mapping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mapping {{ reprojected: {} }}", self.projections.is_some())
    }
}

impl Mapping {
    /// Source (column, row) of each target pixel centre in `window`, row by row; NaN where the projection has no answer.
    fn points(&self, window: Window) -> Result<Vec<(f64, f64)>> {
        let inverse = self.source.inverse()?;
        let row_of = |row: usize| {
            (window.col..window.col_end()).map(move |col| {
                let (mut x, mut y) = self.target.apply(col as f64 + 0.5, row as f64 + 0.5);
                if let Some((from, to)) = &self.projections {
                    let unit = |p: &Proj| if p.is_latlong() { 1f64.to_radians() } else { 1.0 };
                    let mut point = (x * unit(from), y * unit(from), 0.0);
                    match proj4rs::transform::transform(from, to, &mut point) {
                        Ok(()) => (x, y) = (point.0 / unit(to), point.1 / unit(to)),
                        Err(_) => return (f64::NAN, f64::NAN),
                    }
                }
                inverse(x, y)
            })
        };
        Ok((window.row..window.row_end()).into_par_iter().flat_map_iter(row_of).collect())
    }
}

/// Up to 33 positions below `size`, the first and the last among them.
fn spread(size: usize) -> impl Iterator<Item = usize> {
    let steps = size.saturating_sub(1).clamp(1, 32);
    (0..=steps).map(move |k| size.saturating_sub(1) * k / steps)
}

pub(crate) fn projection(path: &Path, crs: &Crs) -> Result<Proj> {
    let fail = |why: String| Error::Align {
        path: path.into(),
        problem: format!(
            "{crs} cannot be reprojected by this build ({why}); bring the raster onto the grid of the first input before, for example with `gdalwarp`"
        ),
    };
    let code = crs.epsg().ok_or_else(|| fail("it has no EPSG code".into()))?;
    let code = u16::try_from(code).map_err(|_| fail("the code is outside EPSG's range".into()))?;
    Proj::from_epsg_code(code).map_err(|e| fail(e.to_string()))
}

impl Resampled {
    /// `inner` on `grid`. Equal or unknown reference systems are combined by their transforms alone.
    ///
    /// # Errors
    /// [`Error::Align`] when the reference systems differ and one of them cannot be reprojected.
    pub fn new(inner: Arc<dyn BandSource>, grid: &Grid, resampling: Resampling) -> Result<Self> {
        let projections = match (&grid.crs, &inner.grid().crs) {
            (Some(target), Some(source)) if target != source => {
                Some((projection(inner.path(), target)?, projection(inner.path(), source)?))
            }
            _ => None,
        };
        let mapping = Mapping { target: grid.transform, source: inner.grid().transform, projections };
        // Tells now, not in the middle of a map, that a grid has no area.
        let _ = mapping.source.inverse()?;
        let _ = mapping.target.inverse()?;
        Ok(Self { grid: grid.clone(), resampling, mapping, inner })
    }

    /// The raster before resampling.
    pub fn inner(&self) -> &Arc<dyn BandSource> {
        &self.inner
    }

    /// True when the raster and the grid have ground in common, by points all over each of the two.
    pub(crate) fn overlaps(&self) -> Result<bool> {
        let meets = |mapping: &Mapping, from: &Grid, to: &Grid| -> Result<bool> {
            let (w, h) = (to.width as f64, to.height as f64);
            let inside = |(x, y): (f64, f64)| (0.0..=w).contains(&x) && (0.0..=h).contains(&y);
            for row in spread(from.height) {
                for col in spread(from.width) {
                    if mapping.points(Window::new(col, row, 1, 1))?.into_iter().any(inside) {
                        return Ok(true);
                    }
                }
            }
            Ok(false)
        };
        let back = Mapping {
            target: self.mapping.source,
            source: self.mapping.target,
            projections: self.mapping.projections.clone().map(|(target, source)| (source, target)),
        };
        let source = self.inner.grid();
        Ok(meets(&self.mapping, &self.grid, source)? || meets(&back, source, &self.grid)?)
    }

    /// The window of source pixels that `points` need, if they meet the source at all.
    fn needed(&self, points: &[(f64, f64)]) -> Option<Window> {
        let source = self.inner.grid();
        let (w, h) = (source.width as f64, source.height as f64);
        let mut inside = points.iter().filter(|(x, y)| *x >= -1.0 && *y >= -1.0 && *x <= w + 1.0 && *y <= h + 1.0);
        let first = inside.next()?;
        let mut bounds = (first.0, first.1, first.0, first.1);
        for (x, y) in inside {
            bounds = (bounds.0.min(*x), bounds.1.min(*y), bounds.2.max(*x), bounds.3.max(*y));
        }
        // One pixel more on each side covers the neighbours of bilinear points.
        let start = |v: f64| (v.floor() - 1.0).max(0.0) as usize;
        let end = |v: f64, size: usize| ((v.floor() + 2.0).max(0.0) as usize).min(size);
        let (col, row) = (start(bounds.0), start(bounds.1));
        let (col_end, row_end) = (end(bounds.2, source.width), end(bounds.3, source.height));
        (col < col_end && row < row_end).then(|| Window::new(col, row, col_end - col, row_end - row))
    }

    /// Fills the part `window` of `tile`.
    fn fill(&self, bands: &[usize], window: Window, tile: &mut Tile) -> Result<()> {
        let points = self.mapping.points(window)?;
        let (c, r) = (window.col - tile.window.col, window.row - tile.window.row);
        let (rows, cols) = (r..r + window.height, c..c + window.width);
        let Some(needed) = self.needed(&points) else {
            tile.mask.slice_mut(s![rows, cols]).fill(false);
            return Ok(());
        };
        if needed.area().saturating_mul(bands.len()) > MAX_SOURCE_SAMPLES && window.area() > 1 {
            let (first, second) = halves(window);
            self.fill(bands, first, tile)?;
            return self.fill(bands, second, tile);
        }
        let source = self.inner.read_stored(bands, needed)?;
        let masks = self.masks(bands, &source)?;
        let sampler = Sampler { source: &source, points: &points, width: window.width, resampling: self.resampling };
        for (k, mut plane) in tile.data.outer_iter_mut().enumerate() {
            let mask = &masks[k.min(masks.len() - 1)];
            sampler.sample(
                k,
                mask,
                plane.slice_mut(s![rows.clone(), cols.clone()]),
                tile.mask.slice_mut(s![rows.clone(), cols.clone()]),
            );
        }
        Ok(())
    }

    /// Validity of each band. A bilinear value of one band must not depend on which other bands are read, so that where pixels are
    /// missing each band's own mask is needed; else the common one serves all.
    fn masks(&self, bands: &[usize], source: &Tile) -> Result<Vec<Array2<bool>>> {
        if self.resampling == Resampling::Nearest || bands.len() == 1 || source.mask.iter().all(|&valid| valid) {
            return Ok(vec![source.mask.clone()]);
        }
        bands.iter().map(|&band| Ok(self.inner.read_stored(&[band], source.window)?.mask)).collect()
    }
}

fn halves(window: Window) -> (Window, Window) {
    let Window { col, row, width, height } = window;
    if height >= width {
        let half = height / 2;
        (Window::new(col, row, width, half), Window::new(col, row + half, width, height - half))
    } else {
        let half = width / 2;
        (Window::new(col, row, half, height), Window::new(col + half, row, width - half, height))
    }
}

struct Sampler<'a> {
    source: &'a Tile,
    points: &'a [(f64, f64)],
    width: usize,
    resampling: Resampling,
}

impl Sampler<'_> {
    /// Values of band `k` at the points, and validity added to `valid`.
    fn sample(
        &self,
        k: usize,
        mask: &Array2<bool>,
        mut out: ndarray::ArrayViewMut2<'_, f32>,
        mut valid: ndarray::ArrayViewMut2<'_, bool>,
    ) {
        let plane = self.source.data.index_axis(Axis(0), k);
        let origin = (self.source.window.col as f64, self.source.window.row as f64);
        out.axis_iter_mut(Axis(0)).into_par_iter().zip(valid.axis_iter_mut(Axis(0))).enumerate().for_each(
            |(row, (mut out, mut valid))| {
                for (col, (out, valid)) in out.iter_mut().zip(valid.iter_mut()).enumerate() {
                    let (x, y) = self.points[row * self.width + col];
                    match self.value(plane, mask, x - origin.0, y - origin.1) {
                        Some(value) => *out = value,
                        None => *valid = false,
                    }
                }
            },
        );
    }

    /// The value at fractional pixel (x, y) of the source tile, whose first pixel covers 0–1.
    fn value(&self, plane: ndarray::ArrayView2<'_, f32>, mask: &Array2<bool>, x: f64, y: f64) -> Option<f32> {
        let (height, width) = plane.dim();
        // A point on the border belongs to the raster even if rounding puts it a hair outside.
        let hair = 1e-6;
        if !(x >= -hair && y >= -hair && x <= width as f64 + hair && y <= height as f64 + hair) {
            return None;
        }
        let cell = |v: f64, size: usize| ((v + 1e-9).floor().max(0.0) as usize).min(size - 1);
        let nearest = (cell(y, height), cell(x, width));
        if !mask[nearest] {
            return None;
        }
        if self.resampling == Resampling::Nearest {
            return Some(plane[nearest]);
        }
        let (fx, fy) = (x - 0.5, y - 0.5);
        let (x0, y0) = (fx.floor(), fy.floor());
        let (mut sum, mut weights) = (0.0, 0.0);
        for (dy, wy) in [(0.0, 1.0 - (fy - y0)), (1.0, fy - y0)] {
            for (dx, wx) in [(0.0, 1.0 - (fx - x0)), (1.0, fx - x0)] {
                let (px, py, weight) = (x0 + dx, y0 + dy, wx * wy);
                if weight <= 0.0 || px < 0.0 || py < 0.0 || px >= width as f64 || py >= height as f64 {
                    continue;
                }
                let at = (py as usize, px as usize);
                if mask[at] {
                    sum += weight * f64::from(plane[at]);
                    weights += weight;
                }
            }
        }
        (weights > 0.0).then(|| (sum / weights) as f32)
    }
}

impl BandSource for Resampled {
    fn path(&self) -> &Path {
        self.inner.path()
    }

    fn grid(&self) -> &Grid {
        &self.grid
    }

    fn bands(&self) -> &[Band] {
        self.inner.bands()
    }

    fn sample_type(&self) -> SampleType {
        self.inner.sample_type()
    }

    fn read_stored(&self, bands: &[usize], window: Window) -> Result<Tile> {
        check_request(self, bands, window)?;
        let mut tile = Tile {
            window,
            data: Array3::zeros((bands.len(), window.height, window.width)),
            mask: Array2::from_elem((window.height, window.width), true),
        };
        self.fill(bands, window, &mut tile)?;
        Ok(tile)
    }
}
