//! Layouts of data sets.

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};

/// Layouts of data sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Format {
    /// One folder of PNG, JPEG or TIFF images a class, also under `train`, `val` and `test`.
    ClassFolders,
    /// EuroSAT's thirteen-band TIFFs in ten class folders, B8A last.
    EurosatMs,
    /// A JSON list of images with captions: Karpathy's form (RSICD, RSITMD, UCM, Sydney) or a plain array of records.
    CaptionJson,
    /// A CSV or TSV with a header: SkyScript and OpenCLIP lists, classes by name or number.
    CaptionTable,
    /// Pairs of text files `<split>_filename.txt` and `<split>_caps.txt`.
    CaptionLists,
    /// BigEarthNet v1: one folder a patch with one GeoTIFF a band and a JSON of labels.
    #[serde(rename = "bigearthnet-v1")]
    BigEarthNetV1,
    /// BigEarthNet v2: `metadata.parquet` or `metadata.csv` beside `BigEarthNet-S2` and `BigEarthNet-S1`.
    #[serde(rename = "bigearthnet-v2")]
    BigEarthNetV2,
    /// A GEO-Bench classification set: one HDF5 a sample with a pickle as attribute.
    #[serde(rename = "geo-bench")]
    GeoBench,
}

impl Format {
    /// Every layout, in the order in which they are looked for.
    pub const ALL: [Self; 8] = [
        Self::BigEarthNetV2,
        Self::GeoBench,
        Self::BigEarthNetV1,
        Self::CaptionLists,
        Self::CaptionJson,
        Self::CaptionTable,
        Self::EurosatMs,
        Self::ClassFolders,
    ];

    /// What the layout looks like.
    pub fn describe(self) -> &'static str {
        match self {
            Self::ClassFolders => "one folder a class with .png, .jpg or .tif images",
            Self::EurosatMs => "EuroSAT's ten class folders with thirteen-band .tif images",
            Self::CaptionJson => "a .json of images with captions (dataset_rsicd.json, captions.json)",
            Self::CaptionTable => "a .csv or .tsv with a column of file paths",
            Self::CaptionLists => "<split>_filename.txt with <split>_caps.txt",
            Self::BigEarthNetV1 => "patch folders with *_labels_metadata.json",
            Self::BigEarthNetV2 => "metadata.parquet or metadata.csv with the column patch_id",
            Self::GeoBench => "*.hdf5 samples of GEO-Bench",
        }
    }
}

impl std::str::FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        serde_json::from_value(text.into()).map_err(|_| {
            let names: Vec<String> = Format::ALL.iter().map(ToString::to_string).collect();
            Error::Usage(format!("unknown data set layout `{text}`; known: {}", names.join(", ")))
        })
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = serde_json::to_value(self).ok();
        f.write_str(name.as_ref().and_then(|v| v.as_str()).unwrap_or_default())
    }
}
