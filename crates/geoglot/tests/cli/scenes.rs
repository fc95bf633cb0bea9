//! Scenes that do not fit: bands, grids, missing values, labels.

use geoglot::core::{Affine, Crs, Grid};

use crate::common::{SCENE, Work};

/// `map` with another file as an input.
fn map_with(work: &Work, original: &str, other: &str) -> crate::common::Ran {
    work.run(&format!("map --model model --out out {}", SCENE.replace(original, other)))
}

/// `train` with another file as an input or as the labels.
fn train_with(work: &Work, key: &str, file: &str) -> crate::common::Ran {
    work.run(&format!("train recipe.toml --out t --set data.scene.0.{key}=../{file}"))
}

fn moved(grid: &Grid, epsg: u32, x0: f64, y0: f64) -> Grid {
    Grid { crs: Some(Crs::Epsg(epsg)), transform: Affine { x0, y0, ..grid.transform }, ..grid.clone() }
}

#[test]
fn wrong_bands_are_named_with_the_remedy() {
    let work = Work::with_model();
    let (grid, data) = work.pixels("scene/lidar.tif");
    work.raster("ten.tif", &grid, &["band 1"; 10], |_, r, c| (r + c) as f32);
    work.raster("dsm.tif", &grid, &["DSM"], |_, r, c| data[[0, r, c]]);
    map_with(&work, "scene/aisa-eagle.tif", "ten.tif").fails(1, &["ten.tif", "10", "63", "bands="]);
    map_with(&work, "scene/aisa-eagle.tif:sensor=aisa-eagle", "ten.tif").fails(1, &["`hsi`", "sensor=aisa-eagle"]);
    map_with(&work, "scene/lidar.tif", "dsm.tif").fails(1, &["`lidar`", "DTM", "DSM"]);
    map_with(&work, "--scene lidar=scene/lidar.tif", "").fails(1, &["lidar", "--scene lidar="]);
    map_with(&work, "sensor=aisa-eagle", "sensor=no-such").fails(1, &["no-such", "aisa-eagle"]);
    map_with(&work, "scene/lidar.tif", "scene/lidar.tif:bands=DSM+roof").fails(1, &["lidar.tif", "roof", "DTM"]);
    train_with(&work, "inputs.hsi", "ten.tif:sensor=aisa-eagle").fails(1, &["ten.tif", "10", "63"]);
    assert!(work.files("out").is_empty() && work.files("t").is_empty());
}

#[test]
fn pixels_without_values_stay_without_a_class() {
    let work = Work::with_model();
    let (grid, data) = work.pixels("scene/lidar.tif");
    let hole = |r: usize, c: usize| (40..50).contains(&r) && (40..50).contains(&c);
    work.raster("holes.tif", &grid, &["DSM", "DTM"], |b, r, c| match (b, hole(r, c)) {
        (0, true) => f32::NAN,
        (1, true) if r == 41 => f32::INFINITY,
        _ => data[[b, r, c]],
    });
    let said = work.run("info holes.tif").ok();
    assert!(said.contains("warning") && said.contains("NaN or infinite"), "{said}");
    map_with(&work, "scene/lidar.tif", "holes.tif").ok();
    let (_, classes) = work.pixels("out/classes.tif");
    let (_, scores) = work.pixels("out/scores.tif");
    for ((_, r, c), &class) in classes.indexed_iter() {
        assert_eq!(class == 0.0, hole(r, c), "row {r} col {c}");
        assert_eq!(scores[[0, r, c]].is_nan(), hole(r, c), "row {r} col {c}");
    }
    assert_eq!(work.json("out/run.json")["results"]["unlabelled pixels"], 100);
    train_with(&work, "inputs.lidar", "holes.tif").ok();
}

#[test]
fn a_scene_without_any_value_is_an_error() {
    let work = Work::with_model();
    let (grid, _) = work.pixels("scene/lidar.tif");
    work.raster("none.tif", &grid, &["DSM", "DTM"], |_, _, _| -9999.0);
    work.raster("nan.tif", &grid, &["DSM", "DTM"], |_, _, _| f32::NAN);
    for name in ["none.tif", "nan.tif"] {
        let words = [name, "no pixel has data", "lidar 0.0 %", "nodata"];
        map_with(&work, "scene/lidar.tif", name).fails(1, &words);
        train_with(&work, "inputs.lidar", name).fails(1, &words);
        assert!(work.run(&format!("info {name}")).ok().contains("every pixel is nodata"));
    }
    // A scene with data, but none in the box.
    let (_, data) = work.pixels("scene/lidar.tif");
    work.raster("left.tif", &grid, &["DSM", "DTM"], |b, r, c| if c < 50 { data[[b, r, c]] } else { -9999.0 });
    let [_, low, high, _] = grid.bounds();
    let line = format!(
        "map --model model --out out {} --bbox {},{low},{high},{}",
        SCENE.replace("scene/lidar.tif", "left.tif"),
        high - 20.0,
        low + 30.0
    );
    work.run(&line).fails(1, &["--bbox", "no pixel"]);
    assert!(work.files("out").is_empty() && work.files("t").is_empty());
}

#[test]
fn grids_that_do_not_meet_are_refused() {
    let work = Work::with_model();
    let (grid, data) = work.pixels("scene/lidar.tif");
    let small = Grid { width: 50, height: 40, ..Grid::unreferenced(50, 40) };
    let grids = [
        ("far.tif", moved(&grid, 32632, 100_000.0, 200_000.0), "does not overlap"),
        ("south.tif", moved(&grid, 32733, 500_000.0, 7_000_000.0), "does not overlap"),
        ("small.tif", small, "50 × 40"),
    ];
    for (name, other, word) in &grids {
        work.raster(name, other, &["DSM", "DTM"], |b, r, c| data[[b, r, c]]);
        map_with(&work, "scene/lidar.tif", name).fails(1, &[name, word]);
        train_with(&work, "inputs.lidar", name).fails(1, &[name, word]);
    }
    assert!(work.files("out").is_empty() && work.files("t").is_empty());
    // A part of the ground is enough: the rest has no class.
    let part = moved(&grid, 32632, grid.transform.x0 + 40.0, grid.transform.y0);
    work.raster("part.tif", &part, &["DSM", "DTM"], |b, r, c| data[[b, r, c.saturating_sub(1)]]);
    map_with(&work, "scene/lidar.tif", "part.tif").ok();
    let (_, classes) = work.pixels("out/classes.tif");
    assert!(classes.indexed_iter().all(|((_, _, c), &class)| (class == 0.0) == (c < 40)));
}

#[test]
fn labels_that_do_not_fit_are_refused() {
    let work = Work::new();
    let (grid, labels) = work.pixels("scene/labels.tif");
    let far = moved(&grid, 32632, 100_000.0, 200_000.0);
    let write = |name: &str, grid: &Grid, value: &dyn Fn(f32) -> f32| {
        work.raster(name, grid, &["class"], |_, r, c| value(labels[[0, r, c]]));
    };
    write("far.tif", &far, &|id| id);
    write("zero.tif", &grid, &|_| 0.0);
    write("unknown.tif", &grid, &|id| if id == 1.0 { 99.0 } else { id });
    write("half.tif", &grid, &|id| id + 0.5);
    write("negative.tif", &grid, &|id| if id == 1.0 { -1.0 } else { id });
    write("small.tif", &Grid::unreferenced(30, 30), &|id| id);
    for (name, words) in [
        ("far.tif", &["far.tif", "does not overlap"][..]),
        ("zero.tif", &["scene", "none of the legend's classes", "{0}"]),
        ("unknown.tif", &["unknown.tif", "99 (", "water", "data.ignore"]),
        ("half.tif", &["half.tif", ".5", "not a class map"]),
        ("negative.tif", &["negative.tif", "-1", "nodata=-1"]),
        ("small.tif", &["small.tif", "30 × 30", "96 × 96"]),
        ("scene/lidar.tif", &["lidar.tif", "2 bands", "lidar.tif:1"]),
        ("absent.tif", &["absent.tif"]),
    ] {
        train_with(&work, "labels", name).fails(1, words);
    }
    assert!(work.files("t").is_empty());
    // What the messages say helps.
    train_with(&work, "labels", "negative.tif:nodata=-1").ok();
    train_with(&work, "labels", "unknown.tif --set data.ignore=[99]").ok();
}
