//! A recipe at work: finds the images, measures and words each.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use geoglot_core::{BandUse, Legend, Registry, Seeds};
use geoglot_raster::SceneArg;

use super::coco::{CocoBoxes, CocoImage};
use super::cover::{land_cover, land_cover_shares, noun_of};
use super::elevation::{Classes, elevation};
use super::endpoint::{Endpoint, OnDisagreement};
use super::error::{Error, Result};
use super::facts::Facts;
use super::flood::flood;
use super::grammar::word_facts;
use super::manifest::CaptionedImage;
use super::objects::objects;
use super::pattern::{self, Parts};
use super::read::{Image, under};
use super::recipe::{CaptionRecipe, Kind, SharesUnit};
use crate::datasets::{Dataset, DatasetOptions};

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

    fn find_rasters(&mut self, image: &SceneArg) -> Result<()> {
        let others = [&self.recipe.labels, &self.recipe.elevation];
        let mask = self.recipe.mask.as_ref().map(|m| &m.path);
        let others: Vec<SceneArg> =
            others.into_iter().flatten().chain(mask).map(|t| Ok(parse(t)?.0)).collect::<Result<_>>()?;
        for (path, parts) in pattern::files(&self.root, &image.path)? {
            // Patterns that speak of unknown parts are found before anything is read.
            others.iter().try_for_each(|o| pattern::fill(&o.path, &parts).map(drop))?;
            let key = if parts.is_empty() { stem(&path) } else { pattern::key(&parts) };
            self.subjects.push(Subject {
                key,
                image: SceneArg { path, ..image.clone() },
                known: Known::Rasters(parts),
            });
        }
        Ok(())
    }

    fn find_boxes(&mut self, image: &SceneArg) -> Result<()> {
        let section = self.recipe.objects.as_ref().expect("checked with the recipe");
        let path = self.root.join(&section.path);
        let boxes = CocoBoxes::read(&path, section.clip)?;
        self.recipe.check_words(boxes.categories.iter())?;
        if let Some(unknown) = section.ignore.iter().find(|i| !boxes.categories.contains(i)) {
            return Err(Error::Recipe(format!(
                "objects.ignore names `{unknown}`, which is no category; the categories are {}",
                boxes.categories.join(", ")
            )));
        }
        self.categories = boxes.categories;
        for found in boxes.images {
            let file = under(&self.root.join(&image.path), image, Path::new(&found.file));
            self.subjects.push(Subject { key: key_of(&found.file), image: file, known: Known::Boxes(found) });
        }
        Ok(())
    }

    fn find_shares(&mut self, image: &SceneArg) -> Result<()> {
        let section = self.recipe.shares.as_ref().expect("checked with the recipe");
        let path = self.root.join(&section.path);
        let wrong = |place: String, problem: String| Error::record(&path, place, problem);
        let mut reader =
            csv::Reader::from_path(&path).map_err(|e| wrong("header".into(), format!("cannot be read: {e}")))?;
        let header = reader.headers().map_err(|e| wrong("header".into(), e.to_string()))?.clone();
        let Some(column) = header.iter().position(|h| h.trim() == "image") else {
            return Err(wrong("header".into(), "has no column `image`".into()));
        };
        let classes: Vec<(usize, String)> = header
            .iter()
            .enumerate()
            .filter(|(k, h)| *k != column && !section.ignore.iter().any(|i| i == h.trim()))
            .map(|(k, h)| (k, h.trim().to_owned()))
            .collect();
        self.recipe.check_words(classes.iter().map(|(_, name)| name))?;
        let factor = if section.unit == SharesUnit::Fraction { 100.0 } else { 1.0 };
        let mut subjects = Vec::new();
        for (k, row) in reader.records().enumerate() {
            let place = format!("line {}", k + 2);
            let row = row.map_err(|e| wrong(place.clone(), e.to_string()))?;
            let file = row.get(column).unwrap_or_default().trim();
            if file.is_empty() {
                return Err(wrong(place, "names no image".into()));
            }
            let shares = classes
                .iter()
                .map(|(k, name)| {
                    let text = row.get(*k).unwrap_or_default().trim();
                    let value = if text.is_empty() { Ok(0.0) } else { text.parse::<f64>() };
                    let value =
                        value.map_err(|_| wrong(place.clone(), format!("`{text}` of `{name}` is no number")))?;
                    Ok((name.clone(), factor * value))
                })
                .collect::<Result<Vec<_>>>()?;
            let arg = under(&self.root.join(&image.path), image, Path::new(file));
            subjects.push(Subject { key: key_of(file), image: arg, known: Known::Shares(shares) });
        }
        if subjects.is_empty() {
            return Err(wrong("header".into(), "no row follows it".into()));
        }
        self.subjects = subjects;
        Ok(())
    }

    fn find_items(&mut self, image: &SceneArg) -> Result<()> {
        let section = self.recipe.dataset.as_ref().expect("checked with the recipe");
        let folder = &image.path;
        let elsewhere = !folder.as_os_str().is_empty() && folder != Path::new(".");
        let options = DatasetOptions {
            format: section.format,
            images: elsewhere.then(|| self.root.join(folder)),
            skip_faulty: self.recipe.skip_faulty,
            longest_caption: 20_000,
            sensor: image.sensor.clone(),
            layout: image.layout.clone(),
            nomenclature: section.nomenclature,
            sentinel1: section.sentinel1,
            registry: self.registry.clone(),
            ..DatasetOptions::default()
        };
        let set = Dataset::open(&self.root.join(&section.path), &options)?;
        self.warnings.extend(set.warnings().iter().cloned());
        self.recipe.check_words(set.classes().iter())?;
        let text = self.recipe.kind == Kind::Description;
        for item in set.items() {
            let known = match item.captions.first() {
                Some(first) if text => Known::Text(first.clone()),
                None if text => return Err(Error::image(&item.path, "has no text to be shortened")),
                _ => Known::Labels(item.labels.iter().map(|&k| set.classes()[k].clone()).collect()),
            };
            let arg = SceneArg { path: item.path.clone(), ..image.clone() };
            self.subjects.push(Subject { key: key_of(&item.id), image: arg, known });
        }
        Ok(())
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

    /// The raster of the pattern `text` that belongs to `parts`.
    fn other(&self, text: &str, parts: &Parts) -> Result<SceneArg> {
        let (arg, _) = parse(text)?;
        let path = pattern::fill(&arg.path, parts)?;
        Ok(under(&self.root, &arg, &path))
    }

    fn measure(&self, subject: &Subject, image: &Image, base: Facts) -> Result<Facts> {
        let recipe = &self.recipe;
        let pixels = (base.width * base.height) as f64;
        match &subject.known {
            Known::Text(text) => Ok(Facts { description: Some(text.clone()), ..base }),
            Known::Labels(names) => {
                let labels = names.iter().map(|n| noun_of(n, &recipe.words)).collect();
                Ok(Facts { labels, ..base })
            }
            Known::Shares(shares) => Ok(Facts { cover: Some(land_cover_shares(shares, &recipe.words)?), ..base }),
            Known::Boxes(found) => {
                let section = recipe.objects.as_ref().expect("checked with the recipe");
                if let Some(fault) = found.faults.first() {
                    return Err(Error::record(self.root.join(&section.path), &found.file, fault));
                }
                if (found.width, found.height) != (base.width, base.height) {
                    let problem = format!(
                        "has {}×{} pixels, the boxes are drawn on {}×{}",
                        base.width, base.height, found.width, found.height
                    );
                    return Err(Error::image(&subject.image.path, problem));
                }
                let size = (base.width, base.height);
                let facts = objects(&found.boxes, &self.categories, &section.ignore, &recipe.words, size);
                if facts.found.is_empty() && facts.left_out > 0 {
                    let problem = "holds objects of left-out categories only".into();
                    return Err(Error::Nothing { path: subject.image.path.clone(), problem });
                }
                Ok(Facts { objects: Some(facts), ..base })
            }
            Known::Rasters(parts) if recipe.kind == Kind::Flood => {
                let section = recipe.mask.as_ref().expect("checked with the recipe");
                let arg = self.other(&section.path, parts)?;
                let values = image.integers(&arg, &self.registry)?;
                let known = |v: &i64| section.wet.contains(v) || section.dry.contains(v);
                if let Some((at, value)) =
                    values.indexed_iter().find_map(|(at, v)| Some((at, v.filter(|v| !known(v))?)))
                {
                    let problem = format!(
                        "{value} at col {} row {} is neither in mask.wet {:?} nor in mask.dry {:?}; a value that means no data is given with nodata={value}",
                        at.1, at.0, section.wet, section.dry
                    );
                    return Err(Error::image(&arg.path, problem));
                }
                let mask = values.mapv(|v| v.map(|v| section.wet.contains(&v)));
                let valid_percent = 100.0 * mask.iter().flatten().count() as f64 / pixels;
                let flood = flood(&mask, section.words.noun(), recipe.smallest_region)?;
                Ok(Facts { flood: Some(flood), valid_percent, ..base })
            }
            Known::Rasters(parts) => self.measure_land(subject, image, parts, base),
        }
    }

    /// Land cover, heights, or both.
    fn measure_land(&self, subject: &Subject, image: &Image, parts: &Parts, base: Facts) -> Result<Facts> {
        let recipe = &self.recipe;
        let pixels = (base.width * base.height) as f64;
        let mut facts = base;
        let labels = match (&recipe.labels, &self.legend) {
            (Some(text), Some(legend)) => {
                let arg = self.other(text, parts)?;
                let ids = image.classes(&arg, &self.registry, legend.unlabelled)?;
                let cover = land_cover(&ids, legend, &recipe.words, recipe.smallest_region).map_err(|e| match e {
                    Error::Wording(problem) => Error::image(&arg.path, problem),
                    other => other,
                })?;
                facts.valid_percent = 100.0 * ids.iter().filter(|id| **id != legend.unlabelled).count() as f64 / pixels;
                facts.cover = Some(cover);
                Some((ids, legend))
            }
            _ => None,
        };
        if recipe.kind == Kind::Elevation {
            let arg = match &recipe.elevation {
                Some(text) => self.other(text, parts)?,
                None if image.is_heights() => subject.image.clone(),
                None => {
                    return Err(Error::image(
                        &subject.image.path,
                        "is not one band of heights; name the height rasters with `elevation`, or the band with images = \"PATTERN:bands=N\"",
                    ));
                }
            };
            let (heights, mask) = image.heights(&arg, &self.registry)?;
            let side = facts.gsd.map(|gsd| gsd * facts.width.min(facts.height) as f64);
            let classes =
                labels.as_ref().map(|(ids, legend)| Classes { labels: ids.view(), legend, words: &recipe.words });
            facts.elevation = Some(elevation(heights.view(), mask.view(), classes, recipe.above, side)?);
            let valid = 100.0 * mask.iter().filter(|m| **m).count() as f64 / pixels;
            facts.valid_percent = facts.valid_percent.min(valid);
        }
        Ok(facts)
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

fn stem(path: &Path) -> String {
    path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A key from a file's name: without its ending, folders joined, so that it can name a file itself.
fn key_of(file: &str) -> String {
    let path = Path::new(file).with_extension("");
    let parts = path.components().map(|c| c.as_os_str().to_string_lossy().into_owned());
    parts.filter(|p| !["/", ".", ".."].contains(&p.as_str())).collect::<Vec<_>>().join("-")
}
