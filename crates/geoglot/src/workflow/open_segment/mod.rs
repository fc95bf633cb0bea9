//! TSMNet: from a recipe of `kind = "open-segmentation"` to data, models, scores, and masks of any words.

mod data;
mod evaluate;
mod folders;
mod pair;
mod segment;
mod text;
mod train;

pub use data::{Fold, Prepared, TileSet, prepare};
pub use evaluate::{OpenEvaluation, evaluate};
pub use pair::{PairScene, misregistration};
pub use segment::{SegmentRequest, SegmentResult, class_words, is_open_model, segment};
pub use text::TextWords;
pub use train::{FoldNetwork, train_fold};
