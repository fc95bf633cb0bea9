//! A linear layer with what follows it: activation or residual.
//!
//! Products read their sides as they lie in memory; bias and residual are written to the output before the product is added to it;
//! the bias's gradient is summed while the activation's slope is applied.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::{BalancedCheckpointing, CheckpointStrategy, NoCheckpointing};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::{Autodiff, DispatchKindConversion, DispatchTensor, Flex};
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::graph::{contiguous, tensor_of, tracked, tracked_or_none, values};
use super::math::{activate, activation_gradient};
use super::matrix::{Matrix, Target, Threads, multiply};
use super::scratch::Buffer;
use super::simd::kernel;
use crate::transformer::Activation;

/// Rows of a task outside the products. Fixed, so that sums do not depend on the number of threads.
const ROWS: usize = 64;

/// What follows a linear layer.
#[derive(Debug, Clone, Copy)]
pub enum After<'a, const D: usize> {
    /// Nothing.
    Nothing,
    /// A non-linearity.
    Activation(Activation),
    /// The sum with a tensor of the output's shape.
    Add(&'a Tensor<D>),
}

/// y = x·W + b, then `after`, as one operation of the autodiff graph on the CPU.
///
/// - `x`: [.., K];
/// - `weight`: [K, N], `bias`: `[N]`;
/// - returns [.., N].
///
/// Tensors without a gradient get none, and none is computed for them. `None` when no tensor is on an autodiff device, or one is not
/// f32 on the Flex backend: the caller then composes the layer from burn's own operations.
///
/// # Panics
/// If the shapes do not fit each other.
pub fn linear<const D: usize>(
    x: &Tensor<D>,
    weight: &Tensor<2>,
    bias: Option<&Tensor<1>>,
    after: After<D>,
) -> Option<Tensor<D>> {
    if !(x.device().is_autodiff() || weight.device().is_autodiff()) {
        return None;
    }
    let ([k, n], mut dims) = (weight.dims(), x.dims());
    assert_eq!(dims[D - 1], k, "an input of width {} for a layer of {k} inputs", dims[D - 1]);
    if let Some(bias) = bias {
        assert_eq!(bias.dims(), [n], "a bias of {:?} values for a layer of {n} outputs", bias.dims());
    }
    dims[D - 1] = n;
    if let After::Add(other) = after {
        assert_eq!(other.dims(), dims, "a residual of another shape than the layer's output");
    }
    train::<NoCheckpointing, D>(x, weight, bias, after)
        .or_else(|| train::<BalancedCheckpointing, D>(x, weight, bias, after))
}

fn train<C: CheckpointStrategy, const D: usize>(
    x: &Tensor<D>,
    weight: &Tensor<2>,
    bias: Option<&Tensor<1>>,
    after: After<D>,
) -> Option<Tensor<D>>
where
    DispatchTensor: DispatchKindConversion<Autodiff<Flex, C>>,
{
    let (mut dims, [k, n]) = (x.dims(), weight.dims());
    let m = dims[..D - 1].iter().product();
    let shape = Shape { m, k, n };
    dims[D - 1] = n;
    let (residual, activation) = match after {
        After::Nothing => (None, None),
        After::Activation(activation) => (None, Some(activation)),
        After::Add(other) => (Some(other), None),
    };
    let (x, x_node) = tracked::<C, D>(x)?.into_parts();
    let (weight, weight_node) = tracked::<C, 2>(weight)?.into_parts();
    let (bias_value, bias_node) = tracked_or_none::<C, 1>(bias)?.into_parts();
    let (other, other_node) = tracked_or_none::<C, D>(residual)?.into_parts();
    let (x, weight) = (contiguous(x), contiguous(weight));
    let (bias_value, other) = (contiguous(bias_value), contiguous(other));
    let before = forward(
        shape,
        values(&x),
        values(&weight),
        bias.map(|_| values(&bias_value)),
        residual.map(|_| values(&other)),
    );
    let (out, before) = match activation {
        Some(activation) => (activated(&before, n, activation), Some(tensor_of(before, dims))),
        None => (before, None),
    };
    let out = tensor_of(out, dims);
    let nodes = [x_node, weight_node, bias_node, other_node];
    let out = match LinearBackward.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(State { x, weight, before: before.zip(activation), shape }, out),
        OpsKind::UnTracked(prep) => prep.finish(out),
    };
    Some(Tensor::from_primitive::<Autodiff<Flex, C>>(out))
}

#[derive(Debug)]
struct LinearBackward;

#[derive(Clone, Debug)]
struct State {
    x: FlexTensor,
    weight: FlexTensor,
    /// The activation and its input.
    before: Option<(FlexTensor, Activation)>,
    shape: Shape,
}

impl Backward<Flex, 4> for LinearBackward {
    type State = State;

    fn backward(self, ops: Ops<Self::State, 4>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let State { x, weight, before, shape } = ops.state;
        let grad = contiguous(grads.consume::<Flex>(&ops.node));
        let [x_node, weight_node, bias_node, other_node] = ops.parents;
        let Shape { m, k, n } = shape;
        let (dz, sums) = match &before {
            Some((before, activation)) => {
                let (dz, sums) = slope(values(before), values(&grad), n, *activation);
                (Some(dz), Some(sums))
            }
            None => (None, bias_node.is_some().then(|| column_sums(values(&grad), n))),
        };
        let dz = Matrix::new(dz.as_deref().unwrap_or(values(&grad)), m, n);
        if let Some(node) = weight_node {
            let mut dw = vec![0.0; k * n];
            multiply(Matrix::new(values(&x), m, k).t(), dz, Target::new(&mut dw, k, n), 1.0, false, Threads::All);
            grads.register::<Flex>(node.id, tensor_of(dw, [k, n]));
        }
        if let (Some(node), Some(sums)) = (bias_node, sums) {
            grads.register::<Flex>(node.id, tensor_of(sums, [n]));
        }
        if let Some(node) = x_node {
            let mut dx = vec![0.0; m * k];
            let weight = Matrix::new(values(&weight), k, n).t();
            multiply(dz, weight, Target::new(&mut dx, m, k), 1.0, false, Threads::All);
            grads.register::<Flex>(node.id, tensor_of(dx, x.layout().shape().clone()));
        }
        if let Some(node) = other_node {
            grads.register::<Flex>(node.id, grad);
        }
    }
}

/// x [m, k] · weight [k, n].
#[derive(Clone, Copy, Debug)]
struct Shape {
    m: usize,
    k: usize,
    n: usize,
}

fn forward(shape: Shape, x: &[f32], weight: &[f32], bias: Option<&[f32]>, residual: Option<&[f32]>) -> Vec<f32> {
    let Shape { m, k, n } = shape;
    let mut out = match residual {
        Some(residual) => residual.to_vec(),
        None => vec![0.0; m * n],
    };
    if let Some(bias) = bias {
        out.par_chunks_mut((ROWS * n).max(1)).for_each(|rows| add_bias(rows, bias));
    }
    let add = bias.is_some() || residual.is_some();
    multiply(Matrix::new(x, m, k), Matrix::new(weight, k, n), Target::new(&mut out, m, n), 1.0, add, Threads::All);
    out
}

fn add_bias(rows: &mut [f32], bias: &[f32]) {
    for row in rows.chunks_exact_mut(bias.len()) {
        row.iter_mut().zip(bias).for_each(|(v, b)| *v += b);
    }
}

fn activated(before: &[f32], n: usize, activation: Activation) -> Vec<f32> {
    let mut out = vec![0.0; before.len()];
    let chunk = (ROWS * n).max(1);
    out.par_chunks_mut(chunk).zip(before.par_chunks(chunk)).for_each(|(out, before)| {
        activate_rows(before, out, activation);
    });
    out
}

kernel! {
    fn activate_rows<'a>(simd: S, before: &'a [f32], out: &'a mut [f32], activation: Activation) {
        let _ = simd;
        out.copy_from_slice(before);
        activate(out, activation);
    }
}

/// Gradient of the activation's input, [m, n], and its column sums.
fn slope(before: &[f32], grad: &[f32], n: usize, activation: Activation) -> (Buffer, Vec<f32>) {
    let mut dz = Buffer::take(grad.len());
    let chunk = (ROWS * n).max(1);
    let parts: Vec<Vec<f32>> = dz
        .par_chunks_mut(chunk)
        .zip(grad.par_chunks(chunk).zip(before.par_chunks(chunk)))
        .map(|(dz, (grad, before))| {
            let mut sums = vec![0.0; n];
            slope_rows(before, grad, dz, &mut sums, activation);
            sums
        })
        .collect();
    (dz, total(&parts, n))
}

kernel! {
    fn slope_rows<'a>(
        simd: S,
        before: &'a [f32],
        grad: &'a [f32],
        dz: &'a mut [f32],
        sums: &'a mut [f32],
        activation: Activation,
    ) {
        let _ = simd;
        let n = sums.len();
        for ((dz, grad), before) in dz.chunks_exact_mut(n).zip(grad.chunks_exact(n)).zip(before.chunks_exact(n)) {
            activation_gradient(before, grad, dz, sums, activation);
        }
    }
}

/// Sums over the rows of [m, n].
fn column_sums(rows: &[f32], n: usize) -> Vec<f32> {
    let parts: Vec<Vec<f32>> = rows
        .par_chunks((ROWS * n).max(1))
        .map(|rows| {
            let mut sums = vec![0.0; n];
            for row in rows.chunks_exact(n) {
                sums.iter_mut().zip(row).for_each(|(s, v)| *s += v);
            }
            sums
        })
        .collect();
    total(&parts, n)
}

/// Sum of the tasks' sums, in order.
pub(super) fn total(parts: &[Vec<f32>], n: usize) -> Vec<f32> {
    let mut all = vec![0.0; n];
    for part in parts {
        all.iter_mut().zip(part).for_each(|(a, p)| *a += p);
    }
    all
}
