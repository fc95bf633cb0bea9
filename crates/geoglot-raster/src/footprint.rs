//! Where windows of a raster lie on Earth: rings in longitude and latitude.

use std::path::Path;

use geoglot_core::{Crs, Grid, Window};
use proj4rs::Proj;

use crate::warp::projection;
use crate::{Error, Result};

/// Longest step between two positions of a ring in degrees of longitude: rings around half the Earth stay unambiguous.
const LONGEST_STEP: f64 = 60.0;

/// Footprints of windows of one raster in EPSG:4326.
pub struct Footprints {
    grid: Grid,
    /// The raster's reference system and EPSG:4326, when they differ.
    projections: Option<(Proj, Proj)>,
}

impl std::fmt::Debug for Footprints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Footprints {{ {} }}", self.grid.crs_name())
    }
}

impl Footprints {
    /// Prepares the footprints of windows of `grid`, the grid of the raster at `path` (for messages).
    ///
    /// # Errors
    /// [`Error::Align`] for a grid without reference system or with one that this build cannot reproject.
    pub fn new(path: &Path, grid: &Grid) -> Result<Self> {
        let Some(crs) = &grid.crs else {
            return Err(Error::Align {
                path: path.into(),
                problem: "has no reference system, so its place on Earth is unknown; give it one, for example with `gdal_edit -a_srs`"
                    .into(),
            });
        };
        let wgs84 = Crs::Epsg(4326);
        let projections = match crs {
            same if *same == wgs84 => None,
            other => Some((projection(path, other)?, projection(path, &wgs84)?)),
        };
        Ok(Self { grid: grid.clone(), projections })
    }

    /// The outline of `window` as a closed ring of (longitude, latitude) in degrees, counter-clockwise, each edge in at least
    /// `per_edge` pieces. Longitudes lie within ±180: a ring across the antimeridian jumps there. A window around a pole becomes
    /// the cap between its outline and the pole.
    ///
    /// # Errors
    /// [`Error::Core`] for a window outside the grid, [`Error::Usage`] where the projection has no answer.
    pub fn ring(&self, window: Window, per_edge: usize) -> Result<Vec<[f64; 2]>> {
        self.grid.check(window)?;
        let (left, right) = (window.col as f64, window.col_end() as f64);
        let (top, bottom) = (window.row as f64, window.row_end() as f64);
        let corners = [(left, top), (left, bottom), (right, bottom), (right, top)];
        let mut ring = Vec::new();
        for k in 0..4 {
            let (from, to) = (corners[k], corners[(k + 1) % 4]);
            let mut pieces = per_edge.max(1);
            if self.projections.is_none() {
                let (a, b) = (self.grid.transform.apply(from.0, from.1), self.grid.transform.apply(to.0, to.1));
                pieces = pieces.max(((a.0 - b.0).abs() / LONGEST_STEP).ceil() as usize);
            }
            for i in 0..pieces {
                let t = i as f64 / pieces as f64;
                ring.push(self.position(from.0 + t * (to.0 - from.0), from.1 + t * (to.1 - from.1))?);
            }
        }
        // Longitudes followed around the ring, without jumps, tell direction and whether a pole lies inside.
        let mut along = vec![ring[0][0]];
        for k in 1..=ring.len() {
            let step = ring[k % ring.len()][0] - ring[k - 1][0];
            along.push(along[k - 1] + step - 360.0 * (step / 360.0).round());
        }
        if (along[ring.len()] - along[0]).abs() > 180.0 {
            return Ok(cap(ring));
        }
        let next = |k: usize| ring[(k + 1) % ring.len()][1];
        let twice_area: f64 = (0..ring.len()).map(|k| along[k] * next(k) - along[k + 1] * ring[k][1]).sum();
        if twice_area < 0.0 {
            ring.reverse();
        }
        ring.push(ring[0]);
        Ok(ring)
    }

    /// Longitude and latitude of a pixel's upper left corner, in degrees.
    ///
    /// # Errors
    /// [`Error::Usage`] where the projection has no answer.
    pub fn corner(&self, col: usize, row: usize) -> Result<[f64; 2]> {
        self.position(col as f64, row as f64)
    }

    /// Longitude and latitude of a (fractional) column and row.
    fn position(&self, col: f64, row: f64) -> Result<[f64; 2]> {
        let (mut lon, mut lat) = self.grid.transform.apply(col, row);
        if let Some((from, to)) = &self.projections {
            let unit = if from.is_latlong() { 1f64.to_radians() } else { 1.0 };
            let mut point = (lon * unit, lat * unit, 0.0);
            let moved = proj4rs::transform::transform(from, to, &mut point);
            (lon, lat) =
                if moved.is_ok() { (point.0.to_degrees(), point.1.to_degrees()) } else { (f64::NAN, f64::NAN) };
        }
        // Rounding may put the antimeridian and a pole a hair outside.
        if lon.abs() <= 180.000_001 {
            lon = lon.clamp(-180.0, 180.0);
        } else {
            lon = (lon + 180.0).rem_euclid(360.0) - 180.0;
        }
        if !lon.is_finite() || !(-90.000_001..=90.000_001).contains(&lat) {
            return Err(Error::Usage(format!(
                "column {col} row {row} of a raster in {} has no longitude and latitude; is its georeference right?",
                self.grid.crs_name()
            )));
        }
        Ok([lon, lat.clamp(-90.0, 90.0)])
    }
}

/// The area between a ring around a pole and that pole.
fn cap(mut ring: Vec<[f64; 2]>) -> Vec<[f64; 2]> {
    let north = ring.iter().map(|p| p[1]).sum::<f64>() > 0.0;
    ring.sort_by(|a, b| a[0].total_cmp(&b[0]));
    let edge = (ring[0][1] + ring[ring.len() - 1][1]) / 2.0;
    ring.insert(0, [-180.0, edge]);
    ring.push([180.0, edge]);
    let pole = if north { 90.0 } else { -90.0 };
    ring.extend([180.0, 90.0, 0.0, -90.0, -180.0].map(|lon| [lon, pole]));
    ring.push([-180.0, edge]);
    if !north {
        ring.reverse();
    }
    ring
}

#[cfg(test)]
mod tests {
    use super::*;
    use geoglot_core::Affine;

    fn ring(crs: u32, transform: Affine, per_edge: usize) -> Vec<[f64; 2]> {
        let grid = Grid { crs: Some(Crs::Epsg(crs)), transform, width: 100, height: 100 };
        Footprints::new("a.tif".as_ref(), &grid).unwrap().ring(grid.window(), per_edge).unwrap()
    }

    fn area(ring: &[[f64; 2]]) -> f64 {
        ring.windows(2).map(|w| w[0][0] * w[1][1] - w[1][0] * w[0][1]).sum::<f64>() / 2.0
    }

    #[test]
    fn a_utm_tile_lies_where_it_should() {
        // 500 km easting is the central meridian, 9° E; northing 0 the equator. A degree there is 111.32 km along it.
        let ring = ring(32632, Affine::north_up(500_000.0, 1000.0, 10.0, 10.0), 4);
        assert_eq!(ring.len(), 17);
        assert_eq!(ring[0], ring[16]);
        assert!(ring.iter().any(|p| (p[0] - 9.0).abs() < 1e-9 && p[1].abs() < 1e-9), "{ring:?}");
        let west_east = ring.iter().map(|p| p[0]).fold(f64::MIN, f64::max) - 9.0;
        assert!((west_east - 1.0 / 111.32 / 0.9996).abs() < 1e-5, "{west_east}");
        assert!(area(&ring) > 0.0);
    }

    #[test]
    fn degrees_stay_and_go_counter_clockwise_whichever_way_the_rows_run() {
        let down = ring(4326, Affine::north_up(10.0, 50.0, 0.01, 0.01), 1);
        assert_eq!(down, [[10.0, 50.0], [10.0, 49.0], [11.0, 49.0], [11.0, 50.0], [10.0, 50.0]]);
        let up = ring(4326, Affine { dy: 0.01, y0: 49.0, ..Affine::north_up(10.0, 0.0, 0.01, 0.01) }, 1);
        assert!((area(&up) - 1.0).abs() < 1e-9);
        // A grid from 0 to 360°.
        let pacific = ring(4326, Affine::north_up(179.0, 1.0, 0.02, 0.01), 1);
        assert!(pacific.iter().all(|p| p[0] == 179.0 || (p[0] + 179.0).abs() < 1e-9), "{pacific:?}");
        let world = ring(4326, Affine::north_up(-180.0, 90.0, 3.6, 1.8), 1);
        assert!(world.windows(2).all(|w| (w[0][0] - w[1][0]).abs() <= 60.001));
        assert!((area(&world) - 360.0 * 180.0).abs() < 1e-6);
    }

    #[test]
    fn a_window_around_the_pole_is_a_cap() {
        // Antarctic polar stereographic, 200 km around the pole.
        let ring = ring(3031, Affine::north_up(-100_000.0, 100_000.0, 2000.0, 2000.0), 4);
        assert!(ring.iter().any(|p| p[1] == -90.0) && ring.iter().all(|p| p[1] < -88.0));
        assert!(ring.windows(2).all(|w| (w[0][0] - w[1][0]).abs() <= 180.0) && area(&ring) > 0.0);
    }

    #[test]
    fn without_place_there_is_no_footprint() {
        let grid = Grid::unreferenced(10, 10);
        assert!(Footprints::new("a.png".as_ref(), &grid).unwrap_err().to_string().contains("a.png"));
        let grid = Grid { crs: Some(Crs::Epsg(4326)), transform: Affine::north_up(0.0, 1e6, 1.0, 1.0), ..grid };
        assert!(Footprints::new("a.tif".as_ref(), &grid).unwrap().ring(grid.window(), 1).is_err());
        assert!(Footprints::new("a.tif".as_ref(), &grid).unwrap().ring(Window::new(5, 5, 6, 1), 1).is_err());
    }
}
