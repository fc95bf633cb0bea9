//! Where pixels lie: coordinate reference system, affine transform, size; windows of it.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A coordinate reference system, by EPSG code or by its WKT text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Crs {
    /// EPSG code.
    Epsg(u32),
    /// Well-known text, where no code is known.
    Wkt(String),
}

impl Crs {
    /// EPSG code, when known.
    pub fn epsg(&self) -> Option<u32> {
        match self {
            Self::Epsg(code) => Some(*code),
            Self::Wkt(_) => None,
        }
    }
}

impl std::fmt::Display for Crs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Epsg(code) => write!(f, "EPSG:{code}"),
            Self::Wkt(text) => write!(f, "{}", text.split(['"', ',']).nth(1).unwrap_or("custom CRS")),
        }
    }
}

/// Affine transform from pixel (column, row) to map (x, y), the pixel's top-left corner being (0, 0):
/// x = `x0` + `dx`·col + `rx`·row, y = `y0` + `ry`·col + `dy`·row.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Affine {
    /// Map x of the top-left corner.
    pub x0: f64,
    /// Pixel width (map units per column).
    pub dx: f64,
    /// x shift per row (0 for north-up images).
    pub rx: f64,
    /// Map y of the top-left corner.
    pub y0: f64,
    /// y shift per column (0 for north-up images).
    pub ry: f64,
    /// Pixel height (map units per row; negative for north-up images).
    pub dy: f64,
}

impl Affine {
    /// A north-up transform: top-left corner (`x0`, `y0`), square or oblong pixels `dx` wide and `dy` high (both positive).
    pub fn north_up(x0: f64, y0: f64, dx: f64, dy: f64) -> Self {
        Self { x0, dx, rx: 0.0, y0, ry: 0.0, dy: -dy }
    }

    /// Pixel units: x = column, y = −row. Used where a file has no georeference.
    pub fn identity() -> Self {
        Self::north_up(0.0, 0.0, 1.0, 1.0)
    }

    /// Map position of (fractional) column and row.
    pub fn apply(&self, col: f64, row: f64) -> (f64, f64) {
        (self.x0 + self.dx * col + self.rx * row, self.y0 + self.ry * col + self.dy * row)
    }

    /// The inverse: map (x, y) → (column, row).
    ///
    /// # Errors
    /// [`Error::Grid`] when the transform is singular or not finite.
    pub fn inverse(&self) -> Result<impl Fn(f64, f64) -> (f64, f64) + Copy + use<>> {
        let t = *self;
        let det = t.dx * t.dy - t.rx * t.ry;
        if !det.is_finite() || det == 0.0 || !t.x0.is_finite() || !t.y0.is_finite() {
            return Err(Error::Grid(format!("the transform {t:?} cannot be inverted: a pixel has no area")));
        }
        Ok(move |x: f64, y: f64| {
            let (x, y) = (x - t.x0, y - t.y0);
            ((t.dy * x - t.rx * y) / det, (t.dx * y - t.ry * x) / det)
        })
    }

    /// The transform of a window whose top-left pixel is (`col`, `row`).
    pub fn shifted(&self, col: f64, row: f64) -> Self {
        let (x0, y0) = self.apply(col, row);
        Self { x0, y0, ..*self }
    }
}

/// A rectangle of pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Window {
    /// First column.
    pub col: usize,
    /// First row.
    pub row: usize,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl Window {
    /// A window from its first column and row and its size.
    pub fn new(col: usize, row: usize, width: usize, height: usize) -> Self {
        Self { col, row, width, height }
    }

    /// One past the last column.
    pub fn col_end(&self) -> usize {
        self.col + self.width
    }

    /// One past the last row.
    pub fn row_end(&self) -> usize {
        self.row + self.height
    }

    /// Number of pixels.
    pub fn area(&self) -> usize {
        self.width * self.height
    }

    /// The window grown by `margin` pixels on each side, clipped to `width` × `height`.
    pub fn grown(&self, margin: usize, width: usize, height: usize) -> Self {
        let col = self.col.saturating_sub(margin);
        let row = self.row.saturating_sub(margin);
        Self {
            col,
            row,
            width: (self.col_end() + margin).min(width) - col,
            height: (self.row_end() + margin).min(height) - row,
        }
    }

    /// Shared part of two windows, if any.
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let col = self.col.max(other.col);
        let row = self.row.max(other.row);
        let col_end = self.col_end().min(other.col_end());
        let row_end = self.row_end().min(other.row_end());
        (col < col_end && row < row_end).then(|| Self::new(col, row, col_end - col, row_end - row))
    }
}

/// Coordinate reference system, affine transform and size of a raster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grid {
    /// Reference system; `None` when the file states none (then only equal sizes can be combined).
    pub crs: Option<Crs>,
    /// Pixel → map transform.
    pub transform: Affine,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl Grid {
    /// A grid in pixel units without reference system, for arrays that carry no georeference.
    pub fn unreferenced(width: usize, height: usize) -> Self {
        Self { crs: None, transform: Affine::identity(), width, height }
    }

    /// True when the grid is placed on the ground.
    pub fn is_georeferenced(&self) -> bool {
        self.crs.is_some()
    }

    /// The whole grid as a window.
    pub fn window(&self) -> Window {
        Window::new(0, 0, self.width, self.height)
    }

    /// Checks that `window` lies inside and is not empty.
    ///
    /// # Errors
    /// [`Error::Grid`] with both sizes.
    pub fn check(&self, window: Window) -> Result<()> {
        let inside = window.width > 0
            && window.height > 0
            && window.col.checked_add(window.width).is_some_and(|end| end <= self.width)
            && window.row.checked_add(window.height).is_some_and(|end| end <= self.height);
        if inside {
            return Ok(());
        }
        Err(Error::Grid(format!(
            "window col {} row {} of {}×{} pixels does not fit into the raster of {}×{} pixels",
            window.col, window.row, window.width, window.height, self.width, self.height
        )))
    }

    /// The grid of a window of this one.
    pub fn crop(&self, window: Window) -> Self {
        Self {
            crs: self.crs.clone(),
            transform: self.transform.shifted(window.col as f64, window.row as f64),
            width: window.width,
            height: window.height,
        }
    }

    /// Map bounds (min x, min y, max x, max y) of all four corners.
    pub fn bounds(&self) -> [f64; 4] {
        let (w, h) = (self.width as f64, self.height as f64);
        let corners = [(0.0, 0.0), (w, 0.0), (0.0, h), (w, h)].map(|(c, r)| self.transform.apply(c, r));
        let (mut lo, mut hi) = ((f64::INFINITY, f64::INFINITY), (f64::NEG_INFINITY, f64::NEG_INFINITY));
        for (x, y) in corners {
            lo = (lo.0.min(x), lo.1.min(y));
            hi = (hi.0.max(x), hi.1.max(y));
        }
        [lo.0, lo.1, hi.0, hi.1]
    }

    /// Pixel size (width, height) in map units, positive.
    pub fn pixel_size(&self) -> (f64, f64) {
        let t = &self.transform;
        (t.dx.hypot(t.ry), t.rx.hypot(t.dy))
    }

    /// The window of pixels that a map-coordinate box (min x, min y, max x, max y) touches.
    ///
    /// # Errors
    /// [`Error::Grid`] when the box and the raster do not meet.
    pub fn window_of(&self, bbox: [f64; 4]) -> Result<Window> {
        let inverse = self.transform.inverse()?;
        let corners = [(bbox[0], bbox[1]), (bbox[2], bbox[1]), (bbox[0], bbox[3]), (bbox[2], bbox[3])]
            .map(|(x, y)| inverse(x, y));
        let min = |f: fn(&(f64, f64)) -> f64| corners.iter().map(f).fold(f64::INFINITY, f64::min);
        let max = |f: fn(&(f64, f64)) -> f64| corners.iter().map(f).fold(f64::NEG_INFINITY, f64::max);
        // Boxes that end on a pixel edge must not gain a pixel through rounding.
        let eps = 1e-6;
        let col = (min(|c| c.0) + eps).floor().max(0.0);
        let row = (min(|c| c.1) + eps).floor().max(0.0);
        let col_end = (max(|c| c.0) - eps).ceil().min(self.width as f64);
        let row_end = (max(|c| c.1) - eps).ceil().min(self.height as f64);
        if col < col_end && row < row_end {
            return Ok(Window::new(col as usize, row as usize, (col_end - col) as usize, (row_end - row) as usize));
        }
        Err(Error::Grid(format!(
            "the box {bbox:?} does not meet the raster, whose bounds are {:?} in {}",
            self.bounds(),
            self.crs_name()
        )))
    }

    /// The reference system's name, or `no CRS`.
    pub fn crs_name(&self) -> String {
        self.crs.as_ref().map_or_else(|| "no CRS".into(), Crs::to_string)
    }

    /// True when both grids put every pixel at the same place (to a thousandth of a pixel).
    pub fn same_as(&self, other: &Self) -> bool {
        if (self.width, self.height) != (other.width, other.height) || self.crs != other.crs {
            return false;
        }
        let tolerance = 1e-3 * self.pixel_size().0.min(self.pixel_size().1);
        let (w, h) = (self.width as f64, self.height as f64);
        [(0.0, 0.0), (w, 0.0), (0.0, h), (w, h)].into_iter().all(|(c, r)| {
            let (a, b) = (self.transform.apply(c, r), other.transform.apply(c, r));
            (a.0 - b.0).abs() <= tolerance && (a.1 - b.1).abs() <= tolerance
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn utm() -> Grid {
        Grid {
            crs: Some(Crs::Epsg(32632)),
            transform: Affine::north_up(500_000.0, 5_000_000.0, 10.0, 10.0),
            width: 30,
            height: 20,
        }
    }

    #[test]
    fn bounds_and_windows() {
        let grid = utm();
        assert_eq!(grid.bounds(), [500_000.0, 4_999_800.0, 500_300.0, 5_000_000.0]);
        assert_eq!(grid.window_of(grid.bounds()).unwrap(), grid.window());
        assert_eq!(grid.window_of([500_010.0, 4_999_980.0, 500_030.0, 4_999_990.0]).unwrap(), Window::new(1, 1, 2, 1));
        assert!(grid.window_of([0.0, 0.0, 1.0, 1.0]).unwrap_err().to_string().contains("EPSG:32632"));
        assert!(grid.check(Window::new(29, 0, 2, 1)).is_err());
        assert!(grid.check(Window::new(usize::MAX, 0, 2, 1)).is_err());
    }

    #[test]
    fn a_pixel_without_area_is_refused() {
        assert!(Affine::north_up(0.0, 0.0, 0.0, 1.0).inverse().is_err());
        assert!(Affine::north_up(f64::NAN, 0.0, 1.0, 1.0).inverse().is_err());
    }

    proptest! {
        #[test]
        fn the_inverse_inverts(x0 in -1e6..1e6f64, y0 in -1e6..1e6f64, dx in 0.1..100f64, dy in 0.1..100f64, r in -0.05..0.05f64, c in 0.0..1e4f64, w in 0.0..1e4f64) {
            let t = Affine { x0, dx, rx: r, y0, ry: -r, dy: -dy };
            let (x, y) = t.apply(c, w);
            let (c2, w2) = t.inverse().unwrap()(x, y);
            prop_assert!((c - c2).abs() < 1e-4 && (w - w2).abs() < 1e-4);
        }
    }
}
