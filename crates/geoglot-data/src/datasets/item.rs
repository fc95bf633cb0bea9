//! What a data set holds.

use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The part of a data set an item belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// Trains.
    Train,
    /// Chooses settings and thresholds.
    Validation,
    /// Is scored.
    Test,
}

impl FromStr for Split {
    type Err = String;

    /// The names in use: `train` (also `restval` of Karpathy's lists), `val`, `valid`, `validation`, `test`.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        Ok(match text.trim().to_ascii_lowercase().as_str() {
            "train" | "training" | "restval" => Self::Train,
            "val" | "valid" | "validation" | "dev" => Self::Validation,
            "test" | "testing" => Self::Test,
            other => {
                return Err(format!("unknown split `{other}`; known: train, restval, val, valid, validation, test"));
            }
        })
    }
}

impl std::fmt::Display for Split {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        })
    }
}

/// One scene of a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Unique name, such as the path under the image folder.
    pub id: String,
    /// Image file, or folder of one-band files.
    pub path: PathBuf,
    /// Classes, as positions in [`Dataset::classes`](super::Dataset::classes), ascending; empty where there are none.
    pub labels: Vec<usize>,
    /// Captions, in the list's order; empty where there are none.
    pub captions: Vec<String>,
    /// Part of the data set, where it is divided.
    pub split: Option<Split>,
    /// Where the list names the item, such as `line 12`; empty for items that no list names.
    pub place: String,
}

/// How many classes an item has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Labelling {
    /// No classes.
    None,
    /// One class an item.
    Single,
    /// Any number of classes an item.
    Multi,
    /// A class a pixel ([`Dataset::label_raster`](super::Dataset::label_raster)).
    Raster,
}
