//! Zero-shot classes of whole images.

use std::path::PathBuf;

use anyhow::Context;
use burn::tensor::Device;
use ndarray::{Array2, Array3};

use super::archive::{may_have_text, text_tower};
use super::images::{TowerScene, batch};
use crate::core::{Band, BandUse, Registry};
use crate::index::Footprint;
use crate::models::geolangbind::ImageTextModel;
use crate::models::hub::Hub;
use crate::models::vision::load_image_tower;
use crate::raster::SceneArg;

/// Images the network sees at a time.
const BATCH: usize = 8;

/// What a model's loss makes of cosines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probability {
    /// Nothing: the towers have no common scale, cosines are all there is.
    None,
    /// A softmax over the labels (CLIP): the probabilities of an image add up to 1.
    Softmax,
    /// A sigmoid for each label (SigLIP, GeoLangBind): labels do not depend on each other.
    Sigmoid,
}

/// An image tower and a text tower of one space.
pub struct Pair {
    /// Both towers.
    pub model: ImageTextModel,
    /// What its loss makes of cosines.
    pub probability: Probability,
}

impl Pair {
    /// Opens both sides of an image–text model, or an image tower with a text tower of its space.
    ///
    /// # Errors
    /// What loading either may say; no text tower of the image tower's space; towers of different spaces.
    pub fn open(model: &str, text_model: Option<&str>, device: &Device) -> anyhow::Result<Self> {
        if text_model.is_none() && may_have_text(model) {
            let found = Hub::from_env()?.resolve(model)?;
            let model = ImageTextModel::load(&found.folder, found.preset.as_deref(), device).context(
                "classes in words need both sides of an image–text model; name a text tower with --text-model",
            )?;
            // One label alone has probability 1 under a softmax, and under no sigmoid.
            let zero = Array2::zeros((1, model.image.width()));
            let alone = model.probabilities(&zero, &zero)[[0, 0]];
            let probability = if alone == 1.0 { Probability::Softmax } else { Probability::Sigmoid };
            return Ok(Self { model, probability });
        }
        let image = load_image_tower(model, device)?;
        let text = text_tower(&image.space().name, model, text_model, device)?;
        Ok(Self { model: ImageTextModel::new(image, text, 1.0, None)?, probability: Probability::None })
    }

    /// Cosines [B, K] and, if the model has them, probabilities [B, K].
    fn scores(&self, images: &Array2<f32>, features: &Array2<f32>) -> (Array2<f32>, Option<Array2<f32>>) {
        let probabilities = (self.probability != Probability::None).then(|| self.model.probabilities(images, features));
        (images.dot(&features.t()), probabilities)
    }
}

/// A label of an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ranked {
    /// Index of the label.
    pub label: usize,
    /// Cosine of image and label.
    pub cosine: f32,
    /// Probability, if the model has one.
    pub probability: Option<f32>,
}

impl Ranked {
    /// What thresholds are compared with: a sigmoid's probability, else the cosine (a softmax says which label fits best, not
    /// whether one fits).
    pub fn strength(&self, kind: Probability) -> f32 {
        self.probability.filter(|_| kind == Probability::Sigmoid).unwrap_or(self.cosine)
    }
}

/// Which labels an image gets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Choice {
    /// The best k.
    Top(usize),
    /// All at or above this [`Ranked::strength`].
    Above(f32),
}

/// An image and its labels, best first.
#[derive(Debug, Clone)]
pub struct Classified {
    /// The file.
    pub path: PathBuf,
    /// Its outline on Earth, where it has one.
    pub footprint: Option<Footprint>,
    /// Labels.
    pub labels: Vec<Ranked>,
}

/// Images that wait for the network: all of one size and band set.
#[derive(Default)]
struct Waiting {
    images: Vec<Array3<f32>>,
    bands: Vec<Band>,
    found: Vec<Classified>,
}

/// Classifies whole images by the label `features` [K, D]. `progress` gets images done and in all. Also returned: the band mapping of each
/// image, and warnings.
///
/// # Errors
/// As [`TowerScene::open`] and [`TowerScene::read_whole`], naming the image.
pub fn classify(
    images: &[SceneArg],
    pair: &Pair,
    features: &Array2<f32>,
    choice: Choice,
    registry: &Registry,
    mut progress: impl FnMut(usize, usize),
) -> anyhow::Result<(Vec<Classified>, Vec<BandUse>, Vec<String>)> {
    let tower = pair.model.image.as_ref();
    let (mut done, mut bands, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
    let mut waiting = Waiting::default();
    // What is wrong with a file's name, size or bands is said before any work is done.
    for arg in images {
        TowerScene::open(arg, tower, registry, true)?;
    }
    for arg in images {
        let scene = TowerScene::open(arg, tower, registry, false)?;
        let image = scene.prepare(&scene.read_whole()?)?;
        let fits = waiting.bands == scene.bands() && waiting.images.first().is_none_or(|i| i.dim() == image.dim());
        if !fits || waiting.images.len() >= BATCH {
            done.extend(waiting.run(pair, features, choice)?);
            progress(done.len(), images.len());
        }
        warnings.extend(scene.warnings().iter().map(|w| format!("{}: {w}", arg.path.display())));
        bands.push(scene.band_use());
        let ring = scene.ring(scene.grid().window(), 8)?;
        let footprint = ring.map(|r| Footprint::from_ring(&r)).transpose()?;
        waiting.bands = scene.bands().to_vec();
        waiting.images.push(image);
        waiting.found.push(Classified { path: arg.path.clone(), footprint, labels: Vec::new() });
    }
    done.extend(waiting.run(pair, features, choice)?);
    progress(done.len(), images.len().max(1));
    Ok((done, bands, warnings))
}

impl Waiting {
    fn run(&mut self, pair: &Pair, features: &Array2<f32>, choice: Choice) -> anyhow::Result<Vec<Classified>> {
        if self.images.is_empty() {
            return Ok(Vec::new());
        }
        let tower = pair.model.image.as_ref();
        let vectors = tower.encode(&batch(&self.images, &self.bands, tower.device()))?;
        self.images.clear();
        let (cosines, probabilities) = pair.scores(&vectors, features);
        let mut found = std::mem::take(&mut self.found);
        for (i, image) in found.iter_mut().enumerate() {
            let ranked = |k: usize| Ranked {
                label: k,
                cosine: cosines[[i, k]],
                probability: probabilities.as_ref().map(|p| p[[i, k]]),
            };
            image.labels = (0..features.nrows()).map(ranked).collect();
            image.labels.sort_by(|a, b| b.cosine.total_cmp(&a.cosine));
            match choice {
                Choice::Top(k) => image.labels.truncate(k),
                Choice::Above(least) => image.labels.retain(|l| l.strength(pair.probability) >= least),
            }
        }
        Ok(found)
    }
}
