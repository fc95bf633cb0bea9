//! A recipe at work: finds the images, measures and words each.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use geoglot_core::{BandUse, Legend, Registry, Seeds};
use geoglot_raster::SceneArg;

use super::coco::CocoImage;
use super::endpoint::{Endpoint, OnDisagreement};
use super::error::{Error, Result};
use super::facts::Facts;
use super::grammar::word_facts;
use super::manifest::CaptionedImage;
use super::pattern::{self, Parts};
use super::read::Image;
use super::recipe::{CaptionRecipe, Kind};

mod find;
mod measure;

/// An image to be captioned.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Unique name, fit for a file name.
    pub key: String,
    /// How it is read.
    pub image: SceneArg,
    known: Known,
}

/// Where the facts of an image come from.
#[derive(Debug, Clone)]
enum Known {
    /// Rasters whose names have these parts.
    Rasters(Parts),
    /// Boxes.
    Boxes(CocoImage),
    /// Shares in percent.
    Shares(Vec<(String, f64)>),
    /// Names of labels.
    Labels(Vec<String>),
    /// A text.
    Text(String),
}

/// A recipe with everything it names found.
#[derive(Debug)]
pub struct Job {
    recipe: CaptionRecipe,
    root: PathBuf,
    registry: Arc<Registry>,
    legend: Option<Legend>,
    categories: Vec<String>,
    /// What stands behind the colon of `images`.
    options: String,
    subjects: Vec<Subject>,
    warnings: Vec<String>,
}

/// A pattern with options, `S2/{tile}.tif:sensor=sentinel-2-l2a`, and the options' text.
fn parse(text: &str) -> Result<(SceneArg, String)> {
    let arg: SceneArg = text.parse()?;
    let options = text.strip_prefix(&*arg.path.to_string_lossy()).and_then(|r| r.strip_prefix(':')).unwrap_or_default();
    Ok((arg, options.to_owned()))
}

impl Job {
    /// Checks the recipe and finds its images under `root`; no pixels are read.
    ///
    /// # Errors
    /// [`Error::Recipe`]; [`Error::Image`] when no file fits; what reading lists and data sets gives.
    pub fn new(recipe: CaptionRecipe, root: &Path, legend: Option<Legend>, registry: Arc<Registry>) -> Result<Self> {
        recipe.check()?;
        if let Some(legend) = &legend {
            legend.check()?;
            recipe.check_words(legend.names().iter())?;
        }
        let (image, options) = if recipe.images.is_empty() { Default::default() } else { parse(&recipe.images)? };
        let mut job = Self {
            recipe,
            root: root.to_path_buf(),
            registry,
            legend,
            categories: Vec::new(),
            options,
            subjects: Vec::new(),
            warnings: Vec::new(),
        };
        match job.recipe.kind {
            Kind::LandCover | Kind::Elevation | Kind::Flood => job.find_rasters(&image)?,
            Kind::Objects => job.find_boxes(&image)?,
            Kind::Shares => job.find_shares(&image)?,
            Kind::MultiLabel | Kind::Description => job.find_items(&image)?,
        }
        let mut keys = HashMap::new();
        for subject in &job.subjects {
            if let Some(other) = keys.insert(&subject.key, &subject.image.path) {
                let problem = format!("and {} both get the key `{}`", other.display(), subject.key);
                return Err(Error::image(&subject.image.path, problem));
            }
        }
        Ok(job)
    }

    /// The recipe.
    pub fn recipe(&self) -> &CaptionRecipe {
        &self.recipe
    }

    /// The images, in a fixed order.
    pub fn subjects(&self) -> &[Subject] {
        &self.subjects
    }

    /// What finding the images has to say.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// How the bands of one image are bound.
    ///
    /// # Errors
    /// What reading the image's metadata gives.
    pub fn bands(&self, subject: &Subject) -> Result<BandUse> {
        let image = Image::open(&subject.image, &self.registry)?;
        let use_ = image.scene.band_use().into_iter().next();
        use_.ok_or_else(|| Error::image(&subject.image.path, "has no bands"))
    }

    /// The image with its facts, without captions yet.
    ///
    /// # Errors
    /// [`Error::Image`] and [`Error::Record`] naming the file and what is wrong with it; what reading rasters gives; [`Error::Nothing`] for
    /// images of which nothing is known.
    pub fn facts(&self, subject: &Subject) -> Result<CaptionedImage> {
        let image = Image::open(&subject.image, &self.registry)?;
        let grid = image.grid();
        let base = Facts {
            image: self.recipe.image.trim().to_owned(),
            width: grid.width,
            height: grid.height,
            gsd: image.gsd(),
            valid_percent: 100.0,
            ..Facts::default()
        };
        let facts = self.measure(subject, &image, base).map_err(|e| match e {
            Error::Wording(problem) => Error::image(self.source_of(subject), problem),
            other => other,
        })?;
        if facts.valid_percent < self.recipe.least_valid {
            let problem = format!(
                "says something of {:.1} % of the image's pixels only, least_valid is {} %; does it cover the same ground?",
                facts.valid_percent, self.recipe.least_valid
            );
            return Err(Error::image(self.source_of(subject), problem));
        }
        let bands = image.scene.inputs()[0].bands();
        Ok(CaptionedImage {
            key: subject.key.clone(),
            image: subject.image.path.clone(),
            options: self.options.clone(),
            bands: bands.iter().map(|b| b.label()).collect(),
            wavelengths: bands.iter().map(|b| b.wavelength_um).collect(),
            geoloc: image.geoloc(),
            facts,
            short: Vec::new(),
            long: Vec::new(),
            seed: self.recipe.seed,
            worded_by: "grammar".into(),
        })
    }

    /// The file whose fault a measurement is.
    fn source_of(&self, subject: &Subject) -> PathBuf {
        let of = |text: &str| {
            let arg = parse(text).ok()?.0;
            let Known::Rasters(parts) = &subject.known else { return None };
            Some(self.root.join(pattern::fill(&arg.path, parts).ok()?))
        };
        let recipe = &self.recipe;
        let text = match recipe.kind {
            Kind::LandCover => recipe.labels.as_deref(),
            Kind::Elevation => recipe.elevation.as_deref(),
            Kind::Flood => recipe.mask.as_ref().map(|m| m.path.as_str()),
            _ => None,
        };
        text.and_then(of).unwrap_or_else(|| subject.image.path.clone())
    }

    /// The image with facts and captions, worded by `endpoint` where there is one.
    ///
    /// # Errors
    /// As [`Job::facts`]; [`Error::Wording`]; [`Error::Endpoint`]; [`Error::Nothing`] where the model words the facts wrongly and the recipe
    /// says to leave such images out.
    pub fn caption(&self, subject: &Subject, endpoint: Option<&Endpoint>) -> Result<CaptionedImage> {
        let mut image = self.facts(subject)?;
        let recipe = &self.recipe;
        let seeds = Seeds::new(recipe.seed);
        if let Some(endpoint) = endpoint {
            let seed = seeds.value(&format!("captions/{}", subject.key)) >> 33;
            match endpoint.word(&image.facts, recipe.paraphrases, seed)? {
                Ok(captions) => {
                    (image.short, image.long) = (captions.short, captions.long);
                    image.worded_by = endpoint.model().to_owned();
                    return Ok(image);
                }
                Err(problem) if endpoint.on_disagreement() == OnDisagreement::Refuse => {
                    return Err(Error::Nothing { path: subject.image.path.clone(), problem });
                }
                Err(problem) => tracing::info!("{}: {problem}; the grammar words it", subject.key),
            }
        }
        let captions = word_facts(&image.facts, recipe.paraphrases, seeds, &subject.key)
            .map_err(|e| Error::image(&subject.image.path, e.to_string()))?;
        (image.short, image.long) = (captions.short, captions.long);
        Ok(image)
    }
}
