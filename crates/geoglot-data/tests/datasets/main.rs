//! Every layout on generated files, and every kind of bad input. Fixtures come from `fixtures/datasets.py`.

mod folders;
mod images;
mod lists;
mod products;

use std::fs;
use std::path::{Path, PathBuf};

use geoglot_core::{Affine, Crs, Grid};
use geoglot_data::datasets::{Dataset, DatasetOptions, Format, Labelling, Nomenclature, Split};
use geoglot_raster::{RasterSpec, RasterWriter, SampleType};
use ndarray::Array3;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/datasets")
}

fn png(path: &Path, width: u32, height: u32, value: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut encoder = png::Encoder::new(fs::File::create(path).unwrap(), width, height);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    let pixels: Vec<u8> = (0..width * height).flat_map(|_| [value, value + 1, value + 2]).collect();
    writer.write_image_data(&pixels).unwrap();
}

/// Bands of constant value 1000 × (k + 1) at some pixel size.
fn tif(path: &Path, bands: usize, side: usize, metres: f64) {
    let transform = Affine::north_up(500_000.0, 5_000_000.0, metres, metres);
    let grid = Grid { crs: Some(Crs::Epsg(32633)), transform, width: side, height: side };
    let names: Vec<String> = (0..bands).map(|k| format!("band {}", k + 1)).collect();
    let mut writer = RasterWriter::create(path, &grid, RasterSpec::values(SampleType::U16, names, None)).unwrap();
    let data = Array3::from_shape_fn((bands, side, side), |(b, _, _)| 1000.0 * (b + 1) as f32);
    writer.write(grid.window(), data.view(), None).unwrap();
    writer.finish().unwrap();
}

fn write(path: &Path, text: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn open(path: &Path) -> Dataset {
    Dataset::open(path, &DatasetOptions::default()).unwrap_or_else(|e| panic!("{e}"))
}

/// The error of opening, which must hold every one of `words`.
fn refused(path: &Path, options: &DatasetOptions, words: &[&str]) {
    let error = Dataset::open(path, options).unwrap_err().to_string();
    for word in words {
        assert!(error.contains(word), "`{word}` is not in: {error}");
    }
}

fn skipping() -> DatasetOptions {
    DatasetOptions { skip_faulty: true, ..DatasetOptions::default() }
}
