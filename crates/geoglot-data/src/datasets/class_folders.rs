//! One folder of images a class, optionally below folders of splits; EuroSAT's multispectral files are such a set with a known band order.

use std::path::{Path, PathBuf};

use super::collect::{Collector, is_image, sorted_entries};
use super::error::{Error, Result};
use super::format::Format;
use super::item::{Item, Labelling, Split};

/// EuroSAT's classes.
pub(super) const EUROSAT: [&str; 10] = [
    "AnnualCrop",
    "Forest",
    "HerbaceousVegetation",
    "Highway",
    "Industrial",
    "Pasture",
    "PermanentCrop",
    "Residential",
    "River",
    "SeaLake",
];

fn name_of(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Folders of a split below `root`, each with its split; `None` where `root` holds the classes itself.
fn split_folders(root: &Path) -> Result<Option<Vec<(Split, PathBuf)>>> {
    let folders: Vec<PathBuf> = sorted_entries(root)?.into_iter().filter(|e| e.is_dir()).collect();
    let splits: Vec<(Split, PathBuf)> =
        folders.iter().filter_map(|f| Some((name_of(f).parse().ok()?, f.clone()))).collect();
    // A class may be called `test`; a set is divided only where every folder is a split.
    Ok((!splits.is_empty() && splits.len() == folders.len()).then_some(splits))
}

fn class_folders(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for folder in sorted_entries(root)?.into_iter().filter(|e| e.is_dir()) {
        if sorted_entries(&folder)?.iter().any(|p| p.is_file() && is_image(p)) {
            found.push(folder);
        }
    }
    Ok(found)
}

/// Names of the class folders below `root`; empty where there are none.
pub(super) fn class_names(root: &Path) -> Result<Vec<String>> {
    let roots = match split_folders(root)? {
        Some(splits) => splits.into_iter().map(|(_, p)| p).collect(),
        None => vec![root.to_path_buf()],
    };
    let mut names = Vec::new();
    for root in roots {
        names.extend(class_folders(&root)?.iter().map(|f| name_of(f)));
    }
    names.sort();
    names.dedup();
    Ok(names)
}

pub(super) fn collect(root: &Path, collector: &mut Collector<'_>) -> Result<()> {
    if !root.is_dir() {
        return Err(Error::layout(root, "is not a folder of class folders"));
    }
    collector.labelling = Labelling::Single;
    if collector.options.format == Some(Format::EurosatMs)
        || Format::detect(root).is_ok_and(|f| f.0 == Format::EurosatMs)
    {
        collector.sensor.get_or_insert("sentinel-2-l1c".into());
        collector.layout.get_or_insert("eurosat".into());
    }
    let roots: Vec<(Option<Split>, PathBuf)> = match split_folders(root)? {
        Some(splits) => splits.into_iter().map(|(s, p)| (Some(s), p)).collect(),
        None => vec![(None, root.to_path_buf())],
    };
    for (split, folder) in roots {
        for class in sorted_entries(&folder)?.into_iter().filter(|e| e.is_dir()) {
            let Some(name) = class.file_name().and_then(|n| n.to_str()).map(str::to_owned) else {
                collector
                    .fault(Error::layout(&class, "has a name that is not UTF-8; rename the folder to its class"))?;
                continue;
            };
            let images: Vec<PathBuf> =
                sorted_entries(&class)?.into_iter().filter(|p| p.is_file() && is_image(p)).collect();
            if images.is_empty() {
                collector.note(format!("{}: holds no image and is no class", class.display()));
                continue;
            }
            for path in images {
                let Some(id) = path.strip_prefix(root).ok().and_then(Path::to_str).map(str::to_owned) else {
                    collector.fault(Error::image(&path, "has a name that is not UTF-8; rename the file"))?;
                    continue;
                };
                let labels = collector.class(&name).into_iter().collect();
                collector.items.push(Item { id, path, labels, captions: Vec::new(), split, place: String::new() });
            }
        }
    }
    Ok(())
}
