//! Folders of images, labels and texts: SWJTU-Vision-Language, YESeg-OPT-SAR and their like.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::core::Seeds;
use crate::data::datasets::Split;
use crate::train::open_segmentation::{FolderPairs, OpenRecipe};

/// One image of folders.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FolderImage {
    /// Path without ending, relative to its folder.
    pub name: String,
    /// The stacked image, or optical and SAR.
    pub files: Files,
    /// Label raster.
    pub labels: PathBuf,
    /// The description's words.
    pub text: Option<String>,
    /// What it is for; `None` where the folders are not divided.
    pub split: Split,
}

/// Where the pixels of an image are.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Files {
    /// Optical bands first, then SAR.
    Stacked(PathBuf, usize),
    /// Each its own; one may be missing.
    Apart([Option<PathBuf>; 2]),
}

/// Files below a folder by relative path without ending.
fn files(folder: &Path) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let mut out = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        let entries = std::fs::read_dir(&at).with_context(|| format!("{}: cannot list the folder", at.display()))?;
        for entry in entries {
            let path = entry.with_context(|| at.display().to_string())?.path();
            if path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.')) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.extension().is_some_and(|e| matches!(e.to_str(), Some("xml" | "json" | "hdr" | "tfw" | "ovr"))) {
                continue;
            }
            let inside = path.strip_prefix(folder).expect("found below it").with_extension("");
            out.insert(inside.to_string_lossy().replace('\\', "/"), path);
        }
    }
    Ok(out)
}

/// The images of a recipe's folders with their parts, and what is missing, in words.
pub(super) fn images(recipe: &OpenRecipe) -> anyhow::Result<(Vec<FolderImage>, Vec<String>)> {
    let (mut out, mut warnings) = (Vec::new(), Vec::new());
    for folders in &recipe.data.folders {
        let found = one(recipe, folders, &mut warnings)?;
        if found.is_empty() {
            bail!(
                "{}: holds no images",
                recipe.path(folders.images.as_ref().or(folders.optical.as_ref()).unwrap_or(&folders.labels))?.display()
            );
        }
        out.extend(found);
    }
    Ok((out, warnings))
}

fn one(recipe: &OpenRecipe, folders: &FolderPairs, warnings: &mut Vec<String>) -> anyhow::Result<Vec<FolderImage>> {
    let list = |text: &Option<String>| text.as_ref().map(|t| files(&recipe.path(t)?)).transpose();
    let (stacked, optical, sar) = (list(&folders.images)?, list(&folders.optical)?, list(&folders.sar)?);
    let labels_folder = recipe.path(&folders.labels)?;
    let labels = files(&labels_folder)?;
    let texts = list(&folders.texts)?;
    let names: Vec<String> = match (&stacked, &optical, &sar) {
        (Some(images), _, _) => images.keys().cloned().collect(),
        (None, optical, sar) => {
            let mut names: Vec<String> = [optical, sar].into_iter().flatten().flat_map(|f| f.keys().cloned()).collect();
            names.sort();
            names.dedup();
            names
        }
    };
    let mut without = 0;
    let mut images = Vec::with_capacity(names.len());
    for name in names {
        let labels = labels.get(&name).cloned().with_context(|| {
            format!("no label raster called {name} in {}; every image needs one", labels_folder.display())
        })?;
        let files = match &stacked {
            Some(images) => Files::Stacked(images[&name].clone(), folders.optical_bands),
            None => Files::Apart([&optical, &sar].map(|f| f.as_ref().and_then(|f| f.get(&name)).cloned())),
        };
        let text = match texts.as_ref().and_then(|t| t.get(&name)) {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("{}: cannot read the text", path.display()))?;
                Some(text.split_whitespace().collect::<Vec<_>>().join(" ")).filter(|t| !t.is_empty())
            }
            None => None,
        };
        without += usize::from(texts.is_some() && text.is_none());
        images.push(FolderImage { name, files, labels, text, split: folders.split.unwrap_or(Split::Train) });
    }
    if without > 0 {
        warnings.push(format!(
            "{without} of {} images have no description in {}; they train without one",
            images.len(),
            folders.texts.as_deref().unwrap_or_default()
        ));
    }
    if folders.split.is_none() {
        divide(&mut images, folders.train_images, recipe.split.seed);
    }
    Ok(images)
}

/// `train` images drawn by seed train, the others test.
fn divide(images: &mut [FolderImage], train: usize, seed: u64) {
    let mut order: Vec<usize> = (0..images.len()).collect();
    let seeds = Seeds::new(seed);
    order.sort_by_key(|&k| seeds.value(&format!("open/train/{}", images[k].name)));
    for (place, k) in order.into_iter().enumerate() {
        images[k].split = if place < train { Split::Train } else { Split::Test };
    }
}

/// Moves a share of the training images to validation, so that no test image chooses the epoch.
pub(super) fn set_aside(images: &mut [FolderImage], share: f64, seed: u64) {
    if images.iter().any(|i| i.split == Split::Validation) {
        return;
    }
    let mut train: Vec<usize> = (0..images.len()).filter(|&k| images[k].split == Split::Train).collect();
    let seeds = Seeds::new(seed);
    train.sort_by_key(|&k| seeds.value(&format!("open/validation/{}", images[k].name)));
    let n = (train.len() as f64 * share).round() as usize;
    for &k in train.iter().take(n.min(train.len().saturating_sub(2))) {
        images[k].split = Split::Validation;
    }
}
