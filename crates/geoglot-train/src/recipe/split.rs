//! `[split]`: how training and test pixels are separated.

use geoglot_data::split::PerClass;
use serde::{Deserialize, Serialize};

use super::DataSection;

/// The kinds of split, by `kind`. Spatial blocks with a buffer are the default; the others say in the report what they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SplitSection {
    /// `blocks`, `random`, `given`, `regions` or `scenes`.
    pub kind: Kind,
    /// Number of folds of `blocks` and `regions`.
    pub folds: usize,
    /// Side of a block in pixels; by default chosen from the labelled area.
    pub block: Option<usize>,
    /// Least distance between training and test centres in pixels; by default the patch width.
    pub buffer: Option<usize>,
    /// Training pixels a class of `random`.
    pub per_class: Option<PerClass>,
    /// Names of the scenes tested by `scenes`; empty: each in turn.
    pub test_scenes: Vec<String>,
    /// Share of the training pixels set aside for early stopping.
    pub validation: f64,
    /// Most training pixels a class, drawn by seed; none: all.
    pub at_most: Option<usize>,
    /// Seed of the split, apart from the training seed so that seeds can be compared on the same folds.
    pub seed: u64,
}

/// How training and test pixels are separated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Spatial blocks with a buffer.
    #[default]
    Blocks,
    /// A number of pixels a class at random.
    Random,
    /// Two label rasters.
    Given,
    /// Whole regions.
    Regions,
    /// Some scenes train, others test.
    Scenes,
}

impl Default for SplitSection {
    fn default() -> Self {
        Self {
            kind: Kind::Blocks,
            folds: 5,
            block: None,
            buffer: None,
            per_class: None,
            test_scenes: Vec::new(),
            validation: 0.15,
            at_most: None,
            seed: 0,
        }
    }
}

impl SplitSection {
    pub(super) fn check(&self, data: &DataSection) -> Result<(), String> {
        match self.kind {
            Kind::Random if self.per_class.is_none() => {
                Err("split.kind = \"random\" needs split.per_class = N or [N1, N2, …]".into())
            }
            Kind::Given if data.scene.iter().any(|s| s.test_labels.is_none()) => {
                Err("split.kind = \"given\" needs test_labels for every scene".into())
            }
            Kind::Regions if data.scene.iter().any(|s| s.regions.is_none()) => {
                Err("split.kind = \"regions\" needs regions for every scene".into())
            }
            Kind::Scenes if data.scene.len() < 2 => Err("split.kind = \"scenes\" needs at least two scenes".into()),
            _ => match self.test_scenes.iter().find(|t| !data.scene.iter().any(|s| &s.name == *t)) {
                Some(unknown) => Err(format!("split.test_scenes names `{unknown}`, which no scene is called")),
                None => Ok(()),
            },
        }
    }
}
