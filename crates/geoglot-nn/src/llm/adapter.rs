//! Low-rank adapters (Hu et al. 2021): W·x + (α/r)·B·A·x.

use serde::{Deserialize, Serialize};

/// A projection of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Target {
    /// Queries.
    #[serde(rename = "q_proj")]
    Query,
    /// Keys.
    #[serde(rename = "k_proj")]
    Key,
    /// Values.
    #[serde(rename = "v_proj")]
    Value,
    /// The attention's output.
    #[serde(rename = "o_proj")]
    Output,
    /// The gate of the feed-forward part.
    #[serde(rename = "gate_proj")]
    Gate,
    /// What the gate multiplies.
    #[serde(rename = "up_proj")]
    Up,
    /// The feed-forward part's output.
    #[serde(rename = "down_proj")]
    Down,
}

/// All projections, in the order of a block.
pub const TARGETS: [Target; 7] =
    [Target::Query, Target::Key, Target::Value, Target::Output, Target::Gate, Target::Up, Target::Down];

impl Target {
    /// The layer's name in Hugging Face's files.
    pub fn name(self) -> &'static str {
        match self {
            Target::Query => "q_proj",
            Target::Key => "k_proj",
            Target::Value => "v_proj",
            Target::Output => "o_proj",
            Target::Gate => "gate_proj",
            Target::Up => "up_proj",
            Target::Down => "down_proj",
        }
    }

    /// The part of the block it belongs to.
    pub fn part(self) -> &'static str {
        match self {
            Target::Query | Target::Key | Target::Value | Target::Output => "self_attn",
            Target::Gate | Target::Up | Target::Down => "mlp",
        }
    }

    /// The projection that files call `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        TARGETS.into_iter().find(|t| t.name() == name)
    }
}

/// An adapter of one projection.
#[derive(Debug, Clone, PartialEq)]
pub struct LowRank {
    /// A, [rank, inputs] row-major.
    pub a: Vec<f32>,
    /// B, [outputs, rank] row-major.
    pub b: Vec<f32>,
    /// r.
    pub rank: usize,
    /// α/r, or α/√r for rank-stabilised adapters.
    pub scale: f32,
}
