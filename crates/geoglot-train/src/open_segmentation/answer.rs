//! What a network says of tiles, and how good it is.

use burn::tensor::{Device, Tensor, TensorData};
use geoglot_models::tsmnet::{Answer, Modality, TsmNet};
use geoglot_nn::multimodal::Masks;
use geoglot_nn::segmentation::IGNORE;
use rand::{Rng, RngExt};

use super::pairs::{ClassTexts, Pair};

/// Adds the best class of every labelled pixel to a confusion matrix, truth in rows; `values` as `[B, K, side, side]`.
pub(super) fn count(counts: &mut [u64], classes: usize, pairs: &[Pair], values: &[f32]) {
    for (pair, values) in pairs.iter().zip(values.chunks_exact(classes * pair_area(pairs))) {
        let area = pair.labels.len();
        for (i, &truth) in pair.labels.iter().enumerate().filter(|(_, l)| **l != IGNORE) {
            let at = |k: usize| values[k * area + i];
            let best = (0..classes).max_by(|a, b| at(*a).total_cmp(&at(*b)));
            counts[usize::from(truth) * classes + best.unwrap_or(0)] += 1;
        }
    }
}

fn pair_area(pairs: &[Pair]) -> usize {
    pairs.first().map_or(1, |p| p.labels.len())
}

/// Overall accuracy and mIoU of a confusion matrix, truth in rows.
pub(super) fn scores(counts: &[u64], classes: usize) -> (f64, f64) {
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

pub(super) fn class_texts(network: &TsmNet, texts: &ClassTexts, device: &Device) -> Option<Tensor<2>> {
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
pub(super) fn answer(
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
pub(super) fn leave_out(pair: &mut Pair, share: f64, chance: &mut impl Rng) {
    let (leave, which) = (chance.random::<f64>() < share, usize::from(chance.random::<bool>()));
    if leave && pair.images.iter().all(Option::is_some) {
        pair.images[which] = None;
    }
}

/// Factors of dropped units.
pub(super) fn drop_units(shape: [usize; 3], dropout: f64, chance: &mut impl Rng, device: &Device) -> Option<Tensor<3>> {
    if dropout == 0.0 {
        return None;
    }
    let keep = 1.0 - dropout;
    let mut factor = || if chance.random::<f64>() < keep { (1.0 / keep) as f32 } else { 0.0 };
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| factor()).collect();
    Some(Tensor::from_data(TensorData::new(values, shape), device))
}
