//! States of the tower as the projector is trained on them: whitened, so that each direction they vary in has a spread of about 1.
//!
//! Transformers' states share a large constant part and a few directions of large spread; beside those what tells images apart is small, and
//! a projector trained on raw states spends its steps on the large ones. The map is linear, so that a trained projector is the same layer on
//! raw states.

use std::collections::BTreeSet;

use geoglot_models::spectral_llava::Projector;
use ndarray::{Array1, Array2, Axis, linalg::general_mat_mul, s};
use smartcore::linalg::basic::arrays::Array as _;
use smartcore::linalg::basic::matrix::DenseMatrix;
use smartcore::linalg::traits::cholesky::CholeskyDecomposable;

use super::{ImageStates, Sequence};
use crate::contrastive::PretrainError;

/// Most images that centre and spread are measured on.
const MOST: usize = 256;
/// Channels whose spread is a smaller part of the mean spread are constant.
const LEAST: f64 = 1e-3;
/// Added to every direction's variance, in units of the mean one: what is smaller is noise.
const FLOOR: f64 = 0.1;

/// Centre, spread and correlation of the channels.
pub(super) struct Moments {
    centre: Array1<f64>,
    spread: Array1<f64>,
    correlation: Array2<f64>,
}

impl Moments {
    /// Of the images of `sequences`, or of 256 of them, evenly spaced.
    pub fn measure(images: &dyn ImageStates, sequences: &[Sequence], width: usize) -> Result<Self, PretrainError> {
        let all: Vec<usize> = sequences.iter().map(|s| s.image).collect::<BTreeSet<_>>().into_iter().collect();
        let keep = all.len().min(MOST);
        let (mut sum, mut products, mut count) =
            (Array1::<f64>::zeros(width), Array2::<f64>::zeros((width, width)), 0usize);
        for k in 0..keep {
            let states = read(images, all[k * all.len() / keep], width)?.mapv(f64::from);
            sum += &states.sum_axis(Axis(0));
            general_mat_mul(1.0, &states.t(), &states, 1.0, &mut products);
            count += states.nrows();
        }
        let centre = sum / count.max(1) as f64;
        let column = centre.view().insert_axis(Axis(1));
        let covariance = products / count.max(1) as f64 - column.dot(&column.t());
        let spread = covariance.diag().mapv(|v| v.max(0.0).sqrt());
        let least = LEAST * spread.mean().unwrap_or(0.0);
        let spread = spread.mapv(|s| if s > least { s } else { 1.0 });
        let correlation = covariance / &spread / spread.view().insert_axis(Axis(1));
        Ok(Self { centre, spread, correlation })
    }

    /// States [tokens, width] with each channel of mean 0 and spread 1.
    pub fn scaled(&self, states: &Array2<f32>) -> Array2<f64> {
        (states.mapv(f64::from) - &self.centre) / &self.spread
    }

    /// The projector on raw states that is `weight` [outputs, width] and `bias` on scaled ones.
    pub fn scaled_to_raw(&self, weight: Array2<f64>, bias: Array1<f64>) -> Projector {
        let weight = weight / &self.spread;
        let bias = bias - weight.dot(&self.centre);
        Projector { weight: weight.mapv(|v| v as f32), bias: bias.mapv(|v| v as f32) }
    }

    /// Each direction of about spread 1: by the triangular root L of the correlations R + 0.1·I = L·Lᵀ.
    pub fn whitened(&self) -> Result<Standard, PretrainError> {
        let n = self.centre.len();
        let failed = |problem: String| PretrainError::Input(format!("image states cannot be whitened: {problem}"));
        let floored = &self.correlation + FLOOR * Array2::<f64>::eye(n);
        let matrix =
            DenseMatrix::new(n, n, floored.iter().copied().collect(), false).map_err(|e| failed(e.to_string()))?;
        let root = matrix.cholesky_mut().map_err(|e| failed(e.to_string()))?.L();
        let root = Array2::from_shape_fn((n, n), |(i, j)| *root.get((i, j)));
        let map = inverse(&root).t().to_owned() / self.spread.view().insert_axis(Axis(1));
        let back = root.t().to_owned() * &self.spread;
        let single = |m: Array2<f64>| m.mapv(|v| v as f32);
        Ok(Standard { centre: self.centre.mapv(|v| v as f32), map: single(map), back: single(back) })
    }
}

/// Of a lower triangular matrix.
fn inverse(root: &Array2<f64>) -> Array2<f64> {
    let mut inverse = Array2::<f64>::eye(root.nrows());
    for i in 0..root.nrows() {
        let (above, mut row) = inverse.multi_slice_mut((s![..i, ..], s![i, ..]));
        row -= &root.slice(s![i, ..i]).dot(&above);
        row /= root[(i, i)];
    }
    inverse
}

/// A linear map of states, and the way back.
#[derive(Debug, Clone)]
pub(super) struct Standard {
    centre: Array1<f32>,
    /// (x − centre) · map.
    map: Array2<f32>,
    back: Array2<f32>,
}

impl Standard {
    /// The projector on raw states that does what `trained` does on mapped ones.
    pub fn to_raw(&self, trained: &Projector) -> Projector {
        let weight = trained.weight.dot(&self.map.t());
        let bias = &trained.bias - &weight.dot(&self.centre);
        Projector { weight, bias }
    }

    /// The other way round.
    pub fn of_raw(&self, raw: &Projector) -> Projector {
        Projector { bias: &raw.bias + &raw.weight.dot(&self.centre), weight: raw.weight.dot(&self.back.t()) }
    }
}

/// States of image `i`, of the expected width.
pub(super) fn read(images: &dyn ImageStates, i: usize, width: usize) -> Result<Array2<f32>, PretrainError> {
    let states = images.states(i).map_err(|e| PretrainError::Input(format!("{}: {e}", images.name(i))))?;
    match states.ncols() == width {
        true => Ok(states),
        false => Err(PretrainError::Input(format!(
            "{}: states of width {}; expected {width}",
            images.name(i),
            states.ncols()
        ))),
    }
}

/// Images whose states are standardised.
pub(super) struct Standardised<'a> {
    pub images: &'a dyn ImageStates,
    pub standard: &'a Standard,
}

impl ImageStates for Standardised<'_> {
    fn states(&self, i: usize) -> Result<Array2<f32>, Box<dyn std::error::Error + Send + Sync>> {
        let states = self.images.states(i)?;
        if states.ncols() != self.standard.centre.len() {
            // Said by who asked, with the name of the image.
            return Ok(states);
        }
        Ok((states - &self.standard.centre).dot(&self.standard.map))
    }

    fn name(&self, i: usize) -> String {
        self.images.name(i)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct One(Array2<f32>);

    impl ImageStates for One {
        fn states(&self, _: usize) -> Result<Array2<f32>, Box<dyn std::error::Error + Send + Sync>> {
            Ok(self.0.clone())
        }

        fn name(&self, _: usize) -> String {
            "image".into()
        }
    }

    #[test]
    fn a_projector_is_the_same_layer_on_raw_states() {
        // The last channel never changes, the third is twice the first and a little.
        let raw = ndarray::array![
            [1.0f32, 10.0, 2.5, 3.0],
            [3.0, 30.0, 5.5, 3.0],
            [5.0, 20.0, 10.5, 3.0],
            [2.0, 15.0, 3.5, 3.0]
        ];
        let images = One(raw.clone());
        let sequence = Sequence { image: 0, before: vec![], after: vec![], answer: vec![] };
        let moments = Moments::measure(&images, &[sequence], 4).unwrap();
        let (scaled, whitened) = (moments.scaled(&raw), moments.whitened().unwrap());
        assert!(scaled.mean_axis(Axis(0)).unwrap().iter().all(|m| m.abs() < 1e-6), "{scaled}");
        let spread = scaled.std_axis(Axis(0), 0.0);
        assert!((spread - ndarray::array![1.0, 1.0, 1.0, 0.0]).iter().all(|d| d.abs() < 1e-6));
        let white = Standardised { images: &images, standard: &whitened }.states(0).unwrap();
        assert!(white.mean_axis(Axis(0)).unwrap().iter().all(|m| m.abs() < 1e-6), "{white}");
        // With a tenth of each channel's variance beside, the spread is the same in every direction.
        let tenth = Array2::from_diag(&moments.spread.mapv(|s| (FLOOR * s * s) as f32));
        let spread = white.t().dot(&white) / 4.0 + whitened.map.t().dot(&tenth).dot(&whitened.map);
        assert!((spread - Array2::<f32>::eye(4)).iter().all(|d| d.abs() < 1e-5));
        // What the third channel has of its own, a hundredth of its variance, counts more than before.
        let own = white.std_axis(Axis(0), 0.0)[2];
        assert!(own > 0.25, "{own}");
        let weight = ndarray::array![[1.0f32, -2.0, 0.5, 2.0], [0.0, 3.0, 1.0, -1.0]];
        let trained = Projector { weight, bias: ndarray::array![0.5, -1.0] };
        let folded = whitened.to_raw(&trained);
        let expected = trained.project(&white).unwrap();
        assert!((folded.project(&raw).unwrap() - expected).iter().all(|d| d.abs() < 1e-5));
        let back = whitened.of_raw(&folded);
        assert!((back.weight - &trained.weight).iter().chain(&(back.bias - &trained.bias)).all(|d| d.abs() < 1e-5));
        let told = moments.scaled_to_raw(trained.weight.mapv(f64::from), trained.bias.mapv(f64::from));
        let expected = trained.project(&scaled.mapv(|v| v as f32)).unwrap();
        assert!((told.project(&raw).unwrap() - expected).iter().all(|d| d.abs() < 1e-5));
    }
}
