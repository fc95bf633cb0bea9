//! The training loop of MMLGNet: Adam, early stopping on validation pixels, checkpoints, exact resume.
//!
//! Everything drawn at random depends on the seed and the epoch only, so a run continued from the checkpoint of any epoch gives the same weights, bit
//! for bit on one device, as a run that was never interrupted.

mod embed;

use std::path::Path;
use std::time::Instant;

use burn::module::Module;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Int, Tensor, TensorData};
use geoglot_core::Seeds;
use geoglot_data::{BatchSampler, PatchCutter, Pixel, Symmetry};
use geoglot_models::mmlgnet::{Mmlgnet, MmlgnetConfig};
use geoglot_nn::losses::{Targets, class_contrastive_loss, contrastive_loss};
use geoglot_nn::ops::adam::FusedAdamConfig;
use indexmap::IndexMap;
use ndarray::{Array2, Array3};
use rand::RngExt;

use crate::checkpoint::Checkpoint;
use crate::flat::{flatten, number_parameters, unflatten};
use crate::history::EpochRecord;
use crate::objective::vocabulary_loss;
use crate::optimise::{average, record, restore};
use crate::past::Past;
use crate::recipe::{PromptUse, TrainOptions};
use crate::{Error, Result};

use embed::{accuracy, cutters, matrix, tensors, thinned};
pub use embed::{classify, embed};

/// Validation uses at most this many pixels, evenly spaced: its binomial error is then below 0.8 percentage points.
const VALIDATION: usize = 4000;

/// What a model is trained on.
#[derive(Debug)]
pub struct TrainingData<'a> {
    /// Normalised values by input, one array a scene, [C, H, W].
    pub inputs: &'a IndexMap<String, Vec<Array3<f32>>>,
    /// Pixels to learn from.
    pub train: &'a [Pixel],
    /// Pixels for early stopping; empty for none.
    pub validation: &'a [Pixel],
    /// Class features, [K, D], rows of length 1.
    pub text: &'a Array2<f32>,
    /// Features of each class's prompts, [prompts, D] each; used when prompts are sampled.
    pub prompts: &'a [Array2<f32>],
}

/// What the loop tells while it runs.
pub trait Observer {
    /// After each batch: epoch and batch from 1, batches of the epoch, loss.
    fn batch(&mut self, _epoch: usize, _batch: usize, _batches: usize, _loss: f32) {}

    /// After each epoch.
    fn epoch(&mut self, _record: &EpochRecord, _epochs: usize) {}

    /// Asked after each batch: true stops training; the last epoch's checkpoint can be resumed.
    fn stop(&self) -> bool {
        false
    }
}

/// An observer that says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}

/// How training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All epochs done.
    Finished,
    /// No better validation result for `patience` epochs.
    EarlyStopped,
    /// The observer asked to stop.
    Interrupted,
}

/// A trained model.
#[derive(Debug)]
pub struct Trained {
    /// The network of the best epoch, for inference.
    pub network: Mmlgnet,
    /// What happened.
    pub history: Vec<EpochRecord>,
    /// Epoch of the best validation result, from 1; the last one without validation.
    pub best_epoch: usize,
    /// How training ended.
    pub ended: Ended,
}

impl Trained {
    /// Validation accuracy of the best epoch.
    pub fn validation_oa(&self) -> Option<f64> {
        self.history.get(self.best_epoch.checked_sub(1)?)?.validation_oa
    }
}

/// Where a run keeps its checkpoint and logs.
#[derive(Debug, Clone, Copy)]
pub struct RunFolder<'a> {
    /// The folder.
    pub folder: &'a Path,
    /// What identifies the run: the checkpoint of another is refused.
    pub run: &'a str,
    /// Continue from the checkpoint, if there is one.
    pub resume: bool,
}

/// Trains `config` on `data`.
///
/// # Errors
/// Data that do not fit the configuration; [`Error::Diverged`]; a checkpoint of another run; a full disk.
pub fn fit(
    config: &MmlgnetConfig,
    data: &TrainingData<'_>,
    options: &TrainOptions,
    keep: Option<RunFolder<'_>>,
    device: &Device,
    observer: &mut dyn Observer,
) -> Result<Trained> {
    check(config, data, options)?;
    let seeds = Seeds::new(options.seed);
    let device = device.clone().autodiff();
    let cutters = cutters(config, data.inputs)?;
    let network = number_parameters(config.init(&device, seeds.value("init"))?);
    let optimizer = FusedAdamConfig::new().with_weight_decay(options.weight_decay).init();
    let mut run = Run { network, optimizer, ema: None, past: Past::default() };
    if let (Some(place), Some(checkpoint)) = (keep, Past::checkpoint(keep)?) {
        run = run.restore(checkpoint, &Checkpoint::path(place.folder))?;
    }
    let classes: Vec<usize> = data.train.iter().map(|p| p.class).collect();
    let order = seeds.value("order");
    let sampler = match options.balanced {
        true => BatchSampler::balanced(&classes, options.batch, order)?,
        false => BatchSampler::new(classes.len(), options.batch, order)?,
    };
    let validation = thinned(data.validation, VALIDATION);
    let mut ended = Ended::Finished;
    for epoch in run.past.history.len()..options.epochs {
        if epoch - run.past.best_epoch().min(epoch) >= options.patience && !validation.is_empty() {
            ended = Ended::EarlyStopped;
            break;
        }
        let start = Instant::now();
        let Some(loss) = run.train_epoch(epoch, &sampler, &cutters, data, options, &device, observer)? else {
            ended = Ended::Interrupted;
            break;
        };
        let current = run.ema.clone().unwrap_or_else(|| flatten(&run.network));
        let evaluated = unflatten(run.network.clone(), &current).valid();
        let validation_oa = match validation.is_empty() {
            true => None,
            false => Some(accuracy(&evaluated, &cutters, &validation, data.text, &device.clone().inner())?),
        };
        let record = EpochRecord {
            epoch: epoch + 1,
            loss,
            validation_oa,
            validation_miou: None,
            learning_rate: options.rate(epoch),
            logit_scale: evaluated.logit_scale(),
            seconds: start.elapsed().as_secs_f64(),
            parts: IndexMap::new(),
            figures: IndexMap::new(),
        };
        run.past.add(record, |r| r.validation_oa, || current);
        observer.epoch(&run.past.history[epoch], options.epochs);
        if let Some(place) = keep {
            run.save(place)?;
        }
    }
    let (best, history, best_epoch) = run.past.end(|| flatten(&run.network));
    Ok(Trained { network: unflatten(run.network, &best).valid(), history, best_epoch, ended })
}

/// What changes while training.
struct Run {
    network: Mmlgnet,
    optimizer: ModuleOptimizer,
    ema: Option<Vec<f32>>,
    past: Past,
}

impl Run {
    fn restore(self, checkpoint: Checkpoint, path: &Path) -> Result<Self> {
        let (network, optimizer) = restore(self.network, self.optimizer, &checkpoint, path)?;
        Ok(Self { network, optimizer, ema: checkpoint.ema.clone(), past: Past::of(checkpoint) })
    }

    fn save(&self, place: RunFolder<'_>) -> Result<()> {
        let optimizer = record(&self.optimizer, &Checkpoint::path(place.folder))?;
        self.past.save(place, flatten(&self.network), self.ema.clone(), optimizer)
    }

    /// One epoch; the mean loss, or `None` when the observer asked to stop.
    #[allow(clippy::too_many_arguments)]
    fn train_epoch(
        &mut self,
        epoch: usize,
        sampler: &BatchSampler,
        cutters: &[PatchCutter<'_>],
        data: &TrainingData<'_>,
        options: &TrainOptions,
        device: &Device,
        observer: &mut dyn Observer,
    ) -> Result<Option<f64>> {
        let seeds = Seeds::new(options.seed);
        let turns = match options.augment {
            true => Symmetry::draw(seeds.value("augment"), epoch, data.train.len()),
            false => Vec::new(),
        };
        let mut chance = seeds.stream(&format!("epoch/{epoch}"));
        let batches = sampler.epoch(epoch);
        let count = options.steps_per_epoch.map_or(batches.len(), |n| n.min(batches.len()));
        let mut total = 0.0;
        for (number, batch) in batches.iter().take(count).enumerate() {
            let pixels: Vec<Pixel> = batch.iter().map(|&k| data.train[k]).collect();
            let turned: Vec<Symmetry> =
                if turns.is_empty() { Vec::new() } else { batch.iter().map(|&k| turns[k]).collect() };
            let inputs = tensors(cutters, &pixels, &turned, device)?;
            let vision = match options.dropout > 0.0 {
                false => self.network.forward(inputs),
                true => {
                    let keep = 1.0 - options.dropout;
                    let shape = [pixels.len(), self.network.feature_width()];
                    let mask: Vec<f32> = (0..shape[0] * shape[1])
                        .map(|_| if chance.random::<f64>() < keep { (1.0 / keep) as f32 } else { 0.0 })
                        .collect();
                    let mask = Tensor::from_data(TensorData::new(mask, shape), device);
                    self.network.forward_masked(inputs, mask)
                }
            };
            let labels: Vec<usize> = pixels.iter().map(|p| p.class).collect();
            let scale = self.network.temperature.scale().reshape([1, 1]);
            let loss = match options.prompts {
                PromptUse::Class => {
                    let logits = vision.matmul(matrix(data.text, device).transpose()) * scale;
                    class_contrastive_loss(logits, &labels, options.direction)
                }
                PromptUse::Vocabulary => {
                    let logits = vision.matmul(matrix(data.text, device).transpose()) * scale;
                    vocabulary_loss(logits, &labels, options.direction)
                }
                PromptUse::Sampled => {
                    let rows: Vec<_> = labels
                        .iter()
                        .map(|&class| data.prompts[class].row(chance.random_range(0..data.prompts[class].nrows())))
                        .collect();
                    let text = ndarray::stack(ndarray::Axis(0), &rows).expect("prompts of one width");
                    let logits = vision.matmul(matrix(&text, device).transpose()) * scale;
                    // Pairs are told apart by position under diagonal targets, so labels matter for the other kind only.
                    let ids: Vec<i32> = match options.targets {
                        Targets::Diagonal => (0..labels.len() as i32).collect(),
                        Targets::SameLabel => labels.iter().map(|&l| l as i32).collect(),
                    };
                    contrastive_loss(
                        logits,
                        Tensor::<1, Int>::from_ints(ids.as_slice(), device),
                        options.targets,
                        options.direction,
                    )
                }
            };
            let value: f32 = loss.clone().into_scalar();
            if !value.is_finite() {
                return Err(Error::Diverged { epoch: epoch + 1, batch: number + 1, loss: value });
            }
            let gradients = GradientsParams::from_grads(loss.backward(), &self.network);
            self.network = self.optimizer.step(options.rate(epoch), self.network.clone(), gradients);
            self.network.temperature = self.network.temperature.clone().constrain();
            if let Some(decay) = options.ema {
                average(&mut self.ema, flatten(&self.network), decay as f32);
            }
            total += f64::from(value);
            observer.batch(epoch + 1, number + 1, count, value);
            if observer.stop() {
                return Ok(None);
            }
        }
        Ok(Some(total / count as f64))
    }
}

fn check(config: &MmlgnetConfig, data: &TrainingData<'_>, options: &TrainOptions) -> Result<()> {
    let wrong = |problem: String| Err(Error::Input(problem));
    let (classes, width) = data.text.dim();
    if width != config.embed {
        return wrong(format!("class features have width {width}, the model's text space has {}", config.embed));
    }
    if let Some(p) = data.train.iter().chain(data.validation).find(|p| p.class >= classes) {
        return wrong(format!("a pixel has class {}, but there are features of {classes} classes", p.class));
    }
    if data.train.is_empty() {
        return wrong("there are no training pixels".into());
    }
    let usable = data.prompts.len() == classes && data.prompts.iter().all(|p| p.nrows() > 0 && p.ncols() == width);
    if options.prompts == PromptUse::Sampled && !usable {
        return wrong(format!(
            "sampled prompts need at least one feature of width {width} for each of {classes} classes"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
