//! GEO-Bench sets (Lacoste et al. 2023): one HDF5 a sample, its bands as two-axis arrays, labels and bands described in a pickle; the labels of
//! segmentation sets are one more array.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use geoglot_core::{Band, Grid, Registry, Window, small_file};
use geoglot_raster::formats::hdf5;
use geoglot_raster::{BandSource, SampleType, SceneArg, SourceOptions, Tile};
use hdf5_reader::Hdf5File;
use ndarray::Array2;
use rayon::prelude::*;

use super::collect::{Collector, ending, read_text, sorted_entries};
use super::error::{Error, Result};
use super::geobench_record::{BandNote, Label, Sample, Task, sample, task};
use super::item::{Item, Labelling, Split};

/// Sentinel-2's planes in the order of their names, which m-eurosat's names are in.
const SPECTRAL: [&str; 13] = ["01", "02", "03", "04", "05", "06", "07", "08", "08A", "09", "10", "11", "12"];

fn attribute(path: &Path) -> Result<Sample> {
    let wrong = |e: hdf5_reader::error::Error| Error::image(path, format!("cannot be read as HDF5: {e}"));
    let text = std::panic::catch_unwind(|| -> Result<String> {
        let file = Hdf5File::open(path).map_err(wrong)?;
        let root = file.root_group().map_err(wrong)?;
        let attribute = root
            .attribute("pickle")
            .map_err(|e| Error::image(path, format!("has no attribute `pickle` as GEO-Bench writes it ({e})")))?;
        attribute.read_string().map_err(wrong)
    });
    let text = text.unwrap_or_else(|_| Err(Error::image(path, "is damaged in a way its parser cannot follow")))?;
    sample(path, &text)
}

pub(super) fn collect(path: &Path, collector: &mut Collector<'_>) -> Result<()> {
    let partition = collector.options.partition.clone();
    let mut wanted: Vec<(PathBuf, Option<Split>, String)> = Vec::new();
    if path.is_file() {
        wanted.push((path.into(), None, String::new()));
    } else {
        let list = path.join(format!("{}_partition.json", partition.trim_end_matches("_partition")));
        if list.is_file() {
            named_in(&list, path, &mut wanted, collector)?;
            collector.list = Some(list);
        } else if partition != "default" {
            return Err(Error::layout(path, format!("has no partition `{partition}` ({})", list.display())));
        } else {
            let files = sorted_entries(path)?.into_iter().filter(|p| ending(p) == "hdf5");
            wanted.extend(files.map(|p| (p, None, String::new())));
        }
    }
    let home = if path.is_file() { super::collect::parent(path) } else { path.to_path_buf() };
    let specs = home.join("task_specs.pkl");
    let Task { names, count, segmentation } = if specs.is_file() {
        let bytes = small_file::read(&specs, small_file::LIST)?;
        task(&specs, &bytes)?
    } else {
        Task::default()
    };
    let samples: Vec<Result<Sample>> = wanted.par_iter().map(|(file, _, _)| attribute(file)).collect();
    let labels_of = |label: &Label| match label {
        Label::Single(class) => vec![*class],
        Label::Multi(values) => (0..values.len()).filter(|&k| values[k]).collect(),
    };
    let size = |s: &Sample| match &s.label {
        Some(Label::Single(class)) => class + 1,
        Some(Label::Multi(values)) => values.len(),
        None => 0,
    };
    let seen = samples.iter().filter_map(|s| s.as_ref().ok()).map(size).max().unwrap_or(0);
    let classes = names.as_ref().map(Vec::len).or(count).unwrap_or(seen);
    let rasters = segmentation || samples.iter().any(|s| s.as_ref().is_ok_and(|s| s.raster.is_some()));
    if rasters && classes == 0 {
        return Err(Error::layout(
            path,
            "its samples have label rasters, and no task_specs.pkl beside them says how many classes there are",
        ));
    }
    if names.is_none() {
        collector.note("no task_specs.pkl names the classes; they are numbered");
    }
    collector.fix_classes(names.unwrap_or_else(|| (0..classes).map(|k| format!("class {k}")).collect()));
    collector.labelling = if rasters { Labelling::Raster } else { Labelling::Single };
    for ((file, split, place), sample) in wanted.into_iter().zip(samples) {
        let label = match sample {
            Ok(Sample { raster: Some(_), .. }) if rasters => Label::Multi(Vec::new()),
            Ok(Sample { label: Some(label), .. }) if !rasters => label,
            Ok(_) => {
                let wanted = if rasters { "label raster, but the set is one of segmentation" } else { "label" };
                collector.fault(Error::image(&file, format!("has no {wanted}")))?;
                continue;
            }
            Err(e) => {
                collector.fault(e)?;
                continue;
            }
        };
        if matches!(label, Label::Multi(_)) && !rasters {
            collector.labelling = Labelling::Multi;
        }
        let labels = labels_of(&label);
        if let Some(class) = labels.iter().find(|c| **c >= classes) {
            collector.fault(Error::image(&file, format!("has class {class}, but there are {classes} classes")))?;
            continue;
        }
        let id = file.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        collector.add(Item { id, path: file, labels, captions: Vec::new(), split, place });
    }
    if collector.has_fixed_classes() && collector.classes().is_empty() {
        return Err(Error::layout(path, "no sample has a label"));
    }
    Ok(())
}

/// Samples that a partition names: `{"train": ["id_1"], "valid": …, "test": …}`.
fn named_in(
    list: &Path,
    folder: &Path,
    wanted: &mut Vec<(PathBuf, Option<Split>, String)>,
    collector: &mut Collector<'_>,
) -> Result<()> {
    let parts: HashMap<String, Vec<String>> = serde_json::from_str(&read_text(list)?)
        .map_err(|e| Error::list(list, format!("is not a partition ({e}); expected {{\"train\": [\"id_1\"]}}")))?;
    let mut parts: Vec<_> = parts.into_iter().collect();
    parts.sort();
    for (name, ids) in parts {
        for (k, id) in ids.iter().enumerate() {
            let place = format!("{name}, entry {}", k + 1);
            let Some(split) = collector.split(list, &place, &name)? else { continue };
            let file = folder.join(format!("{id}.hdf5"));
            if collector.image(list, &place, &file)? {
                wanted.push((file, Some(split), place));
            }
        }
    }
    Ok(())
}

/// The sample's bands as a raster, named by the registry; completes `arg` with the sensor.
pub(super) fn source(path: &Path, arg: &mut SceneArg) -> Result<Arc<dyn BandSource>> {
    let Sample { bands: mut notes, raster, .. } = attribute(path)?;
    let all = notes.len();
    // Cloud probabilities are made from the other bands.
    notes.retain(|n| !matches!(n.kind.as_str(), "CloudProbability" | "Mask"));
    // Beside a label raster or a mask the bands must be named, or these would be bands, too.
    let named = raster.is_some() || notes.len() < all;
    let variable = named.then(|| notes.iter().map(|n| n.name.as_str()).collect::<Vec<_>>().join(","));
    let options = SourceOptions { variable, ..SourceOptions::default() };
    let inner: Arc<dyn BandSource> = Arc::new(hdf5::open(path, &options)?);
    let set = path.parent().and_then(Path::file_name).map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let stored: Vec<String> = inner.bands().iter().map(|b| b.name.clone()).collect();
    let note = |name: &str| notes.iter().find(|n| n.name == name);
    let optical = notes.iter().all(|n| n.kind == "Sentinel2") && !notes.is_empty();
    // A set of thirteen Sentinel-2 planes is EuroSAT or one that states Level 1C bands; both hold B10.
    let sensor = arg.sensor.clone().or_else(|| {
        let cirrus = stored.iter().any(|n| token(n) == "10");
        optical.then(|| if cirrus { "sentinel-2-l1c".into() } else { "sentinel-2-l2a".into() })
    });
    let mut bands: Vec<Band> = inner.bands().to_vec();
    match &sensor {
        Some(sensor) if optical && arg.layout.is_none() => {
            let sensor = Registry::builtin().sensor(sensor)?;
            let eurosat = set.to_ascii_lowercase().contains("eurosat");
            let order = sensor.layout("geo-bench-m-eurosat").ok().filter(|_| eurosat && stored.len() == 13);
            for (band, name) in bands.iter_mut().zip(&stored) {
                let place = SPECTRAL.iter().position(|t| *t == token(name));
                band.name = match (&order, place) {
                    (Some(order), Some(k)) => order[k].name.clone(),
                    _ => sensor.find_band(&format!("B{}", token(name))).map_or(name.clone(), |b| b.name.clone()),
                };
            }
        }
        _ => {
            for (band, name) in bands.iter_mut().zip(&stored) {
                let Some(BandNote { wavelength, resolution, .. }) = note(name) else { continue };
                // Some descriptions state nanometres.
                band.wavelength_um = wavelength.map(|w| if w > 100.0 { w / 1000.0 } else { w } as f32);
                band.gsd_m = resolution.map(|r| r as f32);
            }
        }
    }
    arg.sensor = sensor;
    Ok(Arc::new(Named { inner, bands }))
}

/// The label raster of a sample, class k as k + 1; 0 for "no label" (255, or below 0).
///
/// # Errors
/// [`Error::Image`] for a sample without one, of another size than `size`, or with classes from `classes` on.
pub(super) fn label_raster(path: &Path, classes: usize, size: (usize, usize)) -> Result<Array2<u16>> {
    let name = attribute(path)?.raster.ok_or_else(|| Error::image(path, "has no label raster"))?;
    let options = SourceOptions { variable: Some(name.clone()), ..SourceOptions::default() };
    let source = hdf5::open(path, &options)?;
    let tile = source.read_stored(&[0], source.grid().window())?;
    let (_, height, width) = tile.data.dim();
    if (height, width) != size || source.bands().len() != 1 {
        return Err(Error::image(
            path,
            format!(
                "its label raster `{name}` has {} × {height}×{width} values, its bands {}×{} pixels; labels are one plane of the bands' size",
                source.bands().len(),
                size.0,
                size.1
            ),
        ));
    }
    let mut labels = Array2::zeros(size);
    for ((_, r, c), &value) in tile.data.indexed_iter() {
        labels[[r, c]] = match value {
            v if v < 0.0 || v == 255.0 || v.is_nan() => 0,
            v if v.fract() == 0.0 && v < classes as f32 => v as u16 + 1,
            v => {
                let problem = format!(
                    "its label raster has {v} in row {r}, column {c}; the set has classes 0 to {}",
                    classes - 1
                );
                return Err(Error::image(path, problem));
            }
        };
    }
    Ok(labels)
}

/// The number that begins a GEO-Bench band name: `08A` of `08A - Vegetation Red Edge`.
fn token(name: &str) -> &str {
    name.split(" - ").next().unwrap_or(name).trim()
}

/// A raster whose bands are called otherwise.
#[derive(Debug)]
struct Named {
    inner: Arc<dyn BandSource>,
    bands: Vec<Band>,
}

impl BandSource for Named {
    fn path(&self) -> &Path {
        self.inner.path()
    }

    fn grid(&self) -> &Grid {
        self.inner.grid()
    }

    fn bands(&self) -> &[Band] {
        &self.bands
    }

    fn sample_type(&self) -> SampleType {
        self.inner.sample_type()
    }

    fn read_stored(&self, bands: &[usize], window: Window) -> geoglot_raster::Result<Tile> {
        self.inner.read_stored(bands, window)
    }
}
