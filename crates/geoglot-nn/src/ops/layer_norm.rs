//! Layer norm over the last axis (Ba et al. 2016).

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::{BalancedCheckpointing, CheckpointStrategy, NoCheckpointing};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::{Autodiff, DispatchKindConversion, DispatchTensor, Flex};
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::graph::{contiguous, tensor_of, tracked, tracked_or_none, values};
use super::linear::total;
use super::math::{layer_norm as norm_row, layer_norm_gradient};
use super::simd::kernel;

/// Rows of a task. Fixed, so that sums do not depend on the number of threads.
const ROWS: usize = 64;

/// (x − mean)/√(variance + ε)·γ + β over the last axis, as one operation of the autodiff graph on the CPU.
///
/// - `x`: [.., N];
/// - `gamma` and, where the norm has one, `beta`: `[N]`;
/// - returns [.., N].
///
/// Of the forward pass, x and two numbers a row are kept. `None` as [`linear`](super::linear()) gives it.
///
/// # Panics
/// If the shapes do not fit each other.
pub fn layer_norm<const D: usize>(
    x: &Tensor<D>,
    gamma: &Tensor<1>,
    beta: Option<&Tensor<1>>,
    epsilon: f64,
) -> Option<Tensor<D>> {
    if !(x.device().is_autodiff() || gamma.device().is_autodiff()) {
        return None;
    }
    let n = x.dims()[D - 1];
    assert_eq!(gamma.dims(), [n], "a norm of {:?} values for rows of {n}", gamma.dims());
    train::<NoCheckpointing, D>(x, gamma, beta, epsilon)
        .or_else(|| train::<BalancedCheckpointing, D>(x, gamma, beta, epsilon))
}

fn train<C: CheckpointStrategy, const D: usize>(
    x: &Tensor<D>,
    gamma: &Tensor<1>,
    beta: Option<&Tensor<1>>,
    epsilon: f64,
) -> Option<Tensor<D>>
where
    DispatchTensor: DispatchKindConversion<Autodiff<Flex, C>>,
{
    let dims = x.dims();
    let n = dims[D - 1];
    let (x, x_node) = tracked::<C, D>(x)?.into_parts();
    let (gamma, gamma_node) = tracked::<C, 1>(gamma)?.into_parts();
    let (shift, beta_node) = tracked_or_none::<C, 1>(beta)?.into_parts();
    let (x, gamma, shift) = (contiguous(x), contiguous(gamma), contiguous(shift));
    let zeros = vec![0.0; if beta.is_some() { 0 } else { n }];
    let shift = beta.map_or(zeros.as_slice(), |_| values(&shift));
    let mut out = vec![0.0; values(&x).len()];
    let mut statistics = vec![[0.0; 2]; out.len().checked_div(n).unwrap_or(0)];
    let chunk = (ROWS * n).max(1);
    out.par_chunks_mut(chunk)
        .zip(values(&x).par_chunks(chunk))
        .zip(statistics.par_chunks_mut(ROWS))
        .for_each(|((out, x), statistics)| norm_rows(x, values(&gamma), shift, epsilon as f32, out, statistics));
    let out = tensor_of(out, dims);
    let out = match LayerNormBackward.prepare::<C>([x_node, gamma_node, beta_node]).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(State { x, gamma, statistics: Arc::new(statistics) }, out),
        OpsKind::UnTracked(prep) => prep.finish(out),
    };
    Some(Tensor::from_primitive::<Autodiff<Flex, C>>(out))
}

kernel! {
    fn norm_rows<'a>(
        simd: S,
        x: &'a [f32],
        gamma: &'a [f32],
        beta: &'a [f32],
        epsilon: f32,
        out: &'a mut [f32],
        statistics: &'a mut [[f32; 2]],
    ) {
        let _ = simd;
        let n = gamma.len();
        for ((row, out), of_row) in x.chunks_exact(n).zip(out.chunks_exact_mut(n)).zip(statistics) {
            *of_row = norm_row(row, gamma, beta, epsilon, out);
        }
    }
}

#[derive(Debug)]
struct LayerNormBackward;

#[derive(Clone, Debug)]
struct State {
    x: FlexTensor,
    gamma: FlexTensor,
    /// Mean and 1/√(variance + ε) of every row.
    statistics: Arc<Vec<[f32; 2]>>,
}

impl Backward<Flex, 3> for LayerNormBackward {
    type State = State;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let State { x, gamma, statistics } = ops.state;
        let grad = contiguous(grads.consume::<Flex>(&ops.node));
        let [x_node, gamma_node, beta_node] = ops.parents;
        let (x_values, grad, gamma) = (values(&x), values(&grad), values(&gamma));
        let n = gamma.len();
        let chunk = (ROWS * n).max(1);
        let mut dx = vec![0.0; grad.len()];
        let (d_gamma, d_beta): (Vec<_>, Vec<_>) = dx
            .par_chunks_mut(chunk)
            .zip(x_values.par_chunks(chunk))
            .zip(grad.par_chunks(chunk).zip(statistics.par_chunks(ROWS)))
            .map(|((dx, x), (grad, statistics))| {
                let (mut d_gamma, mut d_beta) = (vec![0.0; n], vec![0.0; n]);
                gradient_rows(x, gamma, statistics, grad, dx, &mut d_gamma, &mut d_beta);
                (d_gamma, d_beta)
            })
            .unzip();
        if let Some(node) = x_node {
            grads.register::<Flex>(node.id, tensor_of(dx, x.layout().shape().clone()));
        }
        if let Some(node) = gamma_node {
            grads.register::<Flex>(node.id, tensor_of(total(&d_gamma, n), [n]));
        }
        if let Some(node) = beta_node {
            grads.register::<Flex>(node.id, tensor_of(total(&d_beta, n), [n]));
        }
    }
}

kernel! {
    fn gradient_rows<'a>(
        simd: S,
        x: &'a [f32],
        gamma: &'a [f32],
        statistics: &'a [[f32; 2]],
        grad: &'a [f32],
        dx: &'a mut [f32],
        d_gamma: &'a mut [f32],
        d_beta: &'a mut [f32],
    ) {
        let _ = simd;
        let n = gamma.len();
        let rows = x.chunks_exact(n).zip(grad.chunks_exact(n)).zip(dx.chunks_exact_mut(n)).zip(statistics);
        for (((row, grad), dx), of_row) in rows {
            layer_norm_gradient(row, gamma, *of_row, grad, dx, d_gamma, d_beta);
        }
    }
}
