//! Segmentation heads on frozen image towers: from a recipe to data, models, scores and maps.

mod data;
mod evaluate;
mod map;
mod setting;
mod sources;
mod tiles;
mod train;

pub use data::{Fold, Prepared};
pub use evaluate::{SegmentEvaluation, evaluate};
pub use map::{SegmentMap, is_segmenter, map};
pub use setting::Setting;
pub use sources::prepare;
pub use tiles::TileSet;
pub use train::{FoldHead, feature_options, train_fold};
