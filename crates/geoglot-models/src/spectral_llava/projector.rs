//! The linear layer from image states to the language model's embeddings.

use std::collections::BTreeMap;
use std::path::Path;

use geoglot_nn::weights::{Checkpoint, save_streamed};
use ndarray::{Array1, Array2};

use crate::error::{Error, Result};

/// W·x + b.
#[derive(Debug, Clone, PartialEq)]
pub struct Projector {
    /// Weights, [language model's width, tower's width].
    pub weight: Array2<f32>,
    /// Bias.
    pub bias: Array1<f32>,
}

impl Projector {
    /// States [n, tower's width] to embeddings [n, language model's width].
    ///
    /// # Errors
    /// [`Error::Input`] for states of another width.
    pub fn project(&self, states: &Array2<f32>) -> Result<Array2<f32>> {
        if states.ncols() != self.weight.ncols() {
            return Err(Error::Input(format!(
                "image states of width {}; the projector was trained for {}",
                states.ncols(),
                self.weight.ncols()
            )));
        }
        Ok(states.dot(&self.weight.t()) + &self.bias)
    }

    /// Reads `projector.safetensors`.
    ///
    /// # Errors
    /// What reading may say; shapes that do not fit.
    pub fn open(path: &Path) -> Result<Self> {
        let checkpoint = Checkpoint::open(path)?;
        let bad = |problem: String| Error::config(path, problem);
        let weight = checkpoint.read_f32("weight")?;
        let bias = checkpoint.read_f32("bias")?;
        let shape = &checkpoint.info("weight").expect("read").shape;
        let &[rows, columns] = shape.as_slice() else {
            return Err(bad(format!("`weight` has the shape {shape:?}, expected a matrix")));
        };
        if bias.len() != rows {
            return Err(bad(format!("`bias` has {} numbers for {rows} rows", bias.len())));
        }
        let weight = Array2::from_shape_vec((rows, columns), weight).map_err(|e| bad(e.to_string()))?;
        Ok(Self { weight, bias: Array1::from_vec(bias) })
    }

    /// Writes `projector.safetensors`.
    ///
    /// # Errors
    /// A path that cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let table = vec![
            ("bias".to_owned(), vec![self.bias.len()]),
            ("weight".to_owned(), vec![self.weight.nrows(), self.weight.ncols()]),
        ];
        save_streamed(path, &table, &BTreeMap::new(), |name| {
            Ok::<_, Error>(match name {
                "bias" => self.bias.to_vec(),
                _ => self.weight.iter().copied().collect(),
            })
        })
    }
}
