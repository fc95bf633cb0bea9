//! States of the tower as the projector is trained on them: centred and of spread 1, channel by channel.
//!
//! Transformers' states share a large constant part; beside it what tells images apart is small, and a projector trained on raw states
//! spends its steps on the constant. Both maps are linear, so that a trained projector is the same layer on raw states.

use std::collections::BTreeSet;

use geoglot_models::spectral_llava::Projector;
use ndarray::{Array1, Array2, Axis};

use super::{ImageStates, Sequence};
use crate::contrastive::PretrainError;

/// Most images that centre and spread are measured on.
const MOST: usize = 256;
/// Channels whose spread is a smaller part of the mean spread are constant.
const LEAST: f64 = 1e-3;

/// Centre and spread of every channel.
#[derive(Debug, Clone)]
pub(super) struct Standard {
    centre: Array1<f32>,
    spread: Array1<f32>,
}

impl Standard {
    /// Of the images of `sequences`, or of 256 of them, evenly spaced.
    pub fn measure(images: &dyn ImageStates, sequences: &[Sequence], width: usize) -> Result<Self, PretrainError> {
        let all: Vec<usize> = sequences.iter().map(|s| s.image).collect::<BTreeSet<_>>().into_iter().collect();
        let keep = all.len().min(MOST);
        let (mut sum, mut squares, mut count) = (Array1::<f64>::zeros(width), Array1::<f64>::zeros(width), 0usize);
        for k in 0..keep {
            let states = read(images, all[k * all.len() / keep], width)?.mapv(f64::from);
            sum += &states.sum_axis(Axis(0));
            squares += &states.mapv(|v| v * v).sum_axis(Axis(0));
            count += states.nrows();
        }
        let centre = sum / count.max(1) as f64;
        let spread = (squares / count.max(1) as f64 - &centre * &centre).mapv(|v| v.max(0.0).sqrt());
        let least = LEAST * spread.mean().unwrap_or(0.0);
        let spread = spread.mapv(|s| if s > least { s as f32 } else { 1.0 });
        Ok(Self { centre: centre.mapv(|v| v as f32), spread })
    }

    /// The projector on raw states that does what `trained` does on standardised ones.
    pub fn to_raw(&self, trained: Projector) -> Projector {
        let weight = trained.weight / &self.spread;
        let bias = trained.bias - weight.dot(&self.centre);
        Projector { weight, bias }
    }

    /// The other way round.
    pub fn of_raw(&self, raw: &Projector) -> Projector {
        Projector { bias: &raw.bias + &raw.weight.dot(&self.centre), weight: &raw.weight * &self.spread }
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
        Ok((states - &self.standard.centre) / &self.standard.spread)
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
        // The last channel never changes.
        let raw = ndarray::array![[1.0f32, 10.0, 3.0], [3.0, 30.0, 3.0], [5.0, 20.0, 3.0]];
        let images = One(raw.clone());
        let sequence = Sequence { image: 0, before: vec![], after: vec![], answer: vec![] };
        let standard = Standard::measure(&images, &[sequence], 3).unwrap();
        let standardised = Standardised { images: &images, standard: &standard }.states(0).unwrap();
        assert!(standardised.mean_axis(Axis(0)).unwrap().iter().all(|m| m.abs() < 1e-6), "{standardised}");
        assert!((standardised.std_axis(Axis(0), 0.0) - ndarray::array![1.0, 1.0, 0.0]).iter().all(|d| d.abs() < 1e-6));
        let trained =
            Projector { weight: ndarray::array![[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]], bias: ndarray::array![0.5, -1.0] };
        let expected = trained.project(&standardised).unwrap();
        let folded = standard.to_raw(trained.clone());
        assert!((folded.project(&raw).unwrap() - &expected).iter().all(|d| d.abs() < 1e-5));
        let back = standard.of_raw(&folded);
        assert!((back.weight - trained.weight).iter().chain(&(back.bias - trained.bias)).all(|d| d.abs() < 1e-5));
    }
}
