//! The training loop of the any-band tower.
//!
//! Everything drawn at random depends on the seed and the epoch only, so that a run continued from the checkpoint of any epoch
//! gives the same weights, bit for bit on one device, as a run that was never interrupted.

use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use burn::module::Module;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, FloatDType};
use geoglot_models::geolangbind::bind_wavelengths;
use geoglot_models::vision::{BandNeed, BoundPreprocess, TowerFiles, VisionConfig};
use indexmap::IndexMap;

use super::batches::{Batch, PretrainData, epoch_plan, prepare};
use super::distill::{Lesson, Teacher};
use super::error::{PretrainError, Result};
use super::groups::optimizer;
use super::model::{Contrast, Student};
use super::options::{Precision, PretrainOptions};
use super::step::{Found, Setting};
use crate::checkpoint::Checkpoint;
use crate::flat::{flatten, unflatten};
use crate::history::EpochRecord;
use crate::optimise::{average, clip, record, restore};
use crate::past::Past;
use crate::{Ended, Observer, RunFolder};

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
    pretrain_with(Beginning::default(), config, data, options, keep, device, observer)
}

/// What a training begins with besides its options.
#[derive(Clone, Copy, Default)]
pub struct Beginning<'a> {
    /// Weights to begin with instead of random ones.
    pub start: Option<&'a TowerFiles>,
    /// Teachers to learn from.
    pub teachers: &'a [Teacher],
    /// Further devices, which share each step: a batch is computed in parts, one or more a device, and the gradients are added. The teachers stay
    /// on theirs.
    pub devices: &'a [Device],
    /// Asked after every epoch.
    pub measure: Option<&'a Measure<'a>>,
}

/// Measures the tower after an epoch (from 1): names and figures for the history, nothing in epochs it leaves out.
pub type Measure<'a> = dyn Fn(usize, &Contrast) -> Result<IndexMap<String, f64>, String> + 'a;

/// As [`pretrain`], from the weights of another tower, and with teachers whose features the tower learns to give beside the texts. Their heads are part of the checkpoint and not
/// of the trained tower; the parts of the loss are logged apart.
///
/// # Errors
/// As [`pretrain`]; weights that do not fit, teachers that cannot read the images.
pub fn pretrain_with(
    beginning: Beginning<'_>,
    config: &VisionConfig,
    data: &PretrainData<'_>,
    options: &PretrainOptions,
    keep: Option<RunFolder<'_>>,
    device: &Device,
    observer: &mut dyn Observer,
) -> Result<Pretrained> {
    data.check(config.vit.output())?;
    // First of all, so that another run's checkpoint is refused before a teacher looks at every image.
    let checkpoint = Past::checkpoint(keep)?;
    let Beginning { start, teachers, devices, measure } = beginning;
    let inputs = Inputs::bind(config, data)?;
    let lessons =
        teachers.iter().map(|t| Lesson::bind(t, config, data, &inputs.wavelengths)).collect::<Result<Vec<_>>>()?;
    let differentiate = |device: &Device| match options.gradient_checkpointing {
        true => device.clone().autodiff().gradient_checkpointing(),
        false => device.clone().autodiff(),
    };
    let devices: Vec<Device> = std::iter::once(device).chain(devices).map(differentiate).collect();
    if options.precision == Precision::Bf16
        && let Some(device) = devices.iter().find(|d| !d.supports_dtype(FloatDType::BF16))
    {
        return Err(PretrainError::Input(format!(
            "train.precision = \"bf16\": {device:?} does not compute in it; leave the key out for f32"
        )));
    }
    let steps_per_epoch = epoch_plan(data, options, 0)?.len();
    let student = Student::init(&config.vit, start, &lessons, options, &devices[0])?;
    let labels: Vec<&str> = lessons.iter().map(|l| l.teacher.section.label()).collect();
    let (student, optimizer) = optimizer(student, &labels, options)?;
    let mut run = Run { student, optimizer, ema: None, past: Past::default(), steps: steps_per_epoch * options.epochs };
    if let (Some(place), Some(checkpoint)) = (keep, checkpoint) {
        run = run.restore(checkpoint, &Checkpoint::path(place.folder))?;
    }
    // Threads of their own: one that waits for a disk or decodes a large image must not hold up the network's.
    let readers = rayon::ThreadPoolBuilder::new()
        .thread_name(|k| format!("images {k}"))
        .build()
        .map_err(|e| PretrainError::Input(format!("threads that read images cannot be started: {e}")))?;
    let setting = Setting { data, inputs: &inputs, lessons: &lessons, options, devices: &devices, readers: &readers };
    let mut ended = Ended::Finished;
    for epoch in run.past.history.len()..options.epochs {
        let start = Instant::now();
        let plan = epoch_plan(data, options, epoch)?;
        let found;
        (run, found) = run.epoch(epoch, &plan, &setting, observer)?;
        let Some((loss, parts)) = found else {
            ended = Ended::Interrupted;
            break;
        };
        let seconds = start.elapsed().as_secs_f64();
        let figures = match measure {
            Some(measure) => measure(epoch + 1, &run.result().contrast.valid())
                .map_err(|problem| PretrainError::Input(format!("measuring after epoch {}: {problem}", epoch + 1)))?,
            None => IndexMap::new(),
        };
        run.past.history.push(EpochRecord {
            epoch: epoch + 1,
            loss,
            validation_oa: None,
            validation_miou: None,
            learning_rate: options.rate(epoch * steps_per_epoch, run.steps),
            logit_scale: run.student.contrast.log_scale().exp(),
            seconds,
            parts,
            figures,
        });
        observer.epoch(&run.past.history[epoch], options.epochs);
        if let Some(place) = keep {
            run.save(place)?;
        }
    }
    Ok(Pretrained { model: run.result().contrast.valid(), history: run.past.history, ended, steps_per_epoch })
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

/// Mean loss of an epoch, and its parts by name.
type EpochLoss = (f64, IndexMap<String, f64>);

/// What changes while training.
struct Run {
    student: Student,
    optimizer: ModuleOptimizer,
    ema: Option<Vec<f32>>,
    past: Past,
    /// Of all epochs.
    steps: usize,
}

impl Run {
    /// The network that training has come to: the mean of the weights where one is kept.
    fn result(&self) -> Student {
        match &self.ema {
            Some(mean) => unflatten(self.student.clone(), mean),
            None => self.student.clone(),
        }
    }

    fn restore(self, checkpoint: Checkpoint, path: &Path) -> Result<Self> {
        let (student, optimizer) = restore(self.student, self.optimizer, &checkpoint, path)?;
        Ok(Self { student, optimizer, ema: checkpoint.ema.clone(), past: Past::without_best(checkpoint), ..self })
    }

    fn save(&self, place: RunFolder<'_>) -> Result<()> {
        let optimizer = record(&self.optimizer, &Checkpoint::path(place.folder))?;
        Ok(self.past.save(place, flatten(&self.student), self.ema.clone(), optimizer)?)
    }

    /// One epoch; the run after it, the mean loss and its parts, or `None` when the observer asked to stop. Images are read and cropped one batch ahead.
    fn epoch(
        mut self,
        epoch: usize,
        plan: &[Batch],
        setting: &Setting<'_>,
        observer: &mut dyn Observer,
    ) -> Result<(Self, Option<EpochLoss>)> {
        std::thread::scope(move |scope| {
            // No room in between: the reader waits with one batch in its hands.
            let (sender, receiver) = sync_channel(0);
            scope.spawn(move || {
                for batch in plan {
                    let images = setting.data.modalities[batch.modality].images;
                    let preprocess = &setting.inputs.preprocess[batch.modality];
                    let ready = setting.readers.install(|| prepare(images, preprocess, setting.lessons, batch));
                    // The other side is gone when training stopped.
                    if sender.send(ready).is_err() {
                        return;
                    }
                }
            });
            let (mut total, mut parts) = (0.0, vec![0.0; setting.lessons.len() + 1]);
            for (number, batch) in plan.iter().enumerate() {
                let ready = receiver.recv().map_err(|_| PretrainError::Input("reading the images stopped".into()))?;
                let diverged = |what, value| setting.diverged(what, value, [epoch + 1, number + 1], batch);
                let Found { loss: value, parts: found, gradients } = setting.gradients(&self.student, batch, ready?)?;
                if !value.is_finite() {
                    return Err(diverged("loss", value));
                }
                let options = setting.options;
                let gradients = match options.clip {
                    Some(most) => {
                        let (clipped, norm) = clip(gradients, &self.student, most);
                        if !norm.is_finite() {
                            return Err(diverged("norm of the gradients", norm));
                        }
                        clipped
                    }
                    None => gradients,
                };
                let rate = options.rate(epoch * plan.len() + number, self.steps);
                self = self.step(gradients, rate, options);
                parts.iter_mut().zip(found).for_each(|(sum, part)| *sum += f64::from(part));
                total += f64::from(value);
                observer.batch(epoch + 1, number + 1, plan.len(), value);
                if observer.stop() {
                    return Ok((self, None));
                }
            }
            // A checkpoint is worth keeping only as long as its weights are numbers; the loss would show that a step too late.
            if let (Some(bad), Some(batch)) = (flatten(&self.student).into_iter().find(|v| !v.is_finite()), plan.last())
            {
                return Err(setting.diverged("weights", bad, [epoch + 1, plan.len()], batch));
            }
            let mean = |sum: f64| sum / plan.len() as f64;
            let names = setting.lessons.iter().map(|l| l.teacher.section.label().to_owned());
            let names = std::iter::once("contrastive".to_owned()).chain(names);
            let parts = if setting.lessons.is_empty() { Vec::new() } else { parts };
            let parts = names.zip(parts.into_iter().map(mean)).collect();
            Ok((self, Some((mean(total), parts))))
        })
    }

    fn step(mut self, gradients: GradientsParams, rate: f64, options: &PretrainOptions) -> Self {
        // The student is handed over, not cloned: nobody else holds the weights, so that they are updated in place.
        self.student = self.optimizer.step(rate, self.student, gradients);
        let contrast = &mut self.student.contrast;
        contrast.temperature = contrast.temperature.clone().constrain();
        if let Some(decay) = options.ema {
            average(&mut self.ema, flatten(&self.student), decay as f32);
        }
        self
    }
}

/// Loss, parts and all gradients of the first batch of a training on `devices` CPU devices, in visiting order; 0 where a parameter has none.
#[cfg(test)]
pub(super) fn first_gradients(
    teachers: &[Teacher],
    config: &VisionConfig,
    data: &PretrainData<'_>,
    options: &PretrainOptions,
    devices: usize,
) -> Result<(f32, Vec<f32>, Vec<f32>)> {
    struct Collect<'a>(&'a GradientsParams, Vec<f32>);
    impl burn::module::ModuleVisitor for Collect<'_> {
        fn visit_float<const D: usize>(&mut self, param: &burn::module::Param<burn::tensor::Tensor<D>>) {
            match self.0.get::<D>(param.id) {
                Some(gradient) => self.1.extend(gradient.into_data().iter::<f32>()),
                None => self.1.resize(self.1.len() + param.val().shape().num_elements(), 0.0),
            }
        }
    }
    let (inputs, devices) = (Inputs::bind(config, data)?, vec![Device::flex().autodiff(); devices]);
    let lessons =
        teachers.iter().map(|t| Lesson::bind(t, config, data, &inputs.wavelengths)).collect::<Result<Vec<_>>>()?;
    let student = Student::init(&config.vit, None, &lessons, options, &devices[0])?;
    let labels: Vec<&str> = lessons.iter().map(|l| l.teacher.section.label()).collect();
    let (student, _) = optimizer(student, &labels, options)?;
    let batch = &epoch_plan(data, options, 0)?[0];
    let modality = batch.modality;
    let ready = prepare(data.modalities[modality].images, &inputs.preprocess[modality], &lessons, batch)?;
    let readers = rayon::ThreadPoolBuilder::new().build().expect("threads");
    let setting = Setting { data, inputs: &inputs, lessons: &lessons, options, devices: &devices, readers: &readers };
    let found = setting.gradients(&student, batch, ready)?;
    let mut collect = Collect(&found.gradients, Vec::new());
    student.visit(&mut collect);
    Ok((found.loss, found.parts, collect.1))
}
