//! Maps, read back.

use std::path::Path;

use geoglot::core::{Crs, Legend};
use geoglot::raster::{BandSource, SampleType, tiff};
use serde_json::Value;

use crate::common::{SCENE, Work};

fn legend(work: &Work, name: &str) -> Legend {
    Legend::load(&work.path(name)).unwrap()
}

#[test]
fn a_map_is_georeferenced_named_and_consistent() {
    let work = Work::with_model();
    let said = work.map("").ok();
    let legend = legend(&work, "out/legend.toml");
    let (scene, _) = work.pixels("scene/aisa-eagle.tif");
    let (grid, classes) = work.pixels("out/classes.tif");
    assert_eq!(grid, scene);
    assert_eq!(grid.crs, Some(Crs::Epsg(32632)));
    let file = tiff::open(&work.path("out/classes.tif")).unwrap();
    assert!(file.has_color_table());
    assert_eq!((file.sample_type(), file.bands()[0].nodata), (SampleType::U8, Some(0.0)));
    let names = String::from_utf8(work.read("out/classes.tif.aux.xml")).unwrap();
    for class in &legend.classes {
        assert!(names.contains(&format!("<Category>{}</Category>", class.name)), "{names}");
        assert!(said.contains(&class.name), "{said}");
    }
    let scores = tiff::open(&work.path("out/scores.tif")).unwrap();
    assert_eq!(scores.bands().iter().map(|b| b.name.clone()).collect::<Vec<_>>(), legend.names());
    assert!(scores.bands()[0].nodata.is_some_and(f64::is_nan));
    let (score_grid, similarity) = work.pixels("out/scores.tif");
    let (_, confidence) = work.pixels("out/confidence.tif");
    assert_eq!(score_grid, scene);
    for ((_, row, col), &id) in classes.indexed_iter() {
        let best = legend.index_of(id as u16).expect("every pixel has data");
        let here = similarity.slice(ndarray::s![.., row, col]);
        assert!(here.iter().all(|&s| s <= here[best] && s.abs() <= 1.0 + 1e-5), "row {row} col {col}");
        let sure = confidence[[0, row, col]];
        assert!(sure >= 1.0 / legend.len() as f32 - 1e-5 && sure <= 1.0 + 1e-5, "{sure}");
    }
    assert!(work.read("out/map.png").starts_with(b"\x89PNG"));
    let run = work.json("out/run.json");
    assert_eq!(run["model_hash"], work.json("model/config.json")["weights_sha256"]);
    for class in &legend.classes {
        let counted = classes.iter().filter(|&&id| id == f32::from(class.id)).count();
        assert_eq!(run["results"][&class.name]["pixels"], counted);
    }
    assert_eq!(work.files("out").len(), 7, "{:?}", work.files("out"));
}

#[test]
fn classes_are_chosen_in_words() {
    let work = Work::with_model();
    let line = format!("map --model model --out out {SCENE} --json --no-scores --no-confidence --classes");
    let run: Value = serde_json::from_str(&work.run_with(&line, "water; tall trees").ok()).unwrap();
    assert_eq!(legend(&work, "out/legend.toml").names(), ["water", "tall trees"]);
    let pixels = ["water", "tall trees"].map(|c| run["results"][c]["pixels"].as_u64().unwrap());
    assert_eq!(pixels.iter().sum::<u64>(), 96 * 96);
    assert_eq!(run["results"]["unlabelled pixels"], 0);
    assert_eq!(work.files("out"), ["classes.tif", "classes.tif.aux.xml", "legend.toml", "map.png", "run.json"]);
    // The model's own classes, asked for by a legend file, give the model's own map.
    work.map("--no-scores").ok();
    let own = work.read("out/classes.tif");
    std::fs::copy(work.path("out/legend.toml"), work.path("asked.toml")).unwrap();
    work.map("--no-scores --legend asked.toml").ok();
    assert_eq!(work.read("out/classes.tif"), own);
    work.run_with(&line, " ; ").fails(1, &["--classes", "no classes"]);
    work.run_with(&line, "water; water").fails(1, &["--classes", "water", "twice"]);
}

#[test]
fn a_box_is_cut_out_of_the_same_map() {
    let work = Work::with_model();
    work.map("").ok();
    let (grid, whole) = work.pixels("out/classes.tif");
    let t = grid.transform;
    let (col, row, width, height) = (30, 20, 17, 40);
    let corner = (t.x0 + f64::from(col) * t.dx, t.y0 + f64::from(row + height) * t.dy);
    let bbox = format!(
        "{},{},{},{}",
        corner.0,
        corner.1,
        corner.0 + f64::from(width) * t.dx,
        corner.1 - f64::from(height) * t.dy
    );
    work.map(&format!("--bbox {bbox}")).ok();
    let (part, cut) = work.pixels("out/classes.tif");
    assert_eq!((part.width, part.height, &part.crs), (17, 40, &grid.crs));
    assert_eq!((part.transform.x0, part.transform.y0), (t.x0 + 30.0 * t.dx, t.y0 + 20.0 * t.dy));
    assert_eq!(cut, whole.slice(ndarray::s![.., 20..60, 30..47]));
    work.map("--bbox 1,1,2,2").fails(1, &["--bbox", "662000"]);
    work.map("--bbox nan,1,2,2").fails(2, &["--bbox", "minx"]);
    work.map("--bbox 5,5,1,1").fails(2, &["--bbox", "minx"]);
}

#[test]
fn pixels_unlike_every_class_stay_background() {
    let work = Work::with_model();
    work.map("").ok();
    let (_, scores) = work.pixels("out/scores.tif");
    let best = scores.fold_axis(ndarray::Axis(0), f32::MIN, |a, b| a.max(*b));
    let mut sorted: Vec<f32> = best.iter().copied().collect();
    sorted.sort_by(f32::total_cmp);
    let least = sorted[sorted.len() / 2];
    work.map(&format!("--background {least}")).ok();
    let (_, classes) = work.pixels("out/classes.tif");
    for ((row, col), &score) in best.indexed_iter() {
        assert_eq!(classes[[0, row, col]] == 0.0, score < least, "row {row} col {col}: {score}");
    }
    let unlabelled = work.json("out/run.json")["results"]["unlabelled pixels"].as_u64().unwrap();
    assert_eq!(unlabelled as usize, best.iter().filter(|&&s| s < least).count());
}

#[test]
fn the_order_of_bands_in_the_file_does_not_matter() {
    let work = Work::with_model();
    work.map("--no-scores --no-confidence").ok();
    let map = work.read("out/classes.tif");
    let (grid, data) = work.pixels("scene/lidar.tif");
    work.raster("turned.tif", &grid, &["DTM", "DSM"], |band, row, col| data[[1 - band, row, col]]);
    let line = format!(
        "map --model model --out turned --no-scores --no-confidence {}",
        SCENE.replace("scene/lidar.tif", "turned.tif")
    );
    work.run(&line).ok();
    assert_eq!(work.read("turned/classes.tif"), map);
    assert!(Path::new(&work.path("turned/map.png")).is_file());
}
