//! Truncated, bit-flipped and empty files: read, or refused in words that name the file.

use std::path::Path;

use crate::common::{SCENE, Work, fixture, flipped, mat5};

/// Files of every format with parsers of ours: name, bytes.
fn files(work: &Work) -> Vec<(&'static str, Vec<u8>)> {
    let raster = |name: &str| std::fs::read(fixture("geoglot-raster", name)).unwrap();
    let cube = (0..6 * 7 * 4).map(f64::from).collect();
    vec![
        ("tiled.tif", work.read("scene/lidar.tif")),
        ("strips.tif", raster("strip_f64_lzw.tif")),
        ("lerc.tif", raster("lerc_f32.tif")),
        ("big.tif", raster("bigtiff_u16.tif")),
        ("plain.mat", mat5(&[("cube", &[6, 7, 4], cube)])),
        ("packed.mat", raster("matrix.mat")),
        ("v73.mat", raster("v73.mat")),
        ("cube.npy", raster("hw_f16.npy")),
    ]
}

#[test]
fn truncated_files_are_refused_by_name() {
    let work = Work::new();
    for (name, whole) in files(&work) {
        for percent in [0, 5, 40, 70, 95] {
            work.write(name, &whole[..whole.len() * percent / 100]);
            let said = work.run(&format!("info --preview look.png {name}")).fails(1, &[name]);
            assert!(said.lines().count() <= 3, "{name} cut to {percent} %: {said}");
        }
        assert!(!work.path("look.png").exists(), "{name}");
    }
}

/// Either reads (the flip hit values or padding) or says which file is damaged; never a crash, a hang or a half-written picture.
#[test]
fn flipped_bits_are_read_or_refused() {
    let work = Work::new();
    for (name, whole) in files(&work) {
        let mut refused = 0;
        for seed in 0..24 {
            work.write(name, flipped(&whole, seed));
            // Headers are where parsers are misled, so half of the flips go there.
            if seed % 2 == 0 {
                let head = whole.len().min(600);
                work.write(name, [&flipped(&whole[..head], seed), &whole[head..]].concat());
            }
            let ran = work.run(&format!("info {name}"));
            if ran.code != Some(0) {
                ran.fails(1, &[name]);
                refused += 1;
            }
        }
        println!("{name}: {refused} of 24 refused");
    }
}

#[test]
fn damaged_inputs_stop_training_and_mapping_without_output() {
    let work = Work::with_model();
    let (image, labels) = (work.read("scene/aisa-eagle.tif"), work.read("scene/labels.tif"));
    work.write("scene/aisa-eagle.tif", &image[..image.len() * 3 / 4]);
    work.run("train recipe.toml --out t").fails(1, &["aisa-eagle.tif"]);
    work.map("").fails(1, &["aisa-eagle.tif"]);
    assert!(work.files("t").is_empty() && work.files("out").is_empty(), "{:?}", work.files("out"));
    work.write("scene/aisa-eagle.tif", &image);
    work.write("scene/labels.tif", &labels[..labels.len() / 2]);
    work.run("train recipe.toml --out t").fails(1, &["labels.tif"]);
    work.run("evaluate recipe.toml --out t").fails(1, &["labels.tif"]);
    assert!(work.files("t").is_empty());
}

#[test]
fn flipped_scenes_never_half_write_a_map() {
    let work = Work::with_model();
    let image = work.read("scene/lidar.tif");
    for seed in 100..110 {
        work.write("scene/lidar.tif", flipped(&image, seed));
        let _ = std::fs::remove_dir_all(work.path("out"));
        let ran = work.map("--no-scores");
        let files = work.files("out");
        if ran.code == Some(0) {
            assert_eq!(files.len(), 6, "{files:?}");
        } else {
            ran.fails(1, &["lidar"]);
            assert!(files.is_empty(), "{files:?}");
        }
    }
}

#[test]
fn empty_and_missing_files_are_named() {
    let work = Work::with_model();
    for name in ["e.tif", "e.mat", "e.npy", "e.h5", "e.nc"] {
        work.write(name, "");
        work.run(&format!("info {name}")).fails(1, &[name]);
        work.run(&format!("info not-{name}")).fails(1, &[&format!("not-{name}")]);
        work.run(&format!("map --model model --out out {}", SCENE.replace("scene/lidar.tif", name))).fails(1, &[name]);
    }
    std::fs::create_dir(work.path("nothing")).unwrap();
    work.run("info nothing").fails(1, &["nothing", "GeoTIFF"]);
    work.write("picture.jpg", b"\xff\xd8\xff\xe0 not a raster of ours");
    work.run("info picture.jpg").fails(1, &["picture.jpg", "damaged JPEG"]);
    assert!(!Path::new(&work.path("out")).exists());
}
