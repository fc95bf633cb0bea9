//! Shards: image–text pairs of any sensor in WebDataset tar files, as GeoLangBind trains on them.
//!
//! # Brief overview
//! 1. A [`Sample`] is an image as stored [H, W, C], its texts, wavelengths, bands, classes, place and teacher features; its [`Modality`]
//!    says which others it can share a batch with;
//! 2. [`write_shards`] and [`ShardWriter`] write folders of `shard-000000.tar`, … with an index ([`ShardIndex`]);
//! 3. [`ShardFolder`] opens such a folder or anybody's WebDataset; [`Catalogue`] reads samples by number;
//! 4. [`SampleStream`] reads in sequence with threads ahead and a seeded buffer, [`Mixer`] makes batches of one modality from several
//!    folders by weight; both resume exactly;
//! 5. [`verify()`] checks everything, [`annotate()`] adds features of frozen teachers.
//!
//! # Members
//! | member | content |
//! |---|---|
//! | `<key>.image` | npy [H, W, C], `uint8`, `uint16` or `float32`, values as the sensor stores them |
//! | `<key>.text` | the first caption, UTF-8 |
//! | `<key>.wavelength` | JSON list of centre wavelengths in µm, `null` for bands without one (radar, elevation) |
//! | `<key>.geoloc` | where it is, as text |
//! | `<key>.json` | `bands`, all `captions`, `classes` |
//! | `<key>.cls` | class number |
//! | `<key>.teacher-NAME.npy` | features of a frozen teacher |
//!
//! Images may also be `.npy`, `.jpg`, `.png` or `.tif`, texts `.txt`, `.caption` or in `.json`, as WebDatasets of others have them.
//!
//! ```no_run
//! use geoglot_data::shards::{Mixer, ShardFolder, Source, StreamOptions};
//! let source = |path: &str, weight| Ok::<_, geoglot_data::shards::Error>(Source { folder: ShardFolder::open(path.as_ref())?, weight });
//! let mut mixer = Mixer::new(vec![source("rgb", 1.0)?, source("sentinel-2", 0.5)?], 64, StreamOptions::default())?;
//! let batch = mixer.next_batch()?;
//! println!("{}: {} samples", batch.modality, batch.samples.len());
//! let continued = mixer.state();
//! # Ok::<(), geoglot_data::shards::Error>(())
//! ```

mod annotate;
mod error;
mod folder;
pub mod fuzz;
mod index;
mod members;
mod mix;
mod modality;
mod npy;
mod sample;
mod source;
mod stream;
mod text;
mod verify;
mod writer;

pub use annotate::annotate;
pub use error::{Error, OnFault, Result};
pub use folder::{Catalogue, Entry, ShardFolder};
pub use index::{INDEX, IndexModality, IndexShard, ShardIndex};
pub use mix::{MixState, Mixer, SampleBatch, Source};
pub use modality::Modality;
pub use sample::{Image, ReadOptions, Sample};
pub use source::{DatasetSource, ManifestSource, SampleSource, write_shards};
pub use stream::{SampleStream, StreamOptions, StreamState, reading_order, shard_order};
pub use verify::{VerifyReport, verify};
pub use writer::{ShardWriter, WriteOptions};
