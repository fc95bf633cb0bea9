//! How a data set is opened.

use std::path::PathBuf;
use std::sync::Arc;

use geoglot_core::Registry;

use super::format::Format;
use super::nomenclature::Nomenclature;

/// What a folder alone does not say, and how strict to be.
#[derive(Debug, Clone)]
pub struct DatasetOptions {
    /// The layout; detected when `None`.
    pub format: Option<Format>,
    /// Folder of the images; looked for beside the list when `None`.
    pub images: Option<PathBuf>,
    /// Only labels and captions are used: images need not exist.
    pub text_only: bool,
    /// Leave faulty records out with a warning instead of failing at the first one.
    pub skip_faulty: bool,
    /// Longest caption accepted, in characters; text towers see far less of it.
    pub longest_caption: usize,
    /// Column of a CSV or TSV that holds the caption; else the first of the usual names.
    pub caption_column: Option<String>,
    /// Sensor of the images, where it cannot be told from them.
    pub sensor: Option<String>,
    /// Order in which the images store the sensor's bands.
    pub layout: Option<String>,
    /// Class names of BigEarthNet v1.
    pub nomenclature: Nomenclature,
    /// Items of BigEarthNet are its Sentinel-1 patches instead of its Sentinel-2 ones.
    pub sentinel1: bool,
    /// Partition of a GEO-Bench set: `default`, `0.01x_train`, ….
    pub partition: String,
    /// Sensors.
    pub registry: Arc<Registry>,
}

impl Default for DatasetOptions {
    fn default() -> Self {
        Self {
            format: None,
            images: None,
            text_only: false,
            skip_faulty: false,
            longest_caption: 2000,
            caption_column: None,
            sensor: None,
            layout: None,
            nomenclature: Nomenclature::default(),
            sentinel1: false,
            partition: "default".into(),
            registry: Arc::new(Registry::builtin().clone()),
        }
    }
}
