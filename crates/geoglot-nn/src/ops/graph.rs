//! What every custom operation needs of burn: the CPU tensor behind a tensor, with or without its node of the autodiff graph.

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, DispatchKindConversion, DispatchTensor, Flex};
use burn::tensor::{DType, Shape, Tensor, TensorData};

/// A CPU tensor with its node.
pub(super) type Tracked<C> = FloatTensor<Autodiff<Flex, C>>;

/// The Flex tensor behind `tensor`, `None` on other backends, with gradients or in other types.
pub(crate) fn plain<const D: usize>(tensor: Tensor<D>) -> Option<FlexTensor> {
    let tensor = tensor.try_into_primitive::<Flex>().ok()?;
    (tensor.dtype() == DType::F32).then_some(tensor)
}

/// The tensor as part of an autodiff graph; a plain one becomes a constant of it.
pub(super) fn tracked<C: CheckpointStrategy, const D: usize>(tensor: &Tensor<D>) -> Option<Tracked<C>>
where
    DispatchTensor: DispatchKindConversion<Autodiff<Flex, C>>,
{
    let tracked = match tensor.clone().try_into_primitive::<Autodiff<Flex, C>>() {
        Ok(tracked) => tracked,
        Err(_) => Tracked::<C>::new(plain(tensor.clone())?),
    };
    (tracked.primitive().dtype() == DType::F32).then_some(tracked)
}

/// As [`tracked`]; a constant stands for a tensor that is not there.
pub(super) fn tracked_or_none<C: CheckpointStrategy, const D: usize>(tensor: Option<&Tensor<D>>) -> Option<Tracked<C>>
where
    DispatchTensor: DispatchKindConversion<Autodiff<Flex, C>>,
{
    match tensor {
        Some(tensor) => tracked(tensor),
        None => Some(Tracked::<C>::new(tensor_of(vec![0.0], [1]))),
    }
}

/// The tensor with its values in order; a copy only if they are not.
pub(super) fn contiguous(tensor: FlexTensor) -> FlexTensor {
    match tensor.is_contiguous() {
        true => tensor,
        false => tensor.to_contiguous(),
    }
}

/// Values of a contiguous tensor.
pub(super) fn values(tensor: &FlexTensor) -> &[f32] {
    let (start, end) = tensor.layout().contiguous_offsets().expect("the tensor was made contiguous");
    &tensor.storage::<f32>()[start..end]
}

/// A tensor of these values.
pub(super) fn tensor_of(values: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}
