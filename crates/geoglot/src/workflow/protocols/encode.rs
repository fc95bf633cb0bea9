//! Images of a data set to vectors, reading one batch ahead.

use std::sync::mpsc::sync_channel;

use anyhow::Context;
use ndarray::{Array2, Array3, ArrayView3, Axis, concatenate};

use crate::core::Band;
use crate::data::datasets::{Dataset, Pixels};
use crate::models::vision::{ImageBatch, ImagePreprocess, ImageTower, ResizeMode, ValueScale};
use crate::raster::preview::stretch_limits;

/// Values where the mask is true, NaN elsewhere, [C, H, W].
pub(in crate::workflow) fn masked(data: Array3<f32>, mask: &Array2<bool>) -> Array3<f32> {
    let mut data = data;
    for mut plane in data.outer_iter_mut() {
        plane.zip_mut_with(mask, |v, &valid| {
            if !valid {
                *v = f32::NAN;
            }
        });
    }
    data
}

/// The percentiles of each band that the model's preprocessing asks for; `None` when it asks for none.
pub(super) fn percentiles(preprocess: &ImagePreprocess, image: ArrayView3<f32>) -> Option<Vec<(f64, f64)>> {
    let ValueScale::Percentiles(low, high) = preprocess.values else { return None };
    let of = |plane: ndarray::ArrayView2<f32>| {
        let limits = stretch_limits(plane.iter().copied(), low as f32, high as f32).unwrap_or((0.0, 1.0));
        (f64::from(limits.0), f64::from(limits.1))
    };
    Some(image.outer_iter().map(of).collect())
}

/// Network input of images with these bands; percentiles, where the model wants them, are the first image's own.
fn ready(tower: &dyn ImageTower, images: &[ArrayView3<f32>], bands: &[Band]) -> anyhow::Result<ImageBatch> {
    let own = percentiles(tower.preprocess(), images[0].view());
    let bound = tower.preprocess().bind(tower.bands(), bands, own.as_deref())?;
    Ok(bound.batch(images, tower.device())?)
}

/// Vectors [N, D] of the items `indices` of `set`, rows of length 1, in that order. Images are read on a second thread.
///
/// # Errors
/// Images that cannot be read, bands the tower cannot take; each error names the item.
pub fn encode_items(
    tower: &dyn ImageTower,
    set: &Dataset,
    indices: &[usize],
    batch: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> anyhow::Result<Array2<f32>> {
    let preprocess = tower.preprocess();
    // Images that keep their size or are scaled by their own values go one by one.
    let alone = preprocess.resize == ResizeMode::Keep || matches!(preprocess.values, ValueScale::Percentiles(..));
    let batch = if alone { 1 } else { batch.max(1) };
    let mut rows = Vec::with_capacity(indices.len());
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(1);
        scope.spawn(move || {
            for chunk in indices.chunks(batch) {
                let read: Result<Vec<Pixels>, _> = chunk.iter().map(|&i| set.read(i)).collect();
                // The other side is gone when encoding failed.
                if sender.send((chunk, read)).is_err() {
                    return;
                }
            }
        });
        let mut done = 0;
        for (chunk, read) in receiver {
            let pixels = read?;
            let first = &set.items()[chunk[0]].id;
            let images: Vec<(Array3<f32>, Vec<Band>)> =
                pixels.into_iter().map(|p| (masked(p.data, &p.mask), p.bands)).collect();
            for group in images.chunk_by(|a, b| a.1 == b.1) {
                let views: Vec<ArrayView3<f32>> = group.iter().map(|g| g.0.view()).collect();
                let vectors = ready(tower, &views, &group[0].1).and_then(|b| Ok(tower.encode(&b)?));
                rows.push(vectors.with_context(|| format!("images from `{first}` on"))?);
            }
            done += chunk.len();
            progress(done, indices.len());
        }
        anyhow::Ok(())
    })?;
    let views: Vec<_> = rows.iter().map(|r| r.view()).collect();
    if views.is_empty() {
        return Ok(Array2::zeros((0, tower.width())));
    }
    Ok(concatenate(Axis(0), &views)?)
}
