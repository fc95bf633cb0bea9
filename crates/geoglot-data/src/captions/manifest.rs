//! The manifest: one JSON line an image, with facts and captions.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use geoglot_core::{Registry, atomic};
use geoglot_raster::{OpenOptions, Scene, SceneArg};
use serde::{Deserialize, Serialize};

use super::check::{Disagreement, check_caption};
use super::error::{Error, Result};
use super::facts::Facts;
use crate::datasets::{Pixels, open_source};

/// An image with its captions, and the facts these were made from: what an image–text shard needs of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptionedImage {
    /// Unique name, fit for a file name.
    pub key: String,
    /// Image file, or folder of one-band files.
    pub image: PathBuf,
    /// How the file is read, as behind the colon of `--scene PATH:OPTIONS`; empty where nothing need be said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub options: String,
    /// Bands in order, as `sensor/name`.
    pub bands: Vec<String>,
    /// Centre wavelengths in µm; none for radar and heights, which models have values of their own for.
    pub wavelengths: Vec<Option<f32>>,
    /// Longitude and latitude of the image's middle in degrees, where it says where it lies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geoloc: Option<[f64; 2]>,
    /// What is true of the image.
    pub facts: Facts,
    /// Short captions, at most [`super::SHORT_WORDS`] words each.
    pub short: Vec<String>,
    /// Long captions.
    pub long: Vec<String>,
    /// Seed of the wording.
    pub seed: u64,
    /// `grammar`, or the language model that worded the facts.
    pub worded_by: String,
}

impl CaptionedImage {
    /// The image as an input named `image`; only metadata is read.
    ///
    /// # Errors
    /// [`Error::Raster`] and [`Error::Dataset`] for files that cannot be read.
    pub fn scene(&self, registry: &Registry) -> Result<Scene> {
        let (arg, source) = open_source(&self.input()?)?;
        Ok(Scene::from_sources(vec![(arg, source)], registry, OpenOptions::default())?)
    }

    /// The image's pixels, every band of [`CaptionedImage::bands`].
    ///
    /// # Errors
    /// As [`CaptionedImage::scene`].
    pub fn read(&self, registry: &Registry) -> Result<Pixels> {
        let scene = self.scene(registry)?;
        let input = &scene.inputs()[0];
        let tile = scene.read(input.name(), &input.source().all_bands(), scene.grid().window())?;
        Ok(Pixels { data: tile.data, mask: tile.mask, bands: input.bands().to_vec(), grid: scene.grid().clone() })
    }

    fn input(&self) -> Result<SceneArg> {
        let options = match self.options.as_str() {
            "" => SceneArg::default(),
            options => format!("image=x:{options}").parse()?,
        };
        Ok(SceneArg { name: Some("image".into()), path: self.image.clone(), ..options })
    }

    /// Numbers in the captions that the facts do not bear out, with their captions.
    pub fn check(&self) -> Vec<(&str, Disagreement)> {
        let all = self.short.iter().chain(&self.long);
        all.flat_map(|text| check_caption(&self.facts, text).into_iter().map(move |d| (text.as_str(), d))).collect()
    }
}

fn line(image: &CaptionedImage) -> String {
    serde_json::to_string(image).expect("words and numbers are JSON") + "\n"
}

/// Writes a manifest, atomically.
///
/// # Errors
/// [`Error::Core`] naming the file.
pub fn write_manifest(path: &Path, images: &[CaptionedImage]) -> Result<()> {
    Ok(atomic::write_with(path, |w| images.iter().try_for_each(|i| w.write_all(line(i).as_bytes())))?)
}

/// Reads a manifest.
///
/// # Errors
/// [`Error::Core`] when it cannot be read, [`Error::Record`] naming the line that is not an image with captions.
pub fn read_manifest(path: &Path) -> Result<Vec<CaptionedImage>> {
    let file = File::open(path).map_err(|e| geoglot_core::Error::io(path, "open", e))?;
    let mut images = Vec::new();
    for (k, text) in BufReader::new(file).lines().enumerate() {
        let place = format!("line {}", k + 1);
        let text = text.map_err(|e| Error::record(path, &place, format!("cannot be read: {e}")))?;
        let image = serde_json::from_str(&text)
            .map_err(|e| Error::record(path, &place, format!("is not an image of a caption manifest: {e}")))?;
        images.push(image);
    }
    if images.is_empty() {
        return Err(Error::record(path, "line 1", "the manifest is empty"));
    }
    Ok(images)
}

/// A manifest in the making, so that work behind an endpoint is not lost: lines are added as they come, the whole is renamed at its end.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: File,
}

impl Writer {
    /// Starts a manifest beside its final `path`. What an interrupted run of the same `fingerprint` has left is returned when `resume` is
    /// true; a line that was cut is left out.
    ///
    /// # Errors
    /// [`Error::Core`] naming the file; [`Error::Recipe`] when the interrupted run was of another recipe.
    pub fn start(path: &Path, fingerprint: &str, resume: bool) -> Result<(Self, Vec<CaptionedImage>)> {
        let part = path.with_extension("jsonl.part");
        let mut kept = Vec::new();
        if resume && part.exists() {
            let text = std::fs::read_to_string(&part).map_err(|e| geoglot_core::Error::io(&part, "read", e))?;
            let mut lines = text.lines();
            if lines.next() != Some(fingerprint) {
                return Err(Error::Recipe(format!(
                    "{} was begun with another recipe or seed; start again without --resume",
                    part.display()
                )));
            }
            kept = lines.map_while(|l| serde_json::from_str(l).ok()).collect();
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|e| geoglot_core::Error::io(folder, "create the folder", e))?;
        }
        let file = File::create(&part).map_err(|e| geoglot_core::Error::io(&part, "create", e))?;
        let mut writer = Self { path: part, file };
        writer.write(&format!("{fingerprint}\n"))?;
        writer.add(&kept)?;
        Ok((writer, kept))
    }

    fn write(&mut self, text: &str) -> Result<()> {
        let result = self.file.write_all(text.as_bytes()).and_then(|()| self.file.flush());
        Ok(result.map_err(|e| geoglot_core::Error::io(&self.path, "write", e))?)
    }

    /// Adds images.
    ///
    /// # Errors
    /// [`Error::Core`] naming the file.
    pub fn add(&mut self, images: &[CaptionedImage]) -> Result<()> {
        self.write(&images.iter().map(line).collect::<String>())
    }

    /// Writes the whole manifest under its final name and removes the unfinished one.
    ///
    /// # Errors
    /// [`Error::Core`] naming the file.
    pub fn finish(self, path: &Path, images: &[CaptionedImage]) -> Result<()> {
        write_manifest(path, images)?;
        Ok(std::fs::remove_file(&self.path).map_err(|e| geoglot_core::Error::io(&self.path, "remove", e))?)
    }
}
