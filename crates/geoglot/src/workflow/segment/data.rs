//! Images, labels and splits of a recipe.

use std::sync::Arc;

use anyhow::{Context, bail};
use ndarray::Array2;

use super::setting::Setting;
use crate::core::{Band, BandUse, Legend, Registry};
use crate::data::datasets::Dataset;
use crate::eval::SplitNote;
use crate::models::segmentation::InputBand;
use crate::raster::SceneArg;
use crate::workflow::images::TowerScene;
use crate::workflow::picture::open_scene;
use crate::workflow::prepare::Prepared as Scenes;

/// Where an image comes from; those of large sets are opened when they are read.
pub(super) enum Origin {
    Scene(Arc<TowerScene>),
    File(SceneArg),
    Item(usize),
}

/// One image.
pub(super) struct Image {
    pub(super) name: String,
    pub(super) origin: Origin,
    /// Rows and columns.
    pub(super) size: (usize, usize),
}

/// Class positions of the pixels of each image, [`IGNORE`](crate::nn::segmentation::IGNORE) elsewhere; `None` for images without any.
pub(super) type Parts = Vec<Option<Array2<u8>>>;

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
    pub(super) images: Vec<Image>,
    pub(super) set: Option<Dataset>,
    pub(super) picked: Vec<String>,
    pub(super) registry: Registry,
}

impl Prepared {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// True without images; `prepare` never returns such data.
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
