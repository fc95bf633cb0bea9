//! Who runs the blocks of a trunk.

use burn::tensor::Tensor;

use super::{Fused, VitBlock};

/// Runs transformer blocks in inference. Models hold one behind this trait and never know which.
///
/// An engine is made from a trunk's blocks and may keep their weights in a form of its own (packed, quantised, in half
/// precision); its results must agree with [`VitBlock::forward`] to the rounding of that form.
pub trait Engine: Send + Sync {
    /// Name for logs and reports, such as `fused-f32`.
    fn name(&self) -> &'static str;

    /// Tokens `[B, N, D]` through all blocks in order. `tap(i, tokens)` is called with the tokens after every block i for
    /// which `wanted(i)`; the states are before the final norm.
    fn run(
        &self,
        tokens: Tensor<3>,
        wanted: &dyn Fn(usize) -> bool,
        tap: &mut dyn FnMut(usize, Tensor<3>),
    ) -> Tensor<3>;
}

/// burn's own operations: any backend.
#[derive(Debug, Clone)]
pub struct Composed(Vec<VitBlock>);

impl Composed {
    /// An engine on shared weights.
    pub fn new(blocks: &[VitBlock]) -> Self {
        Self(blocks.to_vec())
    }
}

impl Engine for Composed {
    fn name(&self) -> &'static str {
        "composed"
    }

    fn run(
        &self,
        tokens: Tensor<3>,
        wanted: &dyn Fn(usize) -> bool,
        tap: &mut dyn FnMut(usize, Tensor<3>),
    ) -> Tensor<3> {
        let mut x = tokens;
        for (i, block) in self.0.iter().enumerate() {
            x = block.forward(x);
            if wanted(i) {
                tap(i, x.clone());
            }
        }
        x
    }
}

/// The fastest engine for blocks on their device: [`Fused`] for f32 on the CPU, else [`Composed`].
pub fn engine(blocks: Vec<VitBlock>) -> Box<dyn Engine> {
    match Fused::new(&blocks) {
        Some(fused) => Box::new(fused),
        None => Box::new(Composed(blocks)),
    }
}
