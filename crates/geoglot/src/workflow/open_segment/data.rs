//! Images, labels, descriptions and tiles of a recipe.

use anyhow::{Context, bail};
use ndarray::Array2;

use super::folders::{Files, FolderImage, images as folder_images, set_aside};
use super::pair::{PairScene, Sample};
use crate::core::{BandUse, Legend, Registry};
use crate::data::Pixel;
use crate::data::datasets::Split;
use crate::eval::{Honesty, SplitNote};
use crate::models::tsmnet::{INPUTS, InputCard};
use crate::nn::segmentation::IGNORE;
use crate::raster::{Labels, SceneArg};
use crate::train::open_segmentation::OpenRecipe;
use crate::workflow::evaluate::split_note;
use crate::workflow::picture::{open_scene, open_scene_of};
use crate::workflow::prepare::{Prepared as Scenes, known_ids, prepare as prepare_scenes};

/// One pair of images.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) name: String,
    origin: Origin,
    pub(super) size: (usize, usize),
    /// Its description in [`Prepared::texts`].
    pub(super) text: Option<usize>,
}

#[derive(Debug)]
enum Origin {
    Scene(PairScene),
    Files(Files),
}

/// Class positions (in the whole legend) of the pixels of each image, [`IGNORE`] elsewhere; `None` for images without any.
pub(super) type Parts = Vec<Option<Array2<u8>>>;

/// Which labels train, choose and judge.
#[derive(Debug)]
pub struct Fold {
    /// Trains; held-out classes still in it.
    pub train: Parts,
    /// Chooses the epoch.
    pub validation: Parts,
    /// Judges.
    pub test: Parts,
    /// The fold in a sentence.
    pub sentence: String,
}

/// A recipe's data.
#[derive(Debug)]
pub struct Prepared {
    /// All classes of the labels.
    pub legend: Legend,
    /// Positions in it of the classes that train; the others are held out.
    pub seen: Vec<usize>,
    /// The folds.
    pub folds: Vec<Fold>,
    /// How they were made.
    pub note: SplitNote,
    /// Band mapping for `run.json`.
    pub band_use: Vec<BandUse>,
    /// What the user should know about the files.
    pub warnings: Vec<String>,
    /// Each description once.
    pub texts: Vec<String>,
    /// Scenes of a recipe that has scenes, with their splits pixel by pixel.
    pub scenes: Option<Scenes>,
    pub(super) images: Vec<Image>,
    registry: Registry,
}

/// Reads images, labels, descriptions and splits of `recipe`.
///
/// # Errors
/// Files that cannot be read or aligned, labels that do not fit the legend, held-out classes that do not exist, splits that the labels do not
/// allow.
pub fn prepare(recipe: &OpenRecipe) -> anyhow::Result<Prepared> {
    let registry = match &recipe.data.sensors {
        Some(text) => Registry::with_file(&recipe.beside(text)?)?,
        None => Registry::builtin().clone(),
    };
    let mut prepared =
        if recipe.data.scene.is_empty() { from_folders(recipe, registry)? } else { from_scenes(recipe, registry)? };
    let names = prepared.legend.names();
    let known = |name: &String| names.iter().any(|n| n.eq_ignore_ascii_case(name));
    let asked = recipe.data.hold_out.iter().chain(recipe.data.synonyms.keys());
    if let Some(unknown) = asked.into_iter().find(|n| !known(n)) {
        bail!("`{unknown}` (data.hold_out, data.synonyms) is no class of the labels; they have {}", names.join(", "));
    }
    let held = |name: &String| recipe.data.hold_out.iter().any(|h| h.eq_ignore_ascii_case(name));
    prepared.seen = (0..names.len()).filter(|&k| !held(&names[k])).collect();
    if prepared.seen.len() < 2 || names.len() > usize::from(IGNORE) {
        bail!("{} of {} classes train; at least 2 and at most 255 are needed", prepared.seen.len(), names.len());
    }
    if !prepared.folds.iter().all(|f| f.train.iter().any(Option::is_some)) {
        bail!(
            "no image has training labels; check that the label rasters lie on the images and the legend knows their ids"
        );
    }
    // Enough of them to be noticed, few enough not to take long.
    for k in 0..prepared.images.len().min(4) {
        let name = prepared.images[k].name.clone();
        let problems = prepared.open(k)?.problems()?;
        prepared.warnings.extend(problems.into_iter().map(|w| format!("{name}: {w}")));
    }
    Ok(prepared)
}

fn from_scenes(recipe: &OpenRecipe, registry: Registry) -> anyhow::Result<Prepared> {
    let mut scenes = prepare_scenes(&recipe.scenes()?)?;
    let mut texts = Texts::default();
    let mut images = Vec::new();
    for (labelled, source) in scenes.scenes.iter().zip(std::mem::take(&mut scenes.sources)) {
        let text = match recipe.data.descriptions.get(&labelled.name) {
            Some(text) => texts.add(described(recipe, text)?),
            None => None,
        };
        let origin = Origin::Scene(PairScene::named(source).with_context(|| labelled.name.clone())?);
        images.push(Image { name: labelled.name.clone(), origin, size: labelled.labels.dim(), text });
    }
    let unknown = |n: &&String| !images.iter().any(|i| i.name == **n);
    if let Some(name) = recipe.data.descriptions.keys().find(unknown) {
        let names = images.iter().map(|i| i.name.as_str()).collect::<Vec<_>>().join(", ");
        bail!("data.descriptions: no scene is called `{name}`; they are called {names}");
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
    Ok(Prepared {
        folds: folds.collect(),
        legend: scenes.legend.clone(),
        seen: Vec::new(),
        note: split_note(&scenes.splits),
        band_use: scenes.bands.clone(),
        warnings: scenes.warnings.clone(),
        texts: texts.0,
        scenes: Some(scenes),
        images,
        registry,
    })
}

/// Words, or those of a file: plain text, or the first long caption of JSON lines.
fn described(recipe: &OpenRecipe, text: &str) -> anyhow::Result<String> {
    let Some(file) = text.strip_prefix("file:") else { return Ok(text.to_owned()) };
    let path = recipe.path(file)?;
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("{}: cannot read the description", path.display()))?;
    let lines: Vec<serde_json::Value> = text.lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
    let long = lines.iter().find(|l| l["form"] == "long").or(lines.first());
    Ok(match long.and_then(|l| l["text"].as_str()) {
        Some(caption) => caption.to_owned(),
        None => text.split_whitespace().collect::<Vec<_>>().join(" "),
    })
}

/// Each text once.
#[derive(Default)]
struct Texts(Vec<String>);

impl Texts {
    fn add(&mut self, text: String) -> Option<usize> {
        if text.trim().is_empty() {
            return None;
        }
        Some(self.0.iter().position(|t| *t == text).unwrap_or_else(|| {
            self.0.push(text);
            self.0.len() - 1
        }))
    }
}

fn open_files(files: &Files, registry: &Registry) -> anyhow::Result<PairScene> {
    match files {
        Files::Stacked(path, optical) => {
            PairScene::stacked(open_scene(&SceneArg::named("image", path), registry)?, *optical)
        }
        Files::Apart(paths) => {
            let args: Vec<SceneArg> =
                INPUTS.iter().zip(paths).filter_map(|(n, p)| Some(SceneArg::named(*n, p.as_ref()?))).collect();
            PairScene::named(open_scene_of(&args, registry)?)
        }
    }
}

/// A label raster or picture on the image's grid, as positions in `legend`.
fn positions(
    image: &FolderImage,
    pair: &PairScene,
    legend: &Legend,
    recipe: &OpenRecipe,
    registry: &Registry,
) -> anyhow::Result<Array2<u8>> {
    let picture = image.labels.extension().is_some_and(|e| e.eq_ignore_ascii_case("png"));
    let labels = match picture {
        false => Labels::open_on(&SceneArg::new(&image.labels), registry, pair.scene().grid())?,
        true => {
            let scene = open_scene(&SceneArg::new(&image.labels), registry)?;
            let tile = scene.inputs()[0].source().read_stored(&[0], scene.grid().window())?;
            let ids = tile.data.index_axis(ndarray::Axis(0), 0).mapv(|v| v as u16);
            if ids.dim() != pair.size() {
                bail!("{}: has {:?} pixels, its image {:?}", image.labels.display(), ids.dim(), pair.size());
            }
            Labels::new(&image.labels, ids, None)
        }
    };
    known_ids(&labels, legend, &recipe.data.ignore)?;
    let of = |id: u16| match legend.index_of(id) {
        Some(k) if !recipe.data.ignore.contains(&id) => k as u8,
        _ => IGNORE,
    };
    Ok(labels.ids().mapv(of))
}

fn from_folders(recipe: &OpenRecipe, registry: Registry) -> anyhow::Result<Prepared> {
    let legend = Legend::load(&recipe.beside(&recipe.data.legend)?)?;
    let (mut found, mut warnings) = folder_images(recipe)?;
    set_aside(&mut found, recipe.split.validation, recipe.split.seed);
    let mut texts = Texts::default();
    let n = found.len();
    let empty = || -> Parts { (0..n).map(|_| None).collect() };
    let mut fold = Fold { train: empty(), validation: empty(), test: empty(), sentence: String::new() };
    let mut counts = [0; 3];
    let mut images = Vec::with_capacity(n);
    let mut band_use = Vec::new();
    for (k, image) in found.into_iter().enumerate() {
        let pair = open_files(&image.files, &registry).with_context(|| image.name.clone())?;
        if k == 0 {
            band_use = pair.scene().band_use();
        }
        let labels = positions(&image, &pair, &legend, recipe, &registry)?;
        if labels.iter().all(|l| *l == IGNORE) {
            warnings.push(format!("{}: no pixel of the image is labelled", image.labels.display()));
        } else {
            let (part, count) = match image.split {
                Split::Train => (&mut fold.train, 0),
                Split::Validation => (&mut fold.validation, 1),
                Split::Test => (&mut fold.test, 2),
            };
            part[k] = Some(labels);
            counts[count] += 1;
        }
        let text = image.text.and_then(|t| texts.add(t));
        images.push(Image { name: image.name, size: pair.size(), origin: Origin::Files(image.files), text });
    }
    fold.sentence = format!(
        "images of the recipe's folders: {} train, {} choose the epoch, {} test",
        counts[0], counts[1], counts[2]
    );
    let note = SplitNote { kind: "whole images".into(), honesty: Honesty::Unknown, sentence: fold.sentence.clone() };
    Ok(Prepared {
        legend,
        seen: Vec::new(),
        folds: vec![fold],
        note,
        band_use,
        warnings,
        texts: texts.0,
        scenes: None,
        images,
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

    /// The description of image `k` in [`Prepared::texts`].
    pub fn text(&self, k: usize) -> Option<usize> {
        self.images[k].text
    }

    /// Image `k`.
    ///
    /// # Errors
    /// Damaged files.
    pub fn open(&self, k: usize) -> anyhow::Result<PairScene> {
        match &self.images[k].origin {
            Origin::Scene(scene) => Ok(scene.clone()),
            Origin::Files(files) => open_files(files, &self.registry).with_context(|| self.images[k].name.clone()),
        }
    }

    /// Names of the classes that train.
    pub fn seen_legend(&self) -> anyhow::Result<Legend> {
        let ids: Vec<u16> = self.seen.iter().map(|&k| self.legend.classes[k].id).collect();
        Ok(self.legend.filtered(|c| ids.contains(&c.id))?)
    }

    /// Bands, centres and spreads of the training pixels of a fold, for the inputs that `has`.
    ///
    /// # Errors
    /// Damaged files; images of one recipe with different bands; an input that no image has.
    pub fn cards(&self, fold: usize, has: [bool; 2]) -> anyhow::Result<[Option<InputCard>; 2]> {
        let mut moments: [Option<(Sample, Vec<crate::core::Band>)>; 2] = [None, None];
        for (k, part) in self.folds[fold].train.iter().enumerate() {
            let Some(part) = part else { continue };
            let pair = self.open(k)?;
            let values = pair.read(pair.scene().grid().window().into())?;
            let counts = part.mapv(|l| l != IGNORE);
            for m in (0..2).filter(|&m| has[m]) {
                let (Some(bands), Some(values)) = (pair.bands(m), &values[m]) else { continue };
                let (sums, first) = moments[m].get_or_insert_with(|| (Sample::new(bands.len()), bands.clone()));
                // Not by value: bands of files whose nodata is NaN differ from themselves.
                let labels =
                    |bands: &[crate::core::Band]| bands.iter().map(|b| b.label().to_string()).collect::<Vec<_>>();
                if labels(first) != labels(&bands) {
                    bail!("{}: has other {} bands than the first image", self.images[k].name, INPUTS[m]);
                }
                sums.add(values, &counts);
            }
        }
        let mut cards = [None, None];
        for (m, found) in moments.into_iter().enumerate().filter(|(m, _)| has[*m]) {
            let (sums, bands) = found.with_context(|| {
                format!("no training image has the input `{}`; set model.modality to what there is", INPUTS[m])
            })?;
            cards[m] = Some(sums.card(bands, INPUTS[m])?);
        }
        Ok(cards)
    }
}
