//! Labels, captions, questions, areas and paths that cannot be meant.

use std::path::Path;

use super::fixtures::Place;

/// Arguments in a row.
fn with<'a>(first: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [first, more].concat()
}

#[test]
fn labels_that_cannot_be_meant() {
    let place = Place::new();
    let model = place.clip_pair();
    let picture = place.picture("a.png", 20, 20, 1);
    let base = ["classify", &picture, "--model", &model];
    for (bytes, words) in [
        (&b""[..], &["labels.txt", "at least one name"][..]),
        (b" \n\t\n", &["labels.txt", "at least one name"]),
        (b"water\nforest\nwater\n", &["labels.txt", "`water` occurs twice"]),
        (b"water\nWater\n", &["labels.txt", "`Water` occurs twice"]),
        (b"water\ncaf\xe9\n", &["labels.txt", "line 2", "UTF-8"]),
        (b"\xff\xfew\0", &["labels.txt", "UTF-8"]),
    ] {
        std::fs::write(place.path("labels.txt"), bytes).unwrap();
        let error = place.fails(1, &with(&base, &["--labels-file", "labels.txt"]));
        assert!(words.iter().all(|w| error.contains(w)), "{words:?}: {error}");
    }
    std::fs::write(place.path("labels.txt"), "\u{feff}water\r\nforest\r\n").unwrap();
    let found = place.json(&with(&base, &["--labels-file", "labels.txt", "--json"]));
    let mut names: Vec<&str> =
        found[0]["labels"].as_array().unwrap().iter().map(|l| l["label"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["forest", "water"]);
    for file in ["none.txt", "."] {
        assert!(place.fails(1, &with(&base, &["--labels-file", file])).contains(&format!("{file}: cannot read")));
    }
    for (more, word) in [
        (&["--labels", ""][..], "at least one name"),
        (&["--labels", "a; A"], "`A` occurs twice"),
        (&["--labels", "a", "--out", "."], "--out ."),
        (&["--labels", "a", "--multi-label", "--threshold", "2"], "--threshold 2"),
        (&["--labels", "a", "--multi-label", "--threshold", "NaN"], "--threshold NaN"),
    ] {
        let error = place.fails(2, &with(&base, more));
        assert!(error.contains(word), "{more:?}: {error}");
    }
    // What is wrong with the last image is said before the first is looked at.
    let error = place.fails(1, &["classify", &picture, "gone.png", "--model", &model, "--labels", "a", "--out", "x"]);
    assert!(error.contains("gone.png") && !error.contains("classifying"), "{error}");
    let scene = place.scene("s2.tif", "sentinel-2-l1c", 24, 24, 99);
    let unnamed = scene.split(':').next().unwrap();
    let error = place.fails(1, &["classify", unnamed, "--model", &model, "--labels", "a"]);
    assert!(error.contains("s2.tif") && error.contains("sensor="), "{error}");
}

#[test]
fn texts_longer_than_a_tower_reads_are_cut_and_told() {
    let place = Place::new();
    let model = place.clip_pair();
    let picture = place.picture("a.png", 20, 20, 1);
    let long = "water ".repeat(4000);
    let output = place
        .geoglot(&["classify", &picture, "--model", &model, "--labels", &format!("{long}; forest"), "--json"])
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && error.contains("tokens that the tower reads"), "{error}");
    assert_eq!(error.matches("tokens that the tower reads").count(), 1, "said once: {error}");
    let output = place.geoglot(&["classify", &picture, "--model", &model, "--labels", "water"]).output().unwrap();
    assert!(!String::from_utf8(output.stderr).unwrap().contains("tokens"));
}

#[test]
fn captions_that_say_nothing_or_too_much() {
    let place = Place::new();
    let model = place.clip_pair();
    place.picture("a.png", 20, 20, 1);
    place.picture("dot.png", 1, 1, 1);
    let retrieval = ["evaluate", "retrieval", "--model", &model, "--data", "list.json", "--out", "e"];
    let list = |file: &str, caption: &str| {
        let images = serde_json::json!({ "images": [
            { "filename": "a.png", "split": "test", "sentences": [{ "raw": "a lake" }] },
            { "filename": file, "split": "test", "sentences": [{ "raw": caption }] },
        ] });
        std::fs::write(place.path("list.json"), images.to_string()).unwrap();
    };
    for (file, caption, words) in [
        ("a.png", "", &["list.json", "entry 2", "empty"][..]),
        ("a.png", " \t ", &["list.json", "entry 2", "empty"]),
        ("a.png", &"word ".repeat(1000), &["list.json", "entry 2", "4999 characters"]),
        ("gone.png", "a lake", &["list.json", "entry 2", "gone.png"]),
        ("dot.png", "a dot", &["entry 2", "dot.png", "1×1 pixels"]),
    ] {
        list(file, caption);
        let error = place.fails(1, &retrieval);
        assert!(words.iter().all(|w| error.contains(w)), "{words:?}: {error}");
        assert!(!place.path("e/report.html").exists());
    }
}

#[test]
fn areas_that_are_none() {
    let place = Place::new();
    let model = place.model();
    let scene = place.scene("a.tif", "rgb", 24, 24, 99);
    place.ok(&["embed", &scene, "--model", &model, "--out", "o"]);
    let base = ["index", "search", "o/archive", "--text", "water"];
    for (bytes, word) in [
        (&b"hello"[..], "not JSON"),
        (b"{}", "expected a Polygon"),
        (br#"{"type":"Point","coordinates":[9,47]}"#, "found Point"),
        (br#"{"type":"FeatureCollection","features":[]}"#, "at least one polygon"),
        (br#"{"type":"Polygon","coordinates":[[[9,47],[10,47]]]}"#, "three positions"),
        (br#"{"type":"Polygon","coordinates":[[[5e5,53e5],[6e5,53e5],[6e5,54e5],[5e5,53e5]]]}"#, "degrees"),
        (b"\xff\xfe{", "UTF-8"),
    ] {
        std::fs::write(place.path("area.json"), bytes).unwrap();
        let error = place.fails(1, &with(&base, &["--area", "area.json"]));
        assert!(error.contains("area.json") && error.contains(word), "{word}: {error}");
    }
    assert!(place.fails(1, &with(&base, &["--area", "gone.json"])).contains("gone.json"));
    assert!(place.fails(2, &with(&base, &["--threshold", "5"])).contains("between -1 and 1"));
    assert!(place.fails(2, &with(&base, &["--out", "o"])).contains("--out o"));
    // Latitude first: the archive lies elsewhere, and says where.
    let error = place.fails(1, &["index", "search", "o/archive", "--place", "47.85,9.0"]);
    assert!(error.contains("W,S,E,N") && error.contains("9.0"), "{error}");
    let output = place.geoglot(&with(&base, &["--bbox", "47.8,8.9,47.9,9.1"])).output().unwrap();
    assert!(output.status.success() && String::from_utf8(output.stderr).unwrap().contains("W,S,E,N"));
}

#[test]
fn files_in_the_place_of_folders() {
    let place = Place::new();
    let model = place.model();
    let scene = place.scene("a.tif", "rgb", 24, 24, 99);
    std::fs::create_dir(place.path("empty")).unwrap();
    for command in
        [&["index", "info"][..], &["index", "search", "--text", "x"], &["index", "verify"], &["index", "compact"]]
    {
        let error = place.fails(1, &[command, &["a.tif"]].concat());
        assert!(error.contains("a.tif: not an archive (it is a file"), "{command:?}: {error}");
    }
    assert!(place.fails(1, &["index", "repair", "a.tif"]).contains("a.tif: not an archive"));
    assert!(place.fails(1, &["index", "create", "a.tif", "--model", &model]).contains("a.tif"));
    assert!(place.fails(1, &["embed", &scene, "--model", &model, "--out", "a.tif"]).contains("a.tif"));
    assert!(
        place.fails(1, &["embed", "empty", "--model", &model, "--out", "o"]).contains("empty: is a folder without")
    );
    assert!(place.fails(1, &["embed", &scene, "--model", "empty", "--out", "o"]).contains("no weights in this folder"));
    assert!(!place.path("o").exists());
    assert!(std::fs::metadata(place.path("a.tif")).unwrap().is_file());
}

/// Segments whose manifest is gone are not written over by a new archive.
#[test]
fn a_new_archive_never_takes_the_place_of_a_damaged_one() {
    let place = Place::new();
    let model = place.model();
    let (one, two) = (place.scene("a.tif", "rgb", 24, 24, 99), place.scene("b.tif", "rgb", 36, 36, 99));
    let embed = |scene: &str| ["embed", scene, "--model", &model, "--out", "o"].map(str::to_owned);
    place.ok(&embed(&one).each_ref().map(String::as_str));
    std::fs::remove_file(place.path("o/archive/archive.json")).unwrap();
    for command in [
        embed(&two).to_vec(),
        ["index", "create", "o/archive", "--model", &model].map(str::to_owned).to_vec(),
        ["index", "import", "o/archive", "o/embeddings.parquet"].map(str::to_owned).to_vec(),
    ] {
        let error = place.fails(1, &command.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(error.contains("archive.json") && error.contains("repair"), "{command:?}: {error}");
    }
    place.ok(&["index", "repair", "o/archive"]);
    assert_eq!(place.json(&["index", "info", "o/archive", "--json"])["records"], 4);
}

/// Files that state nanometres as micrometres.
#[test]
fn wavelengths_of_a_file_in_the_wrong_unit_are_told() {
    let place = Place::new();
    let model = place.model();
    let header = |unit: &str, waves: &str| {
        let text = format!(
            "ENVI\nsamples = 12\nlines = 12\nbands = 3\ndata type = 4\ninterleave = bsq\nwavelength units = {unit}\nwavelength = {{{waves}}}\n"
        );
        std::fs::write(place.path("cube.hdr"), text).unwrap();
    };
    let values: Vec<u8> = (0..3 * 144).flat_map(|k| (k as f32 / 432.0).to_le_bytes()).collect();
    std::fs::write(place.path("cube.img"), values).unwrap();
    let embed = ["embed", "cube.hdr", "--model", &model, "--out", "o"];
    header("Micrometers", "665, 560, 490");
    let error = place.fails(1, &embed);
    assert!(error.contains("cube.hdr") && error.contains("665") && error.contains("wavelength units"), "{error}");
    header("Nanometers", "0.665, 0.56, 0.49");
    assert!(place.fails(1, &embed).contains("wavelength units"));
    assert!(!place.path("o").exists());
}

#[cfg(unix)]
#[test]
fn names_that_are_no_text_work_or_are_refused() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    let model = place.model();
    let scene = place.scene("a.tif", "rgb", 24, 24, 99);
    let odd = OsStr::from_bytes(b"caf\xe9");
    let run = |args: &[&str], last: &OsStr| {
        let output = place.geoglot(args).arg(last).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!error.contains("panicked"), "{error}");
        (output.status.code(), error)
    };
    // Output folders and archives may have any name.
    let (code, error) = run(&["embed", &scene, "--model", &model, "--out"], odd);
    assert_eq!(code, Some(0), "{error}");
    let archive = Path::new(odd).join("archive");
    for command in [&["index", "verify"][..], &["index", "info"], &["index", "search", "--text", "water"]] {
        let (code, error) = run(command, archive.as_os_str());
        assert_eq!(code, Some(0), "{command:?}: {error}");
    }
    // Models and scenes are recorded by name: such names are refused.
    for args in [&["embed", &scene, "--out", "o", "--model"][..], &["embed", "--out", "o", "--model", &model]] {
        let (code, error) = run(args, odd);
        assert!(code == Some(2) && error.contains("UTF-8"), "{error}");
    }
    // A band of a folder with such a name.
    std::fs::create_dir(place.path("bands")).unwrap();
    let band = place.path("bands").join(OsStr::from_bytes(b"caf\xe9_B04.tif"));
    place.scene("one.tif", "elevation", 24, 24, 99);
    std::fs::copy(place.path("one.tif"), band).unwrap();
    let (code, error) = run(&["info"], OsStr::new("bands"));
    assert!(matches!(code, Some(0 | 1)), "{error}");
}
