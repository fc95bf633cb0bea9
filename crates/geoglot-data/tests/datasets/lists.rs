//! Lists of captions and classes: JSON, tables, text files.

use super::*;

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
