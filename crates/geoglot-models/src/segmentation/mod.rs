//! Land-cover maps from a frozen image tower: four of its blocks feed a UPerNet head (GeoLangBind, section on semantic segmentation).
//!
//! # Brief overview
//! 1. [`default_taps`] says which blocks are tapped, [`tapped`] gives their maps for a batch of prepared images;
//! 2. a [`Segmenter`] is a tower, a head ([`geoglot_nn::segmentation::UperNet`]) and their [`SegmenterCard`]; it lives in a folder of
//!    `config.json` and `model.safetensors` that holds the head alone and names its tower by fingerprint;
//! 3. [`Segmenter::predict`] goes over a scene of any size tile by tile, blends overlapping tiles by cosine weights, and hands out
//!    finished blocks; memory depends on the tile and the number of classes, not on the scene;
//! 4. [`load_published_head`] reads heads under OpenMMLab's names.

mod blend;
mod card;
mod published;
mod segmenter;
mod taps;

pub use blend::{Block, PredictOptions, Scored, TileReader, sweep};
pub use card::{InputBand, SegmenterCard, load_segmenter_card, save_segmenter};
pub use published::load_published_head;
pub use segmenter::{Segmenter, initial_head};
pub use taps::{check_taps, default_taps, seen, tapped};
