//! Parsers of `geoglot-data`: lists that name a data set's images, what captions are made from, shards. Each target says whether the parser took the bytes.

use std::path::Path;

use geoglot_core::Seeds;
use geoglot_data::captions::{
    CaptionRecipe, CaptionedImage, CocoBoxes, Facts, check_caption, read_manifest, word_facts,
};
use geoglot_data::datasets::{Dataset, DatasetOptions, Format, Nomenclature, fuzz_record};
use geoglot_data::shards::fuzz::{index as shard_index, shard};

use super::raster::{Target, scratch};

/// Every target of this file.
pub const TARGETS: &[Target] = &[
    ("bigearthnet_labels", bigearthnet_labels),
    ("bigearthnet_table", bigearthnet_table),
    ("caption_facts", caption_facts),
    ("caption_json", caption_json),
    ("caption_lists", caption_lists),
    ("caption_manifest", caption_manifest),
    ("caption_recipe", caption_recipe),
    ("caption_table", caption_table),
    ("coco_boxes", coco_boxes),
    ("geobench_record", fuzz_record),
    ("shard", shard),
    ("shard_index", shard_index),
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

/// Boxes of objects in COCO's JSON.
pub fn coco_boxes(data: &[u8]) -> bool {
    let path = scratch("coco_boxes").join("boxes.json");
    std::fs::write(&path, data).expect("a file in the temporary folder");
    let Ok(boxes) = CocoBoxes::read(&path, false) else { return false };
    let clipped = CocoBoxes::read(&path, true).expect("what is taken without clipping is taken with it");
    for image in boxes.images.iter().chain(&clipped.images) {
        let (width, height) = (image.width as f64, image.height as f64);
        let inside = |b: &geoglot_data::captions::ObjectBox| {
            b.x >= 0.0 && b.y >= 0.0 && b.x < width && b.y < height && b.width > 0.0 && b.height > 0.0
        };
        assert!(image.boxes.iter().all(inside));
    }
    true
}

/// Facts of an image, and after a zero byte a caption to be checked against them.
pub fn caption_facts(data: &[u8]) -> bool {
    let mut parts = data.splitn(2, |&b| b == 0);
    let Ok(facts) = serde_json::from_slice::<Facts>(parts.next().unwrap_or_default()) else { return false };
    let _ = check_caption(&facts, &String::from_utf8_lossy(parts.next().unwrap_or_default()));
    let Ok(captions) = word_facts(&facts, 2, Seeds::new(0), "fuzz") else { return false };
    // What is worded is true of facts that an image can have; of impossible ones, such as shares above the whole, it need not be.
    captions.short.iter().chain(&captions.long).for_each(|text| drop(check_caption(&facts, text)));
    true
}

/// A manifest of images with captions.
pub fn caption_manifest(data: &[u8]) -> bool {
    let path = scratch("caption_manifest").join("captions.jsonl");
    std::fs::write(&path, data).expect("a file in the temporary folder");
    let Ok(images) = read_manifest(&path) else { return false };
    images.iter().for_each(|image: &CaptionedImage| drop(image.check()));
    true
}

/// A recipe of captions.
pub fn caption_recipe(data: &[u8]) -> bool {
    let recipe = toml::from_str::<CaptionRecipe>(&String::from_utf8_lossy(data));
    recipe.is_ok_and(|recipe| recipe.check().is_ok())
}
