//! Published evaluation sets as they lie on disk: scenes with labels and captions.
//!
//! # Brief overview
//! 1. [`Format::detect`] tells a folder's or file's layout; [`Dataset::open`] reads lists and labels, no pixels;
//! 2. [`Dataset::items`] are the scenes with their labels, captions and split, [`Dataset::legend`] the classes with words for prompts;
//! 3. [`Dataset::read`] gives the pixels of one item as physical values [C, H, W] with their bands, through [`Dataset::scene`];
//! 4. [`Dataset::truth`], [`Dataset::label_matrix`] and [`Dataset::captions`] are what the evaluation protocols take.
//!
//! What a list says is not believed: empty or over-long captions, missing images, unknown splits and names that are no text are errors that
//! name the file and the record, or, with [`DatasetOptions::skip_faulty`], warnings.
//!
//! ```no_run
//! use geoglot_data::datasets::{Dataset, DatasetOptions, Split};
//! let set = Dataset::open("EuroSAT_MS".as_ref(), &DatasetOptions::default())?;
//! for i in set.indices(Some(Split::Test)) {
//!     let pixels = set.read(i)?;
//!     println!("{}: {:?}, {} bands", set.items()[i].id, set.items()[i].labels, pixels.bands.len());
//! }
//! # Ok::<(), geoglot_data::datasets::Error>(())
//! ```

mod bigearthnet;
mod class_folders;
mod collect;
mod csv_list;
mod dataset;
mod detect;
mod error;
mod format;
mod geobench;
mod geobench_record;
mod image;
mod item;
mod json_list;
mod metadata_table;
mod nomenclature;
mod options;
mod read;
mod text_lists;

pub use dataset::Dataset;
pub(crate) use dataset::{legend_of, spoken};
pub use error::{Error, Result};
pub use format::Format;
#[doc(hidden)]
pub use geobench_record::fuzz_record;
pub use image::ImageSource;
pub(crate) use image::decode_picture;
pub use item::{Item, Labelling, Split};
pub use nomenclature::Nomenclature;
pub use options::DatasetOptions;
pub use read::Pixels;
pub(crate) use read::{is_colour, open_source};
