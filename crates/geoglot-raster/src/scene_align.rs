//! Rasters brought onto the scene's grid.

use std::path::Path;
use std::sync::Arc;

use geoglot_core::{Band, Grid, Window};

use crate::scene_arg::SceneArg;
use crate::warp::{Resampled, Resampling};
use crate::{BandSource, Error, Result, SampleType, Tile};

/// The first input's grid; a reference system it lacks is taken from an input of the same size.
pub(crate) fn scene_grid(
    first: &dyn BandSource,
    sources: &[(SceneArg, Arc<dyn BandSource>)],
    warnings: &mut Vec<String>,
) -> Grid {
    let grid = first.grid();
    let size = (grid.width, grid.height);
    let lender = sources.iter().find(|(_, s)| s.grid().is_georeferenced() && (s.grid().width, s.grid().height) == size);
    match lender {
        Some((arg, lender)) if grid.crs.is_none() => {
            warnings.push(format!(
                "{} has no reference system; that of `{}`, which has the same size, was taken",
                first.path().display(),
                arg.label()
            ));
            lender.grid().clone()
        }
        _ => grid.clone(),
    }
}

/// `source` on `grid`, and whether it had to be resampled.
pub(crate) fn align(
    name: &str,
    source: Arc<dyn BandSource>,
    grid: &Grid,
    resampling: Resampling,
    warnings: &mut Vec<String>,
) -> Result<(Arc<dyn BandSource>, bool)> {
    let own = source.grid();
    if own.same_as(grid) {
        return Ok((source, false));
    }
    if own.crs.is_some() && grid.crs.is_some() {
        let resampled = Resampled::new(source.clone(), grid, resampling)?;
        if !resampled.overlaps()? {
            let covers = |g: &Grid| format!("{:?} in {}", g.bounds(), g.crs_name());
            return Err(Error::Align {
                path: source.path().into(),
                problem: format!(
                    "{name} does not overlap the scene: it covers {}, the scene {}; check that both show the same ground and that their reference systems are right",
                    covers(own),
                    covers(grid)
                ),
            });
        }
        return Ok((Arc::new(resampled), true));
    }
    if (own.width, own.height) == (grid.width, grid.height) {
        if own.crs != grid.crs || own.transform != grid.transform {
            let text = format!(
                "{name} and the scene have the same size but not both a reference system; they were laid on each other pixel by pixel"
            );
            if !(own.crs.is_none() && warnings.iter().any(|w| w.contains(&own_path(&source)))) {
                warnings.push(text);
            }
        }
        return Ok((Arc::new(Placed { inner: source, grid: grid.clone() }), false));
    }
    let describe = |g: &Grid| format!("{} × {} pixels, {}", g.width, g.height, g.crs_name());
    Err(Error::Align {
        path: source.path().into(),
        problem: format!(
            "cannot be laid on the scene: it has {}, the scene {}. Give both a reference system (for example `gdal_translate -a_srs … -a_ullr …`) or cut them to the same size",
            describe(own),
            describe(grid)
        ),
    })
}

fn own_path(source: &Arc<dyn BandSource>) -> String {
    source.path().display().to_string()
}

/// A raster of the scene's size, said to lie on the scene's grid.
#[derive(Debug)]
struct Placed {
    inner: Arc<dyn BandSource>,
    grid: Grid,
}

impl BandSource for Placed {
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

    fn columns_at_once(&self) -> usize {
        self.inner.columns_at_once()
    }

    fn read_stored(&self, bands: &[usize], window: Window) -> Result<Tile> {
        self.inner.read_stored(bands, window)
    }
}
