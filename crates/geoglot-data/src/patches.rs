//! Cutting patches around pixels into batch buffers.

use ndarray::ArrayView3;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::augment::Symmetry;
use crate::split::Pixel;
use crate::{Error, Result};

/// What a patch shows beyond the scene's edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Padding {
    /// The scene mirrored at its edge pixel, which is not repeated.
    Reflect,
    /// Zeros: after normalisation, the training mean.
    #[default]
    Zero,
}

/// Cuts patches of one input out of one or several normalised scenes.
#[derive(Debug, Clone)]
pub struct PatchCutter<'a> {
    scenes: Vec<ArrayView3<'a, f32>>,
    channels: usize,
    size: usize,
    padding: Padding,
}

impl<'a> PatchCutter<'a> {
    /// Patches of `size` × `size` pixels from `scenes` ([C, H, W] each, normalised, the same C).
    ///
    /// # Errors
    /// [`Error::Patches`] for size 0, no scenes, an empty scene, or scenes of different channel counts.
    pub fn new(scenes: Vec<ArrayView3<'a, f32>>, size: usize, padding: Padding) -> Result<Self> {
        let Some(channels) = scenes.first().map(|s| s.dim().0) else {
            return Err(Error::Patches("there is no scene to cut patches from".into()));
        };
        if size == 0 {
            return Err(Error::Patches("the patch size is 0; give at least 1".into()));
        }
        if let Some(other) = scenes.iter().find(|s| s.dim().0 != channels || s.is_empty()) {
            return Err(Error::Patches(format!(
                "scenes of sizes {:?} and {:?} (channels, height, width) cannot share batches",
                scenes[0].dim(),
                other.dim()
            )));
        }
        Ok(Self { scenes, channels, size, padding })
    }

    /// Channels of the patches.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Side of the patches.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Patches around `pixels` as one buffer [B, C, P, P], row-major. A patch of even size has its pixel right below the middle (row and column P/2).
    ///
    /// # Errors
    /// [`Error::Patches`] for a pixel outside the scenes.
    pub fn cut(&self, pixels: &[Pixel]) -> Result<Vec<f32>> {
        self.cut_with(pixels, &[])
    }

    /// [`PatchCutter::cut`] with each patch turned by its symmetry; an empty list turns none.
    ///
    /// # Errors
    /// [`Error::Patches`] for a pixel outside the scenes, or symmetries fewer than pixels.
    pub fn cut_with(&self, pixels: &[Pixel], symmetries: &[Symmetry]) -> Result<Vec<f32>> {
        if !symmetries.is_empty() && symmetries.len() != pixels.len() {
            return Err(Error::Patches(format!("{} symmetries for {} patches", symmetries.len(), pixels.len())));
        }
        for p in pixels {
            if self.scenes.get(p.scene).is_none_or(|s| p.row >= s.dim().1 || p.col >= s.dim().2) {
                return Err(Error::Patches(format!(
                    "the pixel at row {}, column {} of scene {} lies outside the scenes",
                    p.row,
                    p.col,
                    p.scene + 1
                )));
            }
        }
        let length = self.channels * self.size * self.size;
        let mut out = vec![0.0; pixels.len() * length];
        out.par_chunks_mut(length.max(1)).zip(pixels).enumerate().with_min_len(8).for_each(|(k, (patch, pixel))| {
            self.cut_one(pixel, patch);
            if let Some(symmetry) = symmetries.get(k) {
                patch.chunks_exact_mut(self.size * self.size).for_each(|plane| symmetry.apply(plane, self.size));
            }
        });
        Ok(out)
    }

    fn cut_one(&self, pixel: &Pixel, patch: &mut [f32]) {
        let scene = &self.scenes[pixel.scene];
        let (_, height, width) = scene.dim();
        let size = self.size;
        let (top, left) = (pixel.row as isize - (size / 2) as isize, pixel.col as isize - (size / 2) as isize);
        // Columns of the patch that lie inside the scene.
        let first = (-left).clamp(0, size as isize) as usize;
        let last = (width as isize - left).clamp(0, size as isize) as usize;
        for (plane, channel) in patch.chunks_exact_mut(size * size).zip(scene.outer_iter()) {
            for (k, line) in plane.chunks_exact_mut(size).enumerate() {
                let row = top + k as isize;
                let row = match self.padding {
                    Padding::Reflect => reflected(row, height),
                    Padding::Zero if (0..height as isize).contains(&row) => row as usize,
                    Padding::Zero => continue,
                };
                let source = channel.row(row);
                let inside = (left + first as isize) as usize..(left + last as isize) as usize;
                match source.as_slice() {
                    Some(values) => line[first..last].copy_from_slice(&values[inside]),
                    None => line[first..last].iter_mut().zip(inside).for_each(|(v, col)| *v = source[col]),
                }
                if self.padding == Padding::Reflect {
                    for j in (0..first).chain(last..size) {
                        line[j] = source[reflected(left + j as isize, width)];
                    }
                }
            }
        }
    }
}

/// Index `k` of a line of `n` values mirrored at its first and last value, as often as needed.
fn reflected(k: isize, n: usize) -> usize {
    let period = 2 * (n as isize - 1);
    if period == 0 {
        return 0;
    }
    let k = k.rem_euclid(period);
    k.min(period - k) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array3, s};
    use proptest::prelude::*;

    fn pixel(scene: usize, row: usize, col: usize) -> Pixel {
        Pixel { scene, row, col, class: 0 }
    }

    fn numbered(c: usize, h: usize, w: usize) -> Array3<f32> {
        Array3::from_shape_fn((c, h, w), |(k, r, q)| (1 + k * h * w + r * w + q) as f32)
    }

    proptest! {
        #[test]
        fn patches_equal_slices_of_a_padded_scene(h in 1..9usize, w in 1..9usize, size in 1..12usize, reflect: bool, transposed: bool) {
            let owned = if transposed { numbered(2, w, h) } else { numbered(2, h, w) };
            let scene = if transposed { owned.view().permuted_axes([0, 2, 1]) } else { owned.view() };
            let padding = if reflect { Padding::Reflect } else { Padding::Zero };
            let at = |r: isize, c: isize, k: usize| -> f32 {
                // Walks there step by step, turning round at the edges.
                let walk = |target: isize, n: usize| {
                    let (mut position, mut step) = (0isize, target.signum());
                    for _ in 0..target.abs() {
                        if n == 1 { return 0; }
                        if position + step < 0 || position + step >= n as isize { step = -step; }
                        position += step;
                    }
                    position as usize
                };
                let inside = (0..h as isize).contains(&r) && (0..w as isize).contains(&c);
                if inside || reflect { scene[(k, walk(r, h), walk(c, w))] } else { 0.0 }
            };
            let cutter = PatchCutter::new(vec![scene.view()], size, padding).unwrap();
            for (row, col) in [(0, 0), (h - 1, w - 1), (h / 2, w / 2)] {
                let patch = cutter.cut(&[pixel(0, row, col)]).unwrap();
                for k in 0..2 {
                    for i in 0..size {
                        for j in 0..size {
                            let (r, c) = (row as isize + i as isize - (size / 2) as isize, col as isize + j as isize - (size / 2) as isize);
                            prop_assert_eq!(patch[(k * size + i) * size + j], at(r, c, k));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn batches_mix_scenes_and_symmetries() {
        let (a, b) = (numbered(2, 12, 15), numbered(2, 9, 9) * -1.0);
        let cutter = PatchCutter::new(vec![a.view(), b.view()], 5, Padding::Zero).unwrap();
        let pixels: Vec<Pixel> = (0..20).map(|k| pixel(k % 2, 2 + k % 5, 3 + k % 4)).collect();
        let plain = cutter.cut(&pixels).unwrap();
        assert_eq!(plain.len(), 20 * 2 * 25);
        for (k, p) in pixels.iter().enumerate() {
            let scene = if p.scene == 0 { &a } else { &b };
            let expected = scene.slice(s![.., p.row - 2..p.row + 3, p.col - 2..p.col + 3]);
            assert!(plain[k * 50..(k + 1) * 50].iter().zip(expected).all(|(x, y)| x == y));
        }
        let symmetries: Vec<Symmetry> = (0..20).map(|k| Symmetry::all()[k % 8]).collect();
        let turned = cutter.cut_with(&pixels, &symmetries).unwrap();
        assert_eq!(plain[..50], turned[..50]);
        assert_ne!(plain, turned);
        // The centre never moves.
        for k in 0..20 {
            assert_eq!(plain[k * 50 + 12], turned[k * 50 + 12]);
        }
    }

    #[test]
    fn misfits_are_named() {
        let (a, b) = (numbered(2, 5, 5), numbered(3, 5, 5));
        assert!(PatchCutter::new(vec![], 3, Padding::Zero).is_err());
        assert!(PatchCutter::new(vec![a.view()], 0, Padding::Zero).is_err());
        assert!(PatchCutter::new(vec![a.view(), b.view()], 3, Padding::Zero).is_err());
        let cutter = PatchCutter::new(vec![a.view()], 3, Padding::Zero).unwrap();
        assert!(cutter.cut(&[pixel(0, 5, 0)]).unwrap_err().to_string().contains("row 5"));
        assert!(cutter.cut(&[pixel(1, 0, 0)]).is_err());
        assert!(cutter.cut_with(&[pixel(0, 0, 0)], &[Symmetry::all()[0]; 2]).is_err());
        assert!(cutter.cut(&[]).unwrap().is_empty());
    }
}
