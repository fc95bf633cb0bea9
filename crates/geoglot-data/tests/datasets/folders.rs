//! Folders of classes, EuroSAT, and what is no data set.

use super::*;

#[test]
fn folders_are_classes() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for (k, name) in ["storage_tanks", "BareLand", "port"].iter().enumerate() {
        for i in 0..10 {
            png(&root.join(name).join(format!("{name}_{i}.png")), 6, 4, 10 * k as u8);
        }
    }
    write(&root.join("README.txt"), "words");
    fs::copy(fixtures().join("colour.jpg"), root.join("port/x.JPG")).unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    let mut set = open(root);
    assert_eq!((set.format(), set.labelling(), set.len()), (Format::ClassFolders, Labelling::Single, 31));
    assert_eq!(set.classes(), ["BareLand", "port", "storage_tanks"]);
    assert!(set.warnings().iter().any(|w| w.contains("empty")));
    let legend = set.legend().unwrap();
    let words: Vec<_> = (0..3).map(|k| legend.words(k)[0].to_owned()).collect();
    assert_eq!(words, ["bare land", "port", "storage tanks"]);
    let pixels = set.read(0).unwrap();
    assert_eq!(pixels.data.dim(), (3, 4, 6));
    assert_eq!([pixels.data[(0, 0, 0)], pixels.data[(2, 3, 5)]], [10.0, 12.0]);
    assert_eq!(pixels.bands[0].wavelength_um, Some(0.665));
    assert!(pixels.mask.iter().all(|m| *m) && !pixels.grid.is_georeferenced());
    assert!(set.splits().is_empty());
    set.divide(0.2, 0.2, 0).unwrap();
    assert_eq!(set.indices(Some(Split::Test)).len(), 6);
    assert_eq!(set.truth(&set.indices(Some(Split::Validation))).unwrap().len(), 6);
    let per_class = set.label_matrix(&set.indices(Some(Split::Test))).unwrap();
    assert!(per_class.columns().into_iter().all(|c| c.iter().filter(|t| **t).count() == 2));
    assert!(set.divide(0.2, 0.2, 0).unwrap_err().to_string().contains("own split"));
    assert!(set.captions(&[0]).unwrap_err().to_string().contains("no caption"));
    assert!(set.read(99).unwrap_err().to_string().contains("item 99"));
}

#[test]
fn folders_of_splits_hold_classes() {
    let dir = tempfile::tempdir().unwrap();
    for (split, class, n) in [("train", "a", 3), ("train", "b", 2), ("val", "a", 1), ("test", "b", 1)] {
        for i in 0..n {
            png(&dir.path().join("set").join(split).join(class).join(format!("{i}.png")), 3, 3, 0);
        }
    }
    // One folder more than needed, as archives have.
    let set = open(dir.path());
    assert_eq!(set.classes(), ["a", "b"]);
    assert_eq!(set.splits(), [Split::Train, Split::Validation, Split::Test]);
    let count = |s| set.indices(Some(s)).len();
    assert_eq!([count(Split::Train), count(Split::Validation), count(Split::Test)], [5, 1, 1]);
}

#[test]
fn eurosat_keeps_b8a_last() {
    let dir = tempfile::tempdir().unwrap();
    let classes = [
        "AnnualCrop",
        "Forest",
        "HerbaceousVegetation",
        "Highway",
        "Industrial",
        "Pasture",
        "PermanentCrop",
        "Residential",
        "River",
        "SeaLake",
    ];
    for class in classes {
        let folder = dir.path().join("EuroSAT_MS").join(class);
        fs::create_dir_all(&folder).unwrap();
        tif(&folder.join(format!("{class}_1.tif")), 13, 8, 10.0);
    }
    write(&dir.path().join("EuroSAT_MS/train.csv"), "a,b\n");
    let set = open(dir.path());
    assert_eq!((set.format(), set.len(), set.classes().len()), (Format::EurosatMs, 10, 10));
    let pixels = set.read(4).unwrap();
    let names: Vec<&str> = pixels.bands.iter().map(|b| b.name.as_str()).collect();
    assert_eq!(&names[7..], ["B08", "B09", "B10", "B11", "B12", "B8A"]);
    assert!((pixels.data[(12, 0, 0)] - 1.3).abs() < 1e-6, "thirteenth plane, scaled once");
    assert_eq!(set.bands().unwrap()[12].wavelength_um, Some(0.865));
    assert!(pixels.grid.is_georeferenced());
}

#[cfg(unix)]
#[test]
fn names_that_are_no_text() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    png(&dir.path().join("x/a.png"), 4, 4, 0);
    png(&dir.path().join("x").join(std::ffi::OsStr::from_bytes(b"caf\xe9.png")), 4, 4, 0);
    refused(dir.path(), &DatasetOptions::default(), &["caf", "not UTF-8", "rename"]);
    assert_eq!(Dataset::open(dir.path(), &skipping()).unwrap().len(), 1);
}

#[test]
fn unknown_layouts_say_what_was_looked_for() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("notes.txt"), "x");
    let words =
        ["notes.txt", "class-folders", "bigearthnet-v2", "metadata.parquet", "_labels_metadata.json", "geo-bench"];
    refused(dir.path(), &DatasetOptions::default(), &words);
    refused(&dir.path().join("notes.txt"), &DatasetOptions::default(), &["another kind"]);
    refused(&dir.path().join("gone"), &DatasetOptions::default(), &["gone"]);
    assert_eq!("eurosat-ms".parse::<Format>().unwrap(), Format::EurosatMs);
    assert!("eurosat".parse::<Format>().unwrap_err().to_string().contains("eurosat-ms"));
    for format in Format::ALL {
        assert_eq!(format.to_string().parse::<Format>().unwrap(), format);
        let told = DatasetOptions { format: Some(format), ..DatasetOptions::default() };
        assert!(Dataset::open(dir.path(), &told).is_err(), "{format}");
    }
}
