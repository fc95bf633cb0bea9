//! The training loop.
//!
//! Everything drawn at random depends on the seed and the epoch only, so that a run continued from the checkpoint of any epoch gives the same
//! weights as a run that was never interrupted.

use std::path::Path;
use std::time::Instant;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor};
use geoglot_core::Seeds;
use geoglot_data::{BatchSampler, Symmetry};
use geoglot_models::tsmnet::{Answer, Losses, Modality, Told, TsmNet};
use geoglot_nn::multimodal::{Masks, no_masks};
use geoglot_nn::ops::adam::FusedAdamConfig;
use geoglot_nn::segmentation::resize;
use indexmap::IndexMap;
use rand::RngExt;

use super::answer::{answer, class_texts, count, drop_units, leave_out, scores};
use super::pairs::{ClassTexts, OpenData, Pair, check};
use super::sections::OpenOptions;
use crate::checkpoint::Checkpoint;
use crate::flat::{flatten, number_parameters, unflatten};
use crate::history::EpochRecord;
use crate::optimise::{record, restore};
use crate::past::Past;
use crate::segmentation::SegmentError;
use crate::{Ended, Error, Observer, RunFolder};

type Result<T> = std::result::Result<T, SegmentError>;

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
    let (sampler, per_epoch) = data.batches(options, seeds.value("batches"))?;
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
        past: Past::default(),
        per_epoch,
    };
    if let (Some(place), Some(checkpoint)) = (keep, Past::checkpoint(keep)?) {
        run.restore(checkpoint, &Checkpoint::path(place.folder))?;
    }
    let mut ended = Ended::Finished;
    for epoch in run.past.history.len()..options.epochs {
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
        let record = EpochRecord {
            epoch: epoch + 1,
            loss,
            validation_oa: scores.map(|s| s.0),
            validation_miou: scores.map(|s| s.1),
            learning_rate: options.rate(epoch * per_epoch, options.epochs * per_epoch),
            logit_scale: scale,
            seconds: start.elapsed().as_secs_f64(),
            parts,
            figures: IndexMap::new(),
        };
        run.past.add(record, |r| r.validation_miou, || flatten(&run.network));
        observer.epoch(&run.past.history[epoch], options.epochs);
        if let Some(place) = keep {
            run.save(place)?;
        }
    }
    let (best, history, best_epoch) = run.past.end(|| flatten(&run.network));
    Ok(OpenNetwork { network: unflatten(run.network, &best).valid(), history, best_epoch, ended })
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
    past: Past,
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
        self.past = Past::of(checkpoint);
        Ok(())
    }

    fn save(&self, place: RunFolder<'_>) -> Result<()> {
        let path = Checkpoint::path(place.folder);
        let first = record(&self.optimizers[0], &path)?;
        let mut optimizer = (first.len() as u64).to_le_bytes().to_vec();
        optimizer.extend(first);
        optimizer.extend(record(&self.optimizers[1], &path)?);
        Ok(self.past.save(place, flatten(&self.network), None, optimizer)?)
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
            let mut pairs = data.draw(batch, &turns, options.augment, &mut chance)?;
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
        let which = data.looked_at();
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
            count(&mut counts, classes, &pairs, &values);
        }
        Ok(scores(&counts, classes))
    }
}
