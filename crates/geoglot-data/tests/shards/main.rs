//! Shards: written, read, streamed, damaged, and shared with Python's webdataset.

mod damage;
mod fuzzed;
mod mixing;
mod python;
mod reading;
mod sources;
mod streaming;
mod writing;

use std::path::Path;

use geoglot_core::{Band, Registry, Seeds};
use geoglot_data::shards::{Image, Sample, ShardIndex, ShardWriter, WriteOptions};
use ndarray::Array3;
use rand::RngExt;

/// Bands of an RGB image, of Sentinel-2 counts, of radar.
pub fn bands(kind: usize) -> Vec<Band> {
    let registry = Registry::builtin();
    match kind {
        0 => registry.sensor("rgb").unwrap().bands.clone(),
        1 => registry.sensor("sentinel-2-l2a").unwrap().bands[1..5].to_vec(),
        _ => registry.sensor("sentinel-1").unwrap().bands[..2].to_vec(),
    }
}

/// Sample number `i` of one kind: sizes differ from sample to sample.
pub fn sample(kind: usize, i: usize) -> Sample {
    let mut rng = Seeds::new(i as u64).stream(&format!("kind/{kind}"));
    let shape = (5 + i % 3, 4 + i % 2, bands(kind).len());
    let image = match kind {
        0 => Image::U8(Array3::from_shape_simple_fn(shape, || rng.random())),
        1 => Image::U16(Array3::from_shape_simple_fn(shape, || rng.random_range(1..12_000))),
        _ => Image::F32(Array3::from_shape_simple_fn(shape, || rng.random_range(-30.0..5.0))),
    };
    Sample::new(format!("kind{kind}/{i:04}"), image, vec![format!("scene {i} of kind {kind}")])
}

/// Writes `samples` with shards of `size`.
pub fn write(folder: &Path, samples: &[(usize, usize)], size: u64) -> ShardIndex {
    let options = WriteOptions { samples: size, ..WriteOptions::default() };
    let mut writer = ShardWriter::create(folder, "test", options).unwrap();
    for &(kind, i) in samples {
        writer.write(&sample(kind, i), &bands(kind)).unwrap();
    }
    writer.finish().unwrap()
}

/// `count` samples of kind 0.
pub fn rgb(count: usize) -> Vec<(usize, usize)> {
    (0..count).map(|i| (0, i)).collect()
}
