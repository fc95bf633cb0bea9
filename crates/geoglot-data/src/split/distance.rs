//! Chebyshev distances between pixels, by distance transform: linear in the scene's size.

use super::Pixel;

/// Larger than any distance inside a scene, small enough to add to.
const FAR: u32 = u32::MAX / 2;

/// Chebyshev distance of every pixel of an `height` × `width` scene to the nearest of `seeds` (row, column), row by row; a value above
/// `height + width` means that there is no seed.
///
/// The two-pass transform with unit steps to all eight neighbours is exact for this metric (Rosenfeld and Pfaltz 1968).
pub fn chebyshev(height: usize, width: usize, seeds: impl IntoIterator<Item = (usize, usize)>) -> Vec<u32> {
    let mut d = vec![FAR; height * width];
    for (row, col) in seeds {
        d[row * width + col] = 0;
    }
    for row in 0..height {
        for col in 0..width {
            let mut best = d[row * width + col];
            if col > 0 {
                best = best.min(d[row * width + col - 1] + 1);
            }
            if row > 0 {
                let above = (row - 1) * width;
                for k in col.saturating_sub(1)..=(col + 1).min(width - 1) {
                    best = best.min(d[above + k] + 1);
                }
            }
            d[row * width + col] = best;
        }
    }
    for row in (0..height).rev() {
        for col in (0..width).rev() {
            let mut best = d[row * width + col];
            if col + 1 < width {
                best = best.min(d[row * width + col + 1] + 1);
            }
            if row + 1 < height {
                let below = (row + 1) * width;
                for k in col.saturating_sub(1)..=(col + 1).min(width - 1) {
                    best = best.min(d[below + k] + 1);
                }
            }
            d[row * width + col] = best;
        }
    }
    d
}

/// Chebyshev distance of each of `from` to the nearest of `to` in the same scene; `None` where that scene holds none of `to`.
pub fn nearest_distances(from: &[Pixel], to: &[Pixel], shapes: &[(usize, usize)]) -> Vec<Option<usize>> {
    let maps: Vec<Option<Vec<u32>>> = shapes
        .iter()
        .enumerate()
        .map(|(scene, &(height, width))| {
            let mut seeds = to.iter().filter(|p| p.scene == scene).map(|p| (p.row, p.col)).peekable();
            seeds.peek()?;
            Some(chebyshev(height, width, seeds))
        })
        .collect();
    from.iter().map(|p| maps[p.scene].as_ref().map(|map| map[p.row * shapes[p.scene].1 + p.col] as usize)).collect()
}

/// Of `pixels`, those at least `buffer` away from every one of `others`.
pub(super) fn outside_buffer(
    pixels: Vec<Pixel>,
    others: &[Pixel],
    buffer: usize,
    shapes: &[(usize, usize)],
) -> Vec<Pixel> {
    let distances = nearest_distances(&pixels, others, shapes);
    pixels.into_iter().zip(distances).filter(|(_, d)| d.is_none_or(|d| d >= buffer)).map(|(p, _)| p).collect()
}
