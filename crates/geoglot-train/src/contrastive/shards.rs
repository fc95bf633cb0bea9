//! Images in shards, read when they are needed.

use std::path::PathBuf;
use std::sync::Arc;

use geoglot_core::Band;
use geoglot_data::shards::{Catalogue, reading_order};
use ndarray::{Array3, ArrayD, Axis};

use super::batches::Images;
use super::error::{PretrainError, Result};

/// Samples among which the next one is drawn. Sets of up to this size are shuffled as a whole; larger ones shard by shard, so that a pass
/// reads every shard once, nearly in sequence.
const BUFFER: usize = 4096;

/// The images of one modality in a folder of shards. Nothing is kept in memory.
pub struct ShardImages {
    catalogue: Arc<Catalogue>,
    items: Vec<usize>,
    /// Bands as stored.
    stored: Vec<Band>,
    picked: Vec<usize>,
    bands: Vec<Band>,
}

impl ShardImages {
    /// The samples of modality number `modality`, stored as `stored` says, with the bands named in `bands` (all when empty).
    ///
    /// # Errors
    /// A modality that is not there, descriptions of another number of bands, a band the images do not have.
    pub fn new(catalogue: Arc<Catalogue>, modality: usize, stored: Vec<Band>, bands: &[String]) -> Result<Self> {
        let folder = catalogue.folder().path().display().to_string();
        let wrong = |problem: String| PretrainError::Input(format!("{folder}: {problem}"));
        let kind = catalogue.modalities().get(modality).ok_or_else(|| wrong(format!("no modality {modality}")))?;
        if kind.channels() != stored.len() {
            return Err(wrong(format!("{} bands are described for images of {kind}", stored.len())));
        }
        let find = |name: &String| {
            stored.iter().position(|b| b.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
                let known: Vec<&str> = stored.iter().map(|b| b.name.as_str()).collect();
                wrong(format!("no band `{name}`; the images have {}", known.join(", ")))
            })
        };
        let picked: Vec<usize> = match bands.is_empty() {
            true => (0..stored.len()).collect(),
            false => bands.iter().map(find).collect::<Result<_>>()?,
        };
        let bands = picked.iter().map(|&b| stored[b].clone()).collect();
        let entries = catalogue.entries().iter().enumerate();
        let items = entries.filter(|(_, e)| e.modality == modality).map(|(i, _)| i).collect();
        Ok(Self { catalogue, items, stored, picked, bands })
    }

    /// The samples' keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.items.iter().map(|&i| self.catalogue.entries()[i].key.as_str())
    }

    /// The samples, as positions in the catalogue.
    pub fn items(&self) -> &[usize] {
        &self.items
    }
}

impl Images for ShardImages {
    fn bands(&self) -> &[Band] {
        &self.bands
    }

    fn len(&self) -> usize {
        self.items.len()
    }

    fn path(&self, i: usize) -> PathBuf {
        let entry = &self.catalogue.entries()[self.items[i]];
        self.catalogue.folder().shards()[entry.shard].join(&entry.key)
    }

    fn order(&self, seed: u64, turn: usize) -> Option<Vec<usize>> {
        let shards = || self.items.iter().map(|&i| self.catalogue.entries()[i].shard).collect::<Vec<_>>();
        (self.items.len() > BUFFER).then(|| reading_order(&shards(), BUFFER, seed, turn as u64))
    }

    fn read(&self, i: usize) -> Result<Array3<f32>> {
        let all = self.catalogue.read(self.items[i])?.image.physical(&self.stored);
        Ok(if self.picked.len() == self.stored.len() { all } else { all.select(Axis(0), &self.picked) })
    }

    fn features(&self, i: usize, name: &str) -> Result<Option<ArrayD<f32>>> {
        Ok(self.catalogue.teacher(self.items[i], name)?)
    }
}
