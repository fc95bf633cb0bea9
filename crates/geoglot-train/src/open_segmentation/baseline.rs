//! A U-Net on stacked optical and SAR, trained as the network is: the same tiles, turns, optimiser, schedule and choice of the epoch.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use geoglot_core::Seeds;
use geoglot_data::Symmetry;
use geoglot_models::initial::first_weights;
use geoglot_nn::multimodal::dice_loss;
use geoglot_nn::ops::adam::FusedAdamConfig;
use geoglot_nn::segmentation::{UNet, pixel_cross_entropy};
use ndarray::{Array3, Array4};

use super::answer::{count, scores};
use super::pairs::{OpenData, Pair, check};
use super::sections::OpenOptions;
use crate::flat::{flatten, number_parameters, unflatten};
use crate::segmentation::SegmentError;
use crate::{Error, Observer};

type Result<T> = std::result::Result<T, SegmentError>;

/// A trained U-Net.
#[derive(Debug)]
pub struct Baseline {
    network: UNet,
    bands: [usize; 2],
    /// Best validation mIoU, 0–1; `None` without validation tiles.
    pub validation_miou: Option<f64>,
    /// Number of parameters.
    pub parameters: usize,
}

/// Optical over SAR; zeros, which are the median of the training pixels, where a modality is missing.
fn stacked(images: &[[Option<&Array3<f32>>; 2]], bands: [usize; 2], side: usize, device: &Device) -> Tensor<4> {
    let area = side * side;
    let all: usize = bands.iter().sum();
    let mut values = vec![0f32; images.len() * all * area];
    for (images, values) in images.iter().zip(values.chunks_exact_mut(all * area)) {
        let (optical, sar) = values.split_at_mut(bands[0] * area);
        for (image, values) in images.iter().zip([optical, sar]) {
            image.iter().for_each(|image| values.iter_mut().zip(image.iter()).for_each(|(v, x)| *v = *x));
        }
    }
    Tensor::from_data(TensorData::new(values, [images.len(), all, side, side]), device)
}

fn images(pairs: &[Pair]) -> Vec<[Option<&Array3<f32>>; 2]> {
    pairs.iter().map(|p| [0, 1].map(|m| p.images[m].as_ref())).collect()
}

/// Trains a U-Net with `width` channels at its finest level on images of `bands` optical and SAR bands. Its loss is cross-entropy and Dice.
///
/// # Errors
/// Data that do not fit, tiles that cannot be read, a loss that is no number. `Ok(None)` when the observer asked to stop.
pub fn fit_baseline(
    bands: [usize; 2],
    width: usize,
    data: &OpenData<'_>,
    options: &OpenOptions,
    device: &Device,
    observer: &mut dyn Observer,
) -> Result<Option<Baseline>> {
    check(data)?;
    let (autodiff, side) = (device.clone().autodiff(), data.pairs.side());
    let seeds = Seeds::new(options.seed);
    let (sampler, per_epoch) = data.batches(options, seeds.value("batches"))?;
    let init = |device: &Device| UNet::init(bands.iter().sum(), width.max(1), UNet::levels(side), data.classes, device);
    let first = first_weights(init(device), seeds.stream("u-net/init"));
    let mut network = number_parameters(unflatten(init(&autodiff), &flatten(&first)));
    let parameters = flatten(&network).len();
    let mut optimizer = FusedAdamConfig::new().with_decoupled_decay(options.weight_decay).init();
    let (mut best, mut chosen): (Option<f64>, Vec<f32>) = (None, Vec::new());
    for epoch in 0..options.epochs {
        let mut chance = seeds.stream(&format!("u-net/{epoch}"));
        let turns = Symmetry::draw(seeds.value("augment"), epoch, data.train.len());
        for (number, batch) in sampler.epoch(epoch).iter().take(per_epoch).enumerate() {
            let pairs = data.draw(batch, &turns, options.augment, &mut chance)?;
            let labels: Vec<u8> = pairs.iter().flat_map(|p| p.labels.iter().copied()).collect();
            let logits = network.forward(stacked(&images(&pairs), bands, side, &autodiff));
            let loss = pixel_cross_entropy(logits.clone(), &labels) + dice_loss(logits, &labels);
            let value: f32 = loss.clone().into_scalar();
            if !value.is_finite() {
                return Err(Error::Diverged { epoch: epoch + 1, batch: number + 1, loss: value }.into());
            }
            let rate = options.rate(epoch * per_epoch + number, options.epochs * per_epoch);
            let gradients = GradientsParams::from_grads(loss.backward(), &network);
            network = optimizer.step(rate, network, gradients);
            observer.batch(epoch + 1, number + 1, per_epoch, value);
            if observer.stop() {
                return Ok(None);
            }
        }
        let looked_at = data.looked_at();
        if looked_at.is_empty() {
            continue;
        }
        let trained = Baseline { network: network.valid(), bands, validation_miou: None, parameters };
        let mut counts = vec![0u64; data.classes * data.classes];
        for some in looked_at.chunks(options.batch) {
            let read = |&k: &usize| data.pairs.validation(data.validation[k]).map_err(SegmentError::Tiles);
            let pairs = some.iter().map(read).collect::<Result<Vec<_>>>()?;
            let values = trained.probabilities(&images(&pairs), side, device);
            count(&mut counts, data.classes, &pairs, &values.into_raw_vec_and_offset().0);
        }
        let miou = scores(&counts, data.classes).1;
        if best.is_none_or(|b| miou > b) {
            (best, chosen) = (Some(miou), flatten(&network));
        }
    }
    if !chosen.is_empty() {
        network = unflatten(network, &chosen);
    }
    Ok(Some(Baseline { network: network.valid(), bands, validation_miou: best, parameters }))
}

impl Baseline {
    /// Probability of each class, [B, K, side, side], of optical and SAR values as the network was trained on; a missing one is read as
    /// zeros.
    pub fn probabilities(&self, images: &[[Option<&Array3<f32>>; 2]], side: usize, device: &Device) -> Array4<f32> {
        let logits = self.network.forward(stacked(images, self.bands, side, device));
        let shape = logits.dims();
        let values = burn::tensor::activation::softmax(logits, 1).into_data().iter::<f32>().collect();
        Array4::from_shape_vec(shape, values).expect("as many values as the tensor has")
    }
}
