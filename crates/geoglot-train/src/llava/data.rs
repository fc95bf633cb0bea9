//! What a stage learns from.

use geoglot_nn::llm::{Decoder, FrozenDecoder};
use ndarray::Array2;

use super::Sequence;

/// States of images, as the frozen tower gives them.
pub trait ImageStates {
    /// States [tokens, width] of image `i`; equal numbers for all.
    ///
    /// # Errors
    /// What reading or encoding gives.
    fn states(&self, i: usize) -> Result<Array2<f32>, Box<dyn std::error::Error + Send + Sync>>;

    /// Name of image `i`, for messages.
    fn name(&self, i: usize) -> String;
}

/// What a stage learns from.
pub struct StageData<'a> {
    /// Conversations.
    pub sequences: &'a [Sequence],
    /// Images.
    pub images: &'a dyn ImageStates,
    /// The language model's weights, for embeddings.
    pub decoder: &'a Decoder,
    /// The same, frozen, on the training's autodiff device.
    pub frozen: &'a FrozenDecoder,
    /// Width of the image states.
    pub width: usize,
}

impl StageData<'_> {
    /// Embeddings of a thousand tokens, evenly spaced over the vocabulary.
    pub(super) fn some_words(&self) -> Vec<f32> {
        let vocabulary = self.decoder.config.vocabulary;
        let ids: Vec<u32> = (0..vocabulary).step_by(vocabulary.div_ceil(1024)).map(|id| id as u32).collect();
        self.decoder.embed(&ids)
    }
}
