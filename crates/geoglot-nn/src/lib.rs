//! Layers, losses and tested custom operations on the burn framework for geoglot.

pub mod attention;
pub mod cnn;
pub mod conv_block;
pub mod embedding;
mod layers;
pub mod llm;
pub mod losses;
pub mod multimodal;
pub mod ops;
pub mod segmentation;
pub mod transformer;
pub mod vision;
pub mod weights;
