//! From physical values to model inputs: one fitted, serialisable step, applied exactly once.

mod bands;
mod pca;

use ndarray::{Array2, Array3, ArrayView3};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::split::Pixel;
use crate::{Error, Result};

pub use bands::{BandScaling, ScalingMethod};
pub use pca::Pca;

/// What to fit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct PreprocessOptions {
    /// How each band is scaled.
    pub scaling: ScalingMethod,
    /// Number of principal components kept instead of the bands; `None` keeps the bands.
    pub components: Option<usize>,
}

/// Band scaling and, optionally, principal components, fitted on training pixels only and stored in the model's `config.json`.
///
/// [`Preprocess::apply`] takes physical values and gives what the model sees; pixels without data become 0, the training mean.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// Scaling of each input band.
    pub scaling: BandScaling,
    /// Principal components of the scaled bands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pca: Option<Pca>,
}

impl Preprocess {
    /// Fits on the values of `pixels` (the training pixels, nothing else) in `scenes` ([C, H, W], physical values); a pixel counts once however often
    /// it is listed. Values that are not finite are left out.
    ///
    /// # Errors
    /// [`Error::Preprocess`] when scenes differ in bands, a pixel lies outside, no pixel has finite values, or more components than bands are asked for.
    pub fn fit(scenes: &[ArrayView3<f32>], pixels: &[Pixel], options: &PreprocessOptions) -> Result<Self> {
        let wrong = |problem: String| Err(Error::Preprocess(problem));
        let Some(bands) = scenes.first().map(|s| s.dim().0) else {
            return wrong("there is no scene to fit on".into());
        };
        if let Some(other) = scenes.iter().map(|s| s.dim().0).find(|c| *c != bands) {
            return wrong(format!("scenes of {bands} and of {other} bands cannot share one normalisation"));
        }
        if let Some(p) =
            pixels.iter().find(|p| scenes.get(p.scene).is_none_or(|s| p.row >= s.dim().1 || p.col >= s.dim().2))
        {
            return wrong(format!(
                "the training pixel at row {}, column {} of scene {} lies outside the scenes",
                p.row,
                p.col,
                p.scene + 1
            ));
        }
        if let Some(k) = options.components.filter(|k| *k == 0 || *k > bands) {
            return wrong(format!("{k} principal components of {bands} bands; give 1 to {bands}"));
        }
        // Fitting must not depend on the order in which pixels were drawn.
        let mut sorted: Vec<(usize, usize, usize)> = pixels.iter().map(|p| (p.scene, p.row, p.col)).collect();
        sorted.sort_unstable();
        sorted.dedup();
        let finite = |&(s, r, c): &(usize, usize, usize)| (0..bands).all(|b| scenes[s][(b, r, c)].is_finite());
        sorted.retain(finite);
        if sorted.is_empty() {
            return wrong(format!("none of the {} training pixels has finite values in every band", pixels.len()));
        }
        let mut table = Array2::<f32>::zeros((sorted.len(), bands));
        for (mut line, &(s, r, c)) in table.outer_iter_mut().zip(&sorted) {
            line.iter_mut().enumerate().for_each(|(b, v)| *v = scenes[s][(b, r, c)]);
        }
        let scaling = BandScaling::fit(table.view(), options.scaling);
        let pca = match options.components {
            None => None,
            Some(k) => {
                table
                    .outer_iter_mut()
                    .for_each(|mut line| scaling.scale_pixel(line.as_slice_mut().expect("rows are contiguous")));
                Some(Pca::fit(table.view(), k)?)
            }
        };
        Ok(Self { scaling, pca })
    }

    /// Number of bands that [`Preprocess::apply`] takes.
    pub fn inputs(&self) -> usize {
        self.scaling.shift.len()
    }

    /// Number of channels that [`Preprocess::apply`] gives.
    pub fn outputs(&self) -> usize {
        self.pca.as_ref().map_or(self.inputs(), |pca| pca.components.len())
    }

    /// Physical values [C, H, W] → model input [C', H, W]. Pixels whose `mask` [H, W] is false, or with a value that is not finite, become 0 in every
    /// channel.
    ///
    /// # Errors
    /// [`Error::Preprocess`] when the bands or the mask do not fit.
    pub fn apply(&self, data: Array3<f32>, mask: &Array2<bool>) -> Result<Array3<f32>> {
        let (bands, height, width) = data.dim();
        if bands != self.inputs() {
            return Err(Error::Preprocess(format!(
                "the data have {bands} bands, the model's normalisation was fitted on {}; bind the bands that the model was trained on",
                self.inputs()
            )));
        }
        if mask.dim() != (height, width) {
            return Err(Error::Preprocess(format!("data of {height}×{width} pixels with a mask of {:?}", mask.dim())));
        }
        let mut data = if data.is_standard_layout() { data } else { data.as_standard_layout().into_owned() };
        let plane = height * width;
        if plane == 0 {
            return Ok(Array3::zeros((self.outputs(), height, width)));
        }
        let values = data.as_slice_mut().expect("standard layout");
        let mut valid: Vec<bool> = mask.iter().copied().collect();
        for band in values.chunks_exact(plane) {
            valid.iter_mut().zip(band).for_each(|(ok, v)| *ok &= v.is_finite());
        }
        values.par_chunks_exact_mut(plane).enumerate().for_each(|(b, band)| {
            for (v, ok) in band.iter_mut().zip(&valid) {
                *v = if *ok { self.scaling.scale(b, *v) } else { 0.0 };
            }
        });
        let Some(pca) = &self.pca else { return Ok(data) };
        let mut out = Array3::zeros((self.outputs(), height, width));
        let planes = out.as_slice_mut().expect("standard layout");
        let values = data.as_slice().expect("standard layout");
        planes.par_chunks_exact_mut(plane).enumerate().for_each(|(k, channel)| {
            let (weights, shift) = pca.row(k);
            channel.fill(-shift);
            for (band, w) in values.chunks_exact(plane).zip(&weights) {
                channel.iter_mut().zip(band).for_each(|(o, v)| *o += w * v);
            }
            channel.iter_mut().zip(&valid).filter(|(_, ok)| !**ok).for_each(|(o, _)| *o = 0.0);
        });
        Ok(out)
    }

    /// Checks numbers read from a file, such as a model's `config.json`.
    ///
    /// # Errors
    /// [`Error::Preprocess`] when lengths do not fit, a number is not finite, or a divisor is 0.
    pub fn check(&self) -> Result<()> {
        self.scaling.check()?;
        self.pca.as_ref().map_or(Ok(()), |pca| pca.check(self.inputs()))
    }
}

#[cfg(test)]
mod tests;
