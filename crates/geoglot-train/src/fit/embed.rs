//! Patches to embeddings and classes, patch by patch.

use burn::tensor::{Device, Tensor, TensorData};
use geoglot_data::{Padding, PatchCutter, Pixel, Symmetry};
use geoglot_models::mmlgnet::{self, Mmlgnet, MmlgnetConfig};
use indexmap::IndexMap;
use ndarray::{Array2, Array3};

use crate::{Error, Result};

/// Patches embedded at a time outside training.
const EMBED_BATCH: usize = 512;

/// One patch cutter an encoder, in the configuration's order.
pub(super) fn cutters<'a>(
    config: &MmlgnetConfig,
    inputs: &'a IndexMap<String, Vec<Array3<f32>>>,
) -> Result<Vec<PatchCutter<'a>>> {
    let padding = match config.padding {
        mmlgnet::Padding::Reflect => Padding::Reflect,
        mmlgnet::Padding::Zero => Padding::Zero,
    };
    let cutter = |(name, encoder): (&String, &mmlgnet::EncoderConfig)| {
        let scenes = inputs.get(name).ok_or_else(|| Error::Input(format!("the model's input `{name}` is missing")))?;
        let cutter = PatchCutter::new(scenes.iter().map(|s| s.view()).collect(), config.patch, padding)?;
        match cutter.channels() == encoder.channels {
            true => Ok(cutter),
            false => Err(Error::Input(format!(
                "input `{name}` has {} channels after preprocessing, the model expects {}",
                cutter.channels(),
                encoder.channels
            ))),
        }
    };
    config.encoders.iter().map(cutter).collect()
}

/// The patches around `pixels`, turned by `turns` (none for as they are), one [B, C, P, P] tensor an encoder.
pub(super) fn tensors(
    cutters: &[PatchCutter<'_>],
    pixels: &[Pixel],
    turns: &[Symmetry],
    device: &Device,
) -> Result<Vec<Tensor<4>>> {
    let cut = |cutter: &PatchCutter<'_>| -> Result<Tensor<4>> {
        let shape = [pixels.len(), cutter.channels(), cutter.size(), cutter.size()];
        Ok(Tensor::from_data(TensorData::new(cutter.cut_with(pixels, turns)?, shape), device))
    };
    cutters.iter().map(cut).collect()
}

/// An array as a tensor.
pub(super) fn matrix(values: &Array2<f32>, device: &Device) -> Tensor<2> {
    let shape = [values.nrows(), values.ncols()];
    Tensor::from_data(TensorData::new(values.iter().copied().collect::<Vec<_>>(), shape), device)
}

/// At most `most` of `pixels`, evenly spaced.
pub(super) fn thinned(pixels: &[Pixel], most: usize) -> Vec<Pixel> {
    let count = pixels.len().min(most);
    (0..count).map(|k| pixels[k * pixels.len() / count]).collect()
}

fn embed_with(
    network: &Mmlgnet,
    cutters: &[PatchCutter<'_>],
    pixels: &[Pixel],
    device: &Device,
) -> Result<Array2<f32>> {
    let mut values = Vec::new();
    for chunk in pixels.chunks(EMBED_BATCH) {
        values.extend(network.forward(tensors(cutters, chunk, &[], device)?).into_data().iter::<f32>());
    }
    let width = values.len() / pixels.len().max(1);
    Ok(Array2::from_shape_vec((pixels.len(), width), values).expect("one row a pixel"))
}

/// Embeddings of `pixels`, [pixels, D], rows L2-normalised, patch by patch.
///
/// # Errors
/// Inputs that do not fit the configuration.
pub fn embed(
    network: &Mmlgnet,
    config: &MmlgnetConfig,
    inputs: &IndexMap<String, Vec<Array3<f32>>>,
    pixels: &[Pixel],
    device: &Device,
) -> Result<Array2<f32>> {
    embed_with(network, &cutters(config, inputs)?, pixels, device)
}

/// Class of the largest cosine for each row of `embeddings`; the first of equal ones.
pub fn classify(embeddings: &Array2<f32>, text: &Array2<f32>) -> Vec<usize> {
    let best = |row: ndarray::ArrayView1<f32>| {
        row.iter().enumerate().fold((0, f32::NEG_INFINITY), |best, (k, &v)| if v > best.1 { (k, v) } else { best }).0
    };
    embeddings.dot(&text.t()).outer_iter().map(best).collect()
}

/// Share of `pixels` whose class is the most similar one.
pub(super) fn accuracy(
    network: &Mmlgnet,
    cutters: &[PatchCutter<'_>],
    pixels: &[Pixel],
    text: &Array2<f32>,
    device: &Device,
) -> Result<f64> {
    let predicted = classify(&embed_with(network, cutters, pixels, device)?, text);
    let right = predicted.iter().zip(pixels).filter(|(p, pixel)| **p == pixel.class).count();
    Ok(right as f64 / pixels.len() as f64)
}
