//! What to caption, from what.
//!
//! ```toml
//! name = "flood-chips"
//! kind = "flood"
//! image = "radar image"
//! root = "${DATA}/sen1floods11/sample"
//! images = "S1/{chip}_S1Hand.tif:sensor=sentinel-1-grd"
//!
//! [mask]
//! path = "Labels/{chip}_LabelHand.tif:nodata=-1"
//! words = "surface water"
//! ```

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::endpoint::EndpointSection;
use super::error::{Error, Result};
use super::facts::Above;
use super::noun::Words;
use crate::datasets::{Format, Nomenclature};

/// What is known of the images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A label raster of each image (`labels`, `legend`).
    LandCover,
    /// A height raster of each image (`elevation`), with or without a label raster.
    Elevation,
    /// A water mask of each image (`[mask]`).
    Flood,
    /// Boxes in a COCO file (`[objects]`).
    Objects,
    /// Labels of a data set's images (`[dataset]`).
    MultiLabel,
    /// A table of class shares (`[shares]`).
    Shares,
    /// Texts that came with a data set's images (`[dataset]`), to be shortened.
    Description,
}

/// A recipe of captions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptionRecipe {
    /// Short name, used for the output folder.
    pub name: String,
    /// What it is, for the report.
    #[serde(default)]
    pub description: String,
    /// What is known of the images.
    pub kind: Kind,
    /// What captions call an image, such as `aerial image`.
    #[serde(default = "image")]
    pub image: String,
    /// Folder of the data, relative to the recipe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// Image files, as `S2/{tile}.tif:sensor=sentinel-2-l2a`: every `{name}` stands for a part of a file or folder name, and the same name for
    /// the same part in the other patterns. For objects, shares and data sets: the images' folder and their options (`test:sensor=rgb`).
    #[serde(default)]
    pub images: String,
    /// Label rasters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<String>,
    /// Legend of the labels, beside the recipe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legend: Option<String>,
    /// Height rasters in metres; `images` when only `kind` says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elevation: Option<String>,
    /// What heights are measured from.
    #[serde(default)]
    pub above: Above,
    /// Water masks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<MaskSection>,
    /// Boxes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<ObjectsSection>,
    /// Shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shares: Option<SharesSection>,
    /// A data set with labels or texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<DatasetSection>,
    /// How class names read in a sentence, by name.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub words: IndexMap<String, Words>,
    /// Short and long captions an image, at most: few facts allow few wordings.
    #[serde(default = "three")]
    pub paraphrases: usize,
    /// Regions of fewer pixels are not counted.
    #[serde(default = "twenty")]
    pub smallest_region: usize,
    /// Images with labels, heights or a mask on a smaller share of their pixels are faulty, in percent.
    #[serde(default = "fifty")]
    pub least_valid: f64,
    /// Leave faulty images out with a warning instead of ending at the first one.
    #[serde(default)]
    pub skip_faulty: bool,
    /// Seed of the wording.
    #[serde(default)]
    pub seed: u64,
    /// A language model that words the facts; none by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<EndpointSection>,
}

/// Water masks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskSection {
    /// Pattern of the mask rasters.
    pub path: String,
    /// What the mask marks.
    #[serde(default = "floodwater")]
    pub words: Words,
    /// Values that mark it.
    #[serde(default = "wet")]
    pub wet: Vec<i64>,
    /// Values that mark other ground.
    #[serde(default = "dry")]
    pub dry: Vec<i64>,
}

/// Boxes in a COCO file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectsSection {
    /// The file, under the root.
    pub path: String,
    /// Categories that captions leave out.
    #[serde(default)]
    pub ignore: Vec<String>,
    /// Cut boxes that reach over their image's edge there; without it such images are faulty.
    #[serde(default)]
    pub clip: bool,
}

/// A CSV with one row an image: a column `image` and one column a class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharesSection {
    /// The file, under the root.
    pub path: String,
    /// What the numbers are.
    pub unit: SharesUnit,
    /// Columns that hold no class.
    #[serde(default)]
    pub ignore: Vec<String>,
}

/// Unit of a table of shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SharesUnit {
    /// 0 to 100.
    Percent,
    /// 0 to 1.
    Fraction,
}

/// A data set that [`crate::datasets::Dataset`] reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetSection {
    /// Folder or list, under the root.
    pub path: String,
    /// Layout; told from the content where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Classes of BigEarthNet.
    #[serde(default)]
    pub nomenclature: Nomenclature,
    /// The Sentinel-1 patches of BigEarthNet.
    #[serde(default)]
    pub sentinel1: bool,
}

fn image() -> String {
    "satellite image".into()
}
fn three() -> usize {
    3
}
fn twenty() -> usize {
    20
}
fn fifty() -> f64 {
    50.0
}
fn floodwater() -> Words {
    Words::Plain("floodwater".into())
}
fn wet() -> Vec<i64> {
    vec![1]
}
fn dry() -> Vec<i64> {
    vec![0]
}

impl CaptionRecipe {
    /// Checks that the recipe has what its kind needs.
    ///
    /// # Errors
    /// [`Error::Recipe`] naming the key.
    pub fn check(&self) -> Result<()> {
        let fail = |text: String| Err(Error::Recipe(text));
        if self.name.is_empty() || self.name.contains(['/', '\\']) {
            return fail(format!(
                "name = {:?}: give a short name without slashes; it names the output folder",
                self.name
            ));
        }
        if self.image.trim().is_empty() || super::word_count(&self.image) > 5 {
            return fail(format!("image = {:?}: give one to five words, such as \"aerial image\"", self.image));
        }
        let kind = self.kind;
        let needs = |key: &str, has: bool| match has {
            true => Ok(()),
            false => Err(Error::Recipe(format!("kind = {:?} needs `{key}`", kebab(kind)))),
        };
        match kind {
            Kind::LandCover => {
                needs("images", !self.images.is_empty())?;
                needs("labels", self.labels.is_some())?;
                needs("legend", self.legend.is_some())?;
            }
            Kind::Elevation => {
                needs("images", !self.images.is_empty())?;
                needs("legend beside `labels`", self.labels.is_none() || self.legend.is_some())?;
            }
            Kind::Flood => {
                needs("images", !self.images.is_empty())?;
                needs("[mask]", self.mask.is_some())?;
            }
            Kind::Objects => {
                needs("images", !self.images.is_empty())?;
                needs("[objects]", self.objects.is_some())?;
            }
            Kind::Shares => {
                needs("images", !self.images.is_empty())?;
                needs("[shares]", self.shares.is_some())?;
            }
            Kind::MultiLabel | Kind::Description => needs("[dataset]", self.dataset.is_some())?,
        }
        if !(1..=100).contains(&self.paraphrases) {
            return fail(format!("paraphrases = {}: give 1 to 100", self.paraphrases));
        }
        if !(0.0..=100.0).contains(&self.least_valid) {
            return fail(format!("least_valid = {}: give a percentage, 0 to 100", self.least_valid));
        }
        if let Some((name, _)) = self.words.iter().find(|(_, w)| w.is_blank()) {
            return fail(format!("words of `{name}` are empty"));
        }
        if let Some(mask) = &self.mask
            && (mask.wet.is_empty() || mask.wet.iter().any(|v| mask.dry.contains(v)) || mask.words.is_blank())
        {
            return fail("[mask]: give words, and values in `wet` that are not in `dry`".into());
        }
        self.endpoint.as_ref().map_or(Ok(()), EndpointSection::check)
    }

    /// Makes sure that `words` speak of classes that exist.
    ///
    /// # Errors
    /// [`Error::Recipe`] naming the unknown class and the known ones.
    pub(super) fn check_words<'a>(&self, known: impl Iterator<Item = &'a String> + Clone) -> Result<()> {
        match self.words.keys().find(|name| !known.clone().any(|k| k == *name)) {
            None => Ok(()),
            Some(name) => Err(Error::Recipe(format!(
                "[words] speaks of `{name}`, which is no class here; the classes are {}",
                known.cloned().collect::<Vec<_>>().join(", ")
            ))),
        }
    }
}

fn kebab(kind: Kind) -> String {
    serde_json::to_value(kind).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}
