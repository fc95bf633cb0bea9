//! Sizes of a decoder.

use serde::{Deserialize, Serialize};

use super::Rope;

/// Most blocks of a decoder; the largest published one of this family has 126.
const MOST_BLOCKS: usize = 1024;
/// Largest of all other sizes.
const MOST_SIZE: usize = 1 << 24;

/// What a decoder is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecoderConfig {
    /// Number of tokens V.
    pub vocabulary: usize,
    /// Width D of the states.
    pub width: usize,
    /// Width of the gated feed-forward part.
    pub hidden: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; each serves `heads / kv_heads` query heads (Ainslie et al. 2023).
    pub kv_heads: usize,
    /// Width of a head.
    pub head: usize,
    /// ε of the RMS norms.
    pub epsilon: f64,
    /// Rotary positions.
    pub rope: Rope,
    /// Whether the query, key and value projections have a bias (Qwen2).
    pub qkv_bias: bool,
    /// Whether the token embedding is the output matrix too.
    pub tied: bool,
    /// Most tokens it was trained for.
    pub context: usize,
}

impl DecoderConfig {
    /// What makes these sizes impossible, if anything.
    pub fn problem(&self) -> Option<String> {
        let sizes = [
            ("vocabulary", self.vocabulary),
            ("width", self.width),
            ("hidden", self.hidden),
            ("depth", self.depth),
            ("heads", self.heads),
            ("kv_heads", self.kv_heads),
            ("head", self.head),
            ("context", self.context),
        ];
        if let Some((name, size)) = sizes.iter().find(|(_, s)| *s == 0 || *s > MOST_SIZE) {
            return Some(format!("{name} is {size}; expected 1 to {MOST_SIZE}"));
        }
        if self.depth > MOST_BLOCKS {
            return Some(format!("{} blocks; expected at most {MOST_BLOCKS}", self.depth));
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Some(format!("{} query heads do not divide among {} key heads", self.heads, self.kv_heads));
        }
        if !self.head.is_multiple_of(2) {
            return Some(format!("heads of width {} have no pairs to rotate", self.head));
        }
        if self.heads.checked_mul(self.head).is_none_or(|w| w > MOST_SIZE) {
            return Some(format!("{} heads of width {}", self.heads, self.head));
        }
        if !(self.epsilon.is_finite() && self.epsilon >= 0.0) {
            return Some(format!("ε of the norms is {}", self.epsilon));
        }
        self.rope.problem(self.head)
    }

    /// Width of all query heads.
    pub fn queries(&self) -> usize {
        self.heads * self.head
    }

    /// Width of all key heads.
    pub fn keys(&self) -> usize {
        self.kv_heads * self.head
    }
}
