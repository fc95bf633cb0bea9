//! A model and a data set opened for one protocol: vectors, scores, picture.

use std::path::Path;

use anyhow::{Context, bail};
use burn::tensor::Device;
use ndarray::{Array1, Array2, Axis};

use super::encode::encode_items;
use super::{Protocol, ProtocolRequest};
use crate::core::{Legend, atomic, prompt};
use crate::data::datasets::{Dataset, Labelling, Split};
use crate::eval::protocols::{
    Labelled, Thresholds, best_threshold, cosines, knn, linear_probe, linear_probe_multilabel, multilabel, retrieval,
    zero_shot,
};
use crate::eval::{Honesty, Section, SplitNote, TilesAndTexts, TsneOptions, tiles_and_texts};
use crate::models::text::{TextTower, class_features};
use crate::models::vision::{ImageTower, load_image_tower};
use crate::workflow::text;

/// Captions drawn in the picture of tiles and texts.
const CAPTIONS: usize = 300;

/// A tower's vectors of the parts of a data set.
pub(super) struct Job<'a> {
    pub(super) request: &'a ProtocolRequest,
    pub(super) set: Dataset,
    pub(super) tower: Box<dyn ImageTower>,
    pub(super) text: Option<Box<dyn TextTower>>,
    pub(super) progress: &'a mut dyn FnMut(&str, usize, usize),
    pub(super) scored: Vec<usize>,
    pub(super) images: Array2<f32>,
    pub(super) note: Option<SplitNote>,
    pub(super) warnings: Vec<String>,
    pub(super) saved: Vec<(&'static str, Array2<f32>)>,
}

impl<'a> Job<'a> {
    pub(super) fn open(
        request: &'a ProtocolRequest,
        device: &Device,
        progress: &'a mut dyn FnMut(&str, usize, usize),
    ) -> anyhow::Result<Self> {
        let mut set = Dataset::open(&request.data, &request.dataset)?;
        let mut note = None;
        let learns = matches!(request.protocol, Protocol::Probe | Protocol::Knn);
        if set.splits().is_empty() && (learns || request.split.is_some()) {
            set.divide(request.divide.0, request.divide.1, request.bootstrap.seed)?;
            note = Some(SplitNote {
                kind: "random images of each class".into(),
                honesty: Honesty::Unknown,
                sentence: "The set comes undivided; its images were divided at random. Images cut from one scene resemble each other, which \
                           makes the figures better than on new scenes."
                    .into(),
            });
        } else if learns {
            note = Some(SplitNote {
                kind: "the set's own split".into(),
                honesty: Honesty::Unknown,
                sentence: "Training and test images are those of the set's own split; whether they come from the same scenes is not known.".into(),
            });
        }
        let part = request.split.or_else(|| set.splits().contains(&Split::Test).then_some(Split::Test));
        let scored = set.indices(part);
        if scored.is_empty() {
            let known: Vec<String> = set.splits().iter().map(Split::to_string).collect();
            let part = part.map_or_else(String::new, |p| p.to_string());
            bail!("{}: no images in the part `{part}`; the set has {}", request.data.display(), known.join(", "));
        }
        let tower = load_image_tower(&request.model, device)?;
        let text = match open_text(request, tower.as_ref(), device) {
            Ok(text) => Some(text),
            Err(error) if request.protocol.needs_text() || !request.prompts.is_empty() => return Err(error),
            Err(_) => None,
        };
        let warnings = set.warnings().to_vec();
        let images = Array2::zeros((0, tower.width()));
        Ok(Self { request, set, tower, text, progress, scored, images, note, warnings, saved: Vec::new() })
    }

    pub(super) fn encode(&mut self, indices: &[usize]) -> anyhow::Result<Array2<f32>> {
        let told = &mut *self.progress;
        let mut tell = |done: usize, all: usize| told("images", done, all);
        encode_items(self.tower.as_ref(), &self.set, indices, self.request.batch, &mut tell)
    }

    fn text(&self) -> anyhow::Result<&dyn TextTower> {
        self.text.as_deref().context("no text tower of the model's space; name it with --text-model")
    }

    /// Classes and their features, [K, D].
    fn classes(&self) -> anyhow::Result<(Legend, Array2<f32>)> {
        if self.set.labelling() == Labelling::None {
            bail!("{}: the set has no classes; score it with retrieval", self.request.data.display());
        }
        if self.set.labelling() == Labelling::Raster {
            bail!(
                "{}: the pixels of this set have classes, not its images; train a segmentation head on it: a recipe with \
                 kind = \"segmentation\" and data.dataset, for `geoglot train`",
                self.request.data.display()
            );
        }
        let legend = self.set.legend()?;
        let features = class_features(self.text()?, &prompt::ensemble(&legend, &self.request.templates)?)?;
        Ok((legend, features))
    }

    pub(super) fn section(&mut self) -> anyhow::Result<Section> {
        let (title, bootstrap) = (self.request.protocol.title(), &self.request.bootstrap);
        match self.request.protocol {
            Protocol::ZeroShot => {
                let (legend, features) = self.classes()?;
                let truth = self.set.truth(&self.scored)?;
                let result = zero_shot(self.images.view(), features.view(), &truth, None, bootstrap)?;
                self.saved.push(("classes", features));
                self.saved.push(("truth", column(&truth)));
                Ok(result.section(title, &legend))
            }
            Protocol::Retrieval => {
                let (captions, owners) = self.set.captions(&self.scored)?;
                let captions: Vec<String> = captions.into_iter().map(str::to_owned).collect();
                let texts = self.text()?.encode(&captions)?;
                let result = retrieval(self.images.view(), texts.view(), &owners, None, bootstrap)?;
                self.saved.push(("texts", texts));
                self.saved.push(("owners", column(&owners)));
                Ok(result.section(title))
            }
            Protocol::Multilabel => self.multilabel(title),
            Protocol::Probe => self.probe(title),
            Protocol::Knn => {
                let train = self.part(Split::Train)?;
                let (x, y) = (self.encode(&train)?, self.set.truth(&train)?);
                let (legend, truth) = (self.set.legend()?, self.set.truth(&self.scored)?);
                let known = Labelled { features: x.view(), classes: &y };
                let asked = Labelled { features: self.images.view(), classes: &truth };
                let result = knn(known, asked, legend.len(), self.request.neighbours, None, bootstrap)?;
                let mut section = result.section(title, &legend);
                section.caption =
                    format!("Majority of the {} nearest of {} training images.", self.request.neighbours, train.len());
                Ok(section)
            }
        }
    }

    /// Items of a part; an empty one is an error.
    fn part(&self, split: Split) -> anyhow::Result<Vec<usize>> {
        let items = self.set.indices(Some(split));
        if items.is_empty() {
            bail!("{}: the set has no {split} images, which this protocol learns from", self.request.data.display());
        }
        Ok(items)
    }

    /// Training and validation items; without a validation part, every fifth image of each class is taken from the training part.
    fn learning(&mut self) -> anyhow::Result<(Vec<usize>, Vec<usize>)> {
        let train = self.part(Split::Train)?;
        let validation = self.set.indices(Some(Split::Validation));
        if !validation.is_empty() {
            return Ok((train, validation));
        }
        let mut seen = vec![0usize; self.set.classes().len() + 1];
        let (mut fit, mut held) = (Vec::new(), Vec::new());
        for i in train {
            let class = self.set.items()[i].labels.first().copied().unwrap_or(self.set.classes().len());
            seen[class] += 1;
            if seen[class].is_multiple_of(5) { held.push(i) } else { fit.push(i) }
        }
        if held.is_empty() {
            bail!("too few training images to set some aside for validation");
        }
        self.warnings.push(
            "The set has no validation part: every fifth training image of each class chose the settings.".into(),
        );
        Ok((fit, held))
    }

    fn multilabel(&mut self, title: &str) -> anyhow::Result<Section> {
        let (legend, features) = self.classes()?;
        let truth = self.set.label_matrix(&self.scored)?;
        let (threshold, remark) = match self.request.threshold {
            Some(t) => (Thresholds::One(t), "The threshold was given.".to_owned()),
            None => {
                let choose = [Split::Validation, Split::Train]
                    .into_iter()
                    .find(|s| Some(*s) != self.request.split && !self.set.indices(Some(*s)).is_empty());
                let Some(part) = choose else {
                    bail!(
                        "the set has no validation or training images to choose a threshold on; give one with --threshold"
                    );
                };
                let items = self.set.indices(Some(part));
                let scores = cosines(self.encode(&items)?.view(), features.view())?;
                let best = best_threshold(scores.view(), self.set.label_matrix(&items)?.view())?;
                (best, format!("The threshold has the best micro F1 on {} {part} images.", items.len()))
            }
        };
        let scores = cosines(self.images.view(), features.view())?;
        let result = multilabel(scores.view(), truth.view(), &threshold, None, &self.request.bootstrap)?;
        let mut section = result.section(title, &legend);
        section.notes.push(remark);
        Ok(section)
    }

    fn probe(&mut self, title: &str) -> anyhow::Result<Section> {
        let (fit, held) = self.learning()?;
        let (x, v) = (self.encode(&fit)?, self.encode(&held)?);
        let (legend, request) = (self.set.legend()?, self.request);
        let caption = format!("Fitted on {} images, settings chosen on {}.", fit.len(), held.len());
        let mut section = if self.set.labelling() == Labelling::Multi {
            let truth = |items: &[usize]| self.set.label_matrix(items);
            let (a, b, c) = (truth(&fit)?, truth(&held)?, truth(&self.scored)?);
            let result = linear_probe_multilabel(
                (x.view(), a.view()),
                (v.view(), b.view()),
                (self.images.view(), c.view()),
                &request.probe,
                None,
                &request.bootstrap,
            )?;
            result.section(title, &legend)
        } else {
            let (a, b, c) = (self.set.truth(&fit)?, self.set.truth(&held)?, self.set.truth(&self.scored)?);
            let result = linear_probe(
                Labelled { features: x.view(), classes: &a },
                Labelled { features: v.view(), classes: &b },
                Labelled { features: self.images.view(), classes: &c },
                legend.len(),
                &request.probe,
                None,
                &request.bootstrap,
            )?;
            result.section(title, &legend)
        };
        section.caption = format!("{caption} {}", section.caption);
        Ok(section)
    }

    /// Tiles and texts in one picture: class prompts, or for sets without single classes some captions.
    pub(super) fn picture(&mut self) -> anyhow::Result<Option<TilesAndTexts>> {
        let Some(tower) = self.text.as_deref() else { return Ok(None) };
        let single = self.set.labelling() == Labelling::Single;
        let (legend, classes) = match single {
            true => (self.set.legend()?, self.set.truth(&self.scored)?),
            false => (Legend::from_names(["image"])?, vec![0; self.scored.len()]),
        };
        let (texts, owners): (Array2<f32>, Vec<usize>) = if self.request.protocol == Protocol::Retrieval {
            let (captions, owners) = self.set.captions(&self.scored)?;
            let count = captions.len().min(CAPTIONS);
            let picked: Vec<usize> = (0..count).map(|k| k * captions.len() / count).collect();
            let list: Vec<String> = picked.iter().map(|&k| captions[k].to_owned()).collect();
            (tower.encode(&list)?, picked.iter().map(|&k| classes[owners[k]]).collect())
        } else if single {
            (self.classes()?.1, (0..legend.len()).collect())
        } else if self.set.labelling() == Labelling::Multi {
            let features = self.classes()?.1;
            let owners = vec![0; features.nrows()];
            (features, owners)
        } else {
            return Ok(None);
        };
        if self.scored.len() + texts.nrows() < 8 {
            return Ok(None);
        }
        let options = TsneOptions { seed: self.request.bootstrap.seed, ..TsneOptions::default() };
        let tiles = (self.images.view(), classes.as_slice());
        Ok(Some(tiles_and_texts(tiles, (texts.view(), &owners), &legend, true, &options)?))
    }

    /// Vectors of the heat maps' prompts.
    pub(super) fn prompts(&self) -> anyhow::Result<Vec<(String, Array1<f32>)>> {
        if self.request.prompts.is_empty() {
            return Ok(Vec::new());
        }
        let vectors = self.text()?.encode(&self.request.prompts)?;
        Ok(self.request.prompts.iter().cloned().zip(vectors.rows().into_iter().map(|r| r.to_owned())).collect())
    }

    /// Writes image vectors and what they were scored with, so that another program's can be scored the same way.
    pub(super) fn save(&mut self, out: &Path) -> anyhow::Result<()> {
        let rows = |m: &Array2<f32>| m.rows().into_iter().map(|r| r.to_vec()).collect::<Vec<_>>();
        let names: Vec<&str> = self.scored.iter().map(|&i| self.set.items()[i].id.as_str()).collect();
        let paths: Vec<&Path> = self.scored.iter().map(|&i| self.set.items()[i].path.as_path()).collect();
        let mut content = serde_json::json!({ "ids": names, "files": paths, "images": rows(&self.images) });
        for (name, values) in &self.saved {
            content[*name] = serde_json::to_value(rows(values))?;
        }
        Ok(atomic::write(&out.join("embeddings.json"), content.to_string().as_bytes())?)
    }
}

fn column(values: &[usize]) -> Array2<f32> {
    Array1::from_iter(values.iter().map(|&v| v as f32)).insert_axis(Axis(1))
}

/// The text tower of the model's space: the one named, the one the registry knows for the space, or the one in the model's own folder.
fn open_text(request: &ProtocolRequest, tower: &dyn ImageTower, device: &Device) -> anyhow::Result<Box<dyn TextTower>> {
    let opened = match &request.text_model {
        Some(name) => text::open(name, device)?,
        None => match text::open_space(&tower.space().name, device) {
            Ok(opened) => opened,
            Err(error) if Path::new(&request.model).is_dir() => {
                text::open(&request.model, device).map_err(|_| error)?
            }
            Err(error) => return Err(error.into()),
        },
    };
    tower.space().expect(opened.space())?;
    Ok(opened)
}
