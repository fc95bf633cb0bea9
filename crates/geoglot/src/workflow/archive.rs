//! Between models and archives: spaces, towers of a space, questions as vectors.

use std::path::Path;

use anyhow::Context;
use burn::tensor::Device;
use ndarray::Array2;

use super::images::{TowerScene, batch};
use super::text;
use crate::core::{Registry, prompt, small_file};
use crate::index::{Archive, Filter, Query, Space};
use crate::models::text::{TextTower, class_features};
use crate::models::vision::{ImageTower, load_image_tower};
use crate::raster::SceneArg;

/// The space of an image tower's vectors, as an archive records it. `model` is the folder or name it was loaded by.
pub fn space_of(tower: &dyn ImageTower, model: &str) -> Space {
    // A folder is found again from elsewhere by its absolute path.
    let model = std::fs::canonicalize(model).map_or_else(|_| model.to_owned(), |path| path.display().to_string());
    Space::new(&tower.space().name, tower.width(), model, Some(tower.fingerprint().to_owned()))
}

/// The space of a text tower's vectors. It has no weight hash: that of an archive is the image side's.
pub fn text_space(tower: &dyn TextTower) -> Space {
    Space::new(&tower.space().name, tower.width(), &tower.space().name, None)
}

/// Whether a model's files may have a text side: geoglot's own image-tower folders have none.
pub fn may_have_text(model: &str) -> bool {
    let card = small_file::read(&Path::new(model).join("config.json"), small_file::TEXT).ok();
    let card: Option<serde_json::Value> = card.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    !Path::new(model).is_file() && card.is_none_or(|json| json.get("system").is_none())
}

/// The text tower of a space: the one named, the text side of the `model` that made the space, or a known one of that space.
///
/// # Errors
/// No tower found, with what helps; what loading may say.
pub fn text_tower(
    space: &str,
    model: &str,
    named: Option<&str>,
    device: &Device,
) -> anyhow::Result<Box<dyn TextTower>> {
    if let Some(name) = named {
        return Ok(text::open(name, device)?);
    }
    let own = may_have_text(model).then(|| text::open(model, device));
    match own {
        Some(Ok(tower)) if tower.space().name == space => Ok(tower),
        Some(Err(problem)) => text::open_space(space, device).map_err(|_| anyhow::Error::from(problem)),
        _ => text::open_space(space, device).map_err(anyhow::Error::from),
    }
    .with_context(|| format!("no text tower of the space `{space}` was found; name one with --text-model"))
}

/// Vectors [K, D] of texts, each the mean of its prompts by `templates`.
///
/// # Errors
/// Templates without `{c}`; what the tower may say.
pub fn text_features(tower: &dyn TextTower, texts: &[String], templates: &[String]) -> anyhow::Result<Array2<f32>> {
    let fill = |text: &String| templates.iter().map(|t| prompt::fill(t, text)).collect::<Result<Vec<_>, _>>();
    let prompts = texts.iter().map(fill).collect::<Result<Vec<_>, _>>()?;
    Ok(class_features(tower, &prompts)?)
}

/// One vector of a whole image.
///
/// # Errors
/// As [`TowerScene::open`] and [`TowerScene::read_whole`].
pub fn embed_image(arg: &SceneArg, tower: &dyn ImageTower, registry: &Registry) -> anyhow::Result<Vec<f32>> {
    let scene = TowerScene::open(arg, tower, registry, false)?;
    let image = scene.prepare(&scene.read_whole()?)?;
    Ok(tower.encode(&batch(&[image], scene.bands(), tower.device()))?.into_raw_vec_and_offset().0)
}

/// What is searched for. Its parts count alike: the mean of the texts, the image, the place, less the mean of `minus`.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// Texts.
    pub texts: Vec<String>,
    /// Texts taken away.
    pub minus: Vec<String>,
    /// Prompt templates for the texts.
    pub templates: Vec<String>,
    /// An image to find the like of.
    pub image: Option<SceneArg>,
    /// A place to find the like of: the records that pass this filter.
    pub place: Option<Filter>,
}

/// Where a question's towers come from.
#[derive(Debug, Clone, Copy, Default)]
pub struct TowerNames<'a> {
    /// Image model instead of the archive's.
    pub model: Option<&'a str>,
    /// Text tower instead of the archive's model's.
    pub text_model: Option<&'a str>,
}

impl Question {
    /// The question as a vector of the archive's space.
    ///
    /// # Errors
    /// [`crate::index::Error::SpaceMismatch`] for towers of another space; towers that are not found; parts that cancel out.
    pub fn to_query(
        &self,
        archive: &Archive,
        towers: TowerNames<'_>,
        registry: &Registry,
        device: &Device,
    ) -> anyhow::Result<Query> {
        let space = archive.space();
        let model = towers.model.unwrap_or(&space.model);
        let mut sum = Query::sum(space);
        if !self.texts.is_empty() || !self.minus.is_empty() {
            let tower = text_tower(&space.name, model, towers.text_model, device)?;
            space.check(&text_space(tower.as_ref()))?;
            for (texts, sign) in [(&self.texts, 1.0), (&self.minus, -1.0)] {
                if !texts.is_empty() {
                    for row in text_features(tower.as_ref(), texts, &self.templates)?.rows() {
                        sum = sum.plus(&row.to_vec(), sign / texts.len() as f32)?;
                    }
                }
            }
        }
        if let Some(image) = &self.image {
            let tower =
                load_image_tower(model, device).context("an image query needs the archive's model (--model)")?;
            space.check(&space_of(tower.as_ref(), model))?;
            sum = sum.plus(&embed_image(image, tower.as_ref(), registry)?, 1.0)?;
        }
        if let Some(place) = &self.place {
            sum = sum.plus_query(&Query::place(archive, place)?, 1.0)?;
        }
        Ok(sum.build()?)
    }

    /// The question in words, for titles.
    pub fn in_words(&self) -> String {
        let mut parts: Vec<String> = self.texts.iter().map(|t| format!("“{t}”")).collect();
        parts.extend(self.image.iter().map(|i| format!("like {}", i.path.display())));
        parts.extend(self.place.iter().map(|_| "like the place".to_owned()));
        let mut words = parts.join(" + ");
        for text in &self.minus {
            words += &format!(" − “{text}”");
        }
        words
    }
}
