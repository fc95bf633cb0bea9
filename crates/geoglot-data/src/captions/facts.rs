//! What is true of an image: serialisable, and the only source of the numbers in its captions.

use serde::{Deserialize, Serialize};

use super::noun::{Noun, Thing};
use super::place::{Place, Position};

/// Facts of one image.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// What the image is called in its captions, such as `aerial image`.
    pub image: String,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Pixel size in metres, where the image says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gsd: Option<f64>,
    /// Share of the pixels that have labels, heights or a mask, in percent. Other shares are of these pixels.
    #[serde(default = "whole")]
    pub valid_percent: f64,
    /// Land cover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cover: Option<CoverFacts>,
    /// Heights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elevation: Option<ElevationFacts>,
    /// Water.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flood: Option<FloodFacts>,
    /// Counted objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<ObjectFacts>,
    /// What the image shows somewhere, without share or place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Noun>,
    /// A text that came with the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Clouded share of the pixels in percent, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_percent: Option<f64>,
}

fn whole() -> f64 {
    100.0
}

/// Land cover of an image.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoverFacts {
    /// Classes that occur, largest first.
    pub classes: Vec<ClassFact>,
    /// Classes of the legend that do not occur.
    #[serde(default)]
    pub absent: Vec<Noun>,
}

/// One class in an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassFact {
    /// Id in the label raster; none where shares came as a table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u16>,
    /// Name in the legend.
    pub name: String,
    /// Name in a sentence.
    pub noun: Noun,
    /// Share of the labelled pixels in percent.
    pub percent: f64,
    /// Where it lies, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
    /// Heights above the ground, where they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heights: Option<Heights>,
}

/// Where a class lies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// Of all its pixels.
    pub position: Position,
    /// Number of connected regions that are not too small to be counted; at least one.
    pub regions: usize,
    /// The largest region.
    pub largest: RegionFact,
}

/// One connected region.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionFact {
    /// Number of pixels.
    pub pixels: usize,
    /// Share of the labelled pixels in percent.
    pub percent: f64,
    /// Mean row and column.
    pub center: (f64, f64),
    /// Where it lies.
    pub position: Position,
}

/// Heights above the ground in metres.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heights {
    /// Mean.
    pub mean: f64,
    /// Largest.
    pub max: f64,
}

/// What heights are measured from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Above {
    /// Sea level or an ellipsoid: terrain or surface models.
    #[default]
    Sea,
    /// The ground: normalised surface models, canopy heights.
    Ground,
}

/// How uneven the heights are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Terrain {
    /// Relief below 2 % of the image's shorter side, or below 10 m where that is not known.
    Flat,
    /// Relief below 10 % of the shorter side, or below 60 m.
    Rolling,
    /// More.
    Steep,
}

/// Heights of an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ElevationFacts {
    /// What they are measured from.
    #[serde(default)]
    pub above: Above,
    /// The lowest pixels.
    pub lowest: Extreme,
    /// The highest pixels.
    pub highest: Extreme,
    /// Mean in metres.
    pub mean: f64,
    /// Highest minus lowest in metres.
    pub relief: f64,
    /// How uneven that is.
    pub terrain: Terrain,
}

/// The lowest or the highest pixels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extreme {
    /// Height in metres.
    pub metres: f64,
    /// Most frequent class of the pixels of that height, where labels are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Noun>,
    /// Where they lie.
    pub position: Position,
}

/// Water in an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FloodFacts {
    /// What the mask marks, such as `floodwater`.
    pub water: Noun,
    /// Share of the pixels with a mask in percent.
    pub percent: f64,
    /// Shares of the upper, lower, left and right half in percent.
    pub halves: Halves,
    /// Where it lies; none without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
}

/// Shares of the four halves in percent.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Halves {
    /// Upper half.
    pub top: f64,
    /// Lower half.
    pub bottom: f64,
    /// Left half.
    pub left: f64,
    /// Right half.
    pub right: f64,
}

/// Objects in an image.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectFacts {
    /// Categories that occur, most frequent first.
    pub found: Vec<CategoryFact>,
    /// Categories that were looked for and do not occur.
    pub absent: Vec<Thing>,
    /// Objects of categories that are left out of captions.
    #[serde(default)]
    pub left_out: usize,
}

/// Objects of one category.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CategoryFact {
    /// Name in the annotations.
    pub name: String,
    /// Name in a sentence.
    pub thing: Thing,
    /// Number of objects.
    pub count: usize,
    /// Where they lie, by the middles of their boxes.
    pub position: Position,
    /// Number of middles in the centre and, of the others, in each quadrant.
    pub places: Vec<(Place, usize)>,
    /// Share of the image that the largest box covers, in percent.
    pub largest_percent: f64,
}

impl ObjectFacts {
    /// Number of objects.
    pub fn total(&self) -> usize {
        self.found.iter().map(|c| c.count).sum()
    }
}
