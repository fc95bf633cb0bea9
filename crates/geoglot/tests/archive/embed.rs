//! Scenes to vectors.

use burn::tensor::Device;
use geoglot::core::{Registry, Window};
use geoglot::index::{Archive, Filter, Query};
use geoglot::models::vision::load_image_tower;
use geoglot::raster::{OpenOptions, Scene};
use predicates::prelude::*;
use serde_json::{Value, json};

use super::fixtures::{Place, SIDE};

/// 36 × 30 px in tiles of 12: nine tiles. 50 × 30 px: five columns (the last moved to the border) by three rows.
fn two_scenes(place: &Place) -> [String; 2] {
    [
        place.scene("photo_20200304.tif", "rgb", 36, 30, 99),
        place.scene("S2A_MSIL1C_20210607T101559.tif", "sentinel-2-l1c", 50, 30, 99),
    ]
}

#[test]
fn any_bands_in_one_call_and_again() {
    let place = Place::new();
    let (model, [rgb, s2]) = (place.model(), two_scenes(&place));
    let args = ["embed", &rgb, &s2, "--model", &model, "--out", "o", "--date", "from-name", "--thumbnails", "--json"];
    let run = place.json(&args);
    assert_eq!(run["results"]["added"], 24);
    assert_eq!(
        run["inputs"].as_array().unwrap().iter().map(|i| i["bands"].as_array().unwrap().len()).collect::<Vec<_>>(),
        [3, 13]
    );
    let info = place.json(&["index", "info", "o/archive", "--json"]);
    assert_eq!(info["records"], 24);
    assert_eq!(info["sensors"], json!({ "rgb": 9, "sentinel-2-l1c": 15 }));
    assert_eq!(info["times"], json!(["2020-03-04T00:00:00Z", "2021-06-07T10:15:59Z"]));
    assert_eq!(info["unplaced"], 0);
    // 500 km easting is 9° E; 5,300 km northing lies near 47.85° N.
    let bbox: Vec<f64> = serde_json::from_value(info["bbox"].clone()).unwrap();
    assert!((bbox[0] - 9.0).abs() < 1e-6 && bbox[2] < 9.01 && (47.8..47.9).contains(&bbox[1]), "{bbox:?}");
    assert!(place.path("o/embeddings.parquet").is_file() && place.path("o/run.json").is_file());
    let archive = Archive::open(&place.path("o/archive")).unwrap();
    assert!(archive.rows().all(|row| archive.thumbnail(row).is_some_and(|png| png.starts_with(b"\x89PNG"))));

    // What is there is not touched without being asked, and not computed again.
    let error = place.fails(1, &args);
    assert!(error.contains("--resume"), "{error}");
    let again = place.json(&[&args[..], &["--resume"]].concat());
    assert_eq!((&again["results"]["added"], &again["results"]["present"]), (&json!(0), &json!(24)));
    let added = place.json(&["index", "add", "o/archive", &rgb, "--json"]);
    assert_eq!((&added["results"]["added"], &added["results"]["present"]), (&json!(0), &json!(9)));
    // Other bands of the same pixels are other records.
    let subset = format!("{s2},bands=B02+B03+B04");
    assert_eq!(place.json(&["index", "add", "o/archive", &subset, "--json"])["results"]["added"], 15);
}

#[test]
fn vectors_are_those_of_the_tower() {
    let place = Place::new();
    let (model, [_, s2]) = (place.model(), two_scenes(&place));
    place.ok(&["embed", &s2, "--model", &model, "--out", "o", "--batch", "4"]);
    let archive = Archive::open(&place.path("o/archive")).unwrap();
    let tower = load_image_tower(&model, &Device::flex()).unwrap();
    let scene = Scene::open(&[s2.parse().unwrap()], Registry::builtin(), OpenOptions::default()).unwrap();
    let rows: Vec<_> = archive.rows().collect();
    let metas = archive.metas(&rows).unwrap();
    assert_eq!(rows.len(), 15);
    for (row, meta) in rows.iter().zip(metas) {
        let window: Window = meta.window.unwrap();
        assert_eq!((window.width, window.height), (SIDE, SIDE));
        let input = &scene.inputs()[0];
        let tile = scene.read(input.name(), &input.source().all_bands(), window).unwrap();
        let batch = tower.prepare(&[tile.data.view()], input.bands()).unwrap();
        let expected = tower.encode(&batch).unwrap();
        let found = archive.vector(*row);
        let worst = expected.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        assert!(worst < 1e-5, "{window:?}: {worst}");
        assert_eq!(meta.grid.unwrap().transform, scene.grid().crop(window).transform);
    }
}

#[test]
fn tiles_without_data_are_left_out() {
    let place = Place::new();
    let model = place.model();
    // Data in 16 of 36 columns: all of the first column of tiles, a third of the second, none of the third.
    let scene = place.scene("half.tif", "rgb", 36, 12, 16);
    let run = |share: &str, out: &str| {
        place.json(&["embed", &scene, "--model", &model, "--out", out, "--max-nodata", share, "--json"])["results"]
            .clone()
    };
    let counts = |r: &Value| (r["added"].as_u64().unwrap(), r["without data"].as_u64().unwrap());
    assert_eq!(counts(&run("0.5", "a")), (1, 2));
    assert_eq!(counts(&run("0.7", "b")), (2, 1));
    // A tile without a single pixel never counts.
    assert_eq!(counts(&run("1", "c")), (2, 1));
    let archive = Archive::open(&place.path("b/archive")).unwrap();
    let rows: Vec<_> = archive.rows().collect();
    let shares: Vec<f32> = archive.metas(&rows).unwrap().iter().map(|m| m.nodata.unwrap()).collect();
    assert!(shares.contains(&0.0) && shares.iter().any(|s| (s - 8.0 / 12.0).abs() < 1e-6), "{shares:?}");
}

#[test]
fn patches_have_vectors_and_a_similarity_map() {
    let place = Place::new();
    let model = place.model();
    // 30 × 20 px in patches of 4 px: 8 × 5 of them, the last column half outside.
    let scene = place.scene("s2.tif", "sentinel-2-l1c", 30, 20, 99);
    let args = [
        "embed",
        &scene,
        "--model",
        &model,
        "--out",
        "o",
        "--patches",
        "--text",
        "water",
        "--text",
        "forest",
        "--json",
    ];
    assert_eq!(place.json(&args)["results"]["added"], 40);
    let again = place.json(&[&args[..], &["--resume"]].concat());
    assert_eq!((&again["results"]["added"], &again["results"]["present"]), (&json!(0), &json!(40)));

    let map = geoglot::raster::open(&place.path("o/similarity/s2.tif"), &Default::default()).unwrap();
    let grid = map.grid();
    assert_eq!((grid.width, grid.height, grid.pixel_size()), (8, 5, (40.0, 40.0)));
    assert_eq!(grid.transform.apply(0.0, 0.0), (500_000.0, 5_300_000.0));
    assert_eq!(map.bands().iter().map(|b| b.name.as_str()).collect::<Vec<_>>(), ["water", "forest"]);
    let values = map.read(&[0, 1], grid.window()).unwrap();
    assert!(values.mask.iter().all(|v| *v) && values.data.iter().all(|v| v.abs() <= 1.0));
    assert!(["1", "2"].iter().all(|k| place.path(&format!("o/similarity/s2-{k}.png")).is_file()));

    // The map and a search agree: the best patch in the archive is the brightest pixel.
    let hits = place.json(&["index", "search", "o/archive", "--text", "water", "--top-k", "1", "--json"]);
    let window: Vec<usize> = serde_json::from_value(hits["hits"][0]["window"].clone()).unwrap();
    let water = values.data.index_axis(ndarray::Axis(0), 0);
    let best = water.iter().copied().fold(f32::MIN, f32::max);
    assert!((water[[window[1] / 4, window[0] / 4]] - best).abs() < 1e-6);
    assert!((hits["hits"][0]["score"].as_f64().unwrap() - f64::from(best)).abs() < 1e-5);
}

#[test]
fn pictures_without_place_are_welcome() {
    let place = Place::new();
    let model = place.model();
    let picture = place.picture("photo.png", 25, 13, 0);
    place
        .geoglot(&["embed", &picture, "--model", &model, "--out", "o"])
        .assert()
        .success()
        .stdout(predicate::str::contains("6 records added"));
    let info = place.json(&["index", "info", "o/archive", "--json"]);
    assert_eq!((&info["records"], &info["unplaced"], &info["bbox"]), (&json!(6), &json!(6), &Value::Null));
    let archive = Archive::open(&place.path("o/archive")).unwrap();
    assert!(Query::place(&archive, &Filter::new().bbox("0,0,1,1".parse().unwrap())).is_err());
    assert_eq!(
        place.json(&["index", "search", "o/archive", "--text", "a lake", "--json"])["hits"].as_array().unwrap().len(),
        6
    );
}

#[test]
fn info_shows_an_image_tower() {
    let place = Place::new();
    let model = place.model();
    place.geoglot(&["info", &model]).assert().success().stdout(
        predicate::str::contains("12 × 12")
            .and(predicate::str::contains("sensor registry"))
            .and(predicate::str::contains("hashed-words-384")),
    );
    assert_eq!(place.json(&["info", &model, "--json"])["space"]["width"], 384);
}
