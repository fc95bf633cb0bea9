//! Zero-shot classes of whole images.

use serde_json::Value;

use super::fixtures::Place;

#[test]
fn a_clip_pair_gives_probabilities() {
    let place = Place::new();
    let model = place.clip_pair();
    let (a, b) = (place.picture("a.png", 12, 12, 1), place.picture("b.png", 40, 30, 2));
    let args = ["classify", &a, &b, "--model", &model, "--labels", "water; forest; an airport", "--json"];
    let found = place.json(&args);
    for (image, name) in found.as_array().unwrap().iter().zip(["a.png", "b.png"]) {
        assert!(image["image"].as_str().unwrap().ends_with(name));
        let labels = image["labels"].as_array().unwrap();
        assert_eq!(labels.len(), 3);
        let sum: f64 = labels.iter().map(|l| l["probability"].as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{sum}");
        assert!(labels.windows(2).all(|w| w[0]["cosine"].as_f64() >= w[1]["cosine"].as_f64()));
    }
    // One image at a time gives the same.
    let alone = place.json(&["classify", &b, "--model", &model, "--labels", "water; forest; an airport", "--json"]);
    let cosine = |v: &Value| v["labels"][0]["cosine"].as_f64().unwrap();
    assert!((cosine(&alone[0]) - cosine(&found[1])).abs() < 1e-5);

    let csv = place.ok(&[
        "classify",
        &a,
        &b,
        "--model",
        &model,
        "--labels",
        "water; forest, wood",
        "--format",
        "csv",
        "-k",
        "1",
    ]);
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!((lines.len(), lines[0]), (3, "image,rank,label,probability,cosine"));
    let table = place.ok(&["classify", &a, "--model", &model, "--labels", "water; forest"]);
    assert!(table.contains("water") && table.contains('%'), "{table}");
    // At the highest cosine one label is left, a hair above it none.
    let best = cosine(&found[0]);
    let multi = |threshold: f64| {
        let threshold = threshold.to_string();
        let args = ["--labels", "water; forest; an airport", "--multi-label", "--threshold", &threshold, "--json"];
        let found = place.json(&[&["classify", &a, "--model", &model], &args[..]].concat());
        found[0]["labels"].as_array().unwrap().len()
    };
    assert_eq!((multi(best - 1e-6), multi(best + 1e-4), multi(-1.0)), (1, 0, 3));
}

#[test]
fn labels_from_files_and_any_bands() {
    let place = Place::new();
    let model = place.model();
    let scene = place.scene("s2.tif", "sentinel-2-l1c", 30, 24, 99);
    std::fs::write(place.path("labels.txt"), "water\n\nforest\n  airport \n").unwrap();
    let legend = "[[class]]\nid = 1\nname = \"water\"\nprompts = [\"a lake\", \"a river\"]\n[[class]]\nid = 2\nname = \"forest\"\n";
    std::fs::write(place.path("labels.toml"), legend).unwrap();
    let from = |file: &str, out: &str| {
        place.ok(&["classify", &scene, "--model", &model, "--labels-file", file, "--format", "geojson", "--out", out]);
        let bytes = std::fs::read(place.path(out)).unwrap();
        serde_json::from_slice::<Value>(&bytes).unwrap()["features"][0].clone()
    };
    let lines = from("labels.txt", "a.geojson");
    assert_eq!(lines["geometry"]["type"], "Polygon");
    assert_eq!(lines["properties"]["labels"].as_array().unwrap().len(), 3);
    // The towers have no common scale: no probability is made up.
    assert_eq!(lines["properties"]["labels"][0]["probability"], Value::Null);
    assert_eq!(from("labels.toml", "b.geojson")["properties"]["labels"].as_array().unwrap().len(), 2);
    assert!(place.path("a.run.json").is_file());
}

#[test]
fn what_cannot_be_classified_is_said() {
    let place = Place::new();
    let model = place.clip_pair();
    let picture = place.picture("a.png", 20, 20, 1);
    let classify = |code: i32, image: &str, labels: &str, more: &[&str]| {
        place.fails(code, &[&["classify", image, "--model", &model, "--labels", labels], more].concat())
    };
    assert!(classify(2, &picture, " ; ", &[]).contains("no classes"));
    assert!(classify(2, &picture, "water; water", &[]).contains("water"));
    assert!(classify(2, &picture, "water", &["--multi-label"]).contains("--threshold"));
    assert!(classify(1, &place.picture("dot.png", 1, 1, 0), "water", &[]).contains("1 × 1 px"));
    // A tower for red, green, blue is asked about infrared.
    let scene = place.scene("s2.tif", "sentinel-2-l1c", 24, 24, 99);
    let error = classify(1, &format!("{scene},bands=B08+B11+B12"), "water", &[]);
    assert!(error.contains("red") && error.contains("B08"), "{error}");
    // With the visible bands it works, and the change to 8-bit numbers is said.
    let output = place.geoglot(&["classify", &scene, "--model", &model, "--labels", "water; forest"]).output().unwrap();
    assert!(output.status.success() && String::from_utf8_lossy(&output.stderr).contains("8-bit"));
    let empty = place.scene("empty.tif", "rgb", 24, 24, 0);
    assert!(classify(1, &empty, "water", &[]).contains("no pixel has data"));
    let no_words = place.any_band_model("m", "nobody-knows", serde_json::json!({}));
    let error = place.fails(1, &["classify", &picture, "--model", &no_words, "--labels", "water"]);
    assert!(error.contains("--text-model"), "{error}");
}
