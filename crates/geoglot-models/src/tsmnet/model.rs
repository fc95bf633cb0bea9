//! A trained network in use.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use geoglot_core::prompt;
use geoglot_nn::multimodal::{Description, no_masks};
use geoglot_nn::segmentation::resize;
use geoglot_nn::vision::{Engine, engine};
use geoglot_nn::weights::{Checkpoint, KeyMap, load_into};
use ndarray::{Array2, Array4};

use super::card::{TsmNetCard, WEIGHTS, load_card};
use super::{Fused, TsmNet};
use crate::error::{Error, Result};
use crate::mmlgnet::sha256;
use crate::text::{TextTower, class_features};

/// A description's token states and vector.
#[derive(Debug, Clone)]
pub struct Told {
    /// Token states, [L, W].
    pub states: Array2<f32>,
    /// One vector, length D.
    pub global: Vec<f32>,
}

impl Told {
    /// Descriptions through a text tower.
    ///
    /// # Errors
    /// What the tower may say.
    pub fn of(tower: &dyn TextTower, texts: &[String]) -> Result<Vec<Self>> {
        let (states, global) = (tower.states(texts)?, tower.encode(texts)?);
        Ok(states.into_iter().zip(global.rows()).map(|(states, row)| Self { states, global: row.to_vec() }).collect())
    }

    /// Descriptions of a batch; images without one are not fused. `fused` may leave out more of them (description dropout). `None` when
    /// there is none at all.
    pub fn batch(told: &[Self], which: &[Option<usize>], fused: &[bool], device: &Device) -> Option<Description> {
        let first = which.iter().flatten().next().map(|k| &told[*k])?;
        let (width, globe) = (first.states.ncols(), first.global.len());
        let longest = which.iter().flatten().map(|k| told[*k].states.nrows()).max()?;
        let n = which.len();
        let (mut states, mut mask) = (vec![0f32; n * longest * width], vec![0i32; n * longest]);
        let mut global = vec![0f32; n * globe];
        for (i, which) in which.iter().enumerate() {
            // Something must be attended to, though it is not used.
            mask[i * longest] = 1;
            let Some(told) = which.map(|k| &told[k]) else { continue };
            let values = told.states.iter().copied();
            states[i * longest * width..].iter_mut().zip(values).for_each(|(s, v)| *s = v);
            mask[i * longest..i * longest + told.states.nrows()].fill(1);
            global[i * globe..(i + 1) * globe].copy_from_slice(&told.global);
        }
        let fused = which.iter().zip(fused).map(|(w, f)| w.is_some() && *f).collect();
        Some(Description {
            states: Tensor::from_data(TensorData::new(states, [n, longest, width]), device),
            mask: Tensor::<2, Int>::from_data(TensorData::new(mask, [n, longest]), device),
            global: Tensor::from_data(TensorData::new(global, [n, globe]), device),
            fused,
            ids: which.to_vec(),
        })
    }
}

/// Words the network is asked with.
#[derive(Debug, Clone)]
pub struct Words {
    /// Class texts, `[N, D]`; none for a head of fixed logits.
    classes: Option<Tensor<2>>,
    /// A description of the whole scene.
    told: Option<Told>,
    /// Number of classes.
    count: usize,
}

impl Words {
    /// Number of classes N.
    pub fn len(&self) -> usize {
        self.count
    }

    /// True without classes; never made.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// A network with its card, its blocks run by the fastest engine.
pub struct TsmNetModel {
    network: TsmNet,
    engines: [Option<Box<dyn Engine>>; 2],
    /// What belongs to it.
    pub card: TsmNetCard,
    device: Device,
}

impl TsmNetModel {
    /// A network for inference. Its blocks are handed over to the engines.
    pub fn new(mut network: TsmNet, card: TsmNetCard, device: Device) -> Self {
        let run = |branch: Option<&mut super::Branch>| branch.map(|b| engine(std::mem::take(&mut b.vit.blocks)));
        let engines = [run(network.optical.as_mut()), run(network.sar.as_mut())];
        Self { network, engines, card, device }
    }

    /// Reads a model folder, checking hash, tensor names and shapes.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Config`], [`Error::Hash`], [`Error::Weights`].
    pub fn load(folder: &Path, device: &Device) -> Result<Self> {
        let card = load_card(folder)?;
        let path = folder.join(WEIGHTS);
        let bytes = std::fs::read(&path).map_err(|e| Error::io(&path, "read", e))?;
        let found = sha256(&bytes);
        if found != card.weights_sha256 {
            return Err(Error::Hash { path, expected: card.weights_sha256, found });
        }
        drop(bytes);
        let network = load_into(card.network.init(device), &Checkpoint::open(&path)?, &KeyMap::identity())?.0;
        Ok(Self::new(network.no_grad(), card, device.clone()))
    }

    /// Where the network lives.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Class texts and a description, ready to be asked with. Each class has one or many texts.
    ///
    /// # Errors
    /// [`Error::Input`] for another text tower than the network was trained with, no tower where one is needed, and classes a fixed head does
    /// not have.
    pub fn words(
        &self,
        tower: Option<&dyn TextTower>,
        classes: &[Vec<String>],
        describe: Option<&str>,
    ) -> Result<Words> {
        let network = &self.card.network;
        if classes.is_empty() {
            return Err(Error::Input("no classes are asked for".into()));
        }
        if !network.open_vocabulary() && classes.len() != self.card.legend.len() {
            return Err(Error::Input(format!(
                "this network has a head of fixed logits for {}; it cannot be asked for other classes",
                self.card.legend.names().join(", ")
            )));
        }
        if describe.is_some() && !network.scene() {
            return Err(Error::Input("this network was built without descriptions; leave --describe away".into()));
        }
        let needed = network.text.classes() || describe.is_some();
        let Some(tower) = tower.filter(|_| needed) else {
            return match needed {
                true => Err(Error::Input("this network reads text: give its text tower".into())),
                false => Ok(Words { classes: None, told: None, count: classes.len() }),
            };
        };
        if let Some(card) = &self.card.text {
            card.space.expect(tower.space())?;
            if card.fingerprint != tower.fingerprint() {
                return Err(Error::Input(format!(
                    "the network was trained with the text tower `{}`; the tower given has other weights or another tokeniser, whose words \
                     mean something else to it",
                    card.tower
                )));
            }
        }
        let told = match describe {
            Some(text) => Told::of(tower, &[text.to_owned()])?.pop(),
            None => None,
        };
        let classes = match network.text.classes() {
            true => Some(self.class_texts(tower, classes)?),
            false => None,
        };
        let count = classes.as_ref().map_or(self.card.legend.len(), |c| c.dims()[0]);
        Ok(Words { classes, told, count })
    }

    fn class_texts(&self, tower: &dyn TextTower, classes: &[Vec<String>]) -> Result<Tensor<2>> {
        if let Some(contexts) = &self.network.contexts {
            let flat: Vec<String> = classes.iter().flatten().cloned().collect();
            let encoder = tower.prompt_encoder(&flat, self.card.network.contexts)?.ok_or_else(|| {
                Error::Input("the network has learned contexts, which only CLIP's text tower reads".into())
            })?;
            let all = encoder.on(&self.device).forward(contexts.val());
            let mut at = 0;
            let each = classes.iter().map(|texts| {
                let own = all.clone().narrow(0, at, texts.len());
                at += texts.len();
                let length = own.clone().square().sum_dim(1).clamp_min(1e-24).sqrt();
                (own / length).mean_dim(0)
            });
            return Ok(Tensor::cat(each.collect(), 0));
        }
        let templates = self.card.text.as_ref().map_or(&[][..], |t| &t.templates);
        let prompts = prompts(classes, templates)?;
        let features = class_features(tower, &prompts)?;
        let dims = [features.nrows(), features.ncols()];
        Ok(Tensor::from_data(TensorData::new(features.into_raw_vec_and_offset().0, dims), &self.device))
    }

    /// Images as the network sees them, `[B, C, H, W]` each, to what is computed once for any words. `present` says which modalities
    /// each image has.
    ///
    /// # Errors
    /// [`Error::Input`] when an image has no modality of the network, or the tensors do not fit.
    pub fn encode(&self, images: [Option<Tensor<4>>; 2], present: &[[bool; 2]]) -> Result<Fused> {
        let has = self.card.network.modality.has();
        let none = |p: &[bool; 2]| !(0..2).any(|m| p[m] && has[m] && images[m].is_some());
        if present.iter().any(none) {
            return Err(Error::Input("an image has no modality that the network reads".into()));
        }
        let branches = [&self.network.optical, &self.network.sar];
        let [optical, sar] = images;
        let run = |m: usize, x: Option<Tensor<4>>| {
            let (Some(branch), Some(x)) = (branches[m], x) else { return Ok(None) };
            let expected = self.card.network.bands[m];
            if x.dims()[1] != expected || x.dims()[0] != present.len() {
                return Err(Error::Input(format!(
                    "images of shape {:?}; the network reads {expected} bands",
                    x.dims()
                )));
            }
            Ok(Some(branch.forward(x, self.card.network.taps, self.engines[m].as_deref())))
        };
        Ok(self.network.fuse([run(0, optical)?, run(1, sar)?], present))
    }

    /// Similarities (cosines; a fixed head's probabilities) `[B, N, tile, tile]` of encoded images for `words`.
    ///
    /// # Errors
    /// [`Error::Input`] for values that are not finite.
    pub fn similarities(&self, fused: Fused, words: &Words) -> Result<Array4<f32>> {
        let batch = fused.dense.dims()[0];
        let described = words.told.as_ref().and_then(|told| {
            let one = std::slice::from_ref(told);
            Told::batch(one, &vec![Some(0); batch], &vec![true; batch], &self.device)
        });
        let answer = self.network.answer(fused, words.classes.clone(), described.as_ref(), &mut no_masks);
        let map = resize(answer.map, (self.card.tile, self.card.tile));
        let map = match self.card.network.open_vocabulary() {
            true => map,
            false => burn::tensor::activation::softmax(map, 1),
        };
        let dims = map.dims();
        let values: Vec<f32> = map.into_data().iter::<f32>().collect();
        if values.iter().any(|v| !v.is_finite()) {
            return Err(Error::Input(
                "the network gave NaN or infinite values: an image holds such values, or the weights are damaged"
                    .into(),
            ));
        }
        Ok(Array4::from_shape_vec(dims, values).expect("the tensor's own size"))
    }
}

/// Every text of a class in every template.
pub(super) fn prompts(classes: &[Vec<String>], templates: &[String]) -> Result<Vec<Vec<String>>> {
    let fill = |text: &String| -> Result<Vec<String>> {
        match templates {
            [] => Ok(vec![text.clone()]),
            some => some.iter().map(|t| Ok(prompt::fill(t, text)?)).collect(),
        }
    };
    classes.iter().map(|texts| Ok(texts.iter().map(fill).collect::<Result<Vec<_>>>()?.concat())).collect()
}
