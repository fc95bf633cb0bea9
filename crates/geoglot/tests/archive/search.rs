//! Questions to an archive.

use geoglot::core::Window;
use geoglot::raster::{RasterSpec, RasterWriter, SampleType};
use serde_json::Value;

use super::fixtures::{Place, SIDE};

/// An archive of two scenes of different sensors and years on the same ground.
fn filled() -> Place {
    let place = Place::new();
    let model = place.model();
    let rgb = place.scene("photo_20200304.tif", "rgb", 60, 36, 99);
    let s2 = place.scene("S2A_20210607.tif", "sentinel-2-l1c", 60, 36, 99);
    place.ok(&[
        "embed",
        &rgb,
        &s2,
        "--model",
        &model,
        "--out",
        "o",
        "--date",
        "from-name",
        "--cloud",
        "0.2",
        "--thumbnails",
    ]);
    place
}

fn hits(place: &Place, args: &[&str]) -> Vec<Value> {
    let all = [&["index", "search", "o/archive", "--json"], args].concat();
    place.json(&all)["hits"].as_array().unwrap().clone()
}

#[test]
fn words_and_filters() {
    let place = filled();
    let all = hits(&place, &["--text", "a river", "--top-k", "100"]);
    assert_eq!(all.len(), 30);
    let scores: Vec<f64> = all.iter().map(|h| h["score"].as_f64().unwrap()).collect();
    assert!(scores.windows(2).all(|w| w[0] >= w[1]));
    let middle = scores[10].to_string();
    assert_eq!(hits(&place, &["--text", "a river", "--threshold", &middle]).len(), 11);
    assert_eq!(hits(&place, &["--text", "a river"]).len(), 10);

    let sensor = hits(&place, &["--text", "a river", "--sensor", "rgb", "-k", "100"]);
    assert!(sensor.len() == 15 && sensor.iter().all(|h| h["sensor"] == "rgb"));
    assert_eq!(hits(&place, &["--text", "a river", "--from", "2021-01-01", "-k", "100"]).len(), 15);
    assert_eq!(hits(&place, &["--text", "a river", "--to", "2020-03-04", "-k", "100"]).len(), 15);
    assert_eq!(hits(&place, &["--text", "a river", "--max-cloud", "0.1"]).len(), 0);
    // A box within one tile finds that tile of both scenes.
    let bbox: Vec<f64> = serde_json::from_value(all[0]["bbox"].clone()).unwrap();
    let (lon, lat) = ((bbox[0] + bbox[2]) / 2.0, (bbox[1] + bbox[3]) / 2.0);
    let small = format!("{lon},{lat},{},{}", lon + 1e-6, lat + 1e-6);
    let here = hits(&place, &["--text", "a river", "--bbox", &small]);
    assert!(here.len() == 2 && here.iter().all(|h| h["window"] == all[0]["window"]));
    std::fs::write(place.path("area.geojson"), all[0]["geometry"].to_string()).unwrap();
    assert!(hits(&place, &["--text", "a river", "--area", "area.geojson", "-k", "100"]).len() >= 2);
    // The other side of the Earth.
    assert_eq!(hits(&place, &["--text", "a river", "--bbox", "-10,-20,-5,-15"]).len(), 0);
    // At a place: the tiles there are most like themselves.
    let at = format!("{lon},{lat}");
    let like = hits(&place, &["--place", &at, "-k", "2", "--sensor", all[0]["sensor"].as_str().unwrap()]);
    assert_eq!(like.len(), 2);
    // Words taken away change the order of things; all of them leave nothing.
    let less = hits(&place, &["--text", "a river", "--minus", "a bridge", "-k", "100"]);
    assert_ne!(less[0]["score"], all[0]["score"]);
    let error = place.fails(1, &["index", "search", "o/archive", "--text", "a river", "--minus", "a river"]);
    assert!(error.contains("cancel"), "{error}");
}

#[test]
fn an_image_finds_itself() {
    let place = filled();
    // The tile at column 24, row 12 of the Sentinel-2 scene as a file of its own.
    let source = geoglot::raster::open(&place.path("S2A_20210607.tif"), &Default::default()).unwrap();
    let window = Window::new(24, 12, SIDE, SIDE);
    let tile = source.read(&source.all_bands(), window).unwrap();
    let grid = source.grid().crop(window);
    let names = source.bands().iter().map(|b| b.name.as_str());
    let mut writer =
        RasterWriter::create(&place.path("tile.tif"), &grid, RasterSpec::values(SampleType::F32, names, None)).unwrap();
    writer.write(grid.window(), tile.data.view(), None).unwrap();
    writer.finish().unwrap();
    let found = hits(&place, &["--image", "tile.tif:sensor=sentinel-2-l1c", "-k", "1"]);
    assert_eq!(found[0]["window"], serde_json::json!([24, 12, 12, 12]));
    assert!((found[0]["score"].as_f64().unwrap() - 1.0).abs() < 1e-5, "{found:?}");
}

#[test]
fn results_in_every_format() {
    let place = filled();
    let search = |format: &str, out: &str| {
        place.ok(&["index", "search", "o/archive", "--text", "roofs", "-k", "3", "--format", format, "--out", out])
    };
    let table = place.ok(&["index", "search", "o/archive", "--text", "roofs", "-k", "3"]);
    assert_eq!(table.lines().count(), 4, "{table}");
    search("geojson", "hits.geojson");
    let json: Value = serde_json::from_slice(&std::fs::read(place.path("hits.geojson")).unwrap()).unwrap();
    assert_eq!(json["features"].as_array().unwrap().len(), 3);
    assert_eq!(json["features"][0]["geometry"]["type"], "Polygon");
    search("html", "hits.html");
    let page = std::fs::read_to_string(place.path("hits.html")).unwrap();
    assert_eq!(page.matches("data:image/png;base64,").count(), 3);
    assert!(page.contains("roofs"));
    search("geoparquet", "hits.parquet");
    assert!(std::fs::read(place.path("hits.parquet")).unwrap().starts_with(b"PAR1"));
    let run: Value = serde_json::from_slice(&std::fs::read(place.path("hits.run.json")).unwrap()).unwrap();
    assert_eq!(run["command"], "index search");
    let error = place.fails(2, &["index", "search", "o/archive", "--text", "roofs", "--format", "geoparquet"]);
    assert!(error.contains("--out"), "{error}");
}

#[test]
fn overlapping_tiles_can_count_once() {
    let place = Place::new();
    let model = place.model();
    let scene = place.scene("a.tif", "rgb", 60, 12, 99);
    place.ok(&["embed", &scene, "--model", &model, "--stride", "3", "--out", "o"]);
    assert_eq!(hits(&place, &["--text", "x-ray", "-k", "100"]).len(), 17);
    let kept = hits(&place, &["--text", "x-ray", "-k", "100", "--dedup", "0.3"]);
    let mut starts: Vec<u64> = kept.iter().map(|h| h["window"][0].as_u64().unwrap()).collect();
    starts.sort_unstable();
    assert!((2..=6).contains(&starts.len()) && starts.windows(2).all(|w| w[1] - w[0] >= 9), "{starts:?}");
}

#[test]
fn an_archive_goes_out_and_comes_in() {
    let place = filled();
    place.ok(&["index", "export", "o/archive", "--out", "all.parquet", "--thumbnails"]);
    let imported = place.ok(&["index", "import", "copy", "all.parquet"]);
    assert!(imported.contains("30 records added"), "{imported}");
    assert!(place.ok(&["index", "import", "copy", "all.parquet"]).contains("0 records added, 30 there already"));
    // The imported archive knows its model and answers alike.
    let ask = |archive: &str| place.json(&["index", "search", archive, "--text", "a field", "--json"]);
    assert_eq!(ask("copy"), ask("o/archive"));
    place.ok(&["index", "export", "o/archive", "--out", "rgb.geojson", "--format", "geojson", "--sensor", "rgb"]);
    let json: Value = serde_json::from_slice(&std::fs::read(place.path("rgb.geojson")).unwrap()).unwrap();
    assert_eq!(json["features"].as_array().unwrap().len(), 15);
    assert!(json["features"][0]["properties"].get("score").is_none());
    // Later tiles join what was made in one go; compaction changes no answer.
    let before = ask("o/archive");
    assert!(place.ok(&["index", "compact", "o/archive"]).contains("segments became 1"));
    assert_eq!(ask("o/archive"), before);
    place.ok(&["index", "verify", "o/archive"]);
}
