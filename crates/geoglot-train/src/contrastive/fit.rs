//! The training loop of the any-band tower.
//!
//! Everything drawn at random depends on the seed and the epoch only, so that a run continued from the checkpoint of any epoch
//! gives the same weights, bit for bit on one device, as a run that was never interrupted.

use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use burn::module::Module;
use burn::optim::{GradientsParams, ModuleOptimizer, OptimizerRecord};
use burn::tensor::{Bytes, Device, Int, Tensor, TensorData};
use geoglot_models::geolangbind::bind_wavelengths;
use geoglot_models::vision::{BandNeed, BoundPreprocess, VisionConfig};
use geoglot_nn::losses::{Direction, contrastive_loss};
use geoglot_nn::ops::adam::FusedAdamConfig;
use ndarray::{Array2, Axis};

use super::batches::{Batch, PretrainData, epoch_plan, prepare};
use super::error::{PretrainError, Result};
use super::model::{Contrast, Shrink};
use super::objective::{pairs, sigmoid_loss};
use super::recipe::{Loss, PretrainOptions};
use crate::checkpoint::{Checkpoint, State};
use crate::flat::{flatten, unflatten};
use crate::history::{self, EpochRecord};
use crate::{Ended, Error, Observer, RunFolder};

/// A trained tower.
#[derive(Debug)]
pub struct Pretrained {
    /// The network, for inference.
    pub model: Contrast,
    /// What happened.
    pub history: Vec<EpochRecord>,
    /// How training ended.
    pub ended: Ended,
    /// Steps of an epoch.
    pub steps_per_epoch: usize,
}

/// Trains a tower of `config` on `data`.
///
/// # Errors
/// Data that do not fit the configuration, images that cannot be read, a loss that is no number, a checkpoint of another run.
pub fn pretrain(
    config: &VisionConfig,
    data: &PretrainData<'_>,
    options: &PretrainOptions,
    keep: Option<RunFolder<'_>>,
    device: &Device,
    observer: &mut dyn Observer,
) -> Result<Pretrained> {
    data.check(config.vit.output())?;
    let inputs = Inputs::bind(config, data)?;
    let device = device.clone().autodiff();
    let steps_per_epoch = epoch_plan(data, options, 0)?.len();
    let optimizer = FusedAdamConfig::new()
        .with_beta_1(options.betas[0])
        .with_beta_2(options.betas[1])
        .with_epsilon(options.epsilon)
        .init();
    let model = Contrast::init(&config.vit, options, &device);
    let mut run = Run { model, optimizer, history: Vec::new(), steps: steps_per_epoch * options.epochs };
    if let Some(place) = keep
        && place.resume
        && let Some(checkpoint) = Checkpoint::load(place.folder, place.run)?
    {
        run = run.restore(checkpoint, &Checkpoint::path(place.folder))?;
    }
    let mut ended = Ended::Finished;
    for epoch in run.history.len()..options.epochs {
        let start = Instant::now();
        let plan = epoch_plan(data, options, epoch)?;
        let Some(loss) = run.epoch(epoch, &plan, data, &inputs, options, &device, observer)? else {
            ended = Ended::Interrupted;
            break;
        };
        run.history.push(EpochRecord {
            epoch: epoch + 1,
            loss,
            validation_oa: None,
            validation_miou: None,
            learning_rate: options.rate(epoch * steps_per_epoch, run.steps),
            logit_scale: run.model.log_scale().exp(),
            seconds: start.elapsed().as_secs_f64(),
        });
        observer.epoch(&run.history[epoch], options.epochs);
        if let Some(place) = keep {
            run.save(place)?;
        }
    }
    Ok(Pretrained { model: run.model.valid(), history: run.history, ended, steps_per_epoch })
}

/// Preprocessing and wavelengths of each modality.
pub(super) struct Inputs {
    pub preprocess: Vec<BoundPreprocess>,
    pub wavelengths: Vec<Vec<f32>>,
}

impl Inputs {
    pub fn bind(config: &VisionConfig, data: &PretrainData<'_>) -> Result<Self> {
        let BandNeed::Any(placeholders) = &config.bands else {
            return Err(PretrainError::Input(
                "the tower reads fixed bands; pre-training is for any-band towers".into(),
            ));
        };
        let mut inputs = Self { preprocess: Vec::new(), wavelengths: Vec::new() };
        for modality in &data.modalities {
            let bands = modality.images.bands();
            let named = |e: geoglot_models::Error| PretrainError::Input(format!("{}: {e}", modality.name));
            inputs.wavelengths.push(bind_wavelengths(bands, placeholders).map_err(named)?);
            inputs.preprocess.push(config.preprocess.bind(&config.bands, bands, None).map_err(named)?);
        }
        Ok(inputs)
    }
}

/// What changes while training.
struct Run {
    model: Contrast,
    optimizer: ModuleOptimizer,
    history: Vec<EpochRecord>,
    /// Of all epochs.
    steps: usize,
}

impl Run {
    fn restore(mut self, checkpoint: Checkpoint, path: &Path) -> Result<Self> {
        let fail = |problem: String| Error::Checkpoint { path: path.into(), problem };
        if checkpoint.weights.len() != flatten(&self.model).len() {
            return Err(
                fail("holds another number of weights than the model has; delete it to start over".into()).into()
            );
        }
        let record = OptimizerRecord::from_bytes(Bytes::from_bytes_vec(checkpoint.optimizer))
            .map_err(|e| fail(format!("its optimiser state is damaged ({e}); delete it to start over")))?;
        self.model = unflatten(self.model, &checkpoint.weights);
        self.optimizer = self.optimizer.load_record(record);
        self.history = checkpoint.state.history;
        Ok(self)
    }

    fn save(&self, place: RunFolder<'_>) -> Result<()> {
        let path = Checkpoint::path(place.folder);
        let optimizer = self
            .optimizer
            .to_record()
            .into_bytes()
            .map_err(|e| Error::Checkpoint { path, problem: format!("the optimiser state cannot be written: {e}") })?;
        let done = self.history.len();
        let state = State { run: place.run.into(), epochs: done, best_epoch: done, history: self.history.clone() };
        let weights = flatten(&self.model);
        let checkpoint = Checkpoint { state, best: weights.clone(), weights, ema: None, optimizer: optimizer.to_vec() };
        checkpoint.save(place.folder)?;
        Ok(history::write(place.folder, &self.history)?)
    }

    /// One epoch; the mean loss, or `None` when the observer asked to stop. Images are read and cropped one batch ahead.
    #[allow(clippy::too_many_arguments)]
    fn epoch(
        &mut self,
        epoch: usize,
        plan: &[Batch],
        data: &PretrainData<'_>,
        inputs: &Inputs,
        options: &PretrainOptions,
        device: &Device,
        observer: &mut dyn Observer,
    ) -> Result<Option<f64>> {
        std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel(1);
            scope.spawn(move || {
                for batch in plan {
                    let images = data.modalities[batch.modality].images;
                    let ready = prepare(images, &inputs.preprocess[batch.modality], batch);
                    // The other side is gone when training stopped.
                    if sender.send(ready).is_err() {
                        return;
                    }
                }
            });
            let mut total = 0.0;
            for (number, batch) in plan.iter().enumerate() {
                let ready = receiver.recv().map_err(|_| PretrainError::Input("reading the images stopped".into()))?;
                let (values, [c, h, w]) = ready?;
                let images = Tensor::from_data(TensorData::new(values, [batch.items.len(), c, h, w]), device);
                let loss = self.loss(batch, images, data, &inputs.wavelengths[batch.modality], options, device);
                let value: f32 = loss.clone().into_scalar();
                if !value.is_finite() {
                    return Err(Error::Diverged { epoch: epoch + 1, batch: number + 1, loss: value }.into());
                }
                self.step(loss, options.rate(epoch * plan.len() + number, self.steps), options);
                total += f64::from(value);
                observer.batch(epoch + 1, number + 1, plan.len(), value);
                if observer.stop() {
                    return Ok(None);
                }
            }
            Ok(Some(total / plan.len() as f64))
        })
    }

    fn loss(
        &self,
        batch: &Batch,
        images: Tensor<4>,
        data: &PretrainData<'_>,
        wavelengths: &[f32],
        options: &PretrainOptions,
        device: &Device,
    ) -> Tensor<1> {
        let texts = matrix(&data.texts.select(Axis(0), &batch.texts), device);
        let logits = self.model.logits(self.model.embed(images, wavelengths), texts);
        match options.loss {
            Loss::Sigmoid => sigmoid_loss(logits, pairs(&batch.texts, options.targets, device)),
            Loss::Softmax => {
                let labels: Vec<i32> = batch.texts.iter().map(|&t| t as i32).collect();
                let labels = Tensor::<1, Int>::from_ints(labels.as_slice(), device);
                contrastive_loss(logits, labels, options.targets, Direction::Both)
            }
        }
    }

    /// AdamW: the weights shrink, then Adam steps.
    fn step(&mut self, loss: Tensor<1>, rate: f64, options: &PretrainOptions) {
        let gradients = GradientsParams::from_grads(loss.backward(), &self.model);
        let mut model = self.model.clone();
        if options.weight_decay > 0.0 {
            model = model.map(&mut Shrink((1.0 - rate * options.weight_decay) as f32));
        }
        self.model = self.optimizer.step(rate, model, gradients);
        self.model.temperature = self.model.temperature.clone().constrain();
    }
}

fn matrix(values: &Array2<f32>, device: &Device) -> Tensor<2> {
    let shape = [values.nrows(), values.ncols()];
    Tensor::from_data(TensorData::new(values.iter().copied().collect::<Vec<_>>(), shape), device)
}
