//! Class maps as polygons.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use geoglot_core::{Grid, Legend, atomic};
use ndarray::{Array2, ArrayView2};

use crate::{Error, Footprints, Result};

/// Connected pixels of one class: outlines along pixel edges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// Class id.
    pub id: u16,
    /// Number of pixels.
    pub pixels: usize,
    /// Closed rings of (column, row) corners: the outline, clockwise on the image, then the holes, counter-clockwise.
    pub rings: Vec<Vec<(usize, usize)>>,
}

/// Ends of the edges that begin at a corner (column, row).
type Edges = BTreeMap<(usize, usize), Vec<(usize, usize)>>;

/// Regions of pixels that share an edge and an id other than `skip`, by their first pixel in reading order.
pub fn regions(ids: ArrayView2<u16>, skip: u16) -> Vec<Region> {
    let (height, width) = ids.dim();
    const NONE: u32 = u32::MAX;
    let mut of = Array2::from_elem((height, width), NONE);
    let mut regions: Vec<Region> = Vec::new();
    let mut stack = Vec::new();
    for row in 0..height {
        for col in 0..width {
            let id = ids[[row, col]];
            if id == skip || of[[row, col]] != NONE {
                continue;
            }
            let number = regions.len() as u32;
            let mut pixels = 0;
            of[[row, col]] = number;
            stack.push((row, col));
            while let Some((r, c)) = stack.pop() {
                pixels += 1;
                let mut visit = |r: usize, c: usize| {
                    if r < height && c < width && of[[r, c]] == NONE && ids[[r, c]] == id {
                        of[[r, c]] = number;
                        stack.push((r, c));
                    }
                };
                visit(r.wrapping_sub(1), c);
                visit(r + 1, c);
                visit(r, c.wrapping_sub(1));
                visit(r, c + 1);
            }
            regions.push(Region { id, pixels, rings: Vec::new() });
        }
    }
    let mut edges = vec![Edges::new(); regions.len()];
    for ((r, c), &number) in of.indexed_iter().filter(|(_, n)| **n != NONE) {
        let other = |r: usize, c: usize| r >= height || c >= width || of[[r, c]] != number;
        let corners = [(c, r), (c + 1, r), (c + 1, r + 1), (c, r + 1)];
        let outside = [other(r.wrapping_sub(1), c), other(r, c + 1), other(r + 1, c), other(r, c.wrapping_sub(1))];
        for side in (0..4).filter(|&s| outside[s]) {
            edges[number as usize].entry(corners[side]).or_default().push(corners[(side + 1) % 4]);
        }
    }
    for (region, edges) in regions.iter_mut().zip(edges) {
        region.rings = rings(edges);
    }
    regions
}

/// Edges, which have their region to the right, chained to rings; the outline first.
fn rings(mut edges: Edges) -> Vec<Vec<(usize, usize)>> {
    let direction =
        |from: (usize, usize), to: (usize, usize)| (to.0 as isize - from.0 as isize, to.1 as isize - from.1 as isize);
    let mut rings = Vec::new();
    while let Some((&start, _)) = edges.first_key_value() {
        let mut ring: Vec<(usize, usize)> = vec![start];
        let (mut at, mut heading): (_, Option<(isize, isize)>) = (start, None);
        loop {
            let next = edges.get_mut(&at).expect("edges close");
            // Where two rings touch, the sharpest turn to the right stays at the same pixels.
            let turn = |to: &(usize, usize)| match heading {
                Some((x, y)) => {
                    let (u, v) = direction(at, *to);
                    -(x * v - y * u)
                }
                None => 0,
            };
            let k = (0..next.len()).min_by_key(|&k| turn(&next[k])).expect("an edge");
            let to = next.swap_remove(k);
            if next.is_empty() {
                edges.remove(&at);
            }
            let towards = direction(at, to);
            if heading == Some(towards) {
                ring.pop();
            }
            heading = Some(towards);
            ring.push(to);
            at = to;
            if at == start {
                break;
            }
        }
        // The first corner may lie on a straight edge.
        if ring.len() > 3
            && direction(ring[0], ring[1]).0.signum() == direction(ring[ring.len() - 2], ring[0]).0.signum()
            && direction(ring[0], ring[1]).1.signum() == direction(ring[ring.len() - 2], ring[0]).1.signum()
        {
            ring.remove(0);
            ring.pop();
            ring.push(ring[0]);
        }
        rings.push(ring);
    }
    rings.sort_by_key(|ring| std::cmp::Reverse(twice_area(ring)));
    rings
}

/// Positive for rings that run clockwise on the image.
fn twice_area(ring: &[(usize, usize)]) -> i64 {
    ring.windows(2).map(|w| w[0].0 as i64 * w[1].1 as i64 - w[1].0 as i64 * w[0].1 as i64).sum()
}

/// A region as a polygon on the map.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassPolygon {
    /// Class id.
    pub id: u16,
    /// Class name.
    pub class: String,
    /// Its colour, `#rrggbb`.
    pub color: String,
    /// Number of pixels.
    pub pixels: usize,
    /// Closed rings, the outline first and counter-clockwise, then the holes: longitude and latitude where the grid has a reference system,
    /// else map coordinates.
    pub rings: Vec<Vec<[f64; 2]>>,
}

/// The regions of a class map as polygons; those of fewer than `least` pixels are left out. `path` is named in messages.
///
/// # Errors
/// [`Error::Align`] for a reference system that cannot be reprojected.
pub fn class_polygons(
    path: &Path,
    ids: ArrayView2<u16>,
    grid: &Grid,
    legend: &Legend,
    least: usize,
) -> Result<Vec<ClassPolygon>> {
    let places = match &grid.crs {
        Some(_) => Some(Footprints::new(path, grid)?),
        None => None,
    };
    let position = |(col, row): (usize, usize)| -> Result<[f64; 2]> {
        match &places {
            Some(places) => places.corner(col, row),
            None => {
                let (x, y) = grid.transform.apply(col as f64, row as f64);
                Ok([x, y])
            }
        }
    };
    let mut polygons = Vec::new();
    for region in regions(ids, legend.unlabelled).into_iter().filter(|r| r.pixels >= least) {
        let Some(index) = legend.index_of(region.id) else { continue };
        // Clockwise on the image is clockwise on a north-up map; outlines run the other way in GeoJSON.
        let ring = |ring: &Vec<(usize, usize)>| ring.iter().rev().map(|c| position(*c)).collect::<Result<Vec<_>>>();
        let rings = region.rings.iter().map(ring).collect::<Result<Vec<_>>>()?;
        let [r, g, b] = legend.color(index);
        polygons.push(ClassPolygon {
            id: region.id,
            class: legend.classes[index].name.clone(),
            color: format!("#{r:02x}{g:02x}{b:02x}"),
            pixels: region.pixels,
            rings,
        });
    }
    Ok(polygons)
}

/// Writes polygons as GeoJSON (RFC 7946). Properties: `id`, `class`, `color`, `pixels`.
///
/// # Errors
/// A file that cannot be written.
pub fn write_geojson(path: &Path, polygons: &[ClassPolygon]) -> Result<()> {
    let line = |p: &ClassPolygon| {
        let name = p.class.replace('\\', "\\\\").replace('"', "\\\"");
        let ring = |ring: &Vec<[f64; 2]>| {
            let corners = ring.iter().map(|[x, y]| format!("[{x:.8},{y:.8}]")).collect::<Vec<_>>().join(",");
            format!("[{corners}]")
        };
        format!(
            "{{\"type\":\"Feature\",\"properties\":{{\"id\":{},\"class\":\"{name}\",\"color\":\"{}\",\"pixels\":{}}},\
             \"geometry\":{{\"type\":\"Polygon\",\"coordinates\":[{}]}}}}",
            p.id,
            p.color,
            p.pixels,
            p.rings.iter().map(ring).collect::<Vec<_>>().join(",")
        )
    };
    atomic::write_with(path, |file| {
        file.write_all(b"{\"type\":\"FeatureCollection\",\"features\":[\n")?;
        for (k, polygon) in polygons.iter().enumerate() {
            if k > 0 {
                file.write_all(b",\n")?;
            }
            file.write_all(line(polygon).as_bytes())?;
        }
        file.write_all(b"\n]}\n")
    })
    .map_err(Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn outlines_have_holes_and_touching_corners() {
        let ids = array![[1, 1, 1, 0], [1, 0, 1, 2], [1, 1, 1, 0], [0, 0, 0, 1]];
        let found = regions(ids.view(), 0);
        assert_eq!(found.iter().map(|r| (r.id, r.pixels)).collect::<Vec<_>>(), [(1, 8), (2, 1), (1, 1)]);
        assert_eq!(found[0].rings.len(), 2);
        assert_eq!(found[0].rings[0].len(), 5, "corners only: {:?}", found[0].rings[0]);
        assert_eq!((twice_area(&found[0].rings[0]), twice_area(&found[0].rings[1])), (18, -2));
        // A hole that touches the outline at a corner stays a hole.
        let ids = array![[1, 1, 1], [1, 0, 1], [0, 1, 1]];
        let found = regions(ids.view(), 0);
        let area: i64 = found[0].rings.iter().map(|r| twice_area(r)).sum();
        assert_eq!((found.len(), area), (1, 14));
        assert!(found[0].rings.iter().all(|r| r.first() == r.last()));
    }

    #[test]
    fn areas_of_rings_are_pixels() {
        let ids = Array2::from_shape_fn((23, 31), |(r, c)| ((r * 7 + c * 13 + r * c) % 5 / 2) as u16);
        for region in regions(ids.view(), 0) {
            let area: i64 = region.rings.iter().map(|r| twice_area(r)).sum();
            assert_eq!(area, 2 * region.pixels as i64);
            assert!(region.rings.iter().skip(1).all(|r| twice_area(r) < 0));
        }
    }

    #[test]
    fn geojson_is_written_in_degrees() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.geojson");
        let grid = Grid {
            crs: Some(geoglot_core::Crs::Epsg(32632)),
            transform: geoglot_core::Affine::north_up(500_000.0, 5_000_000.0, 10.0, 10.0),
            width: 2,
            height: 1,
        };
        let legend = Legend::from_names(["say \"water\"", "wood"]).unwrap();
        let of = |least| class_polygons(&path, array![[1, 2]].view(), &grid, &legend, least).unwrap();
        write_geojson(&path, &of(1)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(of(1).len() == 2 && text.contains("9.00000000,45.") && text.contains("say \\\"water\\\""), "{text}");
        assert!(of(2).is_empty());
    }
}
