//! A decoder for training: frozen weights as constants of the autodiff graph, low-rank adapters as the only parameters.

use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::{Decoder, DecoderConfig, LowRank, Projection, TARGETS, Target, WeightMatrix};
use crate::ops::{self, After};

/// Sizes of the adapters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraConfig {
    /// Rank r.
    pub rank: usize,
    /// α; the product B·A is scaled by α/r.
    pub alpha: f64,
    /// Share of an adapter's inputs set to zero in training.
    pub dropout: f64,
    /// Projections that get an adapter.
    pub targets: Vec<Target>,
}

impl Default for LoraConfig {
    /// Rank 128 (the paper's), α 16, dropout 0.05 on all projections.
    fn default() -> Self {
        Self { rank: 128, alpha: 16.0, dropout: 0.05, targets: TARGETS.to_vec() }
    }
}

/// One adapter: x ↦ (α/r)·B·A·dropout(x).
#[derive(Module, Debug)]
pub struct Lora {
    /// A, inputs → r.
    pub a: Linear,
    /// B, r → outputs; zero at first, so that the adapter changes nothing.
    pub b: Linear,
    scale: f64,
    dropout: f64,
}

/// Adapters of a block, in the order of [`TARGETS`].
#[derive(Module, Debug)]
pub struct BlockAdapters {
    /// One a projection, where it has one.
    pub projections: Vec<Option<Lora>>,
}

/// Adapters of a decoder.
#[derive(Module, Debug)]
pub struct Adapters {
    /// One set a block.
    pub blocks: Vec<BlockAdapters>,
}

impl LoraConfig {
    /// What makes these sizes impossible, if anything.
    pub fn problem(&self) -> Option<String> {
        if self.rank == 0 || self.rank > 1 << 16 {
            return Some(format!("adapters of rank {}; expected 1 to 65536", self.rank));
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            return Some(format!("α {} of the adapters; expected a number above 0", self.alpha));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Some(format!("dropout {} of the adapters; expected 0 up to below 1", self.dropout));
        }
        self.targets.is_empty().then(|| "adapters without a projection to adapt".into())
    }

    /// New adapters: A uniform within ±1/√inputs (PEFT's start), B zero. The numbers depend on `seed` alone.
    pub fn init(&self, decoder: &DecoderConfig, seed: u64, device: &Device) -> Adapters {
        let mut draws = Draws::new(seed);
        let mut lora = |target: Target| {
            let [outputs, inputs] = decoder.shape(target);
            let bound = (inputs as f32).powf(-0.5);
            let a = (0..self.rank * inputs).map(|_| (2.0 * draws.next() - 1.0) * bound).collect();
            let scale = (self.alpha / self.rank as f64) as f32;
            let low = LowRank { a, b: vec![0.0; outputs * self.rank], rank: self.rank, scale };
            Lora::from_low_rank(&low, self.dropout, device)
        };
        let mut block =
            || BlockAdapters { projections: TARGETS.map(|t| self.targets.contains(&t).then(|| lora(t))).into() };
        Adapters { blocks: (0..decoder.depth).map(|_| block()).collect() }
    }
}

impl Lora {
    /// An adapter of these numbers.
    pub fn from_low_rank(low: &LowRank, dropout: f64, device: &Device) -> Self {
        let (inputs, outputs) = (low.a.len() / low.rank, low.b.len() / low.rank);
        let linear = |values: &[f32], rows: usize, columns: usize| Linear {
            weight: Param::from_tensor(transposed(values.to_vec(), rows, columns, device)),
            bias: None,
        };
        Self {
            a: linear(&low.a, low.rank, inputs),
            b: linear(&low.b, outputs, low.rank),
            scale: f64::from(low.scale),
            dropout,
        }
    }

    /// Its numbers, for generation and files.
    pub fn to_low_rank(&self) -> LowRank {
        let values = |l: &Linear| l.weight.val().transpose().into_data().iter::<f32>().collect::<Vec<_>>();
        let rank = self.a.weight.dims()[1];
        LowRank { a: values(&self.a), b: values(&self.b), rank, scale: self.scale as f32 }
    }

    /// `base` + (α/r)·B·A·dropout(x), zeros drawn from `dropout` where it is given.
    fn added(&self, x: &Tensor<3>, base: Tensor<3>, dropout: Option<u64>) -> Tensor<3> {
        let x = match dropout {
            Some(seed) if self.dropout > 0.0 => {
                let (mut draws, dims, keep) = (Draws::new(seed), x.dims(), 1.0 - self.dropout as f32);
                let kept = (0..dims.iter().product()).map(|_| if draws.next() < keep { 1.0 / keep } else { 0.0 });
                x.clone() * Tensor::<3>::from_data(TensorData::new(kept.collect::<Vec<f32>>(), dims), &x.device())
            }
            _ => x.clone(),
        };
        let narrow = product(&x, &self.a.weight.val(), None) * self.scale;
        let b = self.b.weight.val();
        ops::linear(&narrow, &b, None, After::Add(&base)).unwrap_or_else(|| base + product(&narrow, &b, None))
    }
}

/// The seed of one adapter's dropout.
fn mixed(seed: u64, block: usize, target: Target) -> u64 {
    seed.wrapping_add(((block << 3 | target as usize) as u64).wrapping_mul(0x2545_f491_4f6c_dd1d))
}

/// Numbers of 0 up to below 1 that depend on a seed alone, not on what else draws (SplitMix64, Steele et al. 2014).
struct Draws(u64);

impl Draws {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) >> 40) as f32 / (1u32 << 24) as f32
    }
}

impl Adapters {
    /// The adapter of a projection of block `i`.
    pub fn get(&self, i: usize, target: Target) -> Option<&Lora> {
        self.blocks.get(i)?.projections.get(target as usize)?.as_ref()
    }
}

/// Constant weights of a layer: [inputs, outputs].
#[derive(Debug)]
struct Frozen {
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
}

#[derive(Debug)]
struct FrozenBlock {
    attention_norm: Tensor<1>,
    mlp_norm: Tensor<1>,
    projections: [Frozen; 7],
}

/// A decoder whose weights are constants: they hold no gradients and no optimiser state.
#[derive(Debug)]
pub struct FrozenDecoder {
    config: DecoderConfig,
    blocks: Vec<FrozenBlock>,
    norm: Tensor<1>,
    head: Tensor<2>,
    device: Device,
}

/// Cosines and sines of the positions of a sequence, [1, N, 1, head/2].
#[derive(Debug, Clone)]
pub struct Turns {
    cos: Tensor<4>,
    sin: Tensor<4>,
}

impl FrozenDecoder {
    /// The weights of `decoder` in f32 on `device`; adapters it holds are left out.
    pub fn new(decoder: &Decoder, device: &Device) -> Self {
        let vector = |v: &[f32]| Tensor::<1>::from_floats(v, device);
        let frozen =
            |p: &Projection| Frozen { weight: of_matrix(&p.weight, device), bias: p.bias.as_ref().map(|b| vector(b)) };
        let blocks = decoder.layers.iter().map(|layer| FrozenBlock {
            attention_norm: vector(&layer.attention_norm),
            mlp_norm: vector(&layer.mlp_norm),
            projections: layer.projections.each_ref().map(frozen),
        });
        Self {
            config: decoder.config.clone(),
            blocks: blocks.collect(),
            norm: vector(&decoder.norm),
            head: of_matrix(decoder.head.as_ref().unwrap_or(&decoder.embedding), device),
            device: device.clone(),
        }
    }

    /// What it is.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Positions 0 to `n` − 1.
    pub fn turns(&self, n: usize) -> Turns {
        let (cos, sin) = self.config.rope.table(self.config.head, 0, n);
        let shape = [1, n, 1, self.config.head / 2];
        let tensor = |v: Vec<f32>| Tensor::from_data(TensorData::new(v, shape), &self.device);
        Turns { cos: tensor(cos), sin: tensor(sin) }
    }

    /// Block `i` on states [B, N, D]: every state sees itself and those before it. The adapters' dropout is drawn from `dropout`; without
    /// it, or with a dropout of 0, nothing is dropped.
    pub fn block(
        &self,
        i: usize,
        x: Tensor<3>,
        turns: &Turns,
        adapters: Option<&Adapters>,
        dropout: Option<u64>,
    ) -> Tensor<3> {
        let (block, c) = (&self.blocks[i], &self.config);
        let layer = |target: Target, x: &Tensor<3>| {
            let frozen = &block.projections[target as usize];
            let base = product(x, &frozen.weight, frozen.bias.as_ref());
            match adapters.and_then(|a| a.get(i, target)) {
                Some(lora) => lora.added(x, base, dropout.map(|seed| mixed(seed, i, target))),
                None => base,
            }
        };
        let normed = rms_norm(&x, &block.attention_norm, c.epsilon);
        let q = rotate(layer(Target::Query, &normed), c.head, turns);
        let k = repeat(rotate(layer(Target::Key, &normed), c.head, turns), c.head, c.heads / c.kv_heads);
        let v = repeat(layer(Target::Value, &normed), c.head, c.heads / c.kv_heads);
        let mixed = crate::layers::causal_attention(q, k, v, c.heads);
        let x = x + layer(Target::Output, &mixed);
        let normed = rms_norm(&x, &block.mlp_norm, c.epsilon);
        let gate = layer(Target::Gate, &normed);
        let gated = gate.clone() * sigmoid(gate) * layer(Target::Up, &normed);
        x + layer(Target::Down, &gated)
    }

    /// Scores [M, V] of the next token after states [M, D] of the last block.
    pub fn logits(&self, x: Tensor<2>) -> Tensor<2> {
        product(&rms_norm(&x, &self.norm, self.config.epsilon), &self.head, None)
    }

    /// States [B, N, D] of the last block for inputs [B, N, D], without dropout.
    pub fn forward(&self, x: Tensor<3>, adapters: Option<&Adapters>) -> Tensor<3> {
        let turns = self.turns(x.dims()[1]);
        (0..self.blocks.len()).fold(x, |x, i| self.block(i, x, &turns, adapters, None))
    }
}

/// [rows, columns] row-major to a tensor [columns, rows].
fn transposed(values: Vec<f32>, rows: usize, columns: usize, device: &Device) -> Tensor<2> {
    let mut out = vec![0.0; values.len()];
    for (r, row) in values.chunks_exact(columns.max(1)).enumerate() {
        row.iter().enumerate().for_each(|(c, v)| out[c * rows + r] = *v);
    }
    Tensor::from_data(TensorData::new(out, [columns, rows]), device)
}

fn of_matrix(matrix: &WeightMatrix, device: &Device) -> Tensor<2> {
    transposed(matrix.to_f32(), matrix.rows(), matrix.columns(), device)
}

fn product<const D: usize>(x: &Tensor<D>, weight: &Tensor<2>, bias: Option<&Tensor<1>>) -> Tensor<D> {
    ops::linear(x, weight, bias, After::Nothing).unwrap_or_else(|| {
        let product = x.clone().matmul(weight.clone().unsqueeze::<D>());
        match bias {
            Some(bias) => product + bias.clone().unsqueeze::<D>(),
            None => product,
        }
    })
}

/// x/√(mean x² + ε)·γ over the last axis.
fn rms_norm<const D: usize>(x: &Tensor<D>, gamma: &Tensor<1>, epsilon: f64) -> Tensor<D> {
    let scale = (x.clone().square().mean_dim(D - 1) + epsilon).sqrt().recip();
    x.clone() * scale * gamma.clone().unsqueeze::<D>()
}

/// Turns pairs (i, i + head/2) of every head by their positions; x is [B, N, heads·head].
fn rotate(x: Tensor<3>, head: usize, turns: &Turns) -> Tensor<3> {
    let [b, n, d] = x.dims();
    let heads = x.reshape([b, n, d / head, head]);
    let (first, second) = (heads.clone().narrow(3, 0, head / 2), heads.narrow(3, head / 2, head / 2));
    let turned = [
        first.clone() * turns.cos.clone() - second.clone() * turns.sin.clone(),
        second * turns.cos.clone() + first * turns.sin.clone(),
    ];
    Tensor::cat(turned.into(), 3).reshape([b, n, d])
}

/// Every key head `times` in a row: [B, N, heads·head] to [B, N, times·heads·head].
fn repeat(x: Tensor<3>, head: usize, times: usize) -> Tensor<3> {
    if times == 1 {
        return x;
    }
    let [b, n, d] = x.dims();
    x.reshape([b, n, d / head, 1, head]).repeat_dim(3, times).reshape([b, n, d * times])
}
