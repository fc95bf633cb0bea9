//! The fused block as an operation on burn tensors, with its node in the autodiff graph.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::{BalancedCheckpointing, CheckpointStrategy, NoCheckpointing};
use burn::backend::autodiff::grads::Gradients as GradientMap;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::{Autodiff, DispatchKindConversion, DispatchTensor, Flex};
use burn::tensor::{Tensor, TensorData};

use super::block::{self, Saved, Shape};
use super::graph::{Tracked, contiguous, plain, tracked, values};

/// How the block normalises.
pub enum Normalisation {
    /// With the statistics of the batch (training).
    Batch {
        /// Scale γ, `[F]`.
        gamma: Tensor<1>,
        /// Shift β, `[F]`.
        beta: Tensor<1>,
        /// Added to the variance.
        epsilon: f64,
    },
    /// With given numbers folded into the convolution (inference): z = `scale`·conv(x) + `shift`.
    Folded {
        /// γ / √(variance + ε), `[F]`.
        scale: Tensor<1>,
        /// β + scale·(bias − mean), `[F]`.
        shift: Tensor<1>,
    },
}

/// Statistics of a training batch after the convolution, before normalisation.
pub struct BatchStatistics {
    /// Mean per channel, `[F]`, without the convolution's bias.
    pub mean: Tensor<1>,
    /// Biased variance per channel, `[F]`.
    pub variance: Tensor<1>,
}

/// MaxPool2x2(ReLU(BN(Conv3x3(x, padding 1)))) as one operation on the CPU.
///
/// - `x`: [B, C, H, W], H and W ≥ 2; an odd last row or column is dropped by the pool but counts in the statistics.
/// - `weight`: [F, C, 3, 3].
/// - returns [B, F, H/2, W/2], stored channels-last (the next block reads it without a copy), and the batch's
///   statistics in training.
///
/// `None` when the tensors are not f32 on the Flex backend, or when inference is asked for on tensors that track
/// gradients: the caller then composes the block from burn's own operations.
///
/// A convolution bias is no argument: batch statistics cancel it exactly, and inference folds it into the shift.
///
/// # Panics
/// If the shapes do not fit each other.
pub fn conv_block(
    x: Tensor<4>,
    weight: Tensor<4>,
    normalisation: Normalisation,
) -> Option<(Tensor<4>, Option<BatchStatistics>)> {
    let [batch, channels, height, width] = x.dims();
    let [filters, weight_channels, 3, 3] = weight.dims() else {
        panic!("filters of a block are 3×3, found {:?}", weight.dims());
    };
    assert_eq!(channels, weight_channels, "the input has {channels} channels, the filters expect {weight_channels}");
    let shape = Shape { batch, channels, filters, height, width };
    match normalisation {
        Normalisation::Folded { scale, shift } => {
            let x = plain(x)?;
            let out = block::forward_eval(
                shape,
                values(&channels_last(x)),
                values(&contiguous(plain(weight)?)),
                values(&contiguous(plain(scale)?)),
                values(&contiguous(plain(shift)?)),
            );
            let out = Tensor::from_primitive::<Flex>(from_channels_last(out, pooled(shape)));
            Some((out, None))
        }
        Normalisation::Batch { gamma, beta, epsilon } => {
            train::<NoCheckpointing>(shape, &x, &weight, &gamma, &beta, epsilon)
                .or_else(|| train::<BalancedCheckpointing>(shape, &x, &weight, &gamma, &beta, epsilon))
                .map(|(out, statistics)| (out, Some(statistics)))
        }
    }
}

fn train<C: CheckpointStrategy>(
    shape: Shape,
    x: &Tensor<4>,
    weight: &Tensor<4>,
    gamma: &Tensor<1>,
    beta: &Tensor<1>,
    epsilon: f64,
) -> Option<(Tensor<4>, BatchStatistics)>
where
    DispatchTensor: DispatchKindConversion<Autodiff<Flex, C>>,
{
    let (x, x_node) = tracked::<C, 4>(x)?.into_parts();
    let (weight, weight_node) = tracked::<C, 4>(weight)?.into_parts();
    let (gamma, gamma_node) = tracked::<C, 1>(gamma)?.into_parts();
    let (beta, beta_node) = tracked::<C, 1>(beta)?.into_parts();

    let x = channels_last(x);
    let weight = contiguous(weight);
    let (gamma, beta) = (contiguous(gamma), contiguous(beta));
    let (out, saved) =
        block::forward_train(shape, values(&x), values(&weight), values(&gamma), values(&beta), epsilon as f32);
    let statistic = |values: &[f32]| {
        let data = TensorData::new(values.to_vec(), [shape.filters]);
        let primitive = Tracked::<C>::new(FlexTensor::from_data(data));
        Tensor::from_primitive::<Autodiff<Flex, C>>(primitive)
    };
    let statistics = BatchStatistics { mean: statistic(&saved.mean), variance: statistic(&saved.variance) };
    let out = from_channels_last(out, pooled(shape));
    let nodes = [x_node, weight_node, gamma_node, beta_node];
    let out = match ConvBlockBackward.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let state = State { saved: Arc::new(saved), x, gamma, beta, shape };
            prep.finish(state, out)
        }
        OpsKind::UnTracked(prep) => prep.finish(out),
    };
    Some((Tensor::from_primitive::<Autodiff<Flex, C>>(out), statistics))
}

#[derive(Debug)]
struct ConvBlockBackward;

#[derive(Clone, Debug)]
struct State {
    saved: Arc<Saved>,
    /// Channels-last storage.
    x: FlexTensor,
    gamma: FlexTensor,
    beta: FlexTensor,
    shape: Shape,
}

impl Backward<Flex, 4> for ConvBlockBackward {
    type State = State;

    fn backward(self, ops: Ops<Self::State, 4>, grads: &mut GradientMap, _checkpointer: &mut Checkpointer) {
        let State { saved, x, gamma, beta, shape } = ops.state;
        let grad = channels_last(grads.consume::<Flex>(&ops.node));
        let [x_node, weight_node, gamma_node, beta_node] = ops.parents;
        let result =
            block::backward(&saved, values(&x), values(&gamma), values(&beta), values(&grad), x_node.is_some());
        let vector = |values: Vec<f32>| FlexTensor::from_data(TensorData::new(values, [shape.filters]));
        if let (Some(node), Some(dx)) = (x_node, result.x) {
            let dims = [shape.batch, shape.channels, shape.height, shape.width];
            grads.register::<Flex>(node.id, from_channels_last(dx, dims));
        }
        if let Some(node) = weight_node {
            let dims = [shape.filters, shape.channels, 3, 3];
            let data = TensorData::new(result.weight, dims);
            grads.register::<Flex>(node.id, FlexTensor::from_data(data));
        }
        if let Some(node) = gamma_node {
            grads.register::<Flex>(node.id, vector(result.gamma));
        }
        if let Some(node) = beta_node {
            grads.register::<Flex>(node.id, vector(result.beta));
        }
    }
}

fn pooled(shape: Shape) -> [usize; 4] {
    let (rows, cols) = shape.pooled();
    [shape.batch, shape.filters, rows, cols]
}

/// The [B, C, H, W] tensor as contiguous [B, H, W, C] storage; a copy only if it is not stored so already.
fn channels_last(tensor: FlexTensor) -> FlexTensor {
    let permuted = tensor.permute(&[0, 2, 3, 1]);
    if permuted.is_contiguous() {
        return permuted;
    }
    let dims: [usize; 4] = std::array::from_fn(|i| permuted.layout().shape()[i]);
    let Some(x) = tensor.as_slice::<f32>() else {
        return permuted.to_contiguous();
    };
    let mut out = vec![0.0; x.len()];
    super::transpose::to_channels_last(x, &mut out, dims[1] * dims[2], dims[3]);
    FlexTensor::from_data(TensorData::new(out, dims))
}

/// Channels-last values as a [B, C, H, W] tensor.
fn from_channels_last(values: Vec<f32>, [b, c, h, w]: [usize; 4]) -> FlexTensor {
    if h * w == 1 || c == 1 {
        return FlexTensor::from_data(TensorData::new(values, [b, c, h, w]));
    }
    FlexTensor::from_data(TensorData::new(values, [b, h, w, c])).permute(&[0, 3, 1, 2])
}
