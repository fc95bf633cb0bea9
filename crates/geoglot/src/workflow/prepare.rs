//! From a recipe to labelled scenes and splits.

use std::collections::BTreeSet;

use anyhow::{Context, bail};
use ndarray::{Array2, Array3, ArrayView2};

use crate::core::{BandUse, Legend, Registry, Window};
use crate::data::LabelledScene;
use crate::data::split::{
    BlockOptions, LabelledPixels, Split, SplitOptions, block_folds, given, leave_scene_out, random_per_class,
    region_folds,
};
use crate::raster::{Labels, OpenOptions, Scene};
use crate::train::recipe::{Recipe, SplitKind};

/// A recipe's data in memory.
#[derive(Debug)]
pub struct Prepared {
    /// The classes that occur in the labels, ids unchanged.
    pub legend: Legend,
    /// The scenes, physical values.
    pub scenes: Vec<LabelledScene>,
    /// The files they came from.
    pub sources: Vec<Scene>,
    /// One split a fold.
    pub splits: Vec<Split>,
    /// Band mapping, one entry a scene and input.
    pub bands: Vec<BandUse>,
    /// What the user should know about the files.
    pub warnings: Vec<String>,
}

/// Reads scenes and labels and makes the splits.
///
/// # Errors
/// Files that cannot be read or aligned, labels that do not fit the legend, splits that the labels do not allow.
pub fn prepare(recipe: &Recipe) -> anyhow::Result<Prepared> {
    let registry = match recipe.sensors()? {
        Some(path) => Registry::with_file(&path)?,
        None => Registry::builtin().clone(),
    };
    let full = recipe.legend()?;
    let (mut scenes, mut sources) = (Vec::new(), Vec::new());
    let mut tests = Vec::new();
    let mut bands = Vec::new();
    let mut warnings = Vec::new();
    for index in 0..recipe.data.scene.len() {
        let name = recipe.scene_name(index);
        let section = &recipe.data.scene[index];
        let scene = Scene::open(&recipe.inputs(index)?, &registry, OpenOptions::default())?;
        warnings.extend(scene.warnings().iter().map(|w| format!("{name}: {w}")));
        warnings.extend(scene.suspicious_values()?.iter().map(|w| format!("{name}: {w}")));
        bands.extend(scene.band_use());
        let grid = scene.grid().clone();
        let raster = |text: &str| Ok::<_, anyhow::Error>(Labels::open_on(&recipe.file(text)?, &registry, &grid)?);
        let labels = |text: &str| {
            let labels = raster(text)?;
            known_ids(&labels, &full, &recipe.data.ignore)?;
            Ok::<_, anyhow::Error>(labels.ids().clone())
        };
        let regions = match &section.regions {
            Some(text) => Some(raster(text)?.ids().mapv(i32::from)),
            None => None,
        };
        if let Some(text) = &section.test_labels {
            tests.push(labels(text)?);
        }
        scenes.push(load(&scene, name, labels(&section.labels)?, regions)?);
        sources.push(scene);
    }
    let legend = occurring(&full, &recipe.data.ignore, &scenes, &tests)?;
    let splits = split(recipe, &legend, &scenes, &tests)?;
    Ok(Prepared { legend, scenes, sources, splits, bands, warnings })
}

/// Reads every input of `scene` into memory.
fn load(
    scene: &Scene,
    name: String,
    labels: Array2<u16>,
    regions: Option<Array2<i32>>,
) -> anyhow::Result<LabelledScene> {
    let grid = scene.grid().clone();
    let window = grid.window();
    let mut mask = Array2::from_elem((grid.height, grid.width), true);
    let mut inputs = indexmap::IndexMap::new();
    let mut bands = indexmap::IndexMap::new();
    for input in scene.inputs() {
        let tile = input.source().read(&input.source().all_bands(), window)?;
        mask.zip_mut_with(&tile.mask, |m, &v| *m &= v);
        inputs.insert(input.name().to_owned(), tile.data);
        bands.insert(input.name().to_owned(), input.bands().to_vec());
    }
    if !mask.iter().any(|v| *v) {
        scene.ensure_valid_data()?;
    }
    let scene = LabelledScene { name, inputs, bands, mask, labels, grid, regions };
    scene.check()?;
    Ok(scene)
}

/// Makes sure that the legend knows every id that is not to be ignored.
pub(super) fn known_ids(labels: &Labels, legend: &Legend, ignore: &[u16]) -> anyhow::Result<()> {
    let outside: Vec<_> = labels.outside(legend).into_iter().filter(|(id, _)| !ignore.contains(id)).collect();
    if outside.is_empty() {
        return Ok(());
    }
    let ids = outside.iter().map(|(id, n)| format!("{id} ({n} pixels)")).collect::<Vec<_>>().join(", ");
    let known = legend.classes.iter().map(|c| format!("{} {}", c.id, c.name)).collect::<Vec<_>>().join(", ");
    bail!(
        "{}: holds class ids that the legend lacks: {ids}. The legend has: {known}; \"no label\" is {}. Add the classes to it, or list ids to leave out in data.ignore",
        labels.path().display(),
        legend.unlabelled
    )
}

/// The legend's classes that occur in the labels.
fn occurring(full: &Legend, ignore: &[u16], scenes: &[LabelledScene], tests: &[Array2<u16>]) -> anyhow::Result<Legend> {
    let ids: BTreeSet<u16> = scenes.iter().map(|s| &s.labels).chain(tests).flatten().copied().collect();
    let occurs = |id: u16| ids.contains(&id) && !ignore.contains(&id);
    if !full.classes.iter().any(|class| occurs(class.id)) {
        let names = scenes.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ");
        bail!(
            "the labels of {names} hold none of the legend's classes, only {ids:?}; check that legend and label raster belong together and that the labels lie on the scene"
        );
    }
    Ok(full.filtered(|class| occurs(class.id))?)
}

fn split(
    recipe: &Recipe,
    legend: &Legend,
    scenes: &[LabelledScene],
    tests: &[Array2<u16>],
) -> anyhow::Result<Vec<Split>> {
    let section = &recipe.split;
    let options = SplitOptions { patch: recipe.model.patch, validation: section.validation, seed: section.seed };
    let ignore = &recipe.data.ignore;
    let all = || LabelledScene::labelled_pixels(scenes, legend, ignore);
    let splits = match section.kind {
        SplitKind::Blocks => {
            let blocks = BlockOptions { folds: section.folds, block: section.block, buffer: section.buffer };
            block_folds(&all()?, &blocks, &options)?
        }
        SplitKind::Random => {
            let per_class = section.per_class.as_ref().context("split.per_class is missing")?;
            vec![random_per_class(&all()?, per_class, &options)?]
        }
        SplitKind::Given => {
            let train: Vec<ArrayView2<u16>> = scenes.iter().map(|s| s.labels.view()).collect();
            let test: Vec<ArrayView2<u16>> = tests.iter().map(|t| t.view()).collect();
            vec![given(&train, &test, legend, ignore, &options)?]
        }
        SplitKind::Regions => {
            let regions: Option<Vec<ArrayView2<i32>>> =
                scenes.iter().map(|s| s.regions.as_ref().map(|r| r.view())).collect();
            let regions = regions.context("every scene needs regions")?;
            region_folds(&all()?, &regions, section.folds, section.buffer, &options)?
        }
        SplitKind::Scenes => by_scene(recipe, scenes, &all()?, &options)?,
    };
    Ok(match section.at_most {
        Some(most) => splits.into_iter().map(|s| s.with_at_most(most, section.seed)).collect(),
        None => splits,
    })
}

/// The named scenes are tested together; without names each scene in turn.
fn by_scene(
    recipe: &Recipe,
    scenes: &[LabelledScene],
    all: &LabelledPixels,
    options: &SplitOptions,
) -> anyhow::Result<Vec<Split>> {
    let number = |name: &String| match scenes.iter().position(|s| &s.name == name) {
        Some(k) => Ok(k),
        None => bail!("split.test_scenes: no scene is called `{name}`"),
    };
    let tests: Vec<Vec<usize>> = if recipe.split.test_scenes.is_empty() {
        (0..scenes.len()).map(|k| vec![k]).collect()
    } else {
        vec![recipe.split.test_scenes.iter().map(number).collect::<anyhow::Result<_>>()?]
    };
    tests.iter().map(|test| Ok(leave_scene_out(all, test, options)?)).collect()
}

/// A window of an array, [C, H, W].
pub fn crop(data: &Array3<f32>, window: Window) -> Array3<f32> {
    data.slice(ndarray::s![.., window.row..window.row_end(), window.col..window.col_end()]).to_owned()
}
