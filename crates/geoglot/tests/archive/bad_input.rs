//! What goes wrong is said, and nothing is lost.

use geoglot::index::Archive;
use serde_json::json;

use super::fixtures::Place;

fn filled() -> (Place, String, String) {
    let place = Place::new();
    let model = place.model();
    let scene = place.scene("a.tif", "sentinel-2-l1c", 36, 36, 99);
    place.ok(&["embed", &scene, "--model", &model, "--out", "o", "--thumbnails"]);
    (place, model, scene)
}

#[test]
fn another_space_is_refused() {
    let (place, _, scene) = filled();
    let rgb = json!({ "radar": "rgb", "other": "rgb" });
    let other = place.any_band_model("other", "some-other-space", rgb.clone());
    let error = place.fails(1, &["index", "add", "o/archive", &scene, "--model", &other]);
    assert!(error.contains("hashed-words-384") && error.contains("some-other-space"), "{error}");
    // Other weights under the same name are another space, too.
    let twin = place.any_band_model("twin", "hashed-words-384", rgb);
    let error = place.fails(1, &["index", "add", "o/archive", &scene, "--model", &twin]);
    assert!(error.contains("cannot be compared"), "{error}");
    let error = place.fails(1, &["embed", &scene, "--model", &twin, "--out", "o", "--resume"]);
    assert!(error.contains("cannot be compared"), "{error}");
    let clip = place.clip_pair();
    let error = place.fails(1, &["index", "search", "o/archive", "--text", "water", "--text-model", &clip]);
    assert!(error.contains("cannot be compared"), "{error}");
    assert_eq!(place.json(&["index", "info", "o/archive", "--json"])["records"], 9);
    // A space nobody knows words for.
    place.ok(&["embed", &scene, "--model", &other, "--out", "p"]);
    let error = place.fails(1, &["index", "search", "p/archive", "--text", "water"]);
    assert!(error.contains("--text-model") && error.contains("some-other-space"), "{error}");
}

#[test]
fn damaged_archives_are_found_and_repaired() {
    let (place, _, scene) = filled();
    let segments = place.path("o/archive/segments");
    let files: Vec<_> = std::fs::read_dir(&segments).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(files.len() >= 4);
    type Damage = fn(&[u8]) -> Option<Vec<u8>>;
    let ways: [(&str, Damage); 3] = [
        ("cut", |bytes| Some(bytes[..bytes.len() / 2].to_vec())),
        ("flipped", |bytes| {
            let mut bytes = bytes.to_vec();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
            Some(bytes)
        }),
        ("removed", |_| None),
    ];
    for file in files.iter().chain(&[place.path("o/archive/archive.json")]).filter(|f| f.exists()) {
        for (way, damage) in ways {
            let whole = std::fs::read(file).unwrap();
            match damage(&whole) {
                Some(bytes) => std::fs::write(file, bytes).unwrap(),
                None => std::fs::remove_file(file).unwrap(),
            }
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            let error = place.fails(1, &["index", "verify", "o/archive"]);
            assert!(error.contains("repair"), "{name} {way}: {error}");
            // Searching says what is wrong or gives an answer; it never panics.
            let search = place.geoglot(&["index", "search", "o/archive", "--text", "water"]).output().unwrap();
            assert!(matches!(search.status.code(), Some(0 | 1)), "{name} {way}: {search:?}");
            place.ok(&["index", "repair", "o/archive"]);
            place.ok(&["index", "verify", "o/archive"]);
            // What was lost is computed again.
            place.ok(&["index", "add", "o/archive", &scene]);
            assert_eq!(place.json(&["index", "info", "o/archive", "--json"])["records"], 9, "{name} {way}");
            // Back to the state before, for the next damage.
            std::fs::remove_dir_all(place.path("o")).unwrap();
            place.ok(&["embed", &scene, "--model", &place.text("model"), "--out", "o", "--thumbnails"]);
            assert!(file.exists(), "{name}: segments have the same names every time");
        }
    }
}

#[test]
fn wrong_arguments_end_with_code_2() {
    let (place, model, scene) = filled();
    let search = ["index", "search", "o/archive"];
    for (more, expected) in [
        (&["--text", "a", "--bbox", "1,2,3"][..], "--bbox"),
        (&["--text", "a", "--bbox", "5,50,6,40"], "south below north"),
        (&["--text", "a", "--bbox", "500000,5300000,500360,5300360"], "degrees"),
        (&["--text", ""], "no word"),
        (&["--text", " .,! "], "no word"),
        (&["--text", "a", "--minus", ""], "no word"),
        (&[], "--text, --image or --place"),
        (&["--place", "9"], "--place"),
        (&["--place", "nine,48"], "`nine`"),
        (&["--place", "9,480"], "on Earth"),
        (&["--text", "a", "--from", "yesterday"], "YYYY-MM-DD"),
        (&["--text", "a", "--from", "2021-01-02", "--to", "2021-01-01"], "after"),
        (&["--text", "a", "--max-cloud", "20"], "0 to 1"),
        (&["--text", "a", "--dedup", "1.5"], "0 to 1"),
        (&["--text", "a", "--top-k", "0"], "--top-k"),
        (&["--text", "a", "--templates", "poems"], "skyscript"),
    ] {
        let error = place.fails(2, &[&search[..], more].concat());
        assert!(error.contains(expected), "{more:?}: {error}");
    }
    for (more, expected) in [
        (&["--tile", "0"][..], "--tile"),
        (&["--stride", "0"], "--stride"),
        (&["--batch", "0"], "--batch"),
        (&["--batch", "100000000"], "--batch"),
        (&["--max-nodata", "50"], "0 to 1"),
        (&["--date", "01.02.2020"], "YYYY-MM-DD"),
        (&["--text", "water"], "--patches"),
        (&["--patches", "--text", ""], "no word"),
        (&["--device", "abacus"], "cpu"),
    ] {
        let error = place.fails(2, &[&["embed", &scene, "--model", &model, "--out", "q"], more].concat());
        assert!(error.contains(expected), "{more:?}: {error}");
    }
    assert!(!place.path("q").exists());
}

#[test]
fn scenes_that_cannot_be_embedded_are_named_before_anything_is_written() {
    let place = Place::new();
    let model = place.model();
    let good = place.scene("good.tif", "rgb", 36, 36, 99);
    let embed = |scene: &str, model: &str, more: &[&str]| {
        let error = place.fails(1, &[&["embed", &good, scene, "--model", model, "--out", "o"], more].concat());
        assert!(!place.path("o/archive").exists(), "{error}");
        error
    };
    let error = embed(&place.picture("dot.png", 1, 1, 0), &model, &[]);
    assert!(error.contains("dot.png") && error.contains("1 × 1 px") && error.contains("patch"), "{error}");
    let error = embed(&place.text("missing.tif"), &model, &[]);
    assert!(error.contains("missing.tif"), "{error}");
    std::fs::write(place.path("text.tif"), "not a raster at all").unwrap();
    assert!(embed(&place.text("text.tif"), &model, &[]).contains("text.tif"));
    std::fs::write(place.path("cut.png"), &std::fs::read(place.picture("p.png", 30, 30, 0)).unwrap()[..60]).unwrap();
    let error = place.fails(1, &["embed", &place.text("cut.png"), "--model", &model, "--out", "r"]);
    assert!(error.contains("cut.png"), "{error}");
    let error = embed(&good, &model, &["--date", "from-name"]);
    assert!(error.contains("good.tif") && error.contains("--date"), "{error}");
    let plain = good.split(":sensor").next().unwrap();
    let error = embed(&format!("{plain}:sensor=sentinel-9"), &model, &[]);
    assert!(error.contains("sentinel-9") && error.contains("sentinel-2-l1c"), "{error}");
    // A band without wavelength, and a model that declares nothing for it.
    let strict = place.any_band_model("strict", "hashed-words-384", json!({}));
    let heights = place.scene("heights.tif", "elevation", 36, 36, 99);
    let error = place.fails(1, &["embed", &heights, "--model", &strict, "--out", "o"]);
    assert!(error.contains("elevation/DSM") && error.contains("placeholder"), "{error}");
    // Nanometres where µm are meant.
    let sensors = "[[sensor]]\nid = \"mine\"\nname = \"Mine\"\nkind = \"multispectral\"\nunit = \"reflectance\"\nrange = [0.0, 1.0]\n\
                   band = [{ name = \"red\", wavelength = 665.0 }, { name = \"green\", wavelength = 560.0 }, { name = \"blue\", wavelength = 490.0 }]\n";
    std::fs::write(place.path("nm.toml"), sensors).unwrap();
    let mine = format!("{plain}:sensor=mine");
    let error = place.fails(1, &["embed", &mine, "--model", &model, "--out", "o", "--sensors", &place.text("nm.toml")]);
    assert!(error.contains("nm.toml") && error.contains("665") && error.contains("µm"), "{error}");
    // And right, it works.
    let right = sensors.replace("665.0", "0.665").replace("560.0", "0.56").replace("490.0", "0.49");
    std::fs::write(place.path("um.toml"), right).unwrap();
    place.ok(&["embed", &mine, "--model", &model, "--out", "s", "--sensors", &place.text("um.toml")]);
}

#[test]
fn damaged_models_are_named() {
    let place = Place::new();
    let model = place.model();
    let scene = place.scene("a.tif", "rgb", 24, 24, 99);
    let weights = place.path("model/model.safetensors");
    let whole = std::fs::read(&weights).unwrap();
    for damaged in [&whole[..whole.len() / 2], &whole[..4], &[]] {
        std::fs::write(&weights, damaged).unwrap();
        let error = place.fails(1, &["embed", &scene, "--model", &model, "--out", "o"]);
        assert!(error.contains("model.safetensors"), "{error}");
    }
    let error = place.fails(1, &["embed", &scene, "--model", "no-such-model", "--out", "o"]);
    assert!(error.contains("no-such-model"), "{error}");
    assert!(!place.path("o").exists());
}

#[test]
fn two_writers_are_refused_and_readers_go_on() {
    let (place, _, scene) = filled();
    let writer = Archive::open_writer(&place.path("o/archive")).unwrap();
    let error = place.fails(1, &["index", "add", "o/archive", &scene]);
    assert!(error.contains("being written by"), "{error}");
    assert!(place.ok(&["index", "search", "o/archive", "--text", "water"]).lines().count() > 1);
    drop(writer);
    place.ok(&["index", "add", "o/archive", &scene]);
}

#[test]
fn no_archive_and_an_empty_one() {
    let (place, model, scene) = filled();
    for command in ["info", "verify", "repair", "compact"] {
        let error = place.fails(1, &["index", command, "nowhere"]);
        assert!(error.contains("nowhere"), "{command}: {error}");
    }
    place.ok(&["index", "create", "fresh", "--model", &model]);
    let error = place.fails(1, &["index", "create", "fresh", "--model", &model]);
    assert!(error.contains("already"), "{error}");
    let error = place.fails(1, &["index", "search", "fresh", "--text", "water"]);
    assert!(error.contains("empty"), "{error}");
    place.ok(&["index", "add", "fresh", &scene]);
    let error = place.fails(1, &["index", "search", "fresh", "--text", "water", "--sensor", "landsat-8"]);
    assert!(error.contains("sentinel-2-l1c"), "{error}");
    let error = place.fails(1, &["index", "import", "fresh", &place.text("a.tif")]);
    assert!(error.contains("a.tif"), "{error}");
}

#[cfg(unix)]
#[test]
fn paths_that_are_no_text_are_refused() {
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    let mut command = place.geoglot(&["embed", "--model", "m"]);
    let output = command.arg(std::ffi::OsStr::from_bytes(b"a\xff.tif")).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("UTF-8"));
}
