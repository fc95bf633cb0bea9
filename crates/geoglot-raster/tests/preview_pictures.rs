//! Pictures of a small made-up scene; with GEOGLOT_PICTURES set to a folder they are written there, to be looked at.

use std::path::{Path, PathBuf};

use geoglot_core::{Class, Legend};
use geoglot_raster::formats::EnviSource;
use geoglot_raster::preview::{
    Image, ansi, ascii, class_map, heat_map, legend_entries, panels, quick_look, with_color_bar, with_legend,
};
use geoglot_raster::{SourceOptions, open};
use ndarray::Array2;

fn keep(name: &str, image: &Image) {
    if let Some(folder) = std::env::var_os("GEOGLOT_PICTURES") {
        image.save_png(&PathBuf::from(folder).join(name)).unwrap();
    }
}

/// Fields, a river, a town: enough structure to judge a legend by.
fn scene(width: usize, height: usize) -> (Array2<u16>, Array2<f32>) {
    let labels = Array2::from_shape_fn((height, width), |(r, c)| {
        let (x, y) = (c as f32 / width as f32, r as f32 / height as f32);
        let river = (y - 0.5 - 0.2 * (x * 7.0).sin()).abs() < 0.05;
        let town = (x - 0.7).powi(2) + (y - 0.25).powi(2) < 0.03;
        let field = (c * 9 / width + r * 7 / height) % 3;
        match (river, town, field) {
            (true, ..) => 1,
            (_, true, _) if (c / 6 + r / 6) % 3 == 0 => 5,
            (_, true, _) => 4,
            (_, _, 0) => 2,
            (_, _, 1) => 3,
            _ if x < 0.1 => 0,
            _ => 6,
        }
    });
    let confidence = Array2::from_shape_fn((height, width), |(r, c)| {
        let edge = (r > 0 && labels[[r, c]] != labels[[r - 1, c]]) || (c > 0 && labels[[r, c]] != labels[[r, c - 1]]);
        if labels[[r, c]] == 0 {
            f32::NAN
        } else if edge {
            0.4
        } else {
            0.75 + 0.2 * ((r * 3 + c * 5) as f32 * 0.05).sin()
        }
    });
    (labels, confidence)
}

fn legend() -> Legend {
    let names = [
        "water",
        "healthy grass",
        "cropland, irrigated",
        "residential buildings",
        "non-residential buildings",
        "trees",
        "railway",
    ];
    Legend::new(names.iter().zip(1..).map(|(n, id)| Class::new(id, *n)).collect()).unwrap()
}

#[test]
fn maps_with_legends_and_bars() {
    for (width, height) in [(60, 50), (300, 300), (900, 420)] {
        let (labels, confidence) = scene(width, height);
        let legend = legend();
        let map = with_legend(&class_map(&labels, &legend), &legend_entries(&labels, &legend));
        keep(&format!("map_{width}.png"), &map);
        let (heat, limits) = heat_map(&confidence, Some((0.0, 1.0)));
        let bar = with_color_bar(&heat, limits, "confidence");
        keep(&format!("heat_{width}.png"), &bar);
        let sheet = panels(&[
            ("Labels", class_map(&labels, &legend)),
            ("MMLGNet, OA 93.1 %", map.clone()),
            ("Confidence of the winning class", bar),
        ]);
        keep(&format!("sheet_{width}.png"), &sheet);
        // Every class colour is found in the legend beside the map.
        let right = map.width() - map.width() / 4;
        for index in 0..legend.len() {
            let [r, g, b] = legend.color(index);
            assert!(
                (right - 250..map.width()).any(|c| (0..map.height()).any(|y| map.get(c, y) == [r, g, b, 255])),
                "class {index}"
            );
        }
        assert!(sheet.width() > map.width());
    }
}

#[test]
fn quick_looks_of_files() {
    let fixture = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    // Wavelengths 450, 550, 650, 850 nm: true colour; its nodata pixel is transparent.
    let envi = EnviSource::open(&fixture("bip.hdr")).unwrap();
    let look = quick_look(&envi, 1000).unwrap();
    assert_eq!((look.bands.as_slice(), look.image.width(), look.image.height()), (&[2, 1, 0][..], 7, 6));
    assert!(look.caption.starts_with("true colour"), "{}", look.caption);
    assert_eq!(look.image.get(3, 0)[3], 0);
    assert!(look.image.get(6, 5)[0] > look.image.get(0, 0)[0]);
    let small = quick_look(&envi, 3).unwrap();
    assert_eq!((small.image.width(), small.image.height()), (3, 2));
    assert!(ascii(&look.image, 40).lines().count() == 3 && ansi(&look.image, 40).contains('▀'));
}

#[test]
fn quick_looks_of_real_scenes() {
    let root = std::env::var_os("GEOGLOT_DATA")
        .map(PathBuf::from)
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"));
    for file in [
        "abu/abu-urban-3.mat",
        "landsat-stars/L7_ETMs.tif",
        "treesat-anysat/a.tif",
        "sen1floods11/sample/S2/Spain_7370579_S2Hand.tif",
        "sen1floods11/sample/S1/Spain_7370579_S1Hand.tif",
    ] {
        let path = root.join(file);
        if !path.exists() {
            println!("skipped: {} is missing", path.display());
            continue;
        }
        let source = open(&path, &SourceOptions::default()).unwrap();
        let look = quick_look(source.as_ref(), 600).unwrap();
        // Stretched pictures use the range: neither black nor white all over.
        let bright = (0..look.image.width()).filter(|&c| look.image.get(c, look.image.height() / 2)[0] > 40).count();
        assert!(bright > 0 && !look.caption.is_empty(), "{file}");
        keep(
            &format!("look_{}.png", path.file_stem().unwrap().to_string_lossy()),
            &panels(&[(&look.caption, look.image.clone())]),
        );
    }
}
