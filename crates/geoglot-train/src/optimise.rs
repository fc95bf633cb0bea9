//! What both training loops do around their optimiser: saved state, gradient norm, moving average.

use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{GradientsParams, ModuleOptimizer, OptimizerRecord};
use burn::tensor::{Bytes, Tensor};

use crate::checkpoint::Checkpoint;
use crate::flat::{flatten, unflatten};
use crate::{Error, Result};

/// Module and optimiser as a checkpoint (read from `path`) has them.
pub(crate) fn restore<M: Module>(
    module: M,
    optimizer: ModuleOptimizer,
    checkpoint: &Checkpoint,
    path: &Path,
) -> Result<(M, ModuleOptimizer)> {
    let fail = |problem: String| Error::Checkpoint { path: path.into(), problem };
    if checkpoint.weights.len() != flatten(&module).len() {
        return Err(fail("holds another number of weights than the model has; delete it to start over".into()));
    }
    let record = OptimizerRecord::from_bytes(Bytes::from_bytes_vec(checkpoint.optimizer.clone()))
        .map_err(|e| fail(format!("its optimiser state is damaged ({e}); delete it to start over")))?;
    Ok((unflatten(module, &checkpoint.weights), optimizer.load_record(record)))
}

/// The optimiser's state as bytes, for the checkpoint at `path`.
pub(crate) fn record(optimizer: &ModuleOptimizer, path: &Path) -> Result<Vec<u8>> {
    let bytes = optimizer.to_record().into_bytes().map_err(|e| Error::Checkpoint {
        path: path.into(),
        problem: format!("the optimiser state cannot be written: {e}"),
    })?;
    Ok(bytes.to_vec())
}

/// One step of the moving average: decay · mean + (1 − decay) · now.
pub(crate) fn average(mean: &mut Option<Vec<f32>>, now: Vec<f32>, decay: f32) {
    match mean {
        Some(mean) => mean.iter_mut().zip(&now).for_each(|(m, v)| *m = decay * *m + (1.0 - decay) * v),
        None => *mean = Some(now),
    }
}

/// Scales all gradients of `module` together so that their norm is at most `most`; returns them and the norm before.
pub(crate) fn clip<M: Module>(mut gradients: GradientsParams, module: &M, most: f64) -> (GradientsParams, f32) {
    let mut squares = Squares { gradients: &gradients, sum: None };
    module.visit(&mut squares);
    let norm = squares.sum.map_or(0.0, |s| s.sqrt().into_scalar::<f32>());
    if f64::from(norm) > most {
        module.visit(&mut Scale { gradients: &mut gradients, factor: (most / f64::from(norm)) as f32 });
    }
    (gradients, norm)
}

struct Squares<'a> {
    gradients: &'a GradientsParams,
    sum: Option<Tensor<1>>,
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            let square = gradient.square().sum();
            self.sum = Some(match self.sum.take() {
                Some(sum) => sum + square,
                None => square,
            });
        }
    }
}

struct Scale<'a> {
    gradients: &'a mut GradientsParams,
    factor: f32,
}

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            self.gradients.register::<D>(param.id, gradient * self.factor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::LinearConfig;
    use burn::tensor::Device;

    #[test]
    fn gradients_are_clipped_together() {
        let device = Device::flex().autodiff();
        let linear = LinearConfig::new(3, 2).init(&device);
        let gradients = || {
            let input = Tensor::<2>::from_floats([[1.0, -2.0, 3.0], [0.5, 0.0, 2.0]], &device);
            GradientsParams::from_grads((linear.forward(input) * 3.0).sum().backward(), &linear)
        };
        let (same, norm) = clip(gradients(), &linear, 1e6);
        let (less, before) = clip(gradients(), &linear, 0.5);
        let (_, after) = clip(less, &linear, 1e6);
        assert_eq!(norm, before);
        assert!(norm > 10.0 && (after - 0.5).abs() < 1e-6, "{norm} {after}");
        // Column sums of the input times 3, for both outputs, and 6 for each bias.
        let expected = (2.0 * (4.5f32.powi(2) + 6.0f32.powi(2) + 15.0f32.powi(2)) + 2.0 * 36.0).sqrt();
        assert!((norm - expected).abs() < 1e-4, "{norm} {expected}");
        assert_eq!(same.len(), 2);
    }

    #[test]
    fn the_average_begins_with_the_first_weights() {
        let mut mean = None;
        average(&mut mean, vec![1.0, 2.0], 0.9);
        average(&mut mean, vec![2.0, 2.0], 0.9);
        assert!((mean.as_ref().unwrap()[0] - 1.1).abs() < 1e-6 && mean.unwrap()[1] == 2.0);
    }
}
