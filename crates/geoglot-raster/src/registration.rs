//! How far two rasters of one grid lie apart, by phase correlation (Kuglin & Hines 1975).

use std::f64::consts::TAU;

use ndarray::{Array2, ArrayView2};

/// A measured shift.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shift {
    /// Rows that the second raster lies below the first.
    pub rows: f64,
    /// Columns that the second raster lies to the right of the first.
    pub cols: f64,
    /// Height of the correlation's peak over its standard deviation; below about 8 the shift is not to be trusted.
    pub strength: f64,
}

impl Shift {
    /// Distance in pixels.
    pub fn distance(&self) -> f64 {
        self.rows.hypot(self.cols)
    }
}

/// The shift between two rasters, from the strengths of their edges, which sensors of different kinds have in common. `first` and `second`
/// are windows of the same pixels; not finite values have no edges. Adds up several windows of one scene: a peak at the same place grows, noise
/// does not. `None` for windows smaller than 32 pixels or without any edge.
pub fn shift(windows: &[(ArrayView2<f32>, ArrayView2<f32>)]) -> Option<Shift> {
    let shortest = windows.iter().flat_map(|(a, b)| [a.nrows(), a.ncols(), b.nrows(), b.ncols()]).min()?;
    let n = match shortest {
        0..32 => return None,
        s => 1usize << (usize::BITS - 1 - s.leading_zeros()),
    };
    let mut sum: Option<Vec<(f64, f64)>> = None;
    for (first, second) in windows {
        let (Some(mut a), Some(mut b)) = (edges(*first, n), edges(*second, n)) else { continue };
        transform(&mut a, n, false);
        transform(&mut b, n, false);
        let mut cross: Vec<(f64, f64)> = a
            .iter()
            .zip(&b)
            .map(|(a, b)| {
                // a* · b, its amplitude halfway flattened: a full whitening lifts noise of speckled images too much.
                let (re, im) = (a.0 * b.0 + a.1 * b.1, a.0 * b.1 - a.1 * b.0);
                let size = re.hypot(im).max(1e-30).powf(0.75);
                (re / size, im / size)
            })
            .collect();
        transform(&mut cross, n, true);
        let scale = cross.iter().map(|v| v.0 * v.0).sum::<f64>().sqrt().max(1e-30);
        let sum = sum.get_or_insert_with(|| vec![(0.0, 0.0); n * n]);
        sum.iter_mut().zip(&cross).for_each(|(s, c)| s.0 += c.0 / scale);
    }
    let surface: Vec<f64> = sum?.into_iter().map(|v| v.0).collect();
    // No more than a quarter of the window is looked for: beyond, less than half of it overlaps.
    let most = (n / 4) as isize;
    let at =
        |row: isize, col: isize| surface[row.rem_euclid(n as isize) as usize * n + col.rem_euclid(n as isize) as usize];
    let places = (-most..=most).flat_map(|r| (-most..=most).map(move |c| (r, c)));
    let (row, col) = places.max_by(|a, b| at(a.0, a.1).total_cmp(&at(b.0, b.1)))?;
    let mean = surface.iter().sum::<f64>() / surface.len() as f64;
    let deviation = (surface.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / surface.len() as f64).sqrt();
    // The top of a parabola through the peak and its neighbours.
    let top = |before: f64, peak: f64, after: f64| {
        let bend = before - 2.0 * peak + after;
        if bend < -1e-12 { (0.5 * (before - after) / bend).clamp(-0.5, 0.5) } else { 0.0 }
    };
    let peak = at(row, col);
    Some(Shift {
        rows: row as f64 + top(at(row - 1, col), peak, at(row + 1, col)),
        cols: col as f64 + top(at(row, col - 1), peak, at(row, col + 1)),
        strength: (peak - mean) / deviation.max(1e-30),
    })
}

/// Gradient magnitudes of the upper left n × n pixels under a Hann window, mean removed; `None` without any.
fn edges(image: ArrayView2<f32>, n: usize) -> Option<Vec<(f64, f64)>> {
    // A small blur first: speckle has edges of one pixel.
    let smooth = Array2::from_shape_fn((n, n), |(r, c)| {
        let near = |d: isize, at: usize| (at as isize + d).clamp(0, n as isize - 1) as usize;
        let mut sum = (0.0, 0.0);
        for dr in -1..=1 {
            for dc in -1..=1 {
                let v = image[[near(dr, r), near(dc, c)]];
                if v.is_finite() {
                    sum = (sum.0 + f64::from(v), sum.1 + 1.0);
                }
            }
        }
        if sum.1 > 0.0 { sum.0 / sum.1 } else { f64::NAN }
    });
    let mut out = vec![(0.0, 0.0); n * n];
    for r in 1..n - 1 {
        for c in 1..n - 1 {
            let (x, y) = (smooth[[r, c + 1]] - smooth[[r, c - 1]], smooth[[r + 1, c]] - smooth[[r - 1, c]]);
            let size = x.hypot(y);
            // The root keeps a few bright edges from being all that counts.
            out[r * n + c].0 = if size.is_finite() { size.sqrt() } else { 0.0 };
        }
    }
    let mean = out.iter().map(|v| v.0).sum::<f64>() / (n * n) as f64;
    if mean == 0.0 {
        return None;
    }
    let hann = |k: usize| (std::f64::consts::PI * (k as f64 + 0.5) / n as f64).sin().powi(2);
    for (k, v) in out.iter_mut().enumerate() {
        v.0 = (v.0 - mean) * hann(k / n) * hann(k % n);
    }
    Some(out)
}

/// A two-dimensional discrete Fourier transform of n × n numbers, n a power of two; the inverse is not divided by n².
fn transform(values: &mut [(f64, f64)], n: usize, inverse: bool) {
    let mut column = vec![(0.0, 0.0); n];
    for row in values.chunks_exact_mut(n) {
        line(row, inverse);
    }
    for c in 0..n {
        (0..n).for_each(|r| column[r] = values[r * n + c]);
        line(&mut column, inverse);
        (0..n).for_each(|r| values[r * n + c] = column[r]);
    }
}

/// Cooley and Tukey's transform in place.
fn line(x: &mut [(f64, f64)], inverse: bool) {
    let n = x.len();
    let bits = n.trailing_zeros();
    for k in 0..n {
        let j = k.reverse_bits() >> (usize::BITS - bits);
        if j > k {
            x.swap(j, k);
        }
    }
    let mut length = 2;
    while length <= n {
        let angle = if inverse { TAU } else { -TAU } / length as f64;
        for part in x.chunks_exact_mut(length) {
            let (even, odd) = part.split_at_mut(length / 2);
            for (k, (e, o)) in even.iter_mut().zip(odd).enumerate() {
                let (sin, cos) = (angle * k as f64).sin_cos();
                let turned = (o.0 * cos - o.1 * sin, o.0 * sin + o.1 * cos);
                *o = (e.0 - turned.0, e.1 - turned.1);
                *e = (e.0 + turned.0, e.1 + turned.1);
            }
        }
        length *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rectangles of random brightness: what fields look like to any sensor.
    fn fields(row: isize, col: isize, invert: bool) -> Array2<f32> {
        Array2::from_shape_fn((128, 128), |(r, c)| {
            let (r, c) = (r as isize - row + 1000, c as isize - col + 1000);
            let cell = (r / 17 * 31 + c / 23 * 57) as u64;
            let noise = (cell.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / (1u64 << 24) as f32;
            let speckle = ((r * 7919 + c * 104_729) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
            (if invert { 1.0 - noise } else { noise }) + speckle as f32 / 65536.0 * 0.1
        })
    }

    #[test]
    fn shifts_between_unlike_images_are_found() {
        let first = fields(0, 0, false);
        for (row, col) in [(0, 0), (5, -9), (-12, 3)] {
            let second = fields(row, col, true);
            let found = shift(&[(first.view(), second.view())]).unwrap();
            assert!((found.rows - row as f64).abs() < 1.0 && (found.cols - col as f64).abs() < 1.0, "{found:?}");
            assert!(found.strength > 8.0, "{found:?}");
        }
    }

    #[test]
    fn noise_has_no_shift_and_small_windows_none() {
        let noise = |seed: u64| {
            Array2::from_shape_fn((64, 64), |(r, c)| {
                let mut z = (r as u64 * 64 + c as u64 + seed * 4096).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                ((z ^ (z >> 27)) >> 40) as f32
            })
        };
        let (a, b) = (noise(1), noise(2));
        assert!(shift(&[(a.view(), b.view())]).unwrap().strength < 8.0);
        let small = Array2::<f32>::zeros((20, 40));
        assert_eq!(shift(&[(small.view(), small.view())]), None);
        let flat = Array2::<f32>::zeros((64, 64));
        assert_eq!(shift(&[(flat.view(), flat.view())]), None);
    }
}
