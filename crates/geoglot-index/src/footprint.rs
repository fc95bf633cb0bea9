//! Footprints on Earth: polygons in longitude/latitude, their boxes, meeting and shared area.

use crate::{Error, Result};

/// A position: longitude, latitude (degrees).
pub type Position = [f64; 2];

/// One polygon: an outer ring and holes, each closed (first position = last).
#[derive(Debug, Clone, PartialEq)]
pub struct Polygon {
    /// Outer ring first, then holes.
    pub rings: Vec<Vec<Position>>,
}

/// An area on Earth in EPSG:4326, longitude first: one polygon, or several (a tile across the antimeridian has two).
///
/// Edges are straight in longitude and latitude, which is true to a few metres for tiles and exact for boxes.
#[derive(Debug, Clone, PartialEq)]
pub struct Footprint {
    polygons: Vec<Polygon>,
}

/// A longitude/latitude box: west, south, east, north. West greater than east means across the antimeridian.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BBox {
    /// Western longitude.
    pub west: f64,
    /// Southern latitude.
    pub south: f64,
    /// Eastern longitude.
    pub east: f64,
    /// Northern latitude.
    pub north: f64,
}

impl BBox {
    /// A checked box.
    ///
    /// # Errors
    /// [`Error::Geometry`] for values that are not finite, outside the Earth or with south above north.
    pub fn new(west: f64, south: f64, east: f64, north: f64) -> Result<Self> {
        let longitudes = (-180.0..=180.0).contains(&west) && (-180.0..=180.0).contains(&east);
        if longitudes && -90.0 <= south && south <= north && north <= 90.0 {
            return Ok(Self { west, south, east, north });
        }
        Err(Error::Geometry(format!(
            "the box {west},{south},{east},{north} must be west,south,east,north in degrees: longitudes within ±180, \
             latitudes within ±90, south below north"
        )))
    }

    /// True when the boxes share a point.
    pub fn meets(&self, other: &Self) -> bool {
        let latitudes = self.south <= other.north && other.south <= self.north;
        let spans = |b: &Self| -> [(f64, f64); 2] {
            if b.west <= b.east { [(b.west, b.east); 2] } else { [(b.west, 180.0), (-180.0, b.east)] }
        };
        latitudes && spans(self).iter().any(|a| spans(other).iter().any(|b| a.0 <= b.1 && b.0 <= a.1))
    }

    /// Its middle: longitude, latitude.
    pub fn centre(&self) -> Position {
        let east = if self.west <= self.east { self.east } else { self.east + 360.0 };
        let lon = (self.west + east) / 2.0;
        [if lon > 180.0 { lon - 360.0 } else { lon }, (self.south + self.north) / 2.0]
    }

    /// The smallest box around both (without looking for the shorter way round the Earth).
    pub fn union(&self, other: &Self) -> Self {
        let (a, b) = if self.west > self.east || other.west > other.east {
            ((-180.0, 180.0), (-180.0, 180.0))
        } else {
            ((self.west, self.east), (other.west, other.east))
        };
        Self {
            west: a.0.min(b.0),
            south: self.south.min(other.south),
            east: a.1.max(b.1),
            north: self.north.max(other.north),
        }
    }
}

impl std::str::FromStr for BBox {
    type Err = Error;

    /// Reads `west,south,east,north`.
    fn from_str(text: &str) -> Result<Self> {
        let numbers: Vec<f64> = text.split(',').filter_map(|t| t.trim().parse().ok()).collect();
        match numbers[..] {
            [west, south, east, north] if text.split(',').count() == 4 => Self::new(west, south, east, north),
            _ => Err(Error::Geometry(format!("`{text}` is not a box; write west,south,east,north in degrees"))),
        }
    }
}

impl Footprint {
    /// Checked polygons; open rings are closed.
    ///
    /// # Errors
    /// [`Error::Geometry`] when there is no polygon, a ring has fewer than three positions, or a position is off the Earth.
    pub fn new(mut polygons: Vec<Polygon>) -> Result<Self> {
        if polygons.is_empty() || polygons.iter().any(|p| p.rings.is_empty()) {
            return Err(Error::Geometry("a footprint needs at least one polygon with an outer ring".into()));
        }
        for ring in polygons.iter_mut().flat_map(|p| &mut p.rings) {
            if let Some([lon, lat]) =
                ring.iter().find(|[lon, lat]| !((-180.0..=180.0).contains(lon) && (-90.0..=90.0).contains(lat)))
            {
                return Err(Error::Geometry(format!(
                    "position {lon},{lat} is not on Earth; footprints are longitude, latitude in degrees (EPSG:4326)"
                )));
            }
            if ring.first() != ring.last() {
                ring.extend(ring.first().copied());
            }
            if ring.len() < 4 {
                return Err(Error::Geometry(format!("a ring needs three positions or more, found {}", ring.len())));
            }
        }
        Ok(Self { polygons })
    }

    /// The footprint of a tile from its corners in order around it. Longitudes that jump by more than 180° are taken as
    /// crossing the antimeridian, and the footprint is cut in two there (RFC 7946 §3.1.9).
    ///
    /// # Errors
    /// [`Error::Geometry`] as for [`Footprint::new`].
    pub fn from_ring(ring: &[Position]) -> Result<Self> {
        let crosses = ring.windows(2).any(|w| (w[0][0] - w[1][0]).abs() > 180.0);
        if !crosses {
            return Self::new(vec![Polygon { rings: vec![ring.to_vec()] }]);
        }
        let east: Vec<Position> = ring.iter().map(|&[x, y]| [if x < 0.0 { x + 360.0 } else { x }, y]).collect();
        let part = |keep_east: bool| {
            let mut part = clip(&east, |p| if keep_east { p[0] - 180.0 } else { 180.0 - p[0] });
            for p in part.iter_mut().filter(|_| keep_east) {
                p[0] -= 360.0;
            }
            part
        };
        let parts = [part(false), part(true)];
        Self::new(parts.into_iter().filter(|p| p.len() >= 3).map(|p| Polygon { rings: vec![p] }).collect())
    }

    /// A box as a footprint.
    pub fn from_bbox(b: &BBox) -> Self {
        let ring = |w: f64, e: f64| Polygon {
            rings: vec![vec![[w, b.south], [e, b.south], [e, b.north], [w, b.north], [w, b.south]]],
        };
        let polygons =
            if b.west <= b.east { vec![ring(b.west, b.east)] } else { vec![ring(b.west, 180.0), ring(-180.0, b.east)] };
        Self { polygons }
    }

    /// A point, kept as an area without extent.
    ///
    /// # Errors
    /// [`Error::Geometry`] when it is not on Earth.
    pub fn from_point(lon: f64, lat: f64) -> Result<Self> {
        Self::new(vec![Polygon { rings: vec![vec![[lon, lat]; 4]] }])
    }

    /// Its polygons.
    pub fn polygons(&self) -> &[Polygon] {
        &self.polygons
    }

    fn rings(&self) -> impl Iterator<Item = &[Position]> {
        self.polygons.iter().flat_map(|p| p.rings.iter().map(Vec::as_slice))
    }

    fn edges(&self) -> impl Iterator<Item = (Position, Position)> {
        self.rings().flat_map(|r| r.windows(2).map(|w| (w[0], w[1])))
    }

    /// Its box. Two polygons at opposite ends of the longitudes count as one across the antimeridian.
    pub fn bbox(&self) -> BBox {
        let around = |positions: &mut dyn Iterator<Item = Position>| {
            positions.fold([f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY], |b, [x, y]| {
                [b[0].min(x), b[1].min(y), b[2].max(x), b[3].max(y)]
            })
        };
        let all = around(&mut self.rings().flatten().copied());
        let mut b = BBox { west: all[0], south: all[1], east: all[2], north: all[3] };
        if all[0] == -180.0 && all[2] == 180.0 {
            // West part: the polygons that touch +180; east part: those that touch −180.
            let boxes: Vec<_> = self.polygons.iter().map(|p| around(&mut p.rings.iter().flatten().copied())).collect();
            let west = boxes.iter().filter(|b| b[2] == 180.0).map(|b| b[0]).fold(f64::INFINITY, f64::min);
            let east = boxes.iter().filter(|b| b[0] == -180.0).map(|b| b[2]).fold(f64::NEG_INFINITY, f64::max);
            let every = boxes.iter().all(|b| b[0] == -180.0 || b[2] == 180.0);
            if every && east < west {
                (b.west, b.east) = (west, east);
            }
        }
        b
    }

    /// True when the position lies in it (on an edge counts as either).
    pub fn contains(&self, [x, y]: Position) -> bool {
        // Even–odd rule over all rings: holes take themselves out.
        let crossings = self
            .edges()
            .filter(|(a, b)| (a[1] > y) != (b[1] > y) && x < (b[0] - a[0]) * (y - a[1]) / (b[1] - a[1]) + a[0])
            .count();
        crossings % 2 == 1
    }

    /// True when the two areas share a point.
    pub fn meets(&self, other: &Self) -> bool {
        if !self.bbox().meets(&other.bbox()) {
            return false;
        }
        let inside = |a: &Self, b: &Self| a.rings().filter_map(|r| r.first()).any(|&p| b.contains(p));
        inside(self, other)
            || inside(other, self)
            || self.edges().any(|(a, b)| other.edges().any(|(c, d)| segments_meet(a, b, c, d)))
    }

    /// Area in square degrees with longitudes shrunk by the cosine of the mean latitude: good for ratios of near areas.
    pub fn area(&self) -> f64 {
        let b = self.bbox();
        let origin = [b.west, b.south];
        let signed = |ring: &[Position]| ring.windows(2).map(|w| cross(origin, w[0], w[1]) / 2.0).sum::<f64>().abs();
        let area: f64 = self
            .polygons
            .iter()
            .map(|p| signed(&p.rings[0]) - p.rings[1..].iter().map(|r| signed(r)).sum::<f64>())
            .sum();
        area.max(0.0) * ((b.south + b.north) / 2.0).to_radians().cos()
    }

    /// Area shared with `other`, in the unit of [`Footprint::area`]; any simple polygons, also with holes.
    pub fn shared_area(&self, other: &Self) -> f64 {
        let (a, b) = (self.bbox(), other.bbox());
        if !a.meets(&b) {
            return 0.0;
        }
        // Both areas as signed sums of triangles to one common corner: the shared area is the signed sum over pairs.
        let origin = [a.west.min(b.west), a.south.min(b.south)];
        let fan = |f: &Self| -> Vec<([Position; 3], f64)> {
            let mut triangles = Vec::new();
            for polygon in &f.polygons {
                for (i, ring) in polygon.rings.iter().enumerate() {
                    let total: f64 = ring.windows(2).map(|w| cross(origin, w[0], w[1])).sum();
                    // Outer rings count as positive, holes as negative, whichever way round they are written.
                    let turn = total.signum() * if i == 0 { 1.0 } else { -1.0 };
                    for w in ring.windows(2) {
                        let c = cross(origin, w[0], w[1]);
                        let t = if c >= 0.0 { [origin, w[0], w[1]] } else { [origin, w[1], w[0]] };
                        if c != 0.0 {
                            triangles.push((t, turn * c.signum()));
                        }
                    }
                }
            }
            triangles
        };
        let (left, right) = (fan(self), fan(other));
        let sum: f64 =
            left.iter().flat_map(|(t, s)| right.iter().map(move |(u, r)| s * r * shared_triangle(t, u))).sum();
        let middle = (a.south.max(b.south) + a.north.min(b.north)) / 2.0;
        sum.max(0.0) * middle.to_radians().cos()
    }

    /// Shared area as a share of the smaller of the two areas (0–1): 1 when one lies in the other.
    pub fn overlap(&self, other: &Self) -> f64 {
        let smaller = self.area().min(other.area());
        if smaller > 0.0 { (self.shared_area(other) / smaller).min(1.0) } else { 0.0 }
    }
}

/// Twice the signed area of the triangle o, a, b.
fn cross(o: Position, a: Position, b: Position) -> f64 {
    (a[0] - o[0]) * (b[1] - o[1]) - (a[1] - o[1]) * (b[0] - o[0])
}

fn segments_meet(a: Position, b: Position, c: Position, d: Position) -> bool {
    let (d1, d2, d3, d4) = (cross(c, d, a), cross(c, d, b), cross(a, b, c), cross(a, b, d));
    let within = |p: Position, q: Position, r: Position| {
        r[0] >= p[0].min(q[0]) && r[0] <= p[0].max(q[0]) && r[1] >= p[1].min(q[1]) && r[1] <= p[1].max(q[1])
    };
    (((d1 > 0.0) != (d2 > 0.0)) && ((d3 > 0.0) != (d4 > 0.0)) && d1 * d2 != 0.0 && d3 * d4 != 0.0)
        || (d1 == 0.0 && within(c, d, a))
        || (d2 == 0.0 && within(c, d, b))
        || (d3 == 0.0 && within(a, b, c))
        || (d4 == 0.0 && within(a, b, d))
}

/// The part of a convex polygon where `side` is not negative (Sutherland & Hodgman, 1974).
fn clip(polygon: &[Position], side: impl Fn(&Position) -> f64) -> Vec<Position> {
    let mut kept = Vec::with_capacity(polygon.len() + 2);
    for (i, p) in polygon.iter().enumerate() {
        let q = &polygon[(i + 1) % polygon.len()];
        let (sp, sq) = (side(p), side(q));
        if sp >= 0.0 {
            kept.push(*p);
        }
        if (sp > 0.0 && sq < 0.0) || (sp < 0.0 && sq > 0.0) {
            let t = sp / (sp - sq);
            kept.push([p[0] + t * (q[0] - p[0]), p[1] + t * (q[1] - p[1])]);
        }
    }
    kept.dedup();
    kept
}

/// Shared area of two triangles that turn left.
fn shared_triangle(t: &[Position; 3], u: &[Position; 3]) -> f64 {
    let mut rest = t.to_vec();
    for i in 0..3 {
        let (a, b) = (u[i], u[(i + 1) % 3]);
        rest = clip(&rest, |p| cross(a, b, *p));
        if rest.len() < 3 {
            return 0.0;
        }
    }
    let o = rest[0];
    rest.windows(2).map(|w| cross(o, w[0], w[1])).sum::<f64>().abs() / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn square(x: f64, y: f64, size: f64) -> Footprint {
        Footprint::from_bbox(&BBox::new(x, y, x + size, y + size).unwrap())
    }

    #[test]
    fn overlap_of_squares() {
        let a = square(10.0, 0.0, 1.0);
        assert!((a.overlap(&square(10.5, 0.0, 1.0)) - 0.5).abs() < 1e-3);
        assert!((a.overlap(&square(10.2, 0.2, 0.1)) - 1.0).abs() < 1e-9);
        assert_eq!(a.overlap(&square(12.0, 0.0, 1.0)), 0.0);
        assert!(a.meets(&square(11.0, 0.0, 1.0)), "touching counts");
        assert!(!a.meets(&square(11.1, 0.0, 1.0)));
    }

    #[test]
    fn holes_are_outside() {
        let outer = vec![[0.0, 0.0], [10.0, 0.0], [10.0, 10.0], [0.0, 10.0]];
        let hole = vec![[4.0, 4.0], [6.0, 4.0], [6.0, 6.0], [4.0, 6.0]];
        let ring = Footprint::new(vec![Polygon { rings: vec![outer, hole] }]).unwrap();
        assert!(!ring.contains([5.0, 5.0]) && ring.contains([1.0, 1.0]));
        assert!(!ring.meets(&square(4.5, 4.5, 1.0)) && ring.meets(&square(3.5, 3.5, 1.0)));
        assert!((ring.overlap(&square(4.0, 4.0, 4.0)) - 12.0 / 16.0).abs() < 1e-2);
    }

    #[test]
    fn a_concave_polygon_shares_only_its_own_area() {
        // An L: the missing quarter is not shared.
        let l = vec![[0.0, 0.0], [2.0, 0.0], [2.0, 1.0], [1.0, 1.0], [1.0, 2.0], [0.0, 2.0]];
        let l = Footprint::new(vec![Polygon { rings: vec![l] }]).unwrap();
        assert_eq!(l.shared_area(&square(1.1, 1.1, 0.5)), 0.0);
        assert!(!l.meets(&square(1.1, 1.1, 0.5)));
        assert!((l.area() / 3.0 - 1.0).abs() < 1e-3);
    }

    #[test]
    fn a_tile_across_the_antimeridian_is_cut_in_two() {
        let tile = Footprint::from_ring(&[[179.5, 0.0], [-179.5, 0.0], [-179.5, 1.0], [179.5, 1.0]]).unwrap();
        assert_eq!(tile.polygons().len(), 2);
        let b = tile.bbox();
        assert_eq!((b.west, b.east), (179.5, -179.5));
        assert!(tile.contains([179.9, 0.5]) && tile.contains([-179.9, 0.5]) && !tile.contains([0.0, 0.5]));
        assert!(
            b.meets(&BBox::new(-180.0, 0.0, -179.8, 1.0).unwrap()) && !b.meets(&BBox::new(0.0, 0.0, 1.0, 1.0).unwrap())
        );
        assert!((tile.area() - 1.0).abs() < 1e-3);
    }

    #[test]
    fn bad_geometry_is_refused() {
        assert!(Footprint::new(vec![]).is_err());
        assert!(Footprint::from_ring(&[[0.0, 0.0], [1.0, 0.0]]).is_err());
        assert!(Footprint::from_ring(&[[500_000.0, 5_000_000.0]; 4]).unwrap_err().to_string().contains("EPSG:4326"));
        assert!("1,2,3".parse::<BBox>().is_err() && "1,2,3,x".parse::<BBox>().is_err());
        assert!("10,50,11,49".parse::<BBox>().is_err());
    }

    proptest! {
        #[test]
        fn shared_area_of_boxes(x in -5.0..5.0f64, y in -5.0..5.0f64, s in 0.1..5.0f64) {
            let (a, b) = (square(0.0, 0.0, 3.0), square(x, y, s));
            let w = (3.0f64.min(x + s) - 0.0f64.max(x)).max(0.0);
            let h = (3.0f64.min(y + s) - 0.0f64.max(y)).max(0.0);
            let shared = a.shared_area(&b);
            prop_assert!((shared - w * h).abs() < 0.01 * (w * h) + 1e-9, "{shared} {}", w * h);
            prop_assert!((shared - b.shared_area(&a)).abs() < 1e-9);
            if w > 1e-9 && h > 1e-9 { prop_assert!(a.meets(&b)); }
            if w == 0.0 && (x > 3.1 || x + s < -0.1) { prop_assert!(!a.meets(&b)); }
        }
    }
}
