//! The training loop.
//!
//! Everything drawn at random depends on the seed and the epoch only, so that a run continued from the checkpoint of any epoch gives the same
//! weights as a run that was never interrupted.

use std::path::Path;
use std::time::Instant;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor, TensorData};
use geoglot_core::Seeds;
use geoglot_data::{BatchSampler, Symmetry};
use geoglot_models::text::PromptEncoder;
use geoglot_models::tsmnet::{Answer, Losses, Modality, Told, TsmNet};
use geoglot_nn::multimodal::{Masks, no_masks};
use geoglot_nn::ops::adam::FusedAdamConfig;
use geoglot_nn::segmentation::{IGNORE, resize};
use indexmap::IndexMap;
use ndarray::{Array2, Array3};
use rand::{Rng, RngExt};

use super::recipe::OpenOptions;
use crate::checkpoint::{Checkpoint, State};
use crate::flat::{flatten, number_parameters, unflatten};
use crate::history::{self, EpochRecord};
use crate::optimise::{record, restore};
use crate::segmentation::SegmentError;
use crate::{Ended, Error, Observer, RunFolder, tfevents};

type Result<T> = std::result::Result<T, SegmentError>;

/// Validation looks at most at this many tiles, evenly spaced.
const VALIDATION: usize = 200;

/// How a tile is changed in training: optical, SAR and labels alike.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draw {
    /// Rows and columns that the tile is moved by, −1 to 1 of what its source allows.
    pub shift: [f32; 2],
    /// Flip or quarter turn.
    pub turn: Symmetry,
}

impl Draw {
    /// The tile as it is.
    pub fn none() -> Self {
        Self { shift: [0.0; 2], turn: Symmetry::all()[0] }
    }
}

/// A tile of a pair of images.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// Optical and SAR values as the network sees them, [C, side, side], 0 without data; `None` where the whole tile has none.
    pub images: [Option<Array3<f32>>; 2],
    /// Class position of every pixel, row by row; 255 where it does not count.
    pub labels: Vec<u8>,
}

/// Gives tiles.
pub trait Pairs: Sync {
    /// Side of a tile in pixels.
    fn side(&self) -> usize;

    /// Tile `i`, changed by `draw`, with its training labels.
    ///
    /// # Errors
    /// Damaged files.
    fn train(&self, i: usize, draw: Draw) -> std::result::Result<Pair, Box<dyn std::error::Error + Send + Sync>>;

    /// Tile `i` as it is, with its validation labels.
    ///
    /// # Errors
    /// Damaged files.
    fn validation(&self, i: usize) -> std::result::Result<Pair, Box<dyn std::error::Error + Send + Sync>>;
}

/// Class texts of the training classes.
#[derive(Debug, Clone)]
pub enum ClassTexts {
    /// None: a head of fixed logits.
    None,
    /// Vectors of a frozen text tower, [K, D].
    Fixed(Array2<f32>),
    /// Words that a frozen text tower reads behind learned contexts.
    Prompted(Box<PromptEncoder>),
}

/// Descriptions of tiles.
#[derive(Debug, Clone, Default)]
pub struct Descriptions {
    /// Each text once.
    pub texts: Vec<Told>,
    /// For each tile of the training set the text of its image.
    pub train: Vec<Option<usize>>,
    /// For each tile of the validation set.
    pub validation: Vec<Option<usize>>,
}

/// What a network is trained on.
pub struct OpenData<'a> {
    /// The tiles.
    pub pairs: &'a dyn Pairs,
    /// Tiles to learn from.
    pub train: &'a [usize],
    /// Tiles that choose the epoch; empty for none.
    pub validation: &'a [usize],
    /// Number of training classes K.
    pub classes: usize,
    /// Their words.
    pub texts: &'a ClassTexts,
    /// Descriptions, `train` and `validation` as long as the tiles.
    pub descriptions: &'a Descriptions,
}

/// A trained network.
#[derive(Debug)]
pub struct OpenNetwork {
    /// The network of the best epoch, for inference.
    pub network: TsmNet,
    /// What happened.
    pub history: Vec<EpochRecord>,
    /// Epoch of the best validation mIoU, from 1; the last one without validation.
    pub best_epoch: usize,
    /// How training ended.
    pub ended: Ended,
}

fn check(data: &OpenData<'_>) -> Result<()> {
    let wrong = |problem: String| Err(SegmentError::Input(problem));
    if data.train.len() < 2 {
        return wrong(format!(
            "{} tiles hold training labels and at least 2 are needed; make model.tile or model.stride smaller, or label more",
            data.train.len()
        ));
    }
    let d = data.descriptions;
    if d.train.len() != data.train.len() || d.validation.len() != data.validation.len() {
        return wrong("descriptions and tiles differ in number".into());
    }
    let texts = match data.texts {
        ClassTexts::None => data.classes,
        ClassTexts::Fixed(features) => features.nrows(),
        ClassTexts::Prompted(encoder) => encoder.len(),
    };
    if texts != data.classes {
        return wrong(format!("{texts} class texts for {} classes", data.classes));
    }
    Ok(())
}

/// Trains `start`.
///
/// # Errors
/// Data that do not fit, tiles that cannot be read, a loss that is no number, a checkpoint of another run, a full disk.
pub fn fit_network(
    start: TsmNet,
    data: &OpenData<'_>,
    options: &OpenOptions,
    keep: Option<RunFolder<'_>>,
    device: &Device,
    observer: &mut dyn Observer,
) -> Result<OpenNetwork> {
    check(data)?;
    let autodiff = device.clone().autodiff();
    let seeds = Seeds::new(options.seed);
    let batch = options.batch.min(data.train.len());
    let sampler = BatchSampler::new(data.train.len(), batch, seeds.value("batches"))?;
    let per_epoch = (data.train.len() / batch).max(1);
    // Weights moved to another device would not be leaves of a graph; those of a network made there are.
    let network = number_parameters(unflatten(start.config().init(&autodiff), &flatten(&start)));
    let adam = FusedAdamConfig::new().with_decoupled_decay(options.weight_decay);
    let texts = match data.texts {
        ClassTexts::Prompted(encoder) => ClassTexts::Prompted(Box::new((**encoder).clone().on(&autodiff))),
        other => other.clone(),
    };
    let mut run = Run {
        towers: tower_parameters(&network),
        network,
        optimizers: [adam.init(), adam.init()],
        texts,
        best: Vec::new(),
        best_epoch: 0,
        history: Vec::new(),
        per_epoch,
    };
    if let Some(place) = keep
        && place.resume
        && let Some(checkpoint) = Checkpoint::load(place.folder, place.run)?
    {
        run.restore(checkpoint, &Checkpoint::path(place.folder))?;
    }
    let mut ended = Ended::Finished;
    for epoch in run.history.len()..options.epochs {
        let start = Instant::now();
        let Some((loss, parts)) = run.epoch(epoch, &sampler, data, options, &autodiff, observer)? else {
            ended = Ended::Interrupted;
            break;
        };
        let scores = match data.validation.is_empty() {
            true => None,
            false => Some(run.validate(data, options.batch, device)?),
        };
        let scale = run.network.temperature.as_ref().map_or(1.0, |t| t.scale().into_scalar());
        run.history.push(EpochRecord {
            epoch: epoch + 1,
            loss,
            validation_oa: scores.map(|s| s.0),
            validation_miou: scores.map(|s| s.1),
            learning_rate: options.rate(epoch * per_epoch, options.epochs * per_epoch),
            logit_scale: scale,
            seconds: start.elapsed().as_secs_f64(),
            parts,
            figures: IndexMap::new(),
        });
        let best = run.best_epoch.checked_sub(1).and_then(|e| run.history[e].validation_miou);
        if scores.is_none() || scores.map(|s| s.1) > best {
            run.best_epoch = epoch + 1;
            run.best = flatten(&run.network);
        }
        observer.epoch(&run.history[epoch], options.epochs);
        if let Some(place) = keep {
            run.save(place)?;
        }
    }
    if run.best.is_empty() {
        run.best = flatten(&run.network);
    }
    let network = unflatten(run.network, &run.best).valid();
    Ok(OpenNetwork { network, history: run.history, best_epoch: run.best_epoch, ended })
}

/// Ids of the towers' parameters: they learn at a rate of their own.
fn tower_parameters(network: &TsmNet) -> Vec<ParamId> {
    struct Ids(Vec<ParamId>);
    impl ModuleVisitor for Ids {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.push(param.id);
        }
    }
    let mut ids = Ids(Vec::new());
    for branch in [&network.optical, &network.sar].into_iter().flatten() {
        branch.vit.visit(&mut ids);
    }
    ids.0
}

/// What changes while training.
struct Run {
    network: TsmNet,
    /// Of the towers and of the rest.
    optimizers: [ModuleOptimizer; 2],
    towers: Vec<ParamId>,
    texts: ClassTexts,
    best: Vec<f32>,
    best_epoch: usize,
    history: Vec<EpochRecord>,
    per_epoch: usize,
}

impl Run {
    fn restore(&mut self, checkpoint: Checkpoint, path: &Path) -> Result<()> {
        let fail = || Error::Checkpoint {
            path: path.into(),
            problem: "its optimiser state is damaged; delete it to start over".into(),
        };
        let (length, rest) = checkpoint.optimizer.split_at_checked(8).ok_or_else(fail)?;
        let length = u64::from_le_bytes(length.try_into().map_err(|_| fail())?) as usize;
        let (first, second) = rest.split_at_checked(length).ok_or_else(fail)?;
        for (slot, bytes) in self.optimizers.iter_mut().zip([first, second]) {
            let own = Checkpoint { optimizer: bytes.to_vec(), ..checkpoint.clone() };
            (self.network, *slot) = restore(self.network.clone(), slot.clone(), &own, path)?;
        }
        self.best = checkpoint.best;
        (self.history, self.best_epoch) = (checkpoint.state.history, checkpoint.state.best_epoch);
        Ok(())
    }

    fn save(&self, place: RunFolder<'_>) -> Result<()> {
        let path = Checkpoint::path(place.folder);
        let first = record(&self.optimizers[0], &path)?;
        let mut optimizer = (first.len() as u64).to_le_bytes().to_vec();
        optimizer.extend(first);
        optimizer.extend(record(&self.optimizers[1], &path)?);
        let state = State {
            run: place.run.into(),
            epochs: self.history.len(),
            best_epoch: self.best_epoch,
            history: self.history.clone(),
        };
        let (weights, best) = (flatten(&self.network), self.best.clone());
        Checkpoint { state, weights, best, ema: None, optimizer }.save(place.folder)?;
        history::write(place.folder, &self.history)?;
        Ok(tfevents::write(place.folder, &tfevents::scalars(&self.history))?)
    }

    /// One epoch; the mean loss and its parts, or `None` when the observer asked to stop.
    fn epoch(
        &mut self,
        epoch: usize,
        sampler: &BatchSampler,
        data: &OpenData<'_>,
        options: &OpenOptions,
        device: &Device,
        observer: &mut dyn Observer,
    ) -> Result<Option<(f64, IndexMap<String, f64>)>> {
        let seeds = Seeds::new(options.seed);
        let mut chance = seeds.stream(&format!("open/{epoch}"));
        let turns = Symmetry::draw(seeds.value("augment"), epoch, data.train.len());
        let config = self.network.config().clone();
        let mut sums: IndexMap<String, f64> = IndexMap::new();
        let mut total = 0.0;
        for (number, batch) in sampler.epoch(epoch).iter().take(self.per_epoch).enumerate() {
            let mut pairs = Vec::with_capacity(batch.len());
            for &k in batch {
                let draw = match options.augment {
                    true => Draw { shift: [0, 1].map(|_| chance.random::<f32>() * 2.0 - 1.0), turn: turns[k] },
                    false => Draw::none(),
                };
                pairs.push(data.pairs.train(data.train[k], draw).map_err(SegmentError::Tiles)?);
            }
            if config.modality == Modality::Both && options.modality_dropout > 0.0 {
                pairs.iter_mut().for_each(|pair| leave_out(pair, options.modality_dropout, &mut chance));
            }
            let told: Vec<Option<usize>> = batch.iter().map(|&k| data.descriptions.train[k]).collect();
            let fused: Vec<bool> =
                batch.iter().map(|_| chance.random::<f64>() >= options.description_dropout).collect();
            let description = match config.scene() {
                true => Told::batch(&data.descriptions.texts, &told, &fused, device),
                false => None,
            };
            let dropout = config.decoder.dropout;
            let mut masks = |shape: [usize; 3]| drop_units(shape, dropout, &mut chance, device);
            let answer = self.answer(&pairs, data, description.as_ref(), &mut masks, device);
            let labels: Vec<u8> = pairs.iter().flat_map(|p| p.labels.iter().copied()).collect();
            let side = data.pairs.side();
            let losses = Losses::of(answer, &labels, (side, side));
            let loss = losses.total();
            let value: f32 = loss.clone().into_scalar();
            if !value.is_finite() {
                return Err(Error::Diverged { epoch: epoch + 1, batch: number + 1, loss: value }.into());
            }
            for (name, part) in [
                ("object", losses.object),
                ("scene", losses.scene),
                ("cross-entropy", Some(losses.cross_entropy)),
                ("dice", Some(losses.dice)),
            ] {
                let Some(part) = part else { continue };
                *sums.entry(name.into()).or_default() += f64::from(part.into_scalar::<f32>());
            }
            let step = epoch * self.per_epoch + number;
            let rate = options.rate(step, options.epochs * self.per_epoch);
            let mut gradients = loss.backward();
            let towers = GradientsParams::from_params(&mut gradients, &self.network, &self.towers);
            let rest = GradientsParams::from_module(&mut gradients, &self.network);
            let [of_towers, of_rest] = &mut self.optimizers;
            if options.tower_factor > 0.0 {
                self.network = of_towers.step(rate * options.tower_factor, self.network.clone(), towers);
            }
            self.network = of_rest.step(rate, self.network.clone(), rest);
            if let Some(temperature) = self.network.temperature.take() {
                self.network.temperature = Some(temperature.constrain());
            }
            total += f64::from(value);
            observer.batch(epoch + 1, number + 1, self.per_epoch, value);
            if observer.stop() {
                return Ok(None);
            }
        }
        let n = self.per_epoch as f64;
        sums.values_mut().for_each(|sum| *sum /= n);
        Ok(Some((total / n, sums)))
    }

    fn answer(
        &self,
        pairs: &[Pair],
        data: &OpenData<'_>,
        description: Option<&geoglot_nn::multimodal::Description>,
        masks: &mut Masks<'_>,
        device: &Device,
    ) -> Answer {
        answer(
            &self.network,
            pairs,
            data.pairs.side(),
            class_texts(&self.network, &self.texts, device),
            description,
            masks,
            device,
        )
    }

    /// Overall accuracy and mIoU on validation tiles, each 0–1; classes that neither occur nor are predicted do not count.
    fn validate(&self, data: &OpenData<'_>, batch: usize, device: &Device) -> Result<(f64, f64)> {
        let network = self.network.valid();
        let classes = data.classes;
        let texts = match &self.texts {
            ClassTexts::Prompted(encoder) => ClassTexts::Prompted(Box::new((**encoder).clone().on(device))),
            other => other.clone(),
        };
        let texts = class_texts(&network, &texts, device);
        let side = data.pairs.side();
        let step = data.validation.len().div_ceil(VALIDATION).max(1);
        let which: Vec<usize> = (0..data.validation.len()).step_by(step).collect();
        let mut counts = vec![0u64; classes * classes];
        for some in which.chunks(batch) {
            let mut pairs = Vec::with_capacity(some.len());
            for &k in some {
                pairs.push(data.pairs.validation(data.validation[k]).map_err(SegmentError::Tiles)?);
            }
            let told: Vec<Option<usize>> = some.iter().map(|&k| data.descriptions.validation[k]).collect();
            let description = match network.config().scene() {
                true => Told::batch(&data.descriptions.texts, &told, &vec![true; some.len()], device),
                false => None,
            };
            let answer = answer(&network, &pairs, side, texts.clone(), description.as_ref(), &mut no_masks, device);
            let values: Vec<f32> = resize(answer.map, (side, side)).into_data().iter::<f32>().collect();
            for (pair, values) in pairs.iter().zip(values.chunks_exact(classes * side * side)) {
                for (i, &truth) in pair.labels.iter().enumerate().filter(|(_, l)| **l != IGNORE) {
                    let at = |k: usize| values[k * side * side + i];
                    let best = (0..classes).max_by(|a, b| at(*a).total_cmp(&at(*b)));
                    counts[usize::from(truth) * classes + best.unwrap_or(0)] += 1;
                }
            }
        }
        Ok(scores(&counts, classes))
    }
}

/// Overall accuracy and mIoU of a confusion matrix, truth in rows.
fn scores(counts: &[u64], classes: usize) -> (f64, f64) {
    let hit = |k: usize| counts[k * classes + k] as f64;
    let all: u64 = counts.iter().sum();
    let union = |k: usize| {
        let row: u64 = counts[k * classes..(k + 1) * classes].iter().sum();
        let column: u64 = counts.iter().skip(k).step_by(classes).sum();
        (row + column) as f64 - hit(k)
    };
    let ious: Vec<f64> = (0..classes).filter(|&k| union(k) > 0.0).map(|k| hit(k) / union(k)).collect();
    let oa = (0..classes).map(hit).sum::<f64>() / all.max(1) as f64;
    (oa, ious.iter().sum::<f64>() / ious.len().max(1) as f64)
}

fn class_texts(network: &TsmNet, texts: &ClassTexts, device: &Device) -> Option<Tensor<2>> {
    match texts {
        ClassTexts::None => None,
        ClassTexts::Fixed(features) => {
            let values = features.iter().copied().collect::<Vec<f32>>();
            Some(Tensor::from_data(TensorData::new(values, [features.nrows(), features.ncols()]), device))
        }
        ClassTexts::Prompted(encoder) => {
            let contexts = network.contexts.as_ref()?.val();
            let features = encoder.forward(contexts);
            let length = features.clone().square().sum_dim(1).clamp_min(1e-24).sqrt();
            Some(features / length)
        }
    }
}

/// The network's answer for tiles of `side` × `side` pixels; missing modalities are stood in for.
fn answer(
    network: &TsmNet,
    pairs: &[Pair],
    side: usize,
    classes: Option<Tensor<2>>,
    description: Option<&geoglot_nn::multimodal::Description>,
    masks: &mut Masks<'_>,
    device: &Device,
) -> Answer {
    let config = network.config();
    let has = config.modality.has();
    let branches = [&network.optical, &network.sar];
    let present: Vec<[bool; 2]> = pairs.iter().map(|p| [0, 1].map(|m| has[m] && p.images[m].is_some())).collect();
    let layers = [0, 1].map(|m| {
        let branch = branches[m].as_ref()?;
        // One that no image has is not encoded, as long as there is the other one.
        let others = config.modality == Modality::Both && present.iter().any(|p| p[1 - m]);
        if others && !present.iter().any(|p| p[m]) {
            return None;
        }
        let c = config.bands[m];
        let mut values = vec![0f32; pairs.len() * c * side * side];
        for (pair, values) in pairs.iter().zip(values.chunks_exact_mut(c * side * side)) {
            if let Some(image) = &pair.images[m] {
                values.iter_mut().zip(image).for_each(|(v, x)| *v = *x);
            }
        }
        let images = Tensor::from_data(TensorData::new(values, [pairs.len(), c, side, side]), device);
        Some(branch.forward(images, config.taps, None))
    });
    network.answer(network.fuse(layers, &present), classes, description, masks)
}

/// Takes one of two modalities away from a share of images.
fn leave_out(pair: &mut Pair, share: f64, chance: &mut impl Rng) {
    let (leave, which) = (chance.random::<f64>() < share, usize::from(chance.random::<bool>()));
    if leave && pair.images.iter().all(Option::is_some) {
        pair.images[which] = None;
    }
}

/// Factors of dropped units.
fn drop_units(shape: [usize; 3], dropout: f64, chance: &mut impl Rng, device: &Device) -> Option<Tensor<3>> {
    if dropout == 0.0 {
        return None;
    }
    let keep = 1.0 - dropout;
    let mut factor = || if chance.random::<f64>() < keep { (1.0 / keep) as f32 } else { 0.0 };
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| factor()).collect();
    Some(Tensor::from_data(TensorData::new(values, shape), device))
}
