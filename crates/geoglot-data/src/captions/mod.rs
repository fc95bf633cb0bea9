//! Building image–text data: facts measured on labels, heights, masks and boxes, worded by seed, checked back (GeoLangBind, supplement A.2).
//!
//! # Brief overview
//! 1. [`CaptionRecipe`] names images and what is known of them; [`Job::new`] finds them;
//! 2. [`Job::facts`] measures [`Facts`] of one image: [`land_cover`], [`elevation`](fn@elevation), [`flood`](fn@flood), [`objects`](fn@objects), labels;
//! 3. [`word_facts`] words them with the built-in grammar, [`Endpoint::word`] through a language model, on a server or in this process;
//! 4. [`check_caption`] verifies every number of a caption against the facts; no caption leaves this module unchecked;
//! 5. [`CaptionedImage`] is one line of the manifest, what image–text shards are made from.
//!
//! ```
//! use geoglot_core::{Legend, Seeds};
//! use geoglot_data::captions::{Facts, check_caption, land_cover, word_facts};
//! use ndarray::Array2;
//!
//! let mut labels = Array2::from_elem((64, 64), 1u16);
//! labels.slice_mut(ndarray::s![..32, ..32]).fill(2);
//! let legend = Legend::from_names(["water", "trees"])?;
//! let cover = land_cover(&labels, &legend, &Default::default(), 20)?;
//! let facts = Facts { image: "aerial image".into(), width: 64, height: 64, valid_percent: 100.0, cover: Some(cover), ..Facts::default() };
//! let captions = word_facts(&facts, 3, Seeds::new(0), "my-image")?;
//! assert!(captions.short.iter().all(|c| check_caption(&facts, c).is_empty()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod check;
mod coco;
mod cover;
mod elevation;
mod endpoint;
mod error;
mod facts;
mod flood;
mod grammar;
mod job;
mod manifest;
mod noun;
mod objects;
mod pattern;
mod place;
mod read;
mod recipe;
mod region;
mod script;
mod server;
mod statement;
mod statistics;

pub use check::{Disagreement, check_caption};
pub use coco::{CocoBoxes, CocoImage};
pub use cover::{land_cover, land_cover_shares};
pub use elevation::{Classes, elevation};
pub use endpoint::{Answer, Endpoint, EndpointSection, OnDisagreement, Turn};
pub use error::{Error, Result};
pub use facts::{
    Above, CategoryFact, ClassFact, CoverFacts, ElevationFacts, Extreme, Facts, FloodFacts, Halves, Heights, Layout,
    ObjectFacts, RegionFact, Terrain,
};
pub use flood::flood;
pub use grammar::{Captions, Form, SHORT_WORDS, word_facts};
pub use job::{Job, Subject};
pub use manifest::{CaptionedImage, Writer, read_manifest, write_manifest};
pub use noun::{Noun, Thing, Words};
pub use objects::{ObjectBox, objects};
pub use place::{Mass, Place, Position};
pub use recipe::{CaptionRecipe, Kind, MaskSection, ObjectsSection, SharesSection, SharesUnit};
pub use region::{Region, regions};
pub use script::word_count;
pub use statement::{Quantity, Statement};
pub use statistics::{CaptionStatistics, TextStatistics};
