//! Training of a stage.

use std::path::Path;
use std::time::Instant;

use burn::module::Module;
use burn::nn::Linear;
use burn::optim::{GradientsAccumulator, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor};
use geoglot_core::Seeds;
use geoglot_data::BatchSampler;
use geoglot_models::spectral_llava::Projector;
use geoglot_nn::llm::{Adapters, LoraConfig};
use geoglot_nn::ops::adam::FusedAdamConfig;
use indexmap::IndexMap;
use ndarray::{Array1, Array2};
use rand::RngExt;

use super::inputs::{Inputs, of_linear, to_linear};
use super::regression::regression;
use super::standard::{Moments, Standardised};
use super::{Begin, Sequence, StageData, StageSection};
use crate::checkpoint::Checkpoint;
use crate::contrastive::PretrainError;
use crate::flat::{flatten, number_parameters};
use crate::history::EpochRecord;
use crate::mae::warm_cosine;
use crate::optimise::{clip, record, restore};
use crate::past::Past;
use crate::{Ended, Observer, RunFolder};

type Result<T, E = PretrainError> = std::result::Result<T, E>;

/// The projector that a stage begins with.
#[derive(Debug, Clone, Copy)]
pub enum Start<'a> {
    /// That of an earlier stage or training.
    Projector(&'a Projector),
    /// A new one.
    Fresh(Begin),
}

/// A trained stage.
#[derive(Debug)]
pub struct StageResult {
    /// The projector.
    pub projector: Projector,
    /// The adapters, where the stage trained them.
    pub adapters: Option<Adapters>,
    /// What happened, one record a checkpoint.
    pub history: Vec<EpochRecord>,
    /// How training ended.
    pub ended: Ended,
}

/// What is trained.
#[derive(Module, Debug)]
struct Trainable {
    projector: Linear,
    adapters: Option<Adapters>,
}

/// Trains a stage on whitened states; with `lora`, new adapters are trained too. `device` is the autodiff device of
/// `data.frozen`.
///
/// # Errors
/// Images that cannot be read, a loss that is no number, a checkpoint of another run.
#[allow(clippy::too_many_arguments)]
pub fn train_stage(
    data: &StageData<'_>,
    section: &StageSection,
    start: Start<'_>,
    lora: Option<&LoraConfig>,
    seed: u64,
    keep: Option<RunFolder<'_>>,
    device: &Device,
    observer: &mut dyn Observer,
) -> Result<StageResult> {
    let checkpoint = Past::checkpoint(keep)?;
    let seeds = Seeds::new(seed);
    let rate = section.learning_rate.unwrap_or(if lora.is_some() { 2e-4 } else { 1e-3 });
    let moments = Moments::measure(data.images, data.sequences, data.width)?;
    let whitened = moments.whitened()?;
    let told = match start {
        Start::Projector(projector) => Some(projector.clone()),
        Start::Fresh(Begin::Answers) => regression(data, &moments)?,
        Start::Fresh(Begin::Random) => None,
    };
    let data = &StageData { images: &Standardised { images: data.images, standard: &whitened }, ..*data };
    let projector = told.map_or_else(|| random(data, &seeds), |raw| whitened.of_raw(&raw));
    let projector = to_linear(&projector, device);
    let adapters = lora.map(|l| l.init(&data.decoder.config, seeds.value("llava/adapters"), device));
    let trainable = number_parameters(Trainable { projector, adapters });
    let optimizer = ModuleOptimizer::from(FusedAdamConfig::new().build());
    let mut run = Run { trainable, optimizer, past: Past::default() };
    if let (Some(place), Some(checkpoint)) = (keep, checkpoint) {
        let (trainable, optimizer) =
            restore(run.trainable, run.optimizer, &checkpoint, &Checkpoint::path(place.folder))?;
        run = Run { trainable, optimizer, past: Past::without_best(checkpoint) };
    }
    // All steps of all epochs; they depend on the seed only.
    let sampler = BatchSampler::new(data.sequences.len(), section.effective_batch, seeds.value("llava/order"))
        .map_err(crate::Error::from)?;
    let lengths: Vec<usize> = data.sequences.iter().map(|s| s.len(0)).collect();
    let batches = |epoch| match section.group_by_length {
        true => sampler.epoch_by_length(epoch, &lengths),
        false => sampler.epoch(epoch),
    };
    let plan: Vec<Vec<usize>> = (0..section.epochs).flat_map(batches).collect();
    let warmup = (section.warmup * plan.len() as f64).round() as usize;
    let rounds = plan.chunks(section.save_every).count();
    let mut ended = Ended::Finished;
    'training: for (round, steps) in plan.chunks(section.save_every).enumerate().skip(run.past.history.len()) {
        let (start, mut total) = (Instant::now(), 0.0);
        for (number, batch) in steps.iter().enumerate() {
            let step = round * section.save_every + number;
            let pass = Pass { data, section, seed: seeds.value(&format!("llava/dropout/{step}")), device };
            let (value, gradients) = pass.gradients(&run.trainable, batch)?;
            let (gradients, norm) = clip(gradients, &run.trainable, section.clip.unwrap_or(f64::INFINITY));
            if !(value.is_finite() && norm.is_finite()) {
                let names = batch.iter().take(4).map(|&k| data.images.name(data.sequences[k].image));
                return Err(PretrainError::Diverged {
                    what: if value.is_finite() { "norm of the gradients" } else { "loss" },
                    value: if value.is_finite() { norm } else { value },
                    epoch: round + 1,
                    batch: number + 1,
                    images: names.collect::<Vec<_>>().join(", "),
                    modality: "the conversations".into(),
                });
            }
            run.trainable = run.optimizer.step(warm_cosine(rate, warmup, step, plan.len()), run.trainable, gradients);
            total += f64::from(value);
            observer.batch(round + 1, number + 1, steps.len(), value);
            if observer.stop() {
                ended = Ended::Interrupted;
                break 'training;
            }
        }
        run.past.history.push(EpochRecord {
            epoch: round + 1,
            loss: total / steps.len() as f64,
            validation_oa: None,
            validation_miou: None,
            learning_rate: warm_cosine(rate, warmup, round * section.save_every, plan.len()),
            logit_scale: 1.0,
            seconds: start.elapsed().as_secs_f64(),
            parts: IndexMap::new(),
            figures: IndexMap::new(),
        });
        observer.epoch(&run.past.history[round], rounds);
        if let Some(place) = keep {
            run.save(place)?;
        }
    }
    let Trainable { projector, adapters } = run.trainable;
    let projector = whitened.to_raw(&of_linear(&projector));
    Ok(StageResult { projector, adapters, history: run.past.history, ended })
}

/// A projector whose outputs are as large as the language model's own embeddings: larger ones drown what its first blocks add to them.
fn random(data: &StageData<'_>, seeds: &Seeds) -> Projector {
    let words = data.some_words();
    let size = (words.iter().map(|v| v * v).sum::<f32>() / words.len() as f32).sqrt();
    let (mut rng, bound) = (seeds.stream("llava/projector"), size * (3.0 / data.width as f32).sqrt());
    let shape = (data.decoder.config.width, data.width);
    let weight = Array2::from_shape_simple_fn(shape, || rng.random_range(-bound..bound));
    Projector { weight, bias: Array1::zeros(shape.0) }
}

struct Run {
    trainable: Trainable,
    optimizer: ModuleOptimizer,
    past: Past,
}

impl Run {
    fn save(&self, place: RunFolder<'_>) -> Result<()> {
        let path: &Path = place.folder;
        let optimizer = record(&self.optimizer, &Checkpoint::path(path))?;
        Ok(self.past.save(place, flatten(&self.trainable), None, optimizer)?)
    }
}

/// Mean negative log-likelihood of the answers' tokens, over all sequences; `images[k]` is shown instead of sequence k's own image where
/// it is given (a control).
///
/// # Errors
/// Images that cannot be read.
pub fn answer_loss(
    data: &StageData<'_>,
    projector: &Projector,
    adapters: Option<&Adapters>,
    images: Option<&[usize]>,
    device: &Device,
) -> Result<f64> {
    let projector = to_linear(projector, device);
    let (mut sum, mut count) = (0.0, 0);
    for (k, sequence) in data.sequences.iter().enumerate() {
        let image = images.map_or(sequence.image, |i| i[k]);
        let batch = Inputs::new(data, &[sequence], &[image], device)?;
        let states = batch.assemble(projector.forward(batch.images.clone()));
        let states = data.frozen.forward(states, adapters);
        sum += f64::from(batch.loss(data.frozen, states).into_scalar::<f32>());
        count += batch.answers;
    }
    Ok(sum / count.max(1) as f64)
}

/// One step's forward and backward pass.
struct Pass<'a> {
    data: &'a StageData<'a>,
    section: &'a StageSection,
    seed: u64,
    device: &'a Device,
}

impl Pass<'_> {
    /// Mean loss of the answers' tokens of `batch`, and its gradients, micro-batch by micro-batch.
    fn gradients(&self, trainable: &Trainable, batch: &[usize]) -> Result<(f32, GradientsParams)> {
        let sequences: Vec<&Sequence> = batch.iter().map(|&k| &self.data.sequences[k]).collect();
        let answers: usize = sequences.iter().map(|s| s.answers()).sum();
        let mut sum = GradientsAccumulator::new();
        let mut value = 0.0;
        for (part, some) in sequences.chunks(self.section.batch).enumerate() {
            let images: Vec<usize> = some.iter().map(|s| s.image).collect();
            let inputs = Inputs::new(self.data, some, &images, self.device)?;
            let weight = 1.0 / answers.max(1) as f64;
            value += match self.section.gradient_checkpointing {
                true => self.again(trainable, &inputs, weight, part, &mut sum),
                false => self.kept(trainable, &inputs, weight, part, &mut sum),
            };
        }
        Ok((value, sum.grads()))
    }

    /// Dropout of a micro-batch is drawn from this seed, in either pass.
    fn dropout(&self, part: usize) -> Option<u64> {
        Some(self.seed.wrapping_add(part as u64))
    }

    /// The whole graph at once.
    fn kept(
        &self,
        trainable: &Trainable,
        inputs: &Inputs,
        weight: f64,
        part: usize,
        sum: &mut GradientsAccumulator<Trainable>,
    ) -> f32 {
        let frozen = self.data.frozen;
        let mut x = inputs.assemble(trainable.projector.forward(inputs.images.clone()));
        let turns = frozen.turns(x.dims()[1]);
        for i in 0..frozen.config().depth {
            x = frozen.block(i, x, &turns, trainable.adapters.as_ref(), self.dropout(part));
        }
        let loss = inputs.loss(frozen, x) * weight;
        let value = loss.clone().into_scalar();
        sum.accumulate(trainable, GradientsParams::from_grads(loss.backward(), trainable));
        value
    }

    /// Block by block: only the blocks' inputs are kept, each block is computed again when its gradients are due (Chen et al. 2016).
    fn again(
        &self,
        trainable: &Trainable,
        inputs: &Inputs,
        weight: f64,
        part: usize,
        sum: &mut GradientsAccumulator<Trainable>,
    ) -> f32 {
        let (frozen, depth) = (self.data.frozen, self.data.frozen.config().depth);
        let constant = trainable.adapters.clone().map(Module::no_grad);
        let mut states = vec![inputs.assemble(trainable.projector.forward(inputs.images.clone())).detach()];
        let turns = frozen.turns(states[0].dims()[1]);
        for i in 0..depth {
            states.push(frozen.block(i, states[i].clone(), &turns, constant.as_ref(), self.dropout(part)).detach());
        }
        let again = |gradient: Tensor<3>| Tensor::<3>::from_data(gradient.into_data(), self.device);
        let last = states.pop().expect("one more than blocks").require_grad();
        let loss = inputs.loss(frozen, last.clone()) * weight;
        let value = loss.clone().into_scalar();
        let mut towards = again(last.grad(&loss.backward()).expect("the loss depends on the last states"));
        for i in (0..depth).rev() {
            let x = states.pop().expect("one a block").require_grad();
            let carried =
                (frozen.block(i, x.clone(), &turns, trainable.adapters.as_ref(), self.dropout(part)) * towards).sum();
            let gradients = carried.backward();
            towards = again(x.grad(&gradients).expect("a block depends on its input"));
            sum.accumulate(trainable, GradientsParams::from_grads(gradients, trainable));
        }
        let first = inputs.assemble(trainable.projector.forward(inputs.images.clone()));
        let gradients = (first * towards).sum().backward();
        sum.accumulate(trainable, GradientsParams::from_grads(gradients, trainable));
        value
    }
}

#[cfg(test)]
pub(super) fn step_gradients(
    data: &StageData<'_>,
    section: &StageSection,
    lora: &LoraConfig,
    device: &Device,
) -> Result<(f32, Vec<f32>)> {
    let projector = Projector {
        weight: Array2::from_shape_fn((data.decoder.config.width, data.width), |(r, c)| {
            (0.3 * (r * 7 + c) as f32).cos()
        }),
        bias: Array1::zeros(data.decoder.config.width),
    };
    let adapters = Some(lora.init(&data.decoder.config, 7, device));
    let trainable = number_parameters(Trainable { projector: to_linear(&projector, device), adapters });
    // B is zero at first, which would hide A's gradients.
    let trainable = crate::flat::unflatten(
        trainable.clone(),
        &flatten(&trainable).iter().enumerate().map(|(i, v)| v + 0.02 * (i as f32).sin()).collect::<Vec<_>>(),
    );
    let pass = Pass { data, section, seed: 3, device };
    let all: Vec<usize> = (0..data.sequences.len()).collect();
    let (value, gradients) = pass.gradients(&trainable, &all)?;
    struct Collect<'a>(&'a GradientsParams, Vec<f32>);
    impl burn::module::ModuleVisitor for Collect<'_> {
        fn visit_float<const D: usize>(&mut self, param: &burn::module::Param<Tensor<D>>) {
            self.1.extend(self.0.get::<D>(param.id).expect("every parameter learns").into_data().iter::<f32>());
        }
    }
    let mut collect = Collect(&gradients, Vec::new());
    trainable.visit(&mut collect);
    Ok((value, collect.1))
}
