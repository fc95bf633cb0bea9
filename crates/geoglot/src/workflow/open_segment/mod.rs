//! TSMNet: from a recipe of `kind = "open-segmentation"` to data, models, scores, and masks of any words.

mod ablate;
mod data;
mod evaluate;
mod folders;
mod pair;
mod segment;
mod text;
mod tiles;
mod train;
mod unet;

pub use ablate::{AblationRequest, OpenVariant, Subject, ablate, variants};
pub use data::{Fold, Prepared, prepare};
pub use evaluate::{OpenEvaluation, evaluate};
pub use pair::{PairScene, misregistration};
pub use segment::{SegmentRequest, SegmentResult, class_words, is_open_model, segment};
pub use text::TextWords;
pub use tiles::TileSet;
pub use train::{FoldNetwork, train_fold};
