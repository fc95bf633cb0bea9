//! A linear probe trained for a fixed number of Adam's steps (Spectral-LLaVA, §V-B): unlike a probe at its optimum, how well it does depends on the
//! scale of the features too.

use geoglot_core::Seeds;
use ndarray::{Array1, Array2, Axis, Zip};
use rand::RngExt;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::features::Labelled;
use crate::error::{Error, Result};

/// Settings; the defaults are the paper's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdamProbe {
    /// Learning rate.
    pub rate: f32,
    /// Images of a step.
    pub batch: usize,
    /// Passes over the training images.
    pub epochs: usize,
    /// Seed of the first weights and of the order.
    pub seed: u64,
}

impl Default for AdamProbe {
    fn default() -> Self {
        Self { rate: 1e-4, batch: 100, epochs: 100, seed: 0 }
    }
}

/// Adam's moments of one array (Kingma and Ba 2015, β 0.9 and 0.999).
struct Moments<D: ndarray::Dimension> {
    mean: ndarray::Array<f32, D>,
    square: ndarray::Array<f32, D>,
}

impl<D: ndarray::Dimension> Moments<D> {
    fn new(shape: D) -> Self {
        Self { mean: ndarray::Array::zeros(shape.clone()), square: ndarray::Array::zeros(shape) }
    }

    fn step(&mut self, values: &mut ndarray::Array<f32, D>, gradient: &ndarray::Array<f32, D>, rate: f32, step: i32) {
        let (first, second) = (1.0 - 0.9f32.powi(step), 1.0 - 0.999f32.powi(step));
        Zip::from(values).and(&mut self.mean).and(&mut self.square).and(gradient).for_each(|v, m, s, g| {
            *m = 0.9 * *m + 0.1 * g;
            *s = 0.999 * *s + 0.001 * g * g;
            *v -= rate * (*m / first) / ((*s / second).sqrt() + 1e-8);
        });
    }
}

/// Trains a linear layer on `train` and returns its accuracy on `test`, 0–1.
///
/// # Errors
/// [`Error::Setting`] for a rate, batch or number of epochs of nothing; lengths, classes or values that do not fit; empty sets.
pub fn adam_probe(train: Labelled<'_>, test: Labelled<'_>, count: usize, options: &AdamProbe) -> Result<f64> {
    if !(options.rate > 0.0 && options.rate.is_finite()) || options.batch == 0 || options.epochs == 0 {
        return Err(Error::Setting(format!(
            "rate {}, batch {}, {} epochs; expected numbers above 0",
            options.rate, options.batch, options.epochs
        )));
    }
    let width = train.features.ncols();
    train.check("training", count, width)?;
    test.check("test", count, width)?;
    let mut rng = Seeds::new(options.seed).stream("adam-probe");
    let bound = (width.max(1) as f32).powf(-0.5);
    let mut weights = Array2::from_shape_simple_fn((width, count), || rng.random_range(-bound..=bound));
    let mut bias = Array1::from_shape_simple_fn(count, || rng.random_range(-bound..=bound));
    let (mut of_weights, mut of_bias) = (Moments::new(weights.raw_dim()), Moments::new(bias.raw_dim()));
    let mut order: Vec<usize> = (0..train.classes.len()).collect();
    let mut step = 0;
    for _ in 0..options.epochs {
        order.shuffle(&mut rng);
        for rows in order.chunks(options.batch) {
            let x = train.features.select(Axis(0), rows);
            let mut error = x.dot(&weights) + &bias;
            for (mut row, &i) in error.rows_mut().into_iter().zip(rows) {
                let most = row.fold(f32::NEG_INFINITY, |a, b| a.max(*b));
                row.mapv_inplace(|v| (v - most).exp());
                let sum = row.sum() * rows.len() as f32;
                row /= sum;
                row[train.classes[i]] -= 1.0 / rows.len() as f32;
            }
            step += 1;
            of_weights.step(&mut weights, &x.t().dot(&error), options.rate, step);
            of_bias.step(&mut bias, &error.sum_axis(Axis(0)), options.rate, step);
        }
    }
    let scores = test.features.dot(&weights) + &bias;
    let best = |row: ndarray::ArrayView1<f32>| row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|m| m.0);
    let right = scores.rows().into_iter().zip(test.classes).filter(|(row, class)| best(*row) == Some(**class)).count();
    Ok(right as f64 / test.classes.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separable_classes_are_learned_and_the_scale_counts() {
        let classes: Vec<usize> = (0..90).map(|i| i % 3).collect();
        let mut rng = Seeds::new(1).stream("test");
        let features = Array2::from_shape_fn((90, 6), |(i, j)| f32::from(j == i % 3) + 0.3 * rng.random::<f32>());
        let at = |scale: f32, rate: f32| {
            let features = &features * scale;
            let all = Labelled { features: features.view(), classes: &classes };
            adam_probe(all, all, 3, &AdamProbe { rate, ..AdamProbe::default() }).unwrap()
        };
        assert_eq!(at(1.0, 0.05), 1.0);
        // The same steps do nothing for features a thousand times smaller.
        assert!(at(1e-3, 1e-4) < 0.7);
        assert_eq!(at(1.0, 1e-3), at(1.0, 1e-3));
        let all = Labelled { features: features.view(), classes: &classes };
        assert!(adam_probe(all, all, 2, &AdamProbe::default()).is_err());
        assert!(adam_probe(all, all, 3, &AdamProbe { batch: 0, ..AdamProbe::default() }).is_err());
    }
}
