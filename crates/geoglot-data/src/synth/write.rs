//! Writing a synthetic scene as the files a user would have.

use std::path::{Path, PathBuf};

use geoglot_core::{Band, Grid, Legend, Unit, atomic};
use geoglot_raster::tiff::SENSOR_ITEM;
use geoglot_raster::{RasterSpec, RasterWriter, SampleType};
use ndarray::{Array3, ArrayView3, Axis, concatenate};

use super::{SynthRaster, SynthScene};
use crate::Result;

/// Writes a scene into the folder `dir` and returns the files:
/// `<sensor>.tif` in the sensor's own numbers and with its name, `lidar.tif` (DSM and DTM in metres), `sar.tif` (VV and VH in dB), `labels.tif` with class names and
/// colours, `legend.toml`, `clouds.tif` and `snow.tif` where there are clouds and snow, `facts.json`, `captions.jsonl`, `synth.json` (the configuration).
///
/// # Errors
/// [`crate::Error::Raster`] or [`crate::Error::Core`] when a file cannot be written; each file is either whole or absent.
pub fn write(scene: &SynthScene, dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for (sensor, raster) in &scene.optical {
        let path = dir.join(format!("{sensor}.tif"));
        let (sample, stored) = as_stored(raster);
        write_values(&path, &scene.grid, sample, &raster.bands, stored.view())?;
        files.push(path);
    }
    let path = dir.join("lidar.tif");
    let heights = concatenate![Axis(0), scene.dsm.view().insert_axis(Axis(0)), scene.dtm.view().insert_axis(Axis(0))];
    write_values(&path, &scene.grid, SampleType::F32, &["DSM", "DTM"].map(Band::named), heights.view())?;
    files.push(path);
    let path = dir.join("sar.tif");
    write_values(&path, &scene.grid, SampleType::F32, &scene.sar.bands, scene.sar.data.view())?;
    files.push(path);
    let mut classes = vec![("labels.tif", scene.labels.clone(), scene.legend.clone())];
    if let Some(mask) = &scene.cloud_mask {
        classes.push(("clouds.tif", mask.mapv(u16::from), Legend::from_names(["cloud", "cloud shadow"])?));
    }
    if let Some(mask) = &scene.snow_mask {
        classes.push(("snow.tif", mask.mapv(u16::from), Legend::from_names(["snow"])?));
    }
    for (name, ids, legend) in classes {
        let path = dir.join(name);
        let mut writer = RasterWriter::create(&path, &scene.grid, RasterSpec::classes(&legend))?;
        writer.write_classes(scene.grid.window(), ids.view())?;
        writer.finish()?;
        files.push(path);
    }
    let path = dir.join("legend.toml");
    scene.legend.save(&path)?;
    files.push(path);
    for (name, value) in
        [("facts.json", serde_json::to_value(&scene.facts)), ("synth.json", serde_json::to_value(&scene.config))]
    {
        let path = dir.join(name);
        atomic::write_json(&path, &value.expect("plain numbers and words are JSON"))?;
        files.push(path);
    }
    let path = dir.join("captions.jsonl");
    let lines = scene.captions.iter().map(|c| serde_json::to_string(c).expect("words are JSON") + "\n");
    atomic::write(&path, lines.collect::<String>().as_bytes())?;
    files.push(path);
    Ok(files)
}

/// Values as the sensor's products store them: 16-bit integers where the bands are scaled or are counts, floats otherwise.
fn as_stored(raster: &SynthRaster) -> (SampleType, Array3<f32>) {
    let counts = raster.bands.iter().all(|b| b.unit == Unit::DigitalNumber);
    if !counts && raster.bands.iter().all(|b| b.scale == 1.0 && b.offset == 0.0) {
        return (SampleType::F32, raster.data.clone());
    }
    let mut stored = raster.data.clone();
    for (mut plane, band) in stored.outer_iter_mut().zip(&raster.bands) {
        // A dark pixel must not become the number that means "no data".
        let lowest = if band.nodata == Some(0.0) { 1.0 } else { 0.0 };
        let (scale, offset) = (band.scale as f32, band.offset as f32);
        plane.mapv_inplace(|v| ((v - offset) / scale).round().clamp(lowest, 65_534.0));
    }
    (SampleType::U16, stored)
}

fn write_values(path: &Path, grid: &Grid, sample: SampleType, bands: &[Band], data: ArrayView3<f32>) -> Result<()> {
    let sensor = bands.first().and_then(|b| b.sensor.clone());
    let common = sensor.filter(|id| bands.iter().all(|b| b.sensor.as_ref() == Some(id)));
    let spec = RasterSpec {
        items: common.map(|id| (SENSOR_ITEM.to_owned(), id)).into_iter().collect(),
        ..RasterSpec::values(sample, bands.iter().map(|b| b.name.clone()), None)
    };
    let mut writer = RasterWriter::create(path, grid, spec)?;
    writer.write(grid.window(), data, None)?;
    writer.finish()?;
    Ok(())
}
