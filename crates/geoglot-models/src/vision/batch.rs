//! Preprocessed images with their bands.

use burn::tensor::Tensor;
use geoglot_core::Band;

/// Images `[B, C, H, W]` ready for a tower, with the bands they hold.
///
/// Towers read only this type, and preprocessing ([`super::BoundPreprocess`]) makes it, so that values are scaled and
/// normalised exactly once.
#[derive(Debug, Clone)]
pub struct ImageBatch {
    pixels: Tensor<4>,
    bands: Vec<Band>,
}

impl ImageBatch {
    /// A batch of images that have been preprocessed already (by another program, or by a training pipeline).
    ///
    /// # Panics
    /// When the number of bands is not C.
    pub fn preprocessed(pixels: Tensor<4>, bands: Vec<Band>) -> Self {
        let c = pixels.dims()[1];
        assert_eq!(c, bands.len(), "images of {c} channels with {} bands", bands.len());
        Self { pixels, bands }
    }

    /// Pixels `[B, C, H, W]`.
    pub fn pixels(&self) -> &Tensor<4> {
        &self.pixels
    }

    /// Bands, in channel order.
    pub fn bands(&self) -> &[Band] {
        &self.bands
    }
}
