//! GGUF files: one file with metadata, tokeniser and weights (ggml's `gguf.md`, versions 2 and 3).
//!
//! Nothing in a header is believed: counts are bounded by the bytes that are left, tensors by the file's length, and no memory is taken
//! for more than was read.

mod header;
mod weights;

pub use header::{Gguf, GgufValue, Tensor, parse};
