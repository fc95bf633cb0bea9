//! The blocks of a vision transformer as a few passes over memory, for f32 on the CPU.
//!
//! 1. a group of token rows is normed and multiplied with the query, key and value weights;
//! 2. each head of each image attends, a group of queries at a time, so that scores never leave the cache;
//! 3. a group of rows goes through output projection, residual, norm, both feed-forward layers and residual in one go.
//!
//! Weights are packed once; the query's 1/√d and the layer scales are multiplied into them.

mod gemm;

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::module::Param;
use burn::nn::{LayerNorm, Linear};
use burn::tensor::{DType, Tensor, TensorData};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use self::gemm::{Packed, Product, panel_width};
use super::{Engine, VitBlock};
use crate::ops::math::{layer_norm, softmax_numerators};
use crate::transformer::Activation;

/// Rows handled together: six tiles. Small enough for the cache and for an even split among threads, large enough to use a panel of
/// weights well.
const GROUP: usize = 72;

/// Runs f32 blocks on the CPU in fused passes.
#[derive(Debug)]
pub struct Fused {
    blocks: Vec<FusedBlock>,
    width: usize,
}

#[derive(Debug)]
struct Norm {
    gamma: Vec<f32>,
    beta: Vec<f32>,
    epsilon: f32,
}

#[derive(Debug)]
struct Layer {
    weight: Packed,
    bias: Vec<f32>,
}

#[derive(Debug)]
struct FusedBlock {
    norm1: Norm,
    /// Query, key and value side by side, D → 3D.
    input: Layer,
    output: Layer,
    norm2: Norm,
    fc1: Layer,
    fc2: Layer,
    hidden: usize,
    heads: usize,
    activation: Activation,
}

/// Work space of a thread.
#[derive(Default)]
struct Scratch {
    normed: Vec<f32>,
    hidden: Vec<f32>,
    scores: Vec<f32>,
    pack: Vec<f32>,
    right: Packed,
    values: Packed,
}

impl Fused {
    /// An engine with packed copies of the blocks' weights; `None` when they are not f32 on the CPU backend, or track gradients.
    pub fn new(blocks: &[VitBlock]) -> Option<Self> {
        let width = blocks.first().and_then(|b| values(b.norm1.gamma.val()))?.len();
        let blocks = blocks.iter().map(|b| FusedBlock::new(b, width)).collect::<Option<Vec<_>>>()?;
        Some(Self { blocks, width })
    }
}

impl Engine for Fused {
    fn name(&self) -> &'static str {
        "fused-f32"
    }

    fn run(
        &self,
        tokens: Tensor<3>,
        wanted: &dyn Fn(usize) -> bool,
        tap: &mut dyn FnMut(usize, Tensor<3>),
    ) -> Tensor<3> {
        let dims = tokens.dims();
        let [batch, n, width] = dims;
        assert_eq!(width, self.width, "tokens of width {width}, the blocks have {}", self.width);
        let device = tokens.device();
        let mut x: Vec<f32> = tokens.into_data().iter::<f32>().collect();
        let mut qkv = vec![0f32; 3 * x.len()];
        let mut mixed = vec![0f32; x.len()];
        let tensor = |x: Vec<f32>| Tensor::from_data(TensorData::new(x, dims), &device);
        for (i, block) in self.blocks.iter().enumerate() {
            block.run(&mut x, &mut qkv, &mut mixed, batch, n, width);
            if wanted(i) {
                tap(i, tensor(x.clone()));
            }
        }
        tensor(x)
    }
}

impl FusedBlock {
    fn new(block: &VitBlock, width: usize) -> Option<Self> {
        let query = 1.0 / ((width / block.heads) as f32).sqrt();
        let attention = &block.attention;
        Some(Self {
            norm1: norm(&block.norm1, block.epsilon)?,
            input: layer(&[(&attention.query, query), (&attention.key, 1.0), (&attention.value, 1.0)], &None)?,
            output: layer(&[(&attention.output, 1.0)], &block.scale1)?,
            norm2: norm(&block.norm2, block.epsilon)?,
            fc1: layer(&[(&block.fc1, 1.0)], &None)?,
            fc2: layer(&[(&block.fc2, 1.0)], &block.scale2)?,
            hidden: block.fc1.weight.dims()[1],
            heads: block.heads,
            activation: block.activation(),
        })
    }

    /// One block on tokens x `[batch·n, width]` in place.
    fn run(&self, x: &mut [f32], qkv: &mut [f32], mixed: &mut [f32], batch: usize, n: usize, width: usize) {
        let head = width / self.heads;
        x.par_chunks(GROUP * width).zip(qkv.par_chunks_mut(GROUP * 3 * width)).for_each_init(
            Scratch::default,
            |scratch, (x, qkv)| {
                let rows = x.len() / width;
                norm_rows(x, &self.norm1, &mut scratch.normed);
                self.input.run(rows, copy(&scratch.normed, width), false, None, qkv, &mut scratch.pack);
            },
        );
        // Heads side by side as [batch, heads, n, head]: each task writes its own part.
        mixed.par_chunks_mut(n * head).enumerate().for_each_init(Scratch::default, |scratch, (task, out)| {
            let (image, h) = (task / self.heads, task % self.heads);
            let qkv = &qkv[image * n * 3 * width..(image + 1) * n * 3 * width];
            attend(qkv, n, width, h * head, head, out, scratch);
        });
        debug_assert_eq!(mixed.len(), batch * n * width);
        let mixed = &*mixed;
        x.par_chunks_mut(GROUP * width).enumerate().for_each_init(Scratch::default, |scratch, (group, x)| {
            let rows = x.len() / width;
            let first = group * GROUP;
            let heads = |row: usize, from: usize, to: &mut [f32]| {
                let (image, token) = ((first + row) / n, (first + row) % n);
                let mut done = 0;
                while done < to.len() {
                    let (h, at) = ((from + done) / head, (from + done) % head);
                    let len = (head - at).min(to.len() - done);
                    let source = ((image * self.heads + h) * n + token) * head + at;
                    to[done..done + len].copy_from_slice(&mixed[source..source + len]);
                    done += len;
                }
            };
            self.output.run(rows, heads, true, None, x, &mut scratch.pack);
            norm_rows(x, &self.norm2, &mut scratch.normed);
            scratch.hidden.resize(rows * self.hidden, 0.0);
            let hidden = &mut scratch.hidden[..rows * self.hidden];
            self.fc1.run(rows, copy(&scratch.normed, width), false, Some(self.activation), hidden, &mut scratch.pack);
            self.fc2.run(rows, copy(hidden, self.hidden), true, None, x, &mut scratch.pack);
        });
    }
}

impl Layer {
    /// out `[rows, n]` = act(left · weight + bias), or += with `add`.
    fn run(
        &self,
        rows: usize,
        left: impl Fn(usize, usize, &mut [f32]),
        add: bool,
        activation: Option<Activation>,
        out: &mut [f32],
        scratch: &mut Vec<f32>,
    ) {
        let stride = self.bias.len();
        let (right, bias) = (&self.weight, Some(self.bias.as_slice()));
        Product { rows, left, right, bias, add, activation, out, stride, scratch }.run();
    }
}

/// Rows of a matrix of `width` columns, as the left side of a product.
fn copy(values: &[f32], width: usize) -> impl Fn(usize, usize, &mut [f32]) + '_ {
    move |row, from, to| to.copy_from_slice(&values[row * width + from..row * width + from + to.len()])
}

fn norm_rows(x: &[f32], norm: &Norm, out: &mut Vec<f32>) {
    struct Rows<'a>(&'a [f32], &'a Norm, &'a mut [f32]);
    impl WithSimd for Rows<'_> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) {
            let Self(x, norm, out) = self;
            let width = norm.gamma.len();
            for (row, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
                layer_norm(row, &norm.gamma, &norm.beta, norm.epsilon, out);
            }
        }
    }
    out.resize(x.len(), 0.0);
    pulp::Arch::new().dispatch(Rows(x, norm, &mut out[..x.len()]));
}

/// One head of one image: queries, keys and values are columns `first..first + head` of the three parts of qkv `[n, 3·width]`.
fn attend(qkv: &[f32], n: usize, width: usize, first: usize, head: usize, out: &mut [f32], scratch: &mut Scratch) {
    let nr = panel_width();
    let row = |part: usize, t: usize| {
        let at = t * 3 * width + part * width + first;
        &qkv[at..at + head]
    };
    let Scratch { scores, pack, right, values, .. } = scratch;
    right.columns(head, n, nr, |t| row(1, t));
    values.rows(n, head, nr, |t| row(2, t));
    for (group, out) in out.chunks_mut(GROUP * head).enumerate() {
        let rows = out.len() / head;
        scores.resize(rows * n, 0.0);
        let scores = &mut scores[..rows * n];
        let queries = |r: usize, from: usize, to: &mut [f32]| {
            to.copy_from_slice(&row(0, group * GROUP + r)[from..from + to.len()]);
        };
        let plain = (None, false, None);
        let (bias, add, activation) = plain;
        Product { rows, left: queries, right, bias, add, activation, out: &mut *scores, stride: n, scratch: pack }
            .run();
        softmax_rows(scores, n);
        let weights = copy(scores, n);
        Product { rows, left: weights, right: values, bias, add, activation, out, stride: head, scratch: pack }.run();
    }
}

fn softmax_rows(scores: &mut [f32], n: usize) {
    struct Rows<'a>(&'a mut [f32], usize);
    impl WithSimd for Rows<'_> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) {
            for row in self.0.chunks_exact_mut(self.1) {
                let scale = softmax_numerators(row);
                row.iter_mut().for_each(|v| *v *= scale);
            }
        }
    }
    pulp::Arch::new().dispatch(Rows(scores, n));
}

/// The values of a plain f32 tensor on the CPU backend.
fn values<const D: usize>(tensor: Tensor<D>) -> Option<Vec<f32>> {
    let tensor: FlexTensor = tensor.try_into_primitive::<Flex>().ok()?;
    if tensor.dtype() != DType::F32 {
        return None;
    }
    tensor.into_data().try_to_vec::<f32>().ok()
}

fn norm(norm: &LayerNorm, epsilon: f64) -> Option<Norm> {
    let gamma = values(norm.gamma.val())?;
    let beta = match &norm.beta {
        Some(beta) => values(beta.val())?,
        None => vec![0.0; gamma.len()],
    };
    Some(Norm { gamma, beta, epsilon: epsilon as f32 })
}

/// Linear layers side by side, each times a factor, the outputs times a layer scale.
fn layer(parts: &[(&Linear, f32)], scale: &Option<Param<Tensor<1>>>) -> Option<Layer> {
    let scale = match scale {
        Some(scale) => Some(values(scale.val())?),
        None => None,
    };
    let (mut matrices, mut bias) = (Vec::new(), Vec::new());
    for (linear, factor) in parts {
        let columns = linear.weight.dims()[1];
        let factors: Vec<f32> = (0..columns).map(|j| factor * scale.as_ref().map_or(1.0, |s| s[j])).collect();
        let mut weight = values(linear.weight.val())?;
        for row in weight.chunks_exact_mut(columns) {
            row.iter_mut().zip(&factors).for_each(|(w, f)| *w *= f);
        }
        match &linear.bias {
            Some(b) => bias.extend(values(b.val())?.iter().zip(&factors).map(|(b, f)| b * f)),
            None => bias.resize(bias.len() + columns, 0.0),
        }
        matrices.push((weight, columns));
    }
    let rows = parts[0].0.weight.dims()[0];
    let joined: Vec<f32> = if matrices.len() == 1 {
        matrices.remove(0).0
    } else {
        (0..rows).flat_map(|r| matrices.iter().flat_map(move |(m, c)| &m[r * c..(r + 1) * c])).copied().collect()
    };
    let n = bias.len();
    let mut weight = Packed::default();
    weight.rows(rows, n, panel_width(), |r| &joined[r * n..(r + 1) * n]);
    Some(Layer { weight, bias })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::{Composed, FinalNorm, PatchKind, Pooling, PositionResampling, VitConfig};
    use burn::tensor::{Device, Distribution};

    #[test]
    fn agrees_with_the_composed_blocks() {
        let device = Device::flex();
        device.seed(11);
        for (width, heads, hidden, activation, layer_scale) in [
            (64, 4, 96, Activation::Gelu, false),
            (48, 3, 200, Activation::QuickGelu, true),
            (72, 1, 33, Activation::GeluTanh, false),
        ] {
            let config = VitConfig {
                patch: 4,
                embed: PatchKind::Fixed { channels: 3, bias: true },
                grid: (3, 3),
                width,
                depth: 2,
                heads,
                hidden,
                epsilon: 1e-6,
                activation,
                class_token: false,
                class_position: false,
                registers: 0,
                pre_norm: false,
                layer_scale,
                norm: FinalNorm::Tokens,
                pooling: Pooling::Mean,
                projection: None,
                projection_bias: false,
                positions: PositionResampling::default(),
            };
            let mut blocks = config.init(&device).blocks;
            if layer_scale {
                for block in &mut blocks {
                    let random = Tensor::random([width], Distribution::Normal(1., 0.5), &device);
                    block.scale1 = Some(Param::from_tensor(random));
                }
            }
            let fused = Fused::new(&blocks).unwrap();
            let composed = Composed::new(&blocks);
            for (b, n) in [(1, 1), (2, 50), (3, 97)] {
                let x = Tensor::<3>::random([b, n, width], Distribution::Normal(0., 1.), &device);
                let (mut taps, mut expected) = (Vec::new(), Vec::new());
                let a = fused.run(x.clone(), &|i| i == 0, &mut |_, t| taps.push(t));
                let e = composed.run(x, &|i| i == 0, &mut |_, t| expected.push(t));
                for (a, e) in [(a, e), (taps.remove(0), expected.remove(0))] {
                    let difference: f32 = (a - e).abs().max().into_scalar();
                    assert!(difference < 2e-5, "{width} {b}×{n}: {difference}");
                }
            }
        }
    }

    #[test]
    fn tensors_with_gradients_are_left_to_the_composed_engine() {
        let device = Device::flex().autodiff();
        let block = {
            let config = VitConfig {
                patch: 4,
                embed: PatchKind::Fixed { channels: 3, bias: true },
                grid: (1, 1),
                width: 8,
                depth: 1,
                heads: 2,
                hidden: 8,
                epsilon: 1e-6,
                activation: Activation::Gelu,
                class_token: false,
                class_position: false,
                registers: 0,
                pre_norm: false,
                layer_scale: false,
                norm: FinalNorm::Tokens,
                pooling: Pooling::Mean,
                projection: None,
                projection_bias: false,
                positions: PositionResampling::default(),
            };
            config.init(&device).blocks
        };
        assert!(Fused::new(&block).is_none());
    }
}
