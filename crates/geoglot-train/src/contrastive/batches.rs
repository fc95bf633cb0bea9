//! What an epoch shows: batches of one modality, a caption and a crop for every image.

use std::path::PathBuf;

use geoglot_core::{Band, Seeds};
use geoglot_data::{BatchSampler, Symmetry};
use geoglot_models::vision::BoundPreprocess;
use ndarray::{Array2, Array3, ArrayD, s};
use rand::RngExt;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::distill::{Lesson, Shown};
use super::error::{PretrainError, Result};
use super::options::PretrainOptions;

/// Images of one modality: all have the same bands.
pub trait Images: Sync {
    /// The bands, in channel order.
    fn bands(&self) -> &[Band];

    /// Number of images.
    fn len(&self) -> usize;

    /// True without images.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// File of image `i`, for messages and exports.
    fn path(&self, i: usize) -> PathBuf;

    /// All images in the order of pass `turn`, where some orders are read much faster than others; none: any order will do.
    fn order(&self, seed: u64, turn: usize) -> Option<Vec<usize>> {
        let _ = (seed, turn);
        None
    }

    /// Physical values of image `i`, [C, H, W], NaN where there is no data.
    ///
    /// # Errors
    /// What reading the file gives.
    fn read(&self, i: usize) -> Result<Array3<f32>>;

    /// Features of image `i` that lie beside it under `name`; none where there are none.
    ///
    /// # Errors
    /// What reading the file gives.
    fn features(&self, i: usize, name: &str) -> Result<Option<ArrayD<f32>>> {
        let _ = (i, name);
        Ok(None)
    }
}

/// The images of one modality with their texts.
pub struct Modality<'a> {
    /// Name in messages.
    pub name: String,
    /// The images.
    pub images: &'a dyn Images,
    /// Texts of each image, as rows of [`PretrainData::texts`]; one is drawn each time.
    pub texts: Vec<Vec<usize>>,
    /// How often a pass over this modality belongs to an epoch: 1 is once, 0.5 half of it.
    pub weight: f64,
}

/// What a tower is trained on.
pub struct PretrainData<'a> {
    /// The modalities.
    pub modalities: Vec<Modality<'a>>,
    /// Features of the different texts, [N, D], rows of length 1.
    pub texts: Array2<f32>,
}

/// A part of an image and how it is turned, independent of the image's size.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Crop {
    /// Share of the image's area; the crop has the image's shape.
    pub area: f64,
    /// Where between the first and the last possible row it begins, 0 to below 1.
    pub row: f64,
    /// As `row` for columns.
    pub column: f64,
    /// Number of the [`Symmetry`] in [`Symmetry::all`]: 4 transposes, then 2 flips rows, then 1 flips columns.
    pub turn: usize,
}

impl Crop {
    /// First row, first column, rows and columns in an image of `h` × `w` pixels.
    pub fn window(&self, h: usize, w: usize) -> [usize; 4] {
        let side = |n: usize| ((n as f64 * self.area.sqrt() + 0.5).floor() as usize).clamp(1, n);
        let (rows, columns) = (side(h), side(w));
        let first = |share: f64, free: usize| ((share * (free + 1) as f64) as usize).min(free);
        [first(self.row, h - rows), first(self.column, w - columns), rows, columns]
    }
}

/// One step's images and texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// Number of the modality.
    pub modality: usize,
    /// Its images.
    pub items: Vec<usize>,
    /// Each image's text, a row of [`PretrainData::texts`].
    pub texts: Vec<usize>,
    /// Each image's crop.
    pub crops: Vec<Crop>,
}

impl PretrainData<'_> {
    /// Checks that every image has texts, and that these exist and have width `width`.
    ///
    /// # Errors
    /// [`PretrainError::Input`] naming the image.
    pub fn check(&self, width: usize) -> Result<()> {
        let wrong = |problem: String| Err(PretrainError::Input(problem));
        let (count, found) = self.texts.dim();
        if found != width {
            return wrong(format!("text features have width {found}, the tower gives {width}"));
        }
        if self.modalities.is_empty() {
            return wrong("there are no images".into());
        }
        for m in &self.modalities {
            if m.images.len() != m.texts.len() {
                return wrong(format!("{}: {} images and texts for {}", m.name, m.images.len(), m.texts.len()));
            }
            if m.images.len() < 2 {
                return wrong(format!("{}: {} images; a batch needs at least two", m.name, m.images.len()));
            }
            let bad = |t: &Vec<usize>| t.is_empty() || t.iter().any(|&k| k >= count);
            if let Some(i) = m.texts.iter().position(bad) {
                return wrong(format!(
                    "{}: image {} has no text; give it a caption or a class, or leave it out",
                    m.name,
                    m.images.path(i).display()
                ));
            }
        }
        Ok(())
    }
}

/// The batches of `epoch`, counted from 0. They depend on seed, epoch and the modalities' sizes only; their number is the same
/// in every epoch. Batches that are not full are left out unless a modality has no full one.
///
/// # Errors
/// A modality without images, a batch size of 0.
pub fn epoch_plan(data: &PretrainData<'_>, options: &PretrainOptions, epoch: usize) -> Result<Vec<Batch>> {
    let seeds = Seeds::new(options.seed);
    let mut plan = Vec::new();
    for (number, modality) in data.modalities.iter().enumerate() {
        let count = modality.images.len();
        let order = seeds.value(&format!("contrastive/order/{number}"));
        let sampler = BatchSampler::new(count, options.batch, order).map_err(crate::Error::from)?;
        let full = (count / options.batch).max(1);
        let wanted = ((full as f64 * modality.weight).round() as usize).max(1);
        let passes = wanted.div_ceil(full);
        for pass in 0..passes {
            let turn = epoch * passes + pass;
            let turns = Symmetry::draw(seeds.value(&format!("contrastive/turn/{number}")), turn, count);
            let mut rng = seeds.stream(&format!("contrastive/draw/{number}/{turn}"));
            let draws: Vec<[f64; 4]> = (0..count).map(|_| std::array::from_fn(|_| rng.random::<f64>())).collect();
            let batches = match modality.images.order(order, turn) {
                Some(all) => all.chunks(options.batch).map(<[usize]>::to_vec).collect(),
                None => sampler.epoch(turn),
            };
            for items in batches.into_iter().take(full.min(wanted - pass * full)) {
                let text = |&i: &usize| {
                    let own = &modality.texts[i];
                    own[((draws[i][3] * own.len() as f64) as usize).min(own.len() - 1)]
                };
                let crop = |&i: &usize| {
                    let [least, most] = options.crop;
                    let turn = match options.turns {
                        true => Symmetry::all().iter().position(|s| *s == turns[i]).unwrap_or(0),
                        false => 0,
                    };
                    Crop { area: least + (most - least) * draws[i][0], row: draws[i][1], column: draws[i][2], turn }
                };
                let (texts, crops) = (items.iter().map(text).collect(), items.iter().map(crop).collect());
                plan.push(Batch { modality: number, items, texts, crops });
            }
        }
    }
    if data.modalities.len() > 1 {
        plan.shuffle(&mut seeds.stream(&format!("contrastive/interleave/{epoch}")));
    }
    if let Some(most) = options.steps_per_epoch {
        plan.truncate(most);
    }
    Ok(plan)
}

/// A batch as the networks take it.
pub(super) struct Ready {
    /// Values in the order [B, C, H, W].
    pub values: Vec<f32>,
    /// C, H, W.
    pub shape: [usize; 3],
    /// What each teacher is shown.
    pub shown: Vec<Shown>,
}

/// Network input of a batch, for the student and the teachers. Images are read and cropped in parallel, each into its own place, so that the
/// result does not depend on the threads.
pub(super) fn prepare(
    images: &dyn Images,
    preprocess: &BoundPreprocess,
    lessons: &[Lesson<'_>],
    batch: &Batch,
) -> Result<Ready> {
    let count = batch.items.len();
    let (c, (h, w)) = (preprocess.bands().len(), preprocess.output_size());
    if count * c * h * w == 0 {
        return Err(PretrainError::Input("a batch without images".into()));
    }
    let mut values = vec![0.0; count * c * h * w];
    let mut shown: Vec<Shown> = lessons.iter().map(|l| l.room(batch.modality, count)).collect();
    let mut rooms: Vec<Vec<&mut [f32]>> = batch.items.iter().map(|_| Vec::new()).collect();
    for values in shown.iter_mut().map(Shown::values_mut) {
        let size = values.len() / count;
        rooms.iter_mut().zip(values.chunks_exact_mut(size)).for_each(|(rooms, room)| rooms.push(room));
    }
    let places = values.par_chunks_exact_mut(c * h * w).zip(rooms);
    let drawn = batch.items.par_iter().zip(&batch.crops);
    places.zip(drawn).try_for_each(|((place, rooms), (&item, crop))| {
        let wrong = |problem: String| PretrainError::Input(format!("{}: {problem}", images.path(item).display()));
        let image = images.read(item)?;
        let (_, rows, columns) = image.dim();
        let [row, column, rows, columns] = crop.window(rows, columns);
        let window = image.slice(s![.., row..row + rows, column..column + columns]);
        let turn = |ready: &mut Array3<f32>| {
            let (_, h, w) = ready.dim();
            for plane in ready.as_slice_mut().into_iter().flat_map(|all| all.chunks_exact_mut(h * w)) {
                Symmetry::all()[crop.turn].apply(plane, h);
            }
        };
        let mut ready = preprocess.apply(window).map_err(|e| wrong(e.to_string()))?;
        turn(&mut ready);
        if ready.dim() != (c, h, w) {
            return Err(wrong(format!("became {:?}; the network reads [{c}, {h}, {w}]", ready.shape())));
        }
        place.iter_mut().zip(&ready).for_each(|(to, v)| *to = *v);
        lessons.iter().zip(rooms).try_for_each(|(lesson, room)| lesson.show(batch.modality, item, window, turn, room))
    })?;
    Ok(Ready { values, shape: [c, h, w], shown })
}
