//! Connected regions of equal labels.

use ndarray::Array2;

use super::place::Mass;

/// Pixels of one label joined through shared edges.
#[derive(Debug, Clone, PartialEq)]
pub struct Region {
    /// The label.
    pub id: u16,
    /// Number of pixels.
    pub pixels: usize,
    /// Mean row and column.
    pub center: (f64, f64),
    /// Where the pixels lie.
    pub mass: Mass,
}

/// Regions of `labels` [H, W], in the order of their first pixels; pixels that hold `ignored` belong to none.
pub fn regions(labels: &Array2<u16>, ignored: Option<u16>) -> Vec<Region> {
    let size = labels.dim();
    let mut seen = Array2::from_elem(size, false);
    let (mut out, mut stack) = (Vec::new(), Vec::new());
    for (at, &id) in labels.indexed_iter() {
        if seen[at] || Some(id) == ignored {
            continue;
        }
        seen[at] = true;
        stack.push(at);
        let (mut pixels, mut rows, mut cols, mut mass) = (0, 0.0, 0.0, Mass::default());
        while let Some((r, c)) = stack.pop() {
            pixels += 1;
            rows += r as f64;
            cols += c as f64;
            mass.add(r, c, size);
            for next in [(r.wrapping_sub(1), c), (r + 1, c), (r, c.wrapping_sub(1)), (r, c + 1)] {
                if labels.get(next) == Some(&id) && !seen[next] {
                    seen[next] = true;
                    stack.push(next);
                }
            }
        }
        out.push(Region { id, pixels, center: (rows / pixels as f64, cols / pixels as f64), mass });
    }
    out
}
