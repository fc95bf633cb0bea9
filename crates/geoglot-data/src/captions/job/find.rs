//! The images of a recipe, by its kind.

use std::path::Path;

use geoglot_raster::SceneArg;

use super::{Job, Known, Subject, parse};
use crate::captions::coco::CocoBoxes;
use crate::captions::error::{Error, Result};
use crate::captions::pattern;
use crate::captions::read::under;
use crate::captions::recipe::{Kind, SharesUnit};
use crate::datasets::{Dataset, DatasetOptions};

impl Job {
    pub(super) fn find_rasters(&mut self, image: &SceneArg) -> Result<()> {
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

    pub(super) fn find_boxes(&mut self, image: &SceneArg) -> Result<()> {
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

    pub(super) fn find_shares(&mut self, image: &SceneArg) -> Result<()> {
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

    pub(super) fn find_items(&mut self, image: &SceneArg) -> Result<()> {
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
