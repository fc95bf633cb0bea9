//! Spectral-LLaVA's two stages: alignment trains the projector alone, tuning trains projector and low-rank adapters; tower and language
//! model are frozen and hold no gradients.
//!
//! # Brief overview
//! 1. [`LlavaRecipe`] names conversations, tower, language model and both stages;
//! 2. [`Sequence`] is a conversation as tokens, places of image tokens, and which tokens are answers;
//! 3. [`train_stage`] trains a stage: micro-batches add up to the effective batch, blocks are computed again in the backward pass where
//!    `gradient_checkpointing` says so, a checkpoint every few steps, exact resume;
//! 4. [`answer_loss`] scores answers without training.

mod data;
mod fit;
mod inputs;
mod recipe;
mod regression;
mod sequence;
mod standard;
#[cfg(test)]
mod tests;

pub use data::{ImageStates, StageData};
pub use fit::{StageResult, Start, answer_loss, train_stage};
pub use recipe::{Begin, LlavaModel, LlavaRecipe, StageSection};
pub use sequence::Sequence;
