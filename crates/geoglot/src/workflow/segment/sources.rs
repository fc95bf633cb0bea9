//! Scenes, published sets and pairs of folders as images with labels.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use ndarray::Array2;

use super::data::{Fold, Image, Origin, Parts, Prepared};
use super::setting::Setting;
use crate::core::{Legend, Registry};
use crate::data::Pixel;
use crate::data::datasets::{Dataset, DatasetOptions, Format, Labelling, Split};
use crate::eval::{Honesty, SplitNote};
use crate::models::segmentation::InputBand;
use crate::nn::segmentation::IGNORE;
use crate::raster::{Labels, SceneArg};
use crate::train::segmentation::SegmentRecipe;
use crate::workflow::evaluate::split_note;
use crate::workflow::images::TowerScene;
use crate::workflow::picture::open_scene;
use crate::workflow::prepare::{known_ids, prepare as prepare_scenes};

/// Reads scenes, labels and splits of `recipe`.
///
/// # Errors
/// Files that cannot be read or aligned, labels that do not fit the legend, bands the tower cannot read, splits that the labels do not allow.
pub fn prepare(recipe: &SegmentRecipe, setting: &Setting) -> anyhow::Result<Prepared> {
    let registry = match &recipe.data.sensors {
        Some(text) => Registry::with_file(&recipe.beside(text)?)?,
        None => Registry::builtin().clone(),
    };
    let mut prepared = if !recipe.data.scene.is_empty() {
        from_scenes(recipe, setting, registry)?
    } else if let Some(folder) = &recipe.data.dataset {
        from_dataset(recipe, &recipe.path(folder)?, registry)?
    } else {
        from_pairs(recipe, registry)?
    };
    if prepared.legend.len() < 2 || prepared.legend.len() > usize::from(IGNORE) {
        bail!("the labels hold {} class(es) of the legend; segmentation needs 2 to 255", prepared.legend.len());
    }
    let labelled = |parts: &Parts| parts.iter().position(Option::is_some);
    let Some(first) = prepared.folds.iter().find_map(|f| labelled(&f.train)) else {
        bail!(
            "no image has training labels; check that the label rasters lie on the images and the legend knows their ids"
        );
    };
    let scene = prepared.open(first, setting)?;
    let inputs = scene.scene().inputs();
    let fixed = recipe.data.scene.is_empty().then_some("image");
    let taken = scene.taken().iter().map(|&(i, b)| InputBand {
        input: fixed.unwrap_or_else(|| inputs[i].name()).to_owned(),
        band: inputs[i].bands()[b].clone(),
    });
    prepared.bands = taken.collect();
    if prepared.band_use.is_empty() {
        prepared.band_use = scene.scene().band_use();
    }
    for warning in scene.warnings() {
        if !prepared.warnings.iter().any(|w| w.ends_with(warning)) {
            prepared.warnings.push(format!("{}: {warning}", prepared.images[first].name));
        }
    }
    Ok(prepared)
}

fn from_scenes(recipe: &SegmentRecipe, setting: &Setting, registry: Registry) -> anyhow::Result<Prepared> {
    let mut scenes = prepare_scenes(&recipe.scenes()?)?;
    let mut images = Vec::new();
    for (labelled, source) in scenes.scenes.iter().zip(std::mem::take(&mut scenes.sources)) {
        let size = labelled.labels.dim();
        let scene = TowerScene::new(source, setting.tower.as_ref(), &setting.preprocess, None, false)
            .with_context(|| labelled.name.clone())?;
        images.push(Image { name: labelled.name.clone(), origin: Origin::Scene(Arc::new(scene)), size });
    }
    let parts = |pixels: &[Pixel]| -> Parts {
        let mut parts: Parts = images.iter().map(|_| None).collect();
        for p in pixels {
            let part = &mut parts[p.scene];
            part.get_or_insert_with(|| Array2::from_elem(images[p.scene].size, IGNORE))[(p.row, p.col)] = p.class as u8;
        }
        parts
    };
    let folds = scenes.splits.iter().map(|s| Fold {
        train: parts(&s.train),
        validation: parts(&s.validation),
        test: parts(&s.test),
        sentence: s.describe(),
    });
    let folds = folds.collect();
    Ok(Prepared {
        legend: scenes.legend.clone(),
        folds,
        note: split_note(&scenes.splits),
        bands: Vec::new(),
        band_use: scenes.bands.clone(),
        warnings: scenes.warnings.clone(),
        scenes: Some(scenes),
        images,
        set: None,
        picked: Vec::new(),
        registry,
    })
}

/// Sorts images that come divided into one fold.
fn divided(images: Vec<(Image, Split, Array2<u8>)>, given: &str) -> (Vec<Image>, Fold, SplitNote) {
    let n = images.len();
    let empty = || -> Parts { (0..n).map(|_| None).collect() };
    let mut fold = Fold { train: empty(), validation: empty(), test: empty(), sentence: String::new() };
    let mut counts = [0; 3];
    let mut kept = Vec::with_capacity(n);
    for (k, (image, split, labels)) in images.into_iter().enumerate() {
        kept.push(image);
        let (part, count) = match split {
            Split::Train => (&mut fold.train, 0),
            Split::Validation => (&mut fold.validation, 1),
            Split::Test => (&mut fold.test, 2),
        };
        if labels.iter().any(|l| *l != IGNORE) {
            part[k] = Some(labels);
            counts[count] += 1;
        }
    }
    fold.sentence = format!("{given}: {} images train, {} choose the epoch, {} test", counts[0], counts[1], counts[2]);
    let note = SplitNote { kind: "images as given".into(), honesty: Honesty::Unknown, sentence: fold.sentence.clone() };
    (kept, fold, note)
}

fn from_dataset(recipe: &SegmentRecipe, folder: &Path, registry: Registry) -> anyhow::Result<Prepared> {
    let options = DatasetOptions {
        format: Some(Format::GeoBench),
        partition: recipe.data.partition.clone().unwrap_or_else(|| "default".into()),
        sensor: recipe.data.sensor.clone(),
        registry: Arc::new(registry.clone()),
        ..DatasetOptions::default()
    };
    let set = Dataset::open(folder, &options)?;
    if set.labelling() != Labelling::Raster {
        bail!("{}: its images have classes, not its pixels; score it with `geoglot evaluate probe`", folder.display());
    }
    let legend = match &recipe.data.legend {
        Some(text) => Legend::load(&recipe.beside(text)?)?,
        None => set.legend()?,
    };
    if legend.len() != set.classes().len() || legend.classes.iter().zip(1u16..).any(|(c, id)| c.id != id) {
        bail!(
            "data.legend has {} classes; the set has {}, and class k of it has the id k + 1",
            legend.len(),
            set.classes().len()
        );
    }
    let mut images = Vec::new();
    for (i, item) in set.items().iter().enumerate() {
        let Some(split) = item.split else {
            bail!(
                "{}: nothing says which samples train and which test; put the set's default_partition.json beside them",
                folder.display()
            );
        };
        let labels = set.label_raster(i)?.mapv(|id| if id == 0 { IGNORE } else { (id - 1) as u8 });
        images.push((Image { name: item.id.clone(), origin: Origin::Item(i), size: labels.dim() }, split, labels));
    }
    let (images, fold, note) = divided(images, &format!("partition {} of the set", options.partition));
    Ok(Prepared {
        legend,
        folds: vec![fold],
        note,
        bands: Vec::new(),
        band_use: Vec::new(),
        warnings: set.warnings().to_vec(),
        scenes: None,
        images,
        set: Some(set),
        picked: recipe.data.bands.clone(),
        registry,
    })
}

/// Files of a folder by name without ending.
fn stems(folder: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("{}: cannot list the folder", folder.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| folder.display().to_string())?.path();
        let hidden = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
        let side = path.extension().is_some_and(|e| matches!(e.to_str(), Some("xml" | "json" | "txt" | "hdr")));
        if !hidden
            && !side
            && let Some(stem) = path.file_stem()
        {
            files.push((stem.to_string_lossy().into_owned(), path));
        }
    }
    files.sort();
    Ok(files)
}

fn from_pairs(recipe: &SegmentRecipe, registry: Registry) -> anyhow::Result<Prepared> {
    let legend = Legend::load(&recipe.beside(recipe.data.legend.as_deref().context("data.legend is missing")?)?)?;
    let positions: HashMap<u16, u8> = legend.classes.iter().zip(0u8..).map(|(c, k)| (c.id, k)).collect();
    let (mut images, mut warnings) = (Vec::new(), Vec::new());
    for pairs in &recipe.data.pairs {
        let (folder, labels) = (recipe.path(&pairs.images)?, recipe.path(&pairs.labels)?);
        let known: HashMap<String, PathBuf> = stems(&labels)?.into_iter().collect();
        for (stem, path) in stems(&folder)? {
            let label = known.get(&stem).with_context(|| {
                format!(
                    "{}: no label raster called {stem} in {}; every image needs one",
                    path.display(),
                    labels.display()
                )
            })?;
            let arg = SceneArg {
                name: Some("image".into()),
                sensor: recipe.data.sensor.clone(),
                bands: recipe.data.bands.clone(),
                ..SceneArg::new(&path)
            };
            let grid = open_scene(&arg, &registry)?.grid().clone();
            let raster = Labels::open_on(&SceneArg::new(label), &registry, &grid)?;
            known_ids(&raster, &legend, &recipe.data.ignore)?;
            let of = |&id: &u16| match positions.get(&id) {
                Some(&k) if !recipe.data.ignore.contains(&id) => k,
                _ => IGNORE,
            };
            let ids = raster.ids().map(of);
            if ids.iter().all(|l| *l == IGNORE) {
                warnings.push(format!("{}: no pixel of the image is labelled", label.display()));
            }
            images.push((Image { name: stem, origin: Origin::File(arg), size: ids.dim() }, pairs.split, ids));
        }
    }
    let (images, fold, note) = divided(images, "folders of the recipe");
    Ok(Prepared {
        legend,
        folds: vec![fold],
        note,
        bands: Vec::new(),
        band_use: Vec::new(),
        warnings,
        scenes: None,
        images,
        set: None,
        picked: Vec::new(),
        registry,
    })
}
