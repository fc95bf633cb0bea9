//! Parsers of `geoglot-data`: the lists that name a data set's images. Each target says whether the parser took the bytes.

use std::path::Path;

use geoglot_data::datasets::{Dataset, DatasetOptions, Format, Nomenclature, fuzz_record};

use super::raster::{Target, scratch};

/// Every target of this file.
pub const TARGETS: &[Target] = &[
    ("bigearthnet_labels", bigearthnet_labels),
    ("bigearthnet_table", bigearthnet_table),
    ("caption_json", caption_json),
    ("caption_lists", caption_lists),
    ("caption_table", caption_table),
    ("geobench_record", fuzz_record),
];

/// Opens a data set strictly and leniently, without its images; whether either way gave items.
fn open(path: &Path, format: Format) -> bool {
    let mut taken = false;
    for (skip_faulty, nomenclature) in [(false, Nomenclature::Nineteen), (true, Nomenclature::FortyThree)] {
        let options = DatasetOptions {
            format: Some(format),
            text_only: true,
            skip_faulty,
            nomenclature,
            ..DatasetOptions::default()
        };
        if let Ok(set) = Dataset::open(path, &options) {
            assert!(!set.is_empty() && set.items().iter().flat_map(|i| &i.labels).all(|&k| k < set.classes().len()));
            taken = true;
        }
    }
    taken
}

fn list(target: &str, name: &str, data: &[u8], format: Format) -> bool {
    let path = scratch(target).join(name);
    std::fs::write(&path, data).expect("a file in the temporary folder");
    open(&path, format)
}

/// A JSON list of images with captions.
pub fn caption_json(data: &[u8]) -> bool {
    list("caption_json", "list.json", data, Format::CaptionJson)
}

/// A table of captions or classes; after a zero byte the names of the classes.
pub fn caption_table(data: &[u8]) -> bool {
    let mut parts = data.splitn(2, |&b| b == 0);
    let table = parts.next().unwrap_or_default();
    let names = scratch("caption_table").join("classnames.txt");
    std::fs::write(names, parts.next().unwrap_or_default()).expect("a file in the temporary folder");
    list("caption_table", "list.csv", table, Format::CaptionTable)
}

/// Names of images, and after a zero byte their captions.
pub fn caption_lists(data: &[u8]) -> bool {
    let mut parts = data.splitn(2, |&b| b == 0);
    let folder = scratch("caption_lists");
    for name in ["train_filename.txt", "train_caps.txt"] {
        std::fs::write(folder.join(name), parts.next().unwrap_or_default()).expect("a file in the temporary folder");
    }
    open(&folder, Format::CaptionLists)
}

/// The labels of a BigEarthNet v1 patch, and after a zero byte the list of a split.
pub fn bigearthnet_labels(data: &[u8]) -> bool {
    let mut parts = data.splitn(2, |&b| b == 0);
    let root = scratch("bigearthnet_labels");
    let patch = root.join("S2A_1");
    std::fs::create_dir_all(&patch).expect("a folder in the temporary folder");
    for path in [patch.join("S2A_1_labels_metadata.json"), root.join("train.csv")] {
        std::fs::write(path, parts.next().unwrap_or_default()).expect("a file in the temporary folder");
    }
    open(&root, Format::BigEarthNetV1)
}

/// The metadata of BigEarthNet v2, as Parquet or CSV.
pub fn bigearthnet_table(data: &[u8]) -> bool {
    let name = if data.starts_with(b"PAR1") { "metadata.parquet" } else { "metadata.csv" };
    list("bigearthnet_table", name, data, Format::BigEarthNetV2)
}
