//! Images of a data set, kept in memory once read.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use geoglot_core::Band;
use geoglot_data::datasets::Dataset;
use ndarray::{Array3, Axis};

use super::batches::Images;
use super::error::{PretrainError, Result};

/// An image in memory: bytes where its values are whole numbers of 0–255.
enum Kept {
    Bytes(Array3<u8>),
    Floats(Array3<f32>),
}

/// Some items of a [`Dataset`] as [`Images`].
pub struct DatasetImages {
    set: Dataset,
    items: Vec<usize>,
    picked: Vec<usize>,
    bands: Vec<Band>,
    kept: Vec<OnceLock<Kept>>,
    used: AtomicUsize,
    budget: usize,
}

impl DatasetImages {
    /// The `items` of `set` with the bands named in `bands` (all when empty), at most `budget` bytes of them kept in memory.
    ///
    /// # Errors
    /// An item list without items, a band the set does not have, a first image that cannot be read.
    pub fn new(set: Dataset, items: Vec<usize>, bands: &[String], budget: usize) -> Result<Self> {
        let Some(&first) = items.first() else {
            return Err(PretrainError::Input(format!("{}: no image is left to train on", set.root().display())));
        };
        let all = set.scene(first)?.inputs()[0].bands().to_vec();
        let find = |name: &String| {
            all.iter().position(|b| b.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
                let known: Vec<&str> = all.iter().map(|b| b.name.as_str()).collect();
                PretrainError::Input(format!(
                    "{}: no band `{name}`; the images have {}",
                    set.root().display(),
                    known.join(", ")
                ))
            })
        };
        let picked: Vec<usize> = match bands.is_empty() {
            true => (0..all.len()).collect(),
            false => bands.iter().map(find).collect::<Result<_>>()?,
        };
        let bands = picked.iter().map(|&b| all[b].clone()).collect();
        let kept = items.iter().map(|_| OnceLock::new()).collect();
        Ok(Self { set, items, picked, bands, kept, used: AtomicUsize::new(0), budget })
    }

    /// The data set.
    pub fn set(&self) -> &Dataset {
        &self.set
    }

    /// The items, as positions in the data set.
    pub fn items(&self) -> &[usize] {
        &self.items
    }

    fn load(&self, i: usize) -> Result<Array3<f32>> {
        let pixels = self.set.read(self.items[i])?;
        let same = self.bands.iter().zip(&self.picked).all(|(b, &p)| pixels.bands.get(p) == Some(b));
        if !same {
            return Err(PretrainError::Input(format!(
                "{}: has the bands {}, the set's first image {}; put images of other bands into a set of their own",
                self.path(i).display(),
                names(&pixels.bands),
                names(&self.bands)
            )));
        }
        let mut data = pixels.data.select(Axis(0), &self.picked);
        for mut plane in data.outer_iter_mut() {
            plane.zip_mut_with(&pixels.mask, |v, &valid| {
                if !valid {
                    *v = f32::NAN;
                }
            });
        }
        Ok(data)
    }
}

fn names(bands: &[Band]) -> String {
    bands.iter().map(|b| b.name.as_str()).collect::<Vec<_>>().join(", ")
}

impl Images for DatasetImages {
    fn bands(&self) -> &[Band] {
        &self.bands
    }

    fn len(&self) -> usize {
        self.items.len()
    }

    fn path(&self, i: usize) -> PathBuf {
        self.set.items()[self.items[i]].path.clone()
    }

    fn read(&self, i: usize) -> Result<Array3<f32>> {
        match self.kept[i].get() {
            Some(Kept::Bytes(bytes)) => return Ok(bytes.mapv(f32::from)),
            Some(Kept::Floats(values)) => return Ok(values.clone()),
            None => {}
        }
        let data = self.load(i)?;
        let bytes = data.iter().all(|v| (0.0..=255.0).contains(v) && v.fract() == 0.0);
        let size = data.len() * if bytes { 1 } else { 4 };
        if self.used.fetch_add(size, Ordering::Relaxed) + size <= self.budget {
            let kept = if bytes { Kept::Bytes(data.mapv(|v| v as u8)) } else { Kept::Floats(data.clone()) };
            // Another thread may have read the same image meanwhile: its copy serves as well.
            let _ = self.kept[i].set(kept);
        } else {
            self.used.fetch_sub(size, Ordering::Relaxed);
        }
        Ok(data)
    }
}
