//! TSMNet: open-vocabulary segmentation of optical and SAR images with class names and scene descriptions (`papers/tsmnet.txt`).
//!
//! The way of a pair of images:
//! 1. two CLIP vision transformers ([`Branch`]) give six layers each: four scales, a global and a dense embedding;
//! 2. every layer is rectified and fused ([`TsmNet::fuse`]); a missing modality is stood in for by learned features;
//! 3. class texts read the image, and a score map of patches and texts joins the pyramid ([`TsmNet::answer`]);
//! 4. a description, if there is one, is attended to by every level;
//! 5. the semantic head's positions are compared with the class texts by cosine, so that any words give a map.
//!
//! Where it differs from the paper: the score map joins the pyramid as the class text each patch expects (softmax of the scores times
//! texts) instead of one channel a class, which would tie the network to one vocabulary; norms of the fusion are layer norms.
//! The paper's text asks for Adam with a learning rate of 0.1, which does not train; the published code's AdamW with 1e-4 does.

mod card;
mod config;
mod first;
mod loss;
mod model;
mod network;
mod sweep;

pub use card::{INPUTS, InputCard, TextCard, TsmNetCard, load_card, save};
pub use config::{Fusion, Modality, TextUse, TsmNetConfig, Variant, clip_like};
pub use first::{begin_with, initial, published_tower};
pub use loss::Losses;
pub use model::{Told, TsmNetModel, Words};
pub use network::{Answer, Branch, Fused, FusionLevel, Layers, TEMPERATURE, TsmNet, grids};
pub use sweep::{FeatureFolder, PairReader, PairTile};
