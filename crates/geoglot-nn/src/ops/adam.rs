//! Adam and AdamW with PyTorch's defaults and one pass over the parameters on the CPU.
//!
//! burn's Adam runs some ten tensor operations per parameter, each over memory; here one loop updates parameter and
//! both moments. Kingma & Ba 2015, with the bias corrections arranged as in PyTorch, so that results agree with it.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::config::Config;
use burn::optim::{AdamState, AdaptiveMomentumState, LearningRate, ModuleOptimizer, Optimizer};
use burn::tensor::{Device, Tensor};
use rayon::prelude::*;

use super::graph::plain;
use super::simd::{kernel, load, store};

/// Parameters handled by one task.
const CHUNK: usize = 1 << 15;

/// Configuration of [`FusedAdam`]; defaults are PyTorch's.
#[derive(Config, Debug)]
pub struct FusedAdamConfig {
    /// Decay of the first moment.
    #[config(default = 0.9)]
    pub beta_1: f64,
    /// Decay of the second moment.
    #[config(default = 0.999)]
    pub beta_2: f64,
    /// Added to the root of the second moment. (burn's default is 1e-5, PyTorch's 1e-8.)
    #[config(default = 1e-8)]
    pub epsilon: f64,
    /// L2 penalty added to the gradient, as in `torch.optim.Adam`.
    #[config(default = 0.0)]
    pub weight_decay: f64,
    /// Share of a parameter, times the learning rate, that is taken off before the step, as in `torch.optim.AdamW` (Loshchilov
    /// and Hutter 2019). Only parameters of two or more axes shrink: biases, norms and scales are spared.
    #[config(default = 0.0)]
    pub decoupled_decay: f64,
}

impl FusedAdamConfig {
    /// The bare optimiser, for one parameter group.
    pub fn build(&self) -> FusedAdam {
        FusedAdam { config: self.clone() }
    }

    /// An optimiser for a whole module.
    pub fn init(&self) -> ModuleOptimizer {
        ModuleOptimizer::from(self.build())
    }
}

/// The optimiser made by [`FusedAdamConfig`]. Its state is that of burn's Adam and is saved the same way.
#[derive(Clone, Debug)]
pub struct FusedAdam {
    config: FusedAdamConfig,
}

/// Numbers of one step.
#[derive(Clone, Copy)]
struct Step {
    beta_1: f32,
    beta_2: f32,
    epsilon: f32,
    weight_decay: f32,
    /// Factor of the parameter before the step.
    shrink: f32,
    /// lr / (1 − β₁ᵗ)
    size: f32,
    /// 1 / √(1 − β₂ᵗ)
    root: f32,
}

impl Optimizer for FusedAdam {
    type State<const D: usize> = AdamState<D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<D>, Option<Self::State<D>>) {
        let momentum = match state {
            Some(state) => state.momentum,
            None => {
                let zeros = || Tensor::zeros(tensor.dims(), &tensor.device());
                AdaptiveMomentumState::new(0, zeros(), zeros())
            }
        };
        let time = momentum.time + 1;
        let FusedAdamConfig { beta_1, beta_2, epsilon, weight_decay, decoupled_decay } = self.config;
        let decoupled_decay = if D < 2 { 0.0 } else { decoupled_decay };
        let power = |beta: f64| 1.0 - beta.powf(time as f64);
        let step = Step {
            beta_1: beta_1 as f32,
            beta_2: beta_2 as f32,
            epsilon: epsilon as f32,
            weight_decay: weight_decay as f32,
            shrink: (1.0 - lr * decoupled_decay) as f32,
            size: (lr / power(beta_1)) as f32,
            root: (1.0 / power(beta_2).sqrt()) as f32,
        };
        let (first, second) = (momentum.moment_1, momentum.moment_2);
        let on_cpu = [&tensor, &grad, &first, &second].into_iter().all(|t| plain(t.clone()).is_some());
        let (tensor, first, second) = match on_cpu {
            true => fused(step, tensor, grad, first, second),
            false => composed(step, tensor, grad, first, second),
        };
        let momentum = AdaptiveMomentumState::new(time, first, second);
        (tensor, Some(AdamState::new(momentum)))
    }

    fn to_device<const D: usize>(mut state: Self::State<D>, device: &Device) -> Self::State<D> {
        state.momentum = state.momentum.to_device(device);
        state
    }
}

fn fused<const D: usize>(
    step: Step,
    tensor: Tensor<D>,
    grad: Tensor<D>,
    first: Tensor<D>,
    second: Tensor<D>,
) -> (Tensor<D>, Tensor<D>, Tensor<D>) {
    // All are on this backend: the caller has looked.
    let take = |t: Tensor<D>| {
        let t = plain(t).expect("a tensor on the CPU");
        match t.is_contiguous() && t.bytes().len() == t.layout().num_elements() * 4 {
            true => t,
            false => FlexTensor::from_data(t.into_data()),
        }
    };
    let (mut p, grad) = (take(tensor), take(grad));
    let (mut m, mut v) = (take(first), take(second));
    // In place where nobody else holds the storage, on a copy otherwise.
    p.storage_mut::<f32>()
        .par_chunks_mut(CHUNK)
        .zip(grad.storage::<f32>().par_chunks(CHUNK))
        .zip(m.storage_mut::<f32>().par_chunks_mut(CHUNK))
        .zip(v.storage_mut::<f32>().par_chunks_mut(CHUNK))
        .for_each(|(((p, g), m), v)| update(p, g, m, v, step));
    let wrap = Tensor::from_primitive::<Flex>;
    (wrap(p), wrap(m), wrap(v))
}

/// The same step from tensor operations, for other devices and types.
fn composed<const D: usize>(
    step: Step,
    tensor: Tensor<D>,
    grad: Tensor<D>,
    first: Tensor<D>,
    second: Tensor<D>,
) -> (Tensor<D>, Tensor<D>, Tensor<D>) {
    let grad = match step.weight_decay == 0.0 {
        true => grad,
        false => grad + tensor.clone() * step.weight_decay,
    };
    let first = first * step.beta_1 + grad.clone() * (1.0 - step.beta_1);
    let second = second * step.beta_2 + grad.clone() * grad * (1.0 - step.beta_2);
    let root = second.clone().sqrt() * step.root + step.epsilon;
    (tensor * step.shrink - first.clone() * step.size / root, first, second)
}

kernel! {
    fn update<'a>(simd: S, p: &'a mut [f32], g: &'a [f32], m: &'a mut [f32], v: &'a mut [f32], step: Step) {
        let splat = |value| simd.splat_f32s(value);
        let (beta_1, beta_2) = (splat(step.beta_1), splat(step.beta_2));
        let (rest_1, rest_2) = (splat(1.0 - step.beta_1), splat(1.0 - step.beta_2));
        let (decay, epsilon) = (splat(step.weight_decay), splat(step.epsilon));
        let (size, root, shrink) = (splat(step.size), splat(step.root), splat(step.shrink));
        let lanes = S::F32_LANES;
        for (((p, g), m), v) in p.chunks_mut(lanes).zip(g.chunks(lanes)).zip(m.chunks_mut(lanes)).zip(v.chunks_mut(lanes)) {
            let value = load(simd, p);
            let grad = simd.mul_add_e_f32s(decay, value, load(simd, g));
            let first = simd.mul_add_e_f32s(beta_1, load(simd, m), simd.mul_f32s(rest_1, grad));
            let square = simd.mul_f32s(grad, grad);
            let second = simd.mul_add_e_f32s(beta_2, load(simd, v), simd.mul_f32s(rest_2, square));
            let below = simd.mul_add_e_f32s(simd.sqrt_f32s(second), root, epsilon);
            let change = simd.div_f32s(simd.mul_f32s(size, first), below);
            store(simd, p, simd.sub_f32s(simd.mul_f32s(value, shrink), change));
            store(simd, m, first);
            store(simd, v, second);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fused_and_composed_agree() {
        let device = Device::flex();
        let normal = burn::tensor::Distribution::Normal(0.0, 1.0);
        let random = || Tensor::<2>::random([70, 1003], normal, &device);
        let step =
            Step { beta_1: 0.9, beta_2: 0.99, epsilon: 1e-8, weight_decay: 0.01, shrink: 0.9, size: 0.02, root: 1.7 };
        // A transposed view exercises the copy into order.
        let (p, g) = (random().transpose(), random().transpose());
        let (m, v) = (random().transpose(), random().abs().transpose());
        let kept = p.clone();
        let fused = fused(step, p.clone(), g.clone(), m.clone(), v.clone());
        let composed = composed(step, p, g, m, v);
        for (a, b) in [(fused.0, composed.0), (fused.1, composed.1), (fused.2, composed.2)] {
            let largest = (a - b).abs().max().into_scalar::<f32>();
            assert!(largest < 1e-4, "largest difference {largest}");
        }
        assert_eq!(kept.dims(), [1003, 70]);
    }
}
