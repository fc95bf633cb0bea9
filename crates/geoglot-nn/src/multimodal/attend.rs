//! Attention from one sequence to another.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Int, Tensor};

use super::linear;
use crate::attention::padding_bias;
use crate::layers;

/// Multi-head attention of queries `[B, M, Q]` over a memory `[B, N, W]`.
#[derive(Module, Debug)]
pub struct CrossAttention {
    /// Q → inner.
    pub query: Linear,
    /// W → inner.
    pub key: Linear,
    /// W → inner.
    pub value: Linear,
    /// Inner → Q.
    pub output: Linear,
    heads: usize,
}

impl CrossAttention {
    /// A layer of `inner` channels in `heads` heads.
    ///
    /// # Panics
    /// When `inner` is no multiple of `heads`.
    pub fn init(queries: usize, memory: usize, inner: usize, heads: usize, device: &Device) -> Self {
        assert!(heads > 0 && inner.is_multiple_of(heads), "{inner} channels in {heads} heads");
        Self {
            query: linear(queries, inner, true, device),
            key: linear(memory, inner, true, device),
            value: linear(memory, inner, true, device),
            output: linear(inner, queries, true, device),
            heads,
        }
    }

    /// `[B, M, Q]`; `mask` `[B, N]` is 1 on what may be attended to, at least one a row.
    pub fn forward(&self, queries: Tensor<3>, memory: Tensor<3>, mask: Option<Tensor<2, Int>>) -> Tensor<3> {
        let q = layers::linear(&self.query, queries);
        let [k, v] = [&self.key, &self.value].map(|layer| layers::linear(layer, memory.clone()));
        let mixed = layers::attention(q, k, v, self.heads, mask.map(padding_bias));
        layers::linear(&self.output, mixed)
    }
}
