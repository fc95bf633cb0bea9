//! Quick-looks of scenes: natural or false colour, or grey.

use geoglot_core::{Band, Window};
use ndarray::Array3;

use super::Image;
use super::color::{stretch_limits, unit};
use crate::{BandSource, Result};

/// A quick-look and what it shows.
#[derive(Debug, Clone)]
pub struct QuickLook {
    /// The picture; pixels without data are transparent.
    pub image: Image,
    /// Bands shown as red, green, blue, or one as grey: indices into the source's bands.
    pub bands: Vec<usize>,
    /// In words: `true colour: B04, B03, B02`.
    pub caption: String,
}

/// Red, green, blue, near-infrared, µm.
const COLORS: [f32; 4] = [0.665, 0.560, 0.490, 0.842];
/// A band farther than this from a colour's wavelength (µm) does not show that colour.
const FAR: f32 = 0.06;

/// Bands to show and what that is called.
fn choose(bands: &[Band]) -> (Vec<usize>, &'static str) {
    let nearest = |um: f32| {
        bands
            .iter()
            .enumerate()
            .filter_map(|(k, b)| Some((k, (b.wavelength_um? - um).abs())))
            .filter(|(_, d)| *d <= FAR)
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .map(|(k, _)| k)
    };
    let named = |names: [&str; 2]| bands.iter().position(|b| names.iter().any(|n| b.name.eq_ignore_ascii_case(n)));
    let [red, green, blue, nir] = COLORS.map(nearest);
    let differ = |a: usize, b: usize, c: usize| a != b && b != c && a != c;
    match (red, green, blue, nir) {
        (Some(r), Some(g), Some(b), _) if differ(r, g, b) => return (vec![r, g, b], "true colour"),
        (Some(r), Some(g), _, Some(n)) if differ(r, g, n) => return (vec![n, r, g], "colour infrared"),
        _ => {}
    }
    match (named(["red", "r"]), named(["green", "g"]), named(["blue", "b"])) {
        (Some(r), Some(g), Some(b)) => (vec![r, g, b], "true colour"),
        _ if bands.len() >= 3 => (vec![0, 1, 2], "first three bands as red, green, blue"),
        _ => (vec![0], "grey"),
    }
}

/// A quick-look with at most `side` pixels on its longer side, each band stretched from its 2nd to its 98th percentile.
///
/// Reads strips, so memory does not grow with the raster's height.
///
/// # Errors
/// Those of reading.
pub fn quick_look(source: &dyn BandSource, side: usize) -> Result<QuickLook> {
    let grid = source.grid();
    let (bands, kind) = choose(source.bands());
    let factor = grid.width.max(grid.height).div_ceil(side.max(1)).max(1);
    let (width, height) = (grid.width.div_ceil(factor), grid.height.div_ceil(factor));
    let mut small = Array3::<f32>::from_elem((bands.len(), height, width), f32::NAN);
    // Several rows of cells a read: tiled files are decoded tile by tile.
    let cells = (512 / factor).max(1);
    for first in (0..height).step_by(cells) {
        let rows = cells.min(height - first);
        let top = first * factor;
        let window = Window::new(0, top, grid.width, (rows * factor).min(grid.height - top));
        let tile = source.read(&bands, window)?;
        for (k, plane) in tile.data.outer_iter().enumerate() {
            for r in 0..rows {
                for c in 0..width {
                    let (mut sum, mut n) = (0f64, 0u32);
                    for y in r * factor..((r + 1) * factor).min(window.height) {
                        for x in c * factor..((c + 1) * factor).min(grid.width) {
                            if tile.mask[[y, x]] {
                                sum += f64::from(plane[[y, x]]);
                                n += 1;
                            }
                        }
                    }
                    if n > 0 {
                        small[[k, first + r, c]] = (sum / f64::from(n)) as f32;
                    }
                }
            }
        }
    }
    let limits: Vec<(f32, f32)> =
        small.outer_iter().map(|p| stretch_limits(p.iter().copied(), 2.0, 98.0).unwrap_or((0.0, 1.0))).collect();
    let image = Image::from_fn(width, height, |c, r| {
        let value = |k: usize| {
            let k = k.min(bands.len() - 1);
            small[[k, r, c]]
        };
        if (0..bands.len()).any(|k| value(k).is_nan()) {
            return [0; 4];
        }
        let level = |k: usize| (unit(value(k), limits[k.min(bands.len() - 1)]) * 255.0).round() as u8;
        [level(0), level(1), level(2), 255]
    });
    let names: Vec<&str> = bands.iter().map(|&b| source.bands()[b].name.as_str()).collect();
    Ok(QuickLook { image, caption: format!("{kind}: {}", names.join(", ")), bands })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bands(list: &[(&str, Option<f32>)]) -> Vec<Band> {
        list.iter().map(|(n, w)| Band { wavelength_um: *w, ..Band::named(*n) }).collect()
    }

    #[test]
    fn colours_are_found_by_wavelength_then_by_name() {
        let s2 = bands(&[("B02", Some(0.49)), ("B03", Some(0.56)), ("B04", Some(0.665)), ("B08", Some(0.842))]);
        assert_eq!(choose(&s2), (vec![2, 1, 0], "true colour"));
        assert_eq!(choose(&s2[1..]), (vec![2, 1, 0], "colour infrared"));
        assert_eq!(choose(&bands(&[("Blue", None), ("Green", None), ("Red", None)])), (vec![2, 1, 0], "true colour"));
        assert_eq!(choose(&bands(&[("a", None), ("b", None), ("c", None)])).0, [0, 1, 2]);
        assert_eq!(choose(&bands(&[("VV", None), ("VH", None)])), (vec![0], "grey"));
        let swir = bands(&[("a", Some(1.6)), ("b", Some(2.1)), ("c", Some(2.2))]);
        assert_eq!(choose(&swir).0, [0, 1, 2]);
    }
}
