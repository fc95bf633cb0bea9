//! The training loop of a segmentation head.
//!
//! Everything drawn at random depends on the seed and the epoch only, so that a run continued from the checkpoint of any epoch gives the same
//! weights, bit for bit on one device, as a run that was never interrupted.

use std::time::Instant;

use burn::module::Module;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor, TensorData};
use geoglot_core::Seeds;
use geoglot_data::{BatchSampler, Symmetry};
use geoglot_models::segmentation::initial_head;
use geoglot_nn::ops::adam::FusedAdamConfig;
use geoglot_nn::segmentation::{Dropped, IGNORE, UperNet, UperNetConfig, pixel_cross_entropy, resize};
use indexmap::IndexMap;
use rand::{Rng, RngExt};

use super::error::{Result, SegmentError};
use super::features::Features;
use super::recipe::SegmentOptions;
use crate::checkpoint::Checkpoint;
use crate::flat::{flatten, number_parameters, unflatten};
use crate::history::EpochRecord;
use crate::optimise::{record, restore};
use crate::past::Past;
use crate::{Ended, Error, Observer, RunFolder};

/// Validation looks at most at this many tiles, evenly spaced.
const VALIDATION: usize = 200;

/// A tile and the classes of its pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledTile {
    /// Number of the tile.
    pub tile: usize,
    /// Class position of every pixel, row by row; [`IGNORE`] where there is none or another part of the split has it.
    pub labels: Vec<u8>,
}

/// What a head is trained on.
pub struct HeadData<'a> {
    /// The tower's maps.
    pub features: &'a Features<'a>,
    /// Side of a tile in pixels of the labels.
    pub side: usize,
    /// Tiles to learn from.
    pub train: &'a [LabelledTile],
    /// Tiles that choose the epoch; empty for none.
    pub validation: &'a [LabelledTile],
}

/// A trained head.
#[derive(Debug)]
pub struct TrainedHead {
    /// The head of the best epoch, for inference.
    pub head: UperNet,
    /// What happened.
    pub history: Vec<EpochRecord>,
    /// Epoch of the best validation mIoU, from 1; the last one without validation.
    pub best_epoch: usize,
    /// How training ended.
    pub ended: Ended,
}

/// Trains a head of `config`.
///
/// # Errors
/// Labels that do not fit, tiles that cannot be read, a loss that is no number, a checkpoint of another run, a full disk.
pub fn fit_head(
    config: &UperNetConfig,
    data: &HeadData<'_>,
    options: &SegmentOptions,
    keep: Option<RunFolder<'_>>,
    device: &Device,
    observer: &mut dyn Observer,
) -> Result<TrainedHead> {
    check(config, data, options)?;
    let seeds = Seeds::new(options.seed);
    let autodiff = device.clone().autodiff();
    let sampler = BatchSampler::new(data.train.len(), options.batch, seeds.value("order"))?;
    // Batch norm cannot learn from one value a channel, which a single tile gives the coarsest pooled map.
    let per_epoch = data.train.len() / options.batch + usize::from(data.train.len() % options.batch > 1);
    let mut run = Run {
        head: number_parameters(initial_head(config, &autodiff, seeds.value("init"))),
        optimizer: FusedAdamConfig::new().with_decoupled_decay(options.weight_decay).init(),
        past: Past::default(),
        per_epoch,
    };
    if let (Some(place), Some(checkpoint)) = (keep, Past::checkpoint(keep)?) {
        (run.head, run.optimizer) = restore(run.head, run.optimizer, &checkpoint, &Checkpoint::path(place.folder))?;
        run.past = Past::of(checkpoint);
    }
    let step = data.validation.len().div_ceil(VALIDATION).max(1);
    let validation: Vec<&LabelledTile> = data.validation.iter().step_by(step).collect();
    let mut ended = Ended::Finished;
    for epoch in run.past.history.len()..options.epochs {
        let start = Instant::now();
        let Some(loss) = run.epoch(epoch, &sampler, config, data, options, &autodiff, observer)? else {
            ended = Ended::Interrupted;
            break;
        };
        let scores = match validation.is_empty() {
            true => None,
            false => Some(validate(&run.head.valid(), config.classes, data, &validation, options.batch, device)?),
        };
        let epoch_record = EpochRecord {
            epoch: epoch + 1,
            loss,
            validation_oa: scores.map(|s| s.0),
            validation_miou: scores.map(|s| s.1),
            learning_rate: options.rate(epoch * per_epoch, per_epoch),
            logit_scale: 1.0,
            seconds: start.elapsed().as_secs_f64(),
            parts: IndexMap::new(),
            figures: IndexMap::new(),
        };
        run.past.add(epoch_record, |r| r.validation_miou, || flatten(&run.head));
        observer.epoch(&run.past.history[epoch], options.epochs);
        if let Some(place) = keep {
            let optimizer = record(&run.optimizer, &Checkpoint::path(place.folder))?;
            run.past.save(place, flatten(&run.head), None, optimizer)?;
        }
    }
    let (best, history, best_epoch) = run.past.end(|| flatten(&run.head));
    Ok(TrainedHead { head: unflatten(run.head, &best).valid(), history, best_epoch, ended })
}

fn check(config: &UperNetConfig, data: &HeadData<'_>, options: &SegmentOptions) -> Result<()> {
    let wrong = |problem: String| Err(SegmentError::Input(problem));
    if let Some(problem) = config.problem() {
        return wrong(problem);
    }
    if config.width != data.features.width() {
        return wrong(format!(
            "the head reads maps of width {}, the tower gives {}",
            config.width,
            data.features.width()
        ));
    }
    if let Some(pixels) = config.pixels
        && data.features.pixels() != Some(pixels.bands)
    {
        let found = data.features.pixels();
        return wrong(format!(
            "the head reads the pixels of {} bands, the features hold those of {found:?}",
            pixels.bands
        ));
    }
    if data.train.len() < 2 {
        return wrong(format!(
            "{} tiles hold training labels and at least 2 are needed; make model.tile or model.stride smaller, or label more",
            data.train.len()
        ));
    }
    if options.augment && data.features.cached() {
        return wrong("train.augment turns images, and model.cache keeps what the tower says of unturned ones; switch one of them off".into());
    }
    for tile in data.train.iter().chain(data.validation) {
        if tile.labels.len() != data.side * data.side {
            let n = tile.labels.len();
            return wrong(format!("tile {} has {n} labels, expected {} × {1}", tile.tile, data.side));
        }
        if let Some(l) = tile.labels.iter().find(|l| **l != IGNORE && usize::from(**l) >= config.classes) {
            return wrong(format!("tile {} has class {l}, but there are {} classes", tile.tile, config.classes));
        }
    }
    Ok(())
}

/// What changes while training.
struct Run {
    head: UperNet,
    optimizer: ModuleOptimizer,
    past: Past,
    per_epoch: usize,
}

impl Run {
    /// One epoch; the mean loss, or `None` when the observer asked to stop.
    #[allow(clippy::too_many_arguments)]
    fn epoch(
        &mut self,
        epoch: usize,
        sampler: &BatchSampler,
        config: &UperNetConfig,
        data: &HeadData<'_>,
        options: &SegmentOptions,
        device: &Device,
        observer: &mut dyn Observer,
    ) -> Result<Option<f64>> {
        let seeds = Seeds::new(options.seed);
        let mut chance = seeds.stream(&format!("dropout/{epoch}"));
        let turns = Symmetry::draw(seeds.value("augment"), epoch, data.train.len());
        let mut total = 0.0;
        for (number, batch) in sampler.epoch(epoch).iter().take(self.per_epoch).enumerate() {
            let tiles: Vec<usize> = batch.iter().map(|&k| data.train[k].tile).collect();
            let turned: Vec<Symmetry> = match options.augment {
                true => batch.iter().map(|&k| turns[k]).collect(),
                false => Vec::new(),
            };
            let mut labels = Vec::with_capacity(batch.len() * data.side * data.side);
            for (i, &k) in batch.iter().enumerate() {
                match turned.get(i) {
                    Some(turn) => labels.extend(turned_labels(&data.train[k].labels, data.side, *turn)),
                    None => labels.extend_from_slice(&data.train[k].labels),
                }
            }
            let maps = data.features.batch(&tiles, &turned, device)?;
            let mut drop = |channels: usize| mask(batch.len(), channels, config.dropout, &mut chance, device);
            let dropped = Dropped { head: drop(config.channels), auxiliary: config.auxiliary.and_then(&mut drop) };
            let (logits, auxiliary) = self.head.forward_training(maps, dropped);
            let size = (data.side, data.side);
            let mut loss = pixel_cross_entropy(resize(logits, size), &labels);
            if let Some(auxiliary) = auxiliary {
                loss = loss + pixel_cross_entropy(resize(auxiliary, size), &labels) * options.auxiliary_weight;
            }
            let value: f32 = loss.clone().into_scalar();
            if !value.is_finite() {
                return Err(Error::Diverged { epoch: epoch + 1, batch: number + 1, loss: value }.into());
            }
            let rate = options.rate(epoch * self.per_epoch + number, self.per_epoch);
            let gradients = GradientsParams::from_grads(loss.backward(), &self.head);
            self.head = self.optimizer.step(rate, self.head.clone(), gradients);
            total += f64::from(value);
            observer.batch(epoch + 1, number + 1, self.per_epoch, value);
            if observer.stop() {
                return Ok(None);
            }
        }
        Ok(Some(total / self.per_epoch as f64))
    }
}

/// Factors of dropped channels, `[B, channels]`.
fn mask(batch: usize, channels: usize, dropout: f64, chance: &mut impl Rng, device: &Device) -> Option<Tensor<2>> {
    if dropout == 0.0 {
        return None;
    }
    let keep = 1.0 - dropout;
    let values: Vec<f32> =
        (0..batch * channels).map(|_| if chance.random::<f64>() < keep { (1.0 / keep) as f32 } else { 0.0 }).collect();
    Some(Tensor::from_data(TensorData::new(values, [batch, channels]), device))
}

fn turned_labels(labels: &[u8], side: usize, turn: Symmetry) -> Vec<u8> {
    let mut plane: Vec<f32> = labels.iter().map(|&l| f32::from(l)).collect();
    turn.apply(&mut plane, side);
    plane.into_iter().map(|l| l as u8).collect()
}

/// Overall accuracy and mIoU on tiles, each 0–1; classes that neither occur nor are predicted do not count.
fn validate(
    head: &UperNet,
    classes: usize,
    data: &HeadData<'_>,
    tiles: &[&LabelledTile],
    batch: usize,
    device: &Device,
) -> Result<(f64, f64)> {
    let mut counts = vec![0u64; classes * classes];
    let pixels = data.side * data.side;
    for some in tiles.chunks(batch) {
        let which: Vec<usize> = some.iter().map(|t| t.tile).collect();
        let logits = resize(head.forward(data.features.batch(&which, &[], device)?), (data.side, data.side));
        let values: Vec<f32> = logits.into_data().iter::<f32>().collect();
        for (tile, values) in some.iter().zip(values.chunks_exact(classes * pixels)) {
            for (i, &truth) in tile.labels.iter().enumerate().filter(|(_, l)| **l != IGNORE) {
                let best = (0..classes).max_by(|a, b| values[a * pixels + i].total_cmp(&values[b * pixels + i]));
                counts[usize::from(truth) * classes + best.unwrap_or(0)] += 1;
            }
        }
    }
    let hit = |k: usize| counts[k * classes + k] as f64;
    let all: u64 = counts.iter().sum();
    let union = |k: usize| {
        let row: u64 = counts[k * classes..(k + 1) * classes].iter().sum();
        let column: u64 = counts.iter().skip(k).step_by(classes).sum();
        (row + column) as f64 - hit(k)
    };
    let ious: Vec<f64> = (0..classes).filter(|&k| union(k) > 0.0).map(|k| hit(k) / union(k)).collect();
    let oa = (0..classes).map(hit).sum::<f64>() / all.max(1) as f64;
    Ok((oa, ious.iter().sum::<f64>() / ious.len().max(1) as f64))
}
