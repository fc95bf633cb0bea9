//! What is true of an image, by the recipe's kind.

use super::{Job, Known, Subject, parse};
use crate::captions::cover::{land_cover, land_cover_shares, noun_of};
use crate::captions::elevation::{Classes, elevation};
use crate::captions::error::{Error, Result};
use crate::captions::facts::Facts;
use crate::captions::flood::flood;
use crate::captions::objects::objects;
use crate::captions::pattern::{self, Parts};
use crate::captions::read::{Image, under};
use crate::captions::recipe::Kind;
use geoglot_raster::SceneArg;

impl Job {
    /// The raster of the pattern `text` that belongs to `parts`.
    fn other(&self, text: &str, parts: &Parts) -> Result<SceneArg> {
        let (arg, _) = parse(text)?;
        let path = pattern::fill(&arg.path, parts)?;
        Ok(under(&self.root, &arg, &path))
    }

    pub(super) fn measure(&self, subject: &Subject, image: &Image, base: Facts) -> Result<Facts> {
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
}
