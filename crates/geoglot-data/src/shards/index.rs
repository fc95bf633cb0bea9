//! `shards.json`: what a folder of shards holds.

use std::path::{Path, PathBuf};

use geoglot_core::Band;
use geoglot_raster::SampleType;
use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use super::modality::Modality;

/// Name of the index in its folder.
pub const INDEX: &str = "shards.json";
const FORMAT: &str = "geoglot-shards";
const VERSION: u32 = 1;

/// The index of a folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShardIndex {
    /// `geoglot-shards`.
    pub format: String,
    /// Version of the layout.
    pub version: u32,
    /// What the data were made from, so that a resumed job is known to be the same.
    pub source: String,
    /// True when everything was written.
    pub complete: bool,
    /// Items that were left out as faulty.
    pub skipped: u64,
    /// Kinds of images, in the order of their first sample.
    pub modalities: Vec<IndexModality>,
    /// The tar files, in order.
    pub shards: Vec<IndexShard>,
}

/// One kind of images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IndexModality {
    /// Number type of the stored values.
    pub sample: SampleType,
    /// The bands; physical value = stored × scale + offset.
    pub bands: Vec<Band>,
    /// Centre wavelengths in µm, as the samples have them.
    pub wavelengths: Vec<Option<f32>>,
    /// Number of samples.
    pub samples: u64,
}

impl IndexModality {
    /// What its samples say of themselves.
    pub fn modality(&self) -> Modality {
        let labels: Vec<String> = self.bands.iter().map(Band::label).collect();
        Modality::new(self.sample, self.bands.len(), &self.wavelengths, &labels)
    }
}

/// One tar file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexShard {
    /// File name in the folder.
    pub file: String,
    /// Number of samples.
    pub samples: u64,
    /// Samples of each modality.
    pub modalities: Vec<u64>,
    /// Number of bytes.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Items of the source that were used up when it ended, faulty ones included.
    pub position: u64,
}

impl ShardIndex {
    pub(super) fn new(source: &str) -> Self {
        Self {
            format: FORMAT.into(),
            version: VERSION,
            source: source.into(),
            complete: false,
            skipped: 0,
            modalities: Vec::new(),
            shards: Vec::new(),
        }
    }

    /// Where the index of `folder` is.
    pub fn path(folder: &Path) -> PathBuf {
        folder.join(INDEX)
    }

    /// Reads the index of `folder`; `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Index`] for damaged ones and those of another layout, [`Error::Io`].
    pub fn load(folder: &Path) -> Result<Option<Self>> {
        let path = Self::path(folder);
        match std::fs::read(&path) {
            Ok(bytes) => Self::parse(&path, &bytes).map(Some),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io(&path, "read", e)),
        }
    }

    /// Parses an index.
    ///
    /// # Errors
    /// [`Error::Index`].
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let index: Self = serde_json::from_slice(bytes).map_err(|e| {
            Error::index(path, format!("is no index of shards ({e}); delete it to read the tar files without"))
        })?;
        if index.format != FORMAT || index.version != VERSION {
            let problem = format!(
                "is `{}` version {}; this program reads `{FORMAT}` version {VERSION}",
                index.format, index.version
            );
            return Err(Error::index(path, problem));
        }
        for shard in &index.shards {
            if shard.file.contains(['/', '\\']) || !shard.file.ends_with(".tar") {
                return Err(Error::index(
                    path,
                    format!("names the shard `{}`; shards are .tar files beside it", shard.file),
                ));
            }
        }
        Ok(index)
    }

    /// Number of samples.
    pub fn samples(&self) -> u64 {
        self.shards.iter().map(|s| s.samples).sum()
    }
}
