//! What networks learn from: tiles of optical and SAR images with labels, class texts, descriptions.

use geoglot_data::{BatchSampler, Symmetry};
use geoglot_models::text::PromptEncoder;
use geoglot_models::tsmnet::Told;
use ndarray::{Array2, Array3};
use rand::{Rng, RngExt};

use super::sections::OpenOptions;
use crate::segmentation::SegmentError;

type Result<T> = std::result::Result<T, SegmentError>;

/// Validation looks at most at this many tiles.
const VALIDATION: usize = 200;

/// How a tile is changed in training: optical, SAR and labels alike.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draw {
    /// Rows and columns that the tile is moved by, −1 to 1 of what its source allows.
    pub shift: [f32; 2],
    /// Flip or quarter turn.
    pub turn: Symmetry,
}

impl Draw {
    /// The tile as it is.
    pub fn none() -> Self {
        Self { shift: [0.0; 2], turn: Symmetry::all()[0] }
    }
}

/// A tile of a pair of images.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// Optical and SAR values as the network sees them, [C, side, side], 0 without data; `None` where the whole tile has none.
    pub images: [Option<Array3<f32>>; 2],
    /// Class position of every pixel, row by row; 255 where it does not count.
    pub labels: Vec<u8>,
}

/// Gives tiles.
pub trait Pairs: Sync {
    /// Side of a tile in pixels.
    fn side(&self) -> usize;

    /// Tile `i`, changed by `draw`, with its training labels.
    ///
    /// # Errors
    /// Damaged files.
    fn train(&self, i: usize, draw: Draw) -> std::result::Result<Pair, Box<dyn std::error::Error + Send + Sync>>;

    /// Tile `i` as it is, with its validation labels.
    ///
    /// # Errors
    /// Damaged files.
    fn validation(&self, i: usize) -> std::result::Result<Pair, Box<dyn std::error::Error + Send + Sync>>;
}

/// Class texts of the training classes.
#[derive(Debug, Clone)]
pub enum ClassTexts {
    /// None: a head of fixed logits.
    None,
    /// Vectors of a frozen text tower, [K, D].
    Fixed(Array2<f32>),
    /// Words that a frozen text tower reads behind learned contexts.
    Prompted(Box<PromptEncoder>),
}

/// Descriptions of tiles.
#[derive(Debug, Clone, Default)]
pub struct Descriptions {
    /// Each text once.
    pub texts: Vec<Told>,
    /// For each tile of the training set the text of its image.
    pub train: Vec<Option<usize>>,
    /// For each tile of the validation set.
    pub validation: Vec<Option<usize>>,
}

/// What a network is trained on.
pub struct OpenData<'a> {
    /// The tiles.
    pub pairs: &'a dyn Pairs,
    /// Tiles to learn from.
    pub train: &'a [usize],
    /// Tiles that choose the epoch; empty for none.
    pub validation: &'a [usize],
    /// Number of training classes K.
    pub classes: usize,
    /// Their words.
    pub texts: &'a ClassTexts,
    /// Descriptions, `train` and `validation` as long as the tiles.
    pub descriptions: &'a Descriptions,
}

impl OpenData<'_> {
    /// Tiles that validation looks at, as positions in `validation`: at most [`VALIDATION`], evenly spaced.
    pub(super) fn looked_at(&self) -> Vec<usize> {
        let step = self.validation.len().div_ceil(VALIDATION).max(1);
        (0..self.validation.len()).step_by(step).collect()
    }

    /// The training tiles of a batch, shifted and turned at random.
    pub(super) fn draw(
        &self,
        batch: &[usize],
        turns: &[Symmetry],
        augment: bool,
        chance: &mut impl Rng,
    ) -> Result<Vec<Pair>> {
        let mut pairs = Vec::with_capacity(batch.len());
        for &k in batch {
            let draw = match augment {
                true => Draw { shift: [0, 1].map(|_| chance.random::<f32>() * 2.0 - 1.0), turn: turns[k] },
                false => Draw::none(),
            };
            pairs.push(self.pairs.train(self.train[k], draw).map_err(SegmentError::Tiles)?);
        }
        Ok(pairs)
    }

    /// Batches of the training tiles and how many of them make an epoch.
    pub(super) fn batches(&self, options: &OpenOptions, seed: u64) -> Result<(BatchSampler, usize)> {
        let batch = options.batch.min(self.train.len());
        Ok((BatchSampler::new(self.train.len(), batch, seed)?, (self.train.len() / batch).max(1)))
    }
}

pub(super) fn check(data: &OpenData<'_>) -> Result<()> {
    let wrong = |problem: String| Err(SegmentError::Input(problem));
    if data.train.len() < 2 {
        return wrong(format!(
            "{} tiles hold training labels and at least 2 are needed; make model.tile or model.stride smaller, or label more",
            data.train.len()
        ));
    }
    let d = data.descriptions;
    if d.train.len() != data.train.len() || d.validation.len() != data.validation.len() {
        return wrong("descriptions and tiles differ in number".into());
    }
    let texts = match data.texts {
        ClassTexts::None => data.classes,
        ClassTexts::Fixed(features) => features.nrows(),
        ClassTexts::Prompted(encoder) => encoder.len(),
    };
    if texts != data.classes {
        return wrong(format!("{texts} class texts for {} classes", data.classes));
    }
    Ok(())
}
