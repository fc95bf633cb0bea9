//! Whole scenes tile by tile.

use std::collections::BTreeMap;
use std::path::PathBuf;

use burn::tensor::{Tensor, TensorData};
use geoglot_nn::weights::{Checkpoint, save_streamed};
use ndarray::{Array2, Array3};

use super::model::{TsmNetModel, Words};
use super::{Fused, network::grids};
use crate::error::{Error, Result};
use crate::mmlgnet::sha256;
use crate::segmentation::{Block, PredictOptions, Scored, sweep};

/// One tile of a scene.
#[derive(Debug, Clone)]
pub struct PairTile {
    /// Optical and SAR values as the network sees them, [C, side, side], 0 where there is no data; `None` for a modality that has no data in
    /// the whole tile.
    pub images: [Option<Array3<f32>>; 2],
    /// Where at least one modality has data, [side, side].
    pub mask: Array2<bool>,
}

/// Gives tiles of a scene.
pub trait PairReader {
    /// The tile of `side` × `side` pixels whose first row and column these are. What reaches beyond the scene has no data.
    ///
    /// # Errors
    /// Damaged files.
    fn read(&self, row: usize, col: usize, side: usize) -> Result<PairTile, Box<dyn std::error::Error + Send + Sync>>;

    /// What tells this scene's pixels from another's, for the cache of features.
    fn identity(&self) -> String;
}

impl TsmNetModel {
    /// Goes over a scene of `size` (rows, columns) and hands out every pixel's similarity to each class once, in blocks. Overlapping tiles are
    /// averaged with weights that fall along half a cosine to nearly zero at their borders; tiles without any data are not looked at.
    /// With `cache`, what does not depend on the words is kept in that folder, so that other words need no encoding.
    ///
    /// # Errors
    /// What reading, the network, the cache's folder and `done` say.
    pub fn predict<E: From<Error>>(
        &self,
        reader: &dyn PairReader,
        size: (usize, usize),
        words: &Words,
        options: &PredictOptions,
        cache: Option<&FeatureFolder>,
        done: impl FnMut(Block) -> Result<(), E>,
    ) -> Result<(), E> {
        let tile = self.card.tile;
        let score = |row: usize, columns: &[usize]| self.score(reader, row, columns, words, cache);
        sweep((tile, words.len()), size, options, score, done)
    }

    fn score(
        &self,
        reader: &dyn PairReader,
        row: usize,
        columns: &[usize],
        words: &Words,
        cache: Option<&FeatureFolder>,
    ) -> Result<Vec<Scored>> {
        let mut out = Vec::new();
        // Tiles that have the same modalities go through the network together.
        let mut groups: BTreeMap<[bool; 2], Vec<(usize, PairTile)>> = BTreeMap::new();
        for &col in columns {
            let tile = reader.read(row, col, self.card.tile).map_err(Error::Scene)?;
            let has = self.card.network.modality.has();
            let present = [0, 1].map(|m| has[m] && tile.images[m].is_some());
            if present.contains(&true) && tile.mask.iter().any(|valid| *valid) {
                groups.entry(present).or_default().push((col, tile));
            }
        }
        for (present, tiles) in groups {
            let columns: Vec<usize> = tiles.iter().map(|(col, _)| *col).collect();
            let encode = || {
                let each = [0, 1].map(|m| {
                    let values: Vec<&Array3<f32>> =
                        tiles.iter().filter_map(|(_, t)| t.images[m].as_ref().filter(|_| present[m])).collect();
                    let (c, h, w) = values.first()?.dim();
                    let all: Vec<f32> = values.iter().flat_map(|v| v.iter().copied()).collect();
                    Some(Tensor::from_data(TensorData::new(all, [tiles.len(), c, h, w]), self.device()))
                });
                self.encode(each, &vec![present; tiles.len()])
            };
            let fused = match cache {
                Some(cache) => cache.get(self, &reader.identity(), (row, &columns, present), encode)?,
                None => encode()?,
            };
            let scores = self.similarities(fused, words)?;
            for ((col, tile), scores) in tiles.into_iter().zip(scores.outer_iter()) {
                out.push((col, scores.to_owned(), tile.mask));
            }
        }
        Ok(out)
    }
}

/// A folder of fused features, a file a row of tiles.
#[derive(Debug, Clone)]
pub struct FeatureFolder(PathBuf);

impl FeatureFolder {
    /// Keeps features in `folder`, which is made when the first is written.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// Kept features, or those that `encode` makes, which are kept. A damaged file is made again.
    fn get(
        &self,
        model: &TsmNetModel,
        scene: &str,
        (row, columns, present): (usize, &[usize], [bool; 2]),
        encode: impl FnOnce() -> Result<Fused>,
    ) -> Result<Fused> {
        let key = format!("{}|{scene}|{row}|{columns:?}|{present:?}|{}", model.card.weights_sha256, model.card.tile);
        let path = self.0.join(format!("{}.safetensors", sha256(key.as_bytes())));
        let side = model.card.tile / model.card.network.tower.patch;
        if path.is_file() {
            match read(&path, model, (side, side), columns.len()) {
                Ok(fused) => return Ok(fused),
                Err(error) => tracing::warn!(path = %path.display(), "{error}; the features are computed again"),
            }
        }
        let fused = encode()?;
        let tensors = parts(&fused);
        let table: Vec<(String, Vec<usize>)> = tensors.iter().map(|(n, t)| (n.clone(), t.dims().to_vec())).collect();
        std::fs::create_dir_all(&self.0).map_err(|e| Error::io(&self.0, "create", e))?;
        save_streamed(&path, &table, &BTreeMap::new(), |name: &str| {
            let found = tensors.iter().find(|(n, _)| n == name).expect("a name of the table");
            Ok::<_, Error>(found.1.clone().into_data().iter::<f32>().collect())
        })?;
        Ok(fused)
    }
}

fn parts(fused: &Fused) -> Vec<(String, Tensor<3>)> {
    let levels = fused.levels.iter().enumerate().map(|(k, t)| (format!("level{k}"), t.clone()));
    levels.chain([("global".into(), fused.global.clone()), ("dense".into(), fused.dense.clone())]).collect()
}

fn read(path: &std::path::Path, model: &TsmNetModel, grid: (usize, usize), batch: usize) -> Result<Fused> {
    let file = Checkpoint::open(path)?;
    let read = |name: &str, n: usize| -> Result<Tensor<3>> {
        let shape = file.info(name).map(|i| i.shape.clone()).unwrap_or_default();
        if shape.len() != 3 || shape[0] != batch || shape[1] != n {
            return Err(Error::config(path, format!("`{name}` has shape {shape:?}")));
        }
        let values = file.read_f32(name)?;
        Ok(Tensor::from_data(TensorData::new(values, [shape[0], shape[1], shape[2]]), model.device()))
    };
    let sizes = grids(grid).map(|(h, w)| h * w);
    let levels = (0..4).map(|k| read(&format!("level{k}"), sizes[k])).collect::<Result<Vec<_>>>()?;
    Ok(Fused { levels, global: read("global", 1)?, dense: read("dense", sizes[5])?, grid })
}
