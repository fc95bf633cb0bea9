//! Flips and quarter turns: seen from above, a patch has no preferred direction.

use geoglot_core::Seeds;
use rand::RngExt;

/// One of the eight symmetries of a square: an optional transposition, then optional flips.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Symmetry(u8);

const TRANSPOSE: u8 = 4;
const FLIP_ROWS: u8 = 2;
const FLIP_COLS: u8 = 1;

impl Symmetry {
    /// All eight; the first leaves everything as it is.
    pub fn all() -> [Self; 8] {
        std::array::from_fn(|k| Self(k as u8))
    }

    /// `count` symmetries drawn for one epoch. They depend on seed and epoch only, so that an interrupted training resumes with the same ones; every
    /// input of a sample (HSI, LiDAR) must be turned by the same one.
    pub fn draw(seed: u64, epoch: usize, count: usize) -> Vec<Self> {
        let mut rng = Seeds::new(seed).stream(&format!("augment/{epoch}"));
        (0..count).map(|_| Self(rng.random_range(0..8))).collect()
    }

    /// Turns a square plane of `size` × `size` values in place.
    pub fn apply(self, plane: &mut [f32], size: usize) {
        if self.0 & TRANSPOSE != 0 {
            for row in 0..size {
                for col in row + 1..size {
                    plane.swap(row * size + col, col * size + row);
                }
            }
        }
        if self.0 & FLIP_ROWS != 0 {
            for row in 0..size / 2 {
                for col in 0..size {
                    plane.swap(row * size + col, (size - 1 - row) * size + col);
                }
            }
        }
        if self.0 & FLIP_COLS != 0 {
            plane.chunks_exact_mut(size.max(1)).for_each(<[f32]>::reverse);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_eight_different_ones_that_permute() {
        let mut seen = std::collections::BTreeSet::new();
        for symmetry in Symmetry::all() {
            let mut plane: Vec<f32> = (0..9).map(|v| v as f32).collect();
            symmetry.apply(&mut plane, 3);
            let mut sorted = plane.clone();
            sorted.sort_by(f32::total_cmp);
            assert_eq!(sorted, (0..9).map(|v| v as f32).collect::<Vec<_>>());
            assert_eq!(plane[4], 4.0);
            seen.insert(plane.iter().map(|v| *v as u8).collect::<Vec<_>>());
        }
        assert_eq!(seen.len(), 8);
        assert_eq!(Symmetry::draw(1, 2, 50), Symmetry::draw(1, 2, 50));
        assert_ne!(Symmetry::draw(1, 2, 50), Symmetry::draw(1, 3, 50));
    }
}
