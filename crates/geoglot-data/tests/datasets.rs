//! Every layout on generated files, and every kind of bad input. Fixtures come from `fixtures/datasets.py`.

use std::fs;
use std::path::{Path, PathBuf};

use geoglot_core::{Affine, Crs, Grid};
use geoglot_data::datasets::{Dataset, DatasetOptions, Format, Labelling, Nomenclature, Split};
use geoglot_raster::{RasterSpec, RasterWriter, SampleType};
use ndarray::Array3;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/datasets")
}

fn png(path: &Path, width: u32, height: u32, value: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut encoder = png::Encoder::new(fs::File::create(path).unwrap(), width, height);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    let pixels: Vec<u8> = (0..width * height).flat_map(|_| [value, value + 1, value + 2]).collect();
    writer.write_image_data(&pixels).unwrap();
}

/// Bands of constant value 1000 × (k + 1) at some pixel size.
fn tif(path: &Path, bands: usize, side: usize, metres: f64) {
    let transform = Affine::north_up(500_000.0, 5_000_000.0, metres, metres);
    let grid = Grid { crs: Some(Crs::Epsg(32633)), transform, width: side, height: side };
    let names: Vec<String> = (0..bands).map(|k| format!("band {}", k + 1)).collect();
    let mut writer = RasterWriter::create(path, &grid, RasterSpec::values(SampleType::U16, names, None)).unwrap();
    let data = Array3::from_shape_fn((bands, side, side), |(b, _, _)| 1000.0 * (b + 1) as f32);
    writer.write(grid.window(), data.view(), None).unwrap();
    writer.finish().unwrap();
}

fn write(path: &Path, text: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn open(path: &Path) -> Dataset {
    Dataset::open(path, &DatasetOptions::default()).unwrap_or_else(|e| panic!("{e}"))
}

/// The error of opening, which must hold every one of `words`.
fn refused(path: &Path, options: &DatasetOptions, words: &[&str]) {
    let error = Dataset::open(path, options).unwrap_err().to_string();
    for word in words {
        assert!(error.contains(word), "`{word}` is not in: {error}");
    }
}

fn skipping() -> DatasetOptions {
    DatasetOptions { skip_faulty: true, ..DatasetOptions::default() }
}

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

fn karpathy(entries: &[(&str, &str, &[&str])]) -> String {
    let images: Vec<_> = entries
        .iter()
        .map(|(file, split, captions)| {
            let sentences: Vec<_> = captions.iter().map(|c| serde_json::json!({"raw": c, "tokens": []})).collect();
            serde_json::json!({"filename": file, "split": split, "sentences": sentences, "imgid": 0})
        })
        .collect();
    serde_json::json!({"images": images, "dataset": "RSICD"}).to_string()
}

#[test]
fn karpathy_lists_give_captions() {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("dataset_rsicd.json");
    write(&list, karpathy(&[("a_1.png", "train", &[" one . ", "two ."]), ("b_1.png", "test", &["three ."])]));
    for name in ["a_1.png", "b_1.png"] {
        png(&dir.path().join("RSICD_images").join(name), 5, 5, 1);
    }
    let set = open(dir.path());
    assert_eq!((set.format(), set.labelling(), set.len()), (Format::CaptionJson, Labelling::None, 2));
    assert_eq!(set.items()[0].captions, ["one .", "two ."]);
    assert_eq!(set.captions(&[1, 0]).unwrap(), (vec!["three .", "one .", "two ."], vec![0, 1, 1]));
    assert_eq!(set.items()[1].split, Some(Split::Test));
    assert_eq!(set.read(1).unwrap().data.dim(), (3, 5, 5));
    assert!(set.legend().is_err());
    // The list alone, the images elsewhere.
    let moved = tempfile::tempdir().unwrap();
    fs::rename(dir.path().join("RSICD_images"), moved.path().join("x")).unwrap();
    refused(&list, &DatasetOptions::default(), &["dataset_rsicd.json, entry 1", "a_1.png", "does not exist"]);
    let told = DatasetOptions { images: Some(moved.path().join("x")), ..DatasetOptions::default() };
    assert_eq!(Dataset::open(&list, &told).unwrap().len(), 2);
    let texts = DatasetOptions { text_only: true, ..DatasetOptions::default() };
    assert_eq!(Dataset::open(&list, &texts).unwrap().len(), 2);
}

#[test]
fn plain_records_and_classes() {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("captions.json");
    write(
        &list,
        r#"[{"file": "a.png", "class": "Port", "split": "test", "captions": ["x"]}, {"file": "b.png", "class": "Airport", "caption": "y"}]"#,
    );
    png(&dir.path().join("images/a.png"), 4, 4, 0);
    png(&dir.path().join("images/b.png"), 4, 4, 0);
    let set = open(dir.path());
    assert_eq!((set.classes(), set.labelling()), (&["Airport".to_owned(), "Port".into()][..], Labelling::Single));
    assert_eq!(set.truth(&[0, 1]).unwrap(), [1, 0]);
    assert_eq!(set.items()[1].captions, ["y"]);
    write(&list, r#"[{"file": "a.png", "labels": ["x", "y"]}, {"file": "b.png", "labels": []}]"#);
    refused(&list, &DatasetOptions::default(), &["entry 2", "neither a caption nor a class"]);
    let set = Dataset::open(&list, &skipping()).unwrap();
    assert_eq!((set.labelling(), set.items()[0].labels.len()), (Labelling::Multi, 2));
    assert!(set.truth(&[0]).unwrap_err().to_string().contains("multilabel"));
}

#[test]
fn faulty_captions_name_list_and_entry() {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("d.json");
    png(&dir.path().join("a.png"), 4, 4, 0);
    let long = "word ".repeat(1000);
    for (captions, split, words) in [
        (vec!["  "], "train", vec!["d.json, entry 1", "caption is empty"]),
        (vec!["fine", &long], "train", vec!["entry 1", "4999 characters", "2000"]),
        (vec!["fine"], "training set", vec!["entry 1", "unknown split `training set`"]),
    ] {
        write(&list, karpathy(&[("a.png", split, &captions)]));
        refused(&list, &DatasetOptions::default(), &words);
    }
    // The good record stays when faulty ones are skipped, and the fault is told.
    write(&list, karpathy(&[("gone.png", "test", &["x"]), ("a.png", "test", &["", "good"])]));
    let set = Dataset::open(&list, &skipping()).unwrap();
    assert_eq!((set.len(), &set.items()[0].captions[..]), (1, &["good".to_owned()][..]));
    assert_eq!(set.warnings().iter().filter(|w| w.starts_with("left out")).count(), 2);
    write(&list, karpathy(&[("gone.png", "test", &["x"])]));
    refused(&list, &skipping(), &["no usable item", "gone.png"]);
    for (text, word) in [
        ("{\"images\": [", "not valid JSON"),
        ("{\"pictures\": []}", "no array `images`"),
        ("3", "neither an array"),
        ("[{\"name\": 1}]", "names an image"),
        ("{\"annotations\": [], \"images\": []}", "COCO"),
    ] {
        write(&list, text);
        refused(&list, &DatasetOptions::default(), &["d.json", word]);
    }
    write(&list, b"[\n\"\xff\"]");
    refused(&list, &DatasetOptions::default(), &["line 2", "UTF-8"]);
}

#[test]
fn tables_of_captions_and_classes() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["images2/a.png", "images3/b.png"] {
        png(&dir.path().join(name), 4, 4, 0);
    }
    let list = dir.path().join("SkyScript_test.csv");
    write(
        &list,
        "filepath,title,title_multi_objects\nimages2/a.png,short,\"a road, with trees\"\nimages3/b.png,s,long b\nimages2/a.png,t,again\n",
    );
    let set = open(dir.path());
    assert_eq!((set.format(), set.len()), (Format::CaptionTable, 2));
    assert_eq!(set.items()[0].captions, ["a road, with trees", "again"]);
    let titles = DatasetOptions { caption_column: Some("title".into()), ..DatasetOptions::default() };
    assert_eq!(Dataset::open(&list, &titles).unwrap().items()[1].captions, ["s"]);
    let other = DatasetOptions { caption_column: Some("words".into()), ..DatasetOptions::default() };
    refused(&list, &other, &["no column `words`", "title_multi_objects"]);
    // Classes by number, with the names beside the list; tab-separated; a byte-order mark.
    let list = dir.path().join("img_txt_pairs_test.tsv");
    write(&list, "\u{feff}filepath\tlabel\tsplit\nimages2/a.png\t1\ttest\nimages3/b.png\tdam\t\n");
    write(&dir.path().join("classnames.txt"), "dam\nbridge\n");
    let set = open(&list);
    assert_eq!(set.classes(), ["dam", "bridge"]);
    assert_eq!(set.truth(&[0, 1]).unwrap(), [1, 0]);
    refused(dir.path(), &DatasetOptions::default(), &["several lists", "SkyScript_test.csv"]);
    for (text, words) in [
        ("filepath\tlabel\nimages2/a.png\t7\n", vec!["line 2", "class 7 is outside", "2 (from 0)"]),
        ("filepath\tlabel\nimages2/a.png\tlake\n", vec!["line 2", "`lake` is not in classnames.txt"]),
        ("filepath\tcaption\nimages2/a.png\tx\nimages2/c.png\ty\n", vec!["line 3", "images2/c.png", "does not exist"]),
        ("filepath\tcaption\nimages2/a.png\t \n", vec!["line 2", "caption is empty"]),
        ("filepath\tcaption\n\tx\n", vec!["line 2", "names no image"]),
        ("name\tcaption\n", vec!["no column of image files", "name, caption"]),
        ("filepath\tdate\n", vec!["neither captions", "filepath, date"]),
        ("filepath\tcaption\nimages2/a.png\tx\ty\n", vec!["line 2"]),
    ] {
        write(&list, text);
        refused(&list, &DatasetOptions::default(), &words);
    }
    write(&list, b"filepath\tcaption\nimages2/a.png\tcaf\xe9\nimages3/b.png\tfine\n");
    refused(&list, &DatasetOptions::default(), &["line 2", "UTF-8"]);
    assert_eq!(Dataset::open(&list, &skipping()).unwrap().len(), 1);
}

#[test]
fn pairs_of_text_files() {
    let dir = tempfile::tempdir().unwrap();
    let texts = DatasetOptions { text_only: true, ..DatasetOptions::default() };
    write(&dir.path().join("train_filename.txt"), "a.tif\nb.tif\n");
    write(&dir.path().join("train_caps.txt"), "a1\na2\nb1\nb2\n");
    write(&dir.path().join("test_filename.txt"), "c.tif\nc.tif\na.tif\n");
    write(&dir.path().join("test_caps.txt"), "c1\nc2\na3\n");
    let set = Dataset::open(dir.path(), &texts).unwrap();
    assert_eq!((set.format(), set.len()), (Format::CaptionLists, 4));
    let captions =
        |id: &str, split| &set.items().iter().find(|i| i.id == id && i.split == Some(split)).unwrap().captions;
    assert_eq!(captions("b.tif", Split::Train), &["b1", "b2"]);
    assert_eq!(captions("c.tif", Split::Test), &["c1", "c2"]);
    assert!(set.warnings().iter().any(|w| w.contains("1 test items are training items")), "{:?}", set.warnings());
    write(&dir.path().join("train_caps.txt"), "a1\na2\nb1\n");
    refused(dir.path(), &texts, &["train_caps.txt", "3 captions for the 2 names"]);
    write(&dir.path().join("train_caps.txt"), "a1\na2\n\nb2\n");
    refused(dir.path(), &texts, &["train_caps.txt, line 3", "empty"]);
    fs::remove_file(dir.path().join("train_filename.txt")).unwrap();
    refused(dir.path(), &texts, &["train_filename.txt"]);
}

fn patch(root: &Path, name: &str, labels: &str) {
    let folder = root.join(name);
    fs::create_dir_all(&folder).unwrap();
    if name.starts_with("S1") {
        tif(&folder.join(format!("{name}_VV.tif")), 1, 12, 10.0);
        tif(&folder.join(format!("{name}_VH.tif")), 1, 12, 10.0);
    } else {
        tif(&folder.join(format!("{name}_B01.tif")), 1, 2, 60.0);
        tif(&folder.join(format!("{name}_B02.tif")), 1, 12, 10.0);
        tif(&folder.join(format!("{name}_B8A.tif")), 1, 6, 20.0);
    }
    if !labels.is_empty() {
        write(&folder.join(format!("{name}_labels_metadata.json")), format!("{{\"labels\": {labels}}}"));
    }
}

#[test]
fn bigearthnet_patches_with_labels_beside() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("BigEarthNet-v1.0");
    patch(&root, "S2A_MSIL2A_20170613T101031_0_1", r#"["Peatbogs", "Airports", "Pastures"]"#);
    patch(&root, "S2A_MSIL2A_20170613T101031_0_2", r#"["Airports"]"#);
    patch(&root, "S2A_MSIL2A_20170613T101031_0_3", r#"["Sea and ocean"]"#);
    patch(&root, "S1A_IW_GRDH_1SDV_20170613T165043_33UUP_0_1", r#"["Peatbogs"]"#);
    write(&root.join("train.csv"), "S2A_MSIL2A_20170613T101031_0_1,S1A_IW_GRDH_1SDV_20170613T165043_33UUP_0_1\n");
    write(&root.join("test.csv"), "S2A_MSIL2A_20170613T101031_0_3\n");
    let set = open(dir.path());
    assert_eq!((set.format(), set.labelling(), set.len()), (Format::BigEarthNetV1, Labelling::Multi, 2));
    let names = |i: usize| set.items()[i].labels.iter().map(|&k| set.classes()[k].clone()).collect::<Vec<_>>();
    assert_eq!(names(0), ["Pastures", "Inland wetlands"]);
    assert_eq!((names(1), set.items()[1].split), (vec!["Marine waters".to_owned()], Some(Split::Test)));
    assert!(set.warnings().iter().any(|w| w.contains("1 patches without")));
    let pixels = set.read(0).unwrap();
    assert_eq!(pixels.data.dim(), (3, 12, 12));
    assert_eq!(pixels.bands.iter().map(|b| b.name.as_str()).collect::<Vec<_>>(), ["B01", "B02", "B8A"]);
    assert!((pixels.data[(1, 0, 0)] - 0.1).abs() < 1e-6);
    let all = DatasetOptions { nomenclature: Nomenclature::FortyThree, ..DatasetOptions::default() };
    let old = Dataset::open(&root, &all).unwrap();
    assert_eq!((old.len(), old.classes().len(), old.items()[0].labels.len()), (3, 43, 3));
    let radar = Dataset::open(&root, &DatasetOptions { sentinel1: true, ..DatasetOptions::default() }).unwrap();
    assert_eq!((radar.len(), radar.items()[0].split), (1, Some(Split::Train)));
    assert_eq!(radar.bands().unwrap().len(), 2);
    patch(&root, "S2A_MSIL2A_20170613T101031_0_4", r#"["Cities"]"#);
    refused(&root, &DatasetOptions::default(), &["_0_4", "`Cities` is none of"]);
    assert_eq!(Dataset::open(&root, &skipping()).unwrap().len(), 2);
    patch(&root, "S2A_MSIL2A_20170613T101031_0_4", "7");
    refused(&root, &DatasetOptions::default(), &["_0_4_labels_metadata.json", "label file"]);
}

#[test]
fn bigearthnet_with_a_table() {
    let dir = tempfile::tempdir().unwrap();
    let tile = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP";
    for k in 0..3 {
        patch(&dir.path().join("BigEarthNet-S2").join(tile), &format!("{tile}_{k}_57"), "");
        let s1 = "S1A_IW_GRDH_1SDV_20170613T165043";
        patch(&dir.path().join("BigEarthNet-S1").join(s1), &format!("{s1}_33UUP_{k}_57"), "");
    }
    fs::copy(fixtures().join("metadata.parquet"), dir.path().join("metadata.parquet")).unwrap();
    let set = open(dir.path());
    assert_eq!((set.format(), set.len(), set.classes().len()), (Format::BigEarthNetV2, 3, 19));
    let names = |s: &Dataset, i: usize| s.items()[i].labels.iter().map(|&k| s.classes()[k].clone()).collect::<Vec<_>>();
    assert_eq!(names(&set, 0), ["Arable land", "Beaches, dunes, sands"]);
    assert_eq!(set.splits().len(), 3);
    let bands = set.read(2).unwrap().bands;
    assert_eq!((bands.len(), bands[0].sensor.as_deref()), (3, Some("sentinel-2-l2a")), "N9999 carries no offset");
    let radar = DatasetOptions { sentinel1: true, ..DatasetOptions::default() };
    assert_eq!(Dataset::open(dir.path(), &radar).unwrap().read(0).unwrap().bands.len(), 2);
    // The same as CSV, with a missing patch and an unknown label.
    fs::remove_file(dir.path().join("metadata.parquet")).unwrap();
    let csv = |rows: &str| write(&dir.path().join("metadata.csv"), format!("patch_id,labels,split\n{rows}"));
    csv(&format!("{tile}_0_57,\"['Marine waters' 'Beaches, dunes, sands']\",test\n"));
    assert_eq!(names(&open(dir.path()), 0), ["Beaches, dunes, sands", "Marine waters"]);
    csv(&format!("{tile}_9_57,['Pastures'],test\n"));
    refused(dir.path(), &DatasetOptions::default(), &["metadata.csv, line 2", "_9_57", "does not exist"]);
    csv(&format!("{tile}_0_57,['Peatbogs'],test\n"));
    refused(dir.path(), &DatasetOptions::default(), &["line 2", "Peatbogs", "19 classes"]);
    fs::remove_file(dir.path().join("metadata.csv")).unwrap();
    write(&dir.path().join("metadata.parquet"), "PAR1 but no more");
    refused(dir.path(), &DatasetOptions::default(), &["metadata.parquet", "Parquet"]);
}

#[test]
fn geo_bench_samples() {
    let set = open(&fixtures().join("m-eurosat"));
    assert_eq!((set.format(), set.labelling(), set.len()), (Format::GeoBench, Labelling::Single, 2));
    assert_eq!(set.classes(), ["Annual Crop", "Forest", "River"]);
    let item = set.items().iter().position(|i| i.id == "id_1").unwrap();
    assert_eq!((set.truth(&[item]).unwrap(), set.items()[item].split), (vec![1], Some(Split::Test)));
    assert_eq!(set.truth(&[1 - item]).unwrap(), [0], "a numpy scalar");
    let pixels = set.read(item).unwrap();
    assert_eq!(pixels.data.dim(), (13, 4, 5));
    // The plane called 08A is EuroSAT's ninth, which holds B09; the one called 12 holds B8A.
    for (name, stored) in [("B08", 800.0), ("B09", 900.0), ("B10", 1000.0), ("B12", 1200.0), ("B8A", 1300.0)] {
        let k = pixels.bands.iter().position(|b| b.name == name).unwrap();
        assert!((pixels.data[(k, 0, 0)] - stored * 1e-4).abs() < 1e-6, "{name}");
        assert_eq!(pixels.bands[k].sensor.as_deref(), Some("sentinel-2-l1c"));
    }
    let set = open(&fixtures().join("m-bigearthnet"));
    assert_eq!((set.labelling(), set.classes().len()), (Labelling::Multi, 4));
    assert_eq!([&set.items()[0].labels[..], &set.items()[1].labels[..]], [&[1, 2][..], &[0]]);
    let bands: Vec<_> = set.bands().unwrap().into_iter().map(|b| (b.name, b.sensor)).collect();
    assert_eq!(bands[2], ("B04".into(), Some("sentinel-2-l2a".into())));
    let set = open(&fixtures().join("m-drone/one.hdf5"));
    assert_eq!((set.classes().len(), set.truth(&[0]).unwrap()), (3, vec![2]));
    let bands = set.bands().unwrap();
    assert_eq!([bands[0].wavelength_um, bands[1].wavelength_um], [Some(0.48), Some(0.65)]);
    refused(&fixtures().join("m-fields"), &DatasetOptions::default(), &["segmentation set"]);
    let missing = DatasetOptions { partition: "0.01x_train".into(), ..DatasetOptions::default() };
    refused(&fixtures().join("m-eurosat"), &missing, &["no partition `0.01x_train`"]);
    // A partition that names a sample that is not there; a file that is no sample.
    let dir = tempfile::tempdir().unwrap();
    fs::copy(fixtures().join("m-eurosat/id_1.hdf5"), dir.path().join("id_1.hdf5")).unwrap();
    write(&dir.path().join("default_partition.json"), r#"{"test": ["id_1", "id_7"]}"#);
    refused(dir.path(), &DatasetOptions::default(), &["test, entry 2", "id_7.hdf5"]);
    assert_eq!(Dataset::open(dir.path(), &skipping()).unwrap().len(), 1);
    let whole = fs::read(dir.path().join("id_1.hdf5")).unwrap();
    for cut in [0, 100, whole.len() / 2] {
        write(&dir.path().join("id_7.hdf5"), &whole[..cut]);
        refused(dir.path(), &DatasetOptions::default(), &["id_7.hdf5"]);
    }
}

#[test]
fn images_are_those_of_pillow() {
    let text = fs::read_to_string(fixtures().join("pixels.json")).unwrap();
    let numbers: serde_json::Value = serde_json::from_str(&text).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for (name, expected) in numbers.as_object().unwrap() {
        let path = dir.path().join("x").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(fixtures().join(name), &path).unwrap();
        let set = open(dir.path());
        let pixels = set.read(0).unwrap();
        fs::remove_file(&path).unwrap();
        let shape = expected["shape"].as_array().unwrap();
        let stored = shape.get(2).map_or(1, |c| c.as_u64().unwrap() as usize);
        let channels = pixels.data.dim().0;
        let value =
            |r: usize, c: usize, k: usize| expected["values"][(r * 32 + c) * stored + k].as_f64().unwrap() as f32;
        assert_eq!(pixels.data.dim(), (if stored == 1 { 1 } else { 3 }, 24, 32), "{name}");
        let alpha = stored == 4;
        let mut worst = 0.0f32;
        for ((k, r, c), &v) in pixels.data.indexed_iter() {
            let valid = !alpha || value(r, c, 3) > 0.0;
            assert_eq!(pixels.mask[(r, c)], valid, "{name}");
            worst = worst.max((v - if valid { value(r, c, k) } else { 0.0 }).abs());
        }
        // Decoders may round JPEG transforms and colours differently; PNG is exact.
        let tolerance = if name.ends_with("png") { 0.0 } else { 4.0 };
        assert!(worst <= tolerance, "{name}: off by {worst} ({channels} bands)");
    }
}

#[test]
fn damaged_and_tiny_images() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["colour.jpg", "alpha.png", "progressive.jpg"] {
        let whole = fs::read(fixtures().join(name)).unwrap();
        for cut in [4, 20, whole.len() / 2] {
            let path = dir.path().join("x").join(name);
            write(&path, &whole[..cut]);
            let error = open(dir.path()).read(0).map(|p| p.data.sum()).unwrap_err().to_string();
            assert!(error.contains(name), "{name} cut at {cut}: {error}");
            fs::remove_file(&path).unwrap();
        }
    }
    write(&dir.path().join("x/a.jpg"), "no image");
    assert!(open(dir.path()).read(0).unwrap_err().to_string().contains("a.jpg"));
    png(&dir.path().join("x/a.jpg"), 1, 1, 0);
    assert!(open(dir.path()).read(0).unwrap_err().to_string().contains("1×1"));
    // In a list, the record is named, too.
    let list = dir.path().join("list.csv");
    write(&list, "filepath,caption\nx/a.jpg,words\n");
    let error = open(&list).read(0).unwrap_err().to_string();
    assert!(error.contains("list.csv, line 2") && error.contains("1×1"), "{error}");
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
