//! Captions through the binary: facts, wording, checking, faults, a language model behind a stub server.

#[allow(dead_code)]
#[path = "../common/mod.rs"]
mod common;

mod faults;
mod kinds;
mod land;
mod language_model;
mod subsets;

use common::Work;
use geoglot::core::{Affine, Crs, Grid};
use geoglot::data::captions::{CaptionedImage, check_caption, read_manifest, word_count};

const LEGEND: &str = "[[class]]\nid = 1\nname = \"water\"\n[[class]]\nid = 2\nname = \"trees\"\n[[class]]\nid = 3\nname = \"Built area\"\n";
const LAND: &str = "name = \"land\"\nkind = \"land-cover\"\nimage = \"aerial image\"\nimages = \"img/{id}.tif:sensor=rgb\"\nlabels = \"lab/{id}.tif\"\nlegend = \"legend.toml\"\n";

fn grid(offset: f64) -> Grid {
    Grid {
        crs: Some(Crs::Epsg(32632)),
        transform: Affine::north_up(500_000.0 + offset, 5_000_000.0, 10.0, 10.0),
        width: 40,
        height: 40,
    }
}

fn write(work: &Work, name: &str, grid: &Grid, bands: &[&str], value: impl Fn(usize, usize, usize) -> f32) {
    std::fs::create_dir_all(work.path(name).parent().unwrap()).unwrap();
    work.raster(name, grid, bands, value);
}

/// Class 1 on the left, 2 on the right, 3 in a square of 5 × 5 pixels at the upper left of tile b.
fn label(tile: &str, row: usize, col: usize) -> f32 {
    match (tile, row, col) {
        ("b", 0..5, 0..5) => 3.0,
        (_, _, 0..30) => 1.0,
        _ => 2.0,
    }
}

fn land() -> Work {
    let work = Work::empty();
    work.write("legend.toml", LEGEND);
    work.write("recipe.toml", LAND);
    for tile in ["a", "b"] {
        write(&work, &format!("img/{tile}.tif"), &grid(0.0), &["red", "green", "blue"], |b, r, c| {
            (b * 50 + r + c) as f32
        });
        write(&work, &format!("lab/{tile}.tif"), &grid(0.0), &["class"], |_, r, c| label(tile, r, c));
    }
    work
}

fn manifest(work: &Work) -> Vec<CaptionedImage> {
    read_manifest(&work.path("out/captions.jsonl")).unwrap()
}

/// What holds for every manifest.
fn assert_sound(images: &[CaptionedImage]) {
    assert!(!images.is_empty());
    for image in images {
        assert!(!image.short.is_empty() && !image.long.is_empty());
        assert_eq!(image.bands.len(), image.wavelengths.len());
        for text in image.short.iter().chain(&image.long) {
            assert_eq!(check_caption(&image.facts, text), [], "{text}");
        }
        assert!(image.short.iter().all(|t| word_count(t) <= 30), "{:?}", image.short);
    }
}
