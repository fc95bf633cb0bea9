//! What is true of a scene, measured on its rasters: the ground truth of its captions.

use geoglot_core::Legend;
use ndarray::Array2;
use serde::{Deserialize, Serialize};

/// One class in a scene.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassFact {
    /// Id in the label raster.
    pub id: u16,
    /// Name.
    pub name: String,
    /// Share of the pixels in percent.
    pub percent: f64,
    /// Number of connected regions of at least 20 pixels.
    pub regions: usize,
    /// Pixels of the largest region.
    pub largest: usize,
    /// Row and column of the largest region's centroid.
    pub largest_center: (f64, f64),
    /// Where the largest region lies, such as `upper left`.
    pub largest_position: String,
    /// Mean height above the ground in metres.
    pub mean_height: f64,
    /// Largest height above the ground in metres.
    pub max_height: f64,
}

/// Facts of one scene.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Pixel size in metres.
    pub gsd: f64,
    /// Seed of the generator.
    pub seed: u64,
    /// Classes that occur, largest first.
    pub classes: Vec<ClassFact>,
    /// Lowest ground height in metres.
    pub lowest: f64,
    /// Highest ground height in metres.
    pub highest: f64,
    /// Clouded share of the pixels in percent.
    pub cloud_percent: f64,
}

/// Which ninth of the scene a place lies in.
fn position(row: f64, col: f64, height: usize, width: usize) -> String {
    let third = |v: f64, n: usize, names: [&'static str; 3]| names[((3.0 * v / n as f64) as usize).min(2)];
    let (v, h) = (third(row, height, ["upper", "middle", "lower"]), third(col, width, ["left", "center", "right"]));
    match (v, h) {
        ("middle", "center") => "center".into(),
        ("middle", side) => format!("{side} side"),
        (side, "center") => format!("{side} middle"),
        (v, h) => format!("{v} {h}"),
    }
}

struct Region {
    size: usize,
    center: (f64, f64),
}

/// Regions of equal labels joined through shared edges, by class id.
fn regions(labels: &Array2<u16>) -> Vec<(u16, Region)> {
    let (height, width) = labels.dim();
    let mut seen = Array2::from_elem((height, width), false);
    let (mut out, mut stack) = (Vec::new(), Vec::new());
    for ((row, col), &id) in labels.indexed_iter() {
        if seen[(row, col)] {
            continue;
        }
        seen[(row, col)] = true;
        stack.push((row, col));
        let (mut size, mut rows, mut cols) = (0, 0.0, 0.0);
        while let Some((r, c)) = stack.pop() {
            size += 1;
            rows += r as f64;
            cols += c as f64;
            let next = [(r.wrapping_sub(1), c), (r + 1, c), (r, c.wrapping_sub(1)), (r, c + 1)];
            for at in next {
                if labels.get(at) == Some(&id) && !seen[at] {
                    seen[at] = true;
                    stack.push(at);
                }
            }
        }
        out.push((id, Region { size, center: (rows / size as f64, cols / size as f64) }));
    }
    out
}

pub(super) fn measure(
    labels: &Array2<u16>,
    legend: &Legend,
    (dsm, dtm): (&Array2<f32>, &Array2<f32>),
    cloud_mask: Option<&Array2<u8>>,
    (gsd, seed): (f64, u64),
) -> Facts {
    let (height, width) = labels.dim();
    let pixels = labels.len() as f64;
    let all = regions(labels);
    let mut classes: Vec<ClassFact> = legend
        .classes
        .iter()
        .filter_map(|class| {
            let mine = || all.iter().filter(|(id, _)| *id == class.id).map(|(_, region)| region);
            let largest = mine().max_by_key(|region| region.size)?;
            let heights =
                labels.indexed_iter().filter(|(_, id)| **id == class.id).map(|(at, _)| f64::from(dsm[at] - dtm[at]));
            let (count, sum, top) = heights.fold((0.0, 0.0, 0f64), |(n, s, m), h| (n + 1.0, s + h, m.max(h)));
            let (row, col) = largest.center;
            Some(ClassFact {
                id: class.id,
                name: class.name.clone(),
                percent: 100.0 * count / pixels,
                regions: mine().filter(|region| region.size >= 20).count(),
                largest: largest.size,
                largest_center: largest.center,
                largest_position: position(row, col, height, width),
                mean_height: sum / count,
                max_height: top,
            })
        })
        .collect();
    classes.sort_by(|a, b| b.percent.total_cmp(&a.percent));
    let clouded = cloud_mask.map_or(0, |mask| mask.iter().filter(|v| **v == 1).count());
    Facts {
        width,
        height,
        gsd,
        seed,
        classes,
        lowest: f64::from(dtm.fold(f32::INFINITY, |a, b| a.min(*b))),
        highest: f64::from(dtm.fold(f32::NEG_INFINITY, |a, b| a.max(*b))),
        cloud_percent: 100.0 * clouded as f64 / pixels,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_regions_are_counted() {
        let mut labels = Array2::from_elem((30, 30), 1u16);
        labels.slice_mut(ndarray::s![0..5, 0..5]).fill(2);
        labels.slice_mut(ndarray::s![20..30, 20..30]).fill(2);
        let legend = Legend::from_names(["a", "b", "c"]).unwrap();
        let (dsm, dtm) = (Array2::from_elem((30, 30), 12.0), Array2::from_elem((30, 30), 10.0));
        let mut mask = Array2::zeros((30, 30));
        mask.slice_mut(ndarray::s![0..3, ..]).fill(1);
        let facts = measure(&labels, &legend, (&dsm, &dtm), Some(&mask), (1.0, 0));
        assert_eq!(facts.classes.len(), 2);
        let b = &facts.classes[1];
        assert_eq!((b.name.as_str(), b.regions, b.largest), ("b", 2, 100));
        assert!((b.percent - 125.0 / 9.0).abs() < 1e-9 && b.mean_height == 2.0);
        assert_eq!(b.largest_position, "lower right");
        assert!((facts.cloud_percent - 10.0).abs() < 1e-9);
    }
}
