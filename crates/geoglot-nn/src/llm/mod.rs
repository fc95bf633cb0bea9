//! Decoders of the LLaMA family (Touvron et al. 2023): RMS norms, rotary positions, grouped-query attention, SwiGLU.
//!
//! * [`DecoderConfig`] and [`Rope`] say what a decoder is;
//! * [`WeightMatrix`] holds a matrix in the form its file has: f32, f16, bf16, or blocks of 4, 5 or 8 bits;
//! * [`Decoder`] runs it on the CPU with a [`Cache`] of keys and values, for generation;
//! * [`FrozenDecoder`] is the same network in an autodiff graph, and [`Adapters`] are what is trained in it.

mod adapter;
mod attend;
mod config;
mod decoder;
mod groups;
mod matrix;
mod module;
mod product;
mod quantise;
mod rope;
mod rows;
#[cfg(test)]
mod tests;

pub use adapter::{LowRank, TARGETS, Target};
pub use config::DecoderConfig;
pub use decoder::{Cache, Decoder, Layer, Projection};
pub use matrix::{Format, WeightMatrix};
pub use module::{Adapters, BlockAdapters, FrozenDecoder, Lora, LoraConfig, Turns};
pub use rope::{Rope, RopeScaling};
