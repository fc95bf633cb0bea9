//! Tower, images, labels and tiles of a recipe.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail};
use burn::tensor::Device;
use ndarray::{Array2, Array3};

use crate::core::{Band, BandUse, Legend, Registry};
use crate::data::Pixel;
use crate::data::datasets::{Dataset, DatasetOptions, Format, Labelling, Split};
use crate::eval::{Honesty, SplitNote};
use crate::models::segmentation::{InputBand, check_taps, default_taps};
use crate::models::vision::{ImagePreprocess, ImageTower, ResizeMode, load_image_tower};
use crate::nn::segmentation::IGNORE;
use crate::raster::{Labels, SceneArg};
use crate::train::segmentation::{LabelledTile, SegmentRecipe, Tiles};
use crate::workflow::evaluate::split_note;
use crate::workflow::images::{Place, TowerScene, open_scene};
use crate::workflow::prepare::{Prepared as Scenes, known_ids, prepare as prepare_scenes};
use crate::workflow::tiles::tile_windows;

/// The frozen tower, its taps, and how tiles reach it.
pub struct Setting {
    /// The tower.
    pub tower: Box<dyn ImageTower>,
    /// Its name or folder.
    pub name: String,
    /// Blocks tapped.
    pub taps: [usize; 4],
    /// Side of a tile in pixels of the scene.
    pub tile: usize,
    /// Side of what the tower sees of it.
    pub input: usize,
    /// Pixels from one training tile to the next.
    pub stride: usize,
    /// From a tile's values to what the tower sees.
    pub preprocess: ImagePreprocess,
}

impl Setting {
    /// Loads the recipe's tower.
    ///
    /// # Errors
    /// A tower that does not load, has too few blocks for the taps, or whose patches do not divide the input.
    pub fn new(recipe: &SegmentRecipe, device: &Device) -> anyhow::Result<Self> {
        let name = recipe.tower()?;
        let tower = load_image_tower(&name, device)?;
        let taps = match recipe.model.taps {
            Some(taps) => taps,
            None => default_taps(tower.depth()).with_context(|| name.clone())?,
        };
        check_taps(taps, tower.depth()).with_context(|| name.clone())?;
        let patch = tower.patch();
        let own = tower.preprocess().size.0;
        let input = recipe.model.input.unwrap_or((own / patch * patch).max(patch));
        if !input.is_multiple_of(patch) || input < 2 * patch {
            bail!(
                "model.input = {input}: it must be a multiple of the tower's patch of {patch} px and hold at least two patches, such as {}",
                input.next_multiple_of(patch).max(2 * patch)
            );
        }
        let tile = recipe.model.tile.unwrap_or(own);
        let stride = recipe.model.stride.unwrap_or((tile / 2).max(1));
        if stride > tile {
            bail!("model.stride = {stride} leaves out pixels between tiles of {tile} px; give at most {tile}");
        }
        let preprocess = tile_preprocess(tower.as_ref(), input);
        Ok(Self { tower, name, taps, tile, input, stride, preprocess })
    }
}

/// The tower's preprocessing of values with a whole square tile as its input: nothing is cut off at the sides, as classification does.
pub(super) fn tile_preprocess(tower: &dyn ImageTower, input: usize) -> ImagePreprocess {
    ImagePreprocess { size: (input, input), resize: ResizeMode::Squash, resize_to: None, ..tower.preprocess().clone() }
}

/// Where an image comes from; those of large sets are opened when they are read.
enum Origin {
    Scene(Arc<TowerScene>),
    File(SceneArg),
    Item(usize),
}

/// One image.
struct Image {
    name: String,
    origin: Origin,
    /// Rows and columns.
    size: (usize, usize),
}

/// Class positions of the pixels of each image, [`IGNORE`] elsewhere; `None` for images without any.
type Parts = Vec<Option<Array2<u8>>>;

/// Which labels train, choose and judge.
pub struct Fold {
    /// Trains.
    pub train: Parts,
    /// Chooses the epoch.
    pub validation: Parts,
    /// Judges.
    pub test: Parts,
    /// The fold in a sentence.
    pub sentence: String,
}

/// A recipe's data.
pub struct Prepared {
    /// The classes, in the order of the labels.
    pub legend: Legend,
    /// The folds.
    pub folds: Vec<Fold>,
    /// How they were made.
    pub note: SplitNote,
    /// Bands that reach the tower.
    pub bands: Vec<InputBand>,
    /// Band mapping for `run.json`.
    pub band_use: Vec<BandUse>,
    /// What the user should know about the files.
    pub warnings: Vec<String>,
    /// Scenes of a recipe that has scenes, with their splits pixel by pixel.
    pub scenes: Option<Scenes>,
    images: Vec<Image>,
    set: Option<Dataset>,
    picked: Vec<String>,
    registry: Registry,
}

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

impl Prepared {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// True without images; [`prepare`] never returns such data.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// Name of image `k`.
    pub fn name(&self, k: usize) -> &str {
        &self.images[k].name
    }

    /// Image `k` with its bands bound.
    ///
    /// # Errors
    /// Damaged files; bands other than those of the first image.
    pub fn open(&self, k: usize, setting: &Setting) -> anyhow::Result<Arc<TowerScene>> {
        let image = &self.images[k];
        let (scene, taken) = match &image.origin {
            Origin::Scene(scene) => return Ok(scene.clone()),
            Origin::File(arg) => (open_scene(arg, &self.registry)?, None),
            Origin::Item(i) => {
                let scene = self.set.as_ref().context("the set is not open")?.scene(*i)?;
                let bands = scene.inputs()[0].bands();
                let find = |name: &String| {
                    let found = bands.iter().position(|b| b.name.eq_ignore_ascii_case(name));
                    let known = || bands.iter().map(|b| b.name.as_str()).collect::<Vec<_>>().join(", ");
                    found
                        .map(|b| (0, b))
                        .with_context(|| format!("data.bands: no band `{name}`; the images have {}", known()))
                };
                let taken = self.picked.iter().map(find).collect::<anyhow::Result<Vec<_>>>()?;
                (scene, (!taken.is_empty()).then_some(taken))
            }
        };
        let scene = TowerScene::new(scene, setting.tower.as_ref(), &setting.preprocess, taken, false)
            .with_context(|| image.name.clone())?;
        let bands: Vec<&Band> = self.bands.iter().map(|b| &b.band).collect();
        if !bands.is_empty() && !scene.bands().iter().eq(bands.iter().copied()) {
            let names = |bands: Vec<&Band>| bands.iter().map(|b| b.label()).collect::<Vec<_>>().join(", ");
            bail!(
                "{}: has the bands {}, the first image {}; images of one recipe have the same bands",
                image.name,
                names(scene.bands().iter().collect()),
                names(bands)
            );
        }
        Ok(Arc::new(scene))
    }
}

/// The tiles of all images that train or choose, with the image opened last.
pub struct TileSet<'a> {
    prepared: &'a Prepared,
    setting: &'a Setting,
    bands: Vec<Band>,
    /// Image, first row, first column.
    windows: Vec<(usize, usize, usize)>,
    open: Mutex<Option<(usize, Arc<TowerScene>)>>,
}

impl<'a> TileSet<'a> {
    /// The tiles that hold a training or validation label of some fold.
    pub fn new(prepared: &'a Prepared, setting: &'a Setting) -> Self {
        let mut windows = Vec::new();
        for (k, image) in prepared.images.iter().enumerate() {
            let parts: Vec<&Array2<u8>> =
                prepared.folds.iter().flat_map(|f| [&f.train[k], &f.validation[k]]).flatten().collect();
            for w in tile_windows(image.size.1, image.size.0, setting.tile, setting.stride) {
                let inside = ndarray::s![w.row..w.row_end(), w.col..w.col_end()];
                if parts.iter().any(|p| p.slice(inside).iter().any(|l| *l != IGNORE)) {
                    windows.push((k, w.row, w.col));
                }
            }
        }
        let bands = prepared.bands.iter().map(|b| b.band.clone()).collect();
        Self { prepared, setting, bands, windows, open: Mutex::new(None) }
    }

    /// The tiles that hold labels of a part, with these labels.
    pub fn labelled(&self, part: &[Option<Array2<u8>>]) -> Vec<LabelledTile> {
        let side = self.setting.tile;
        let mut tiles = Vec::new();
        for (tile, &(image, row, col)) in self.windows.iter().enumerate() {
            let Some(plane) = &part[image] else { continue };
            let at = |p: usize| plane.get((row + p / side, col + p % side)).copied().unwrap_or(IGNORE);
            let labels: Vec<u8> = (0..side * side).map(at).collect();
            if labels.iter().any(|l| *l != IGNORE) {
                tiles.push(LabelledTile { tile, labels });
            }
        }
        tiles
    }

    fn image(&self, k: usize) -> anyhow::Result<Arc<TowerScene>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, scene)) = open.as_ref()
            && *at == k
        {
            return Ok(scene.clone());
        }
        let scene = self.prepared.open(k, self.setting)?;
        *open = Some((k, scene.clone()));
        Ok(scene)
    }
}

impl Tiles for TileSet<'_> {
    fn len(&self) -> usize {
        self.windows.len()
    }

    fn bands(&self) -> &[Band] {
        &self.bands
    }

    fn read(&self, i: usize) -> Result<Array3<f32>, Box<dyn std::error::Error + Send + Sync>> {
        let (image, row, col) = self.windows[i];
        let read = || -> anyhow::Result<Array3<f32>> {
            let scene = self.image(image)?;
            let side = self.setting.tile;
            let values = scene.read(Place { row: row as isize, col: col as isize, width: side, height: side })?;
            scene.prepare(&values)
        };
        Ok(read()?)
    }

    fn identity(&self) -> String {
        let images: Vec<&str> = self.prepared.images.iter().map(|i| i.name.as_str()).collect();
        let bands: Vec<String> = self.bands.iter().map(Band::label).collect();
        format!("{images:?} {:?} {bands:?} {} {}", self.windows, self.setting.tile, self.setting.preprocess.describe())
    }
}
