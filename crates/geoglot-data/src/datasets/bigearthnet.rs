//! BigEarthNet: one folder a patch with one GeoTIFF a band at 10, 20 and 60 m.
//!
//! v1 keeps labels in a JSON of each patch (Sumbul et al. 2019, 43 CORINE classes) and splits in lists of patch names; v2 (reBEN, Clasen et al. 2024)
//! keeps labels and splits in one table.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Deserialize;

use super::Nomenclature;
use super::collect::{Collector, parent, read_text, sorted_entries};
use super::error::{Error, Result};
use super::item::{Item, Labelling, Split};
use super::metadata_table::{self, Patch};

/// How the label file of a v1 patch ends.
pub(super) const METADATA_ENDING: &str = "_labels_metadata.json";
/// Patch folders lie at most this deep below the folder given.
const DEEPEST: usize = 3;

/// What a v1 label file says; coordinates and dates are not needed.
#[derive(Deserialize)]
struct PatchLabels {
    labels: Vec<String>,
}

fn folder_name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The label file of a patch folder.
fn label_file(folder: &Path) -> Option<PathBuf> {
    let file = folder.join(format!("{}{METADATA_ENDING}", folder_name(folder)));
    file.is_file().then_some(file)
}

/// Whether v1 patches lie below `root`; looks into the first folders only.
pub(super) fn holds_patches(root: &Path) -> Result<bool> {
    let mut level = vec![root.to_path_buf()];
    for _ in 0..=DEEPEST {
        if level.iter().any(|f| label_file(f).is_some()) {
            return Ok(true);
        }
        let mut next = Vec::new();
        for folder in level.iter().take(4) {
            next.extend(sorted_entries(folder)?.into_iter().filter(|e| e.is_dir()).take(4));
        }
        level = next;
    }
    Ok(false)
}

fn patches(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    if label_file(folder).is_some() {
        found.push(folder.to_path_buf());
    } else if depth < DEEPEST {
        for entry in sorted_entries(folder)?.into_iter().filter(|e| e.is_dir()) {
            patches(&entry, depth + 1, found)?;
        }
    }
    Ok(())
}

/// Splits of v1: `train.csv`, `val.csv` and `test.csv` with a patch name in the first column.
fn v1_splits(homes: &[PathBuf]) -> Result<HashMap<String, Split>> {
    let mut splits = HashMap::new();
    for (name, split) in [("train.csv", Split::Train), ("val.csv", Split::Validation), ("test.csv", Split::Test)] {
        let list = homes.iter().flat_map(|h| [h.join(name), h.join("splits").join(name)]).find(|p| p.is_file());
        let Some(list) = list else { continue };
        for line in read_text(&list)?.lines() {
            // The second column names the Sentinel-1 patch of the pair.
            for patch in line.split(',').map(|p| p.trim().trim_matches('"')).filter(|p| !p.is_empty()) {
                splits.insert(patch.to_owned(), split);
            }
        }
    }
    Ok(splits)
}

pub(super) fn collect_v1(root: &Path, collector: &mut Collector<'_>) -> Result<()> {
    let mut folders = Vec::new();
    patches(root, 0, &mut folders)?;
    let is_radar = |p: &PathBuf| folder_name(p).starts_with("S1");
    let (radar, optical): (Vec<_>, Vec<_>) = folders.into_iter().partition(is_radar);
    let folders = if collector.options.sentinel1 || optical.is_empty() { radar } else { optical };
    if folders.is_empty() {
        return Err(Error::layout(root, format!("holds no patch folder of the sensor asked for (*{METADATA_ENDING})")));
    }
    // The lists lie in the folder given or in one between it and the patches.
    let homes: Vec<PathBuf> =
        folders[0].ancestors().skip(1).take_while(|p| p.starts_with(root)).map(Path::to_path_buf).collect();
    let splits = v1_splits(&homes)?;
    let nomenclature = collector.nomenclature();
    collector.labelling = Labelling::Multi;
    collector.fix_classes(nomenclature.classes().into_iter().map(str::to_owned));
    let read = |folder: &PathBuf| -> Result<Vec<String>> {
        let file = label_file(folder).ok_or_else(|| Error::image(folder, "has lost its label file"))?;
        let content: PatchLabels = serde_json::from_str(&read_text(&file)?).map_err(|e| {
            Error::list(&file, format!("is not a patch's label file ({e}); expected {{\"labels\": [\"…\"]}}"))
        })?;
        Ok(content.labels)
    };
    let labels: Vec<Result<Vec<String>>> = folders.par_iter().map(read).collect();
    let mut unlabelled = 0;
    for (path, labels) in folders.into_iter().zip(labels) {
        let id = folder_name(&path);
        let labels = match labels {
            Ok(labels) => labels,
            Err(e) => {
                collector.fault(e)?;
                continue;
            }
        };
        let mut own = Vec::new();
        let mut faulty = false;
        for label in &labels {
            match nomenclature.convert(label) {
                Ok(name) => own.extend(name.and_then(|n| collector.class(n))),
                Err(problem) => {
                    faulty = true;
                    collector.fault(Error::image(&path, problem))?;
                }
            }
        }
        if faulty {
            continue;
        }
        if own.is_empty() {
            unlabelled += 1;
            continue;
        }
        let split = splits.get(&id).copied();
        collector.add(Item { id, path, labels: own, captions: Vec::new(), split, place: String::new() });
    }
    if unlabelled > 0 {
        collector.note(format!("{unlabelled} patches without any of the {} classes", nomenclature.classes().len()));
    }
    Ok(())
}

pub(super) fn collect_v2(path: &Path, collector: &mut Collector<'_>) -> Result<()> {
    let table = if path.is_dir() {
        let names = ["metadata.parquet", "metadata.csv"].map(|n| path.join(n));
        let missing = || Error::layout(path, "holds neither metadata.parquet nor metadata.csv");
        names.into_iter().find(|p| p.is_file()).ok_or_else(missing)?
    } else {
        path.to_path_buf()
    };
    let root = collector.options.images.clone().unwrap_or_else(|| parent(&table));
    let radar = collector.options.sentinel1;
    collector.list = Some(table.clone());
    collector.labelling = Labelling::Multi;
    collector.fix_classes(Nomenclature::Nineteen.classes().into_iter().map(str::to_owned));
    for row in metadata_table::read(&table)? {
        let Patch { place, patch_id, labels, split, s1_name } = row;
        let id = match (radar, s1_name) {
            (false, _) => patch_id,
            (true, Some(name)) => name,
            (true, None) => {
                collector.fault(Error::record(&table, place, "names no Sentinel-1 patch (s1_name)"))?;
                continue;
            }
        };
        let mut own = Vec::new();
        let mut faulty = labels.is_empty();
        for label in &labels {
            match collector.class(label) {
                Some(class) => own.push(class),
                None => faulty = true,
            }
        }
        if faulty {
            let problem = format!("the labels [{}] are not of BigEarthNet's 19 classes", labels.join("; "));
            collector.fault(Error::record(&table, place, problem))?;
            continue;
        }
        let split = match split {
            None => None,
            Some(name) => match collector.split(&table, &place, &name)? {
                Some(split) => Some(split),
                None => continue,
            },
        };
        // <tile>/<patch>: a patch is named after its tile and the two or, for Sentinel-1, three parts of its place in it.
        let (folder, parts) = if radar { ("BigEarthNet-S1", 3) } else { ("BigEarthNet-S2", 2) };
        let tile = id.rsplitn(parts + 1, '_').nth(parts).unwrap_or(&id).to_owned();
        let home = root.join(folder);
        let path = if home.is_dir() { home.join(&tile).join(&id) } else { root.join(&tile).join(&id) };
        if collector.image(&table, &place, &path)? {
            collector.add(Item { id, path, labels: own, captions: Vec::new(), split, place });
        }
    }
    Ok(())
}
