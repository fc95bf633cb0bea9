//! Whole-scene maps: every pixel's embedding and class scores, in bounded memory.

use std::error::Error as StdError;

use burn::tensor::{Device, Tensor, TensorData};
use geoglot_core::Window;
use ndarray::{Array2, Array3, ArrayView2};
use rayon::prelude::*;

use super::config::{MmlgnetConfig, Padding};
use super::dense_encoder::{DenseEncoder, MARGIN, Scratch};
use super::error::{MmlgnetError, Result};
use super::network::Mmlgnet;
use super::product::matmul;

/// Where a map's pixels come from.
pub trait SceneReader {
    /// Rows and columns of the scene.
    fn size(&self) -> (usize, usize);

    /// Network-ready (normalised) values of one input in a window inside the scene, [C, H, W].
    ///
    /// # Errors
    /// Whatever reading says; it is passed on.
    fn read(&self, input: &str, window: Window) -> Result<Array3<f32>, Box<dyn StdError + Send + Sync>>;
}

/// How a map is evaluated.
#[derive(Debug, Clone)]
pub struct MapOptions {
    /// Rows of a block: what is read, evaluated and handed on at a time.
    pub block_rows: usize,
    /// Columns of a block.
    pub block_columns: usize,
    /// Side of the tiles that threads take from a block, in pixels.
    pub tile: usize,
    /// Whether blocks carry embeddings.
    pub embeddings: bool,
}

impl Default for MapOptions {
    fn default() -> Self {
        Self { block_rows: 128, block_columns: 512, tile: 64, embeddings: false }
    }
}

/// The result for one block of pixels.
#[derive(Debug, Clone)]
pub struct Block {
    /// Where the block lies in the scene.
    pub window: Window,
    /// Cosine of every class, [K, H, W].
    pub scores: Array3<f32>,
    /// Index of the best class, [H, W].
    pub classes: Array2<u16>,
    /// Probability of the best class under the model's temperature, [H, W].
    pub confidence: Array2<f32>,
    /// L2-normalised embeddings, [H, W, D], if asked for.
    pub embeddings: Option<Array3<f32>>,
}

/// Evaluates an MMLGNet on every pixel of a scene.
///
/// Patches of 11 pixels through three blocks are evaluated densely and exactly; any other shape patch by patch, with the same interface.
#[derive(Debug)]
pub struct Mapper {
    config: MmlgnetConfig,
    scale: f32,
    engine: Engine,
}

#[derive(Debug)]
enum Engine {
    Dense { encoders: Vec<DenseEncoder>, head: Vec<f32>, bias: Vec<f32> },
    Patches { network: Box<Mmlgnet>, device: Device },
}

/// Patches evaluated at a time by the patch-by-patch engine.
const BATCH: usize = 1024;

impl Mapper {
    /// Prepares `network` for mapping.
    pub fn new(network: &Mmlgnet, config: &MmlgnetConfig) -> Self {
        let lowered = network.lower(config);
        let encoders: Option<Vec<_>> = lowered.encoders.iter().map(DenseEncoder::new).collect();
        let engine = match encoders {
            Some(encoders) if config.patch == 2 * MARGIN + 1 => {
                Engine::Dense { encoders, head: lowered.head.iter().copied().collect(), bias: lowered.bias.to_vec() }
            }
            _ => return Self::patch_by_patch(network, config),
        };
        Self { config: config.clone(), scale: network.logit_scale(), engine }
    }

    /// The reference: cuts every patch out. For checking the dense evaluation, and what other patch sizes use.
    pub fn patch_by_patch(network: &Mmlgnet, config: &MmlgnetConfig) -> Self {
        use burn::module::Module;
        let network = network.valid();
        let device = network.fusion.weight.val().device();
        let scale = network.logit_scale();
        Self { config: config.clone(), scale, engine: Engine::Patches { network: Box::new(network), device } }
    }

    /// Whether the dense evaluation is used.
    pub fn is_dense(&self) -> bool {
        matches!(self.engine, Engine::Dense { .. })
    }

    /// Maps the whole scene, block by block in row-major order, each handed to `sink` when done.
    ///
    /// `text`: class text features, [K, D], rows L2-normalised. Memory depends on the block's size, not the scene's.
    ///
    /// # Errors
    /// [`MmlgnetError::Input`] for channels, widths or values that do not fit; what `reader` and `sink` return.
    pub fn map(
        &self,
        reader: &dyn SceneReader,
        text: ArrayView2<f32>,
        options: &MapOptions,
        mut sink: impl FnMut(Block) -> Result<(), Box<dyn StdError + Send + Sync>>,
    ) -> Result<()> {
        let (height, width) = reader.size();
        let (rows, columns) = (options.block_rows.max(1), options.block_columns.max(1));
        for row in (0..height).step_by(rows) {
            for col in (0..width).step_by(columns) {
                let window = Window::new(col, row, columns.min(width - col), rows.min(height - row));
                sink(self.block(reader, window, text, options)?).map_err(MmlgnetError::Other)?;
            }
        }
        Ok(())
    }

    /// Evaluates one window of the scene.
    ///
    /// # Errors
    /// As [`Mapper::map`].
    pub fn block(
        &self,
        reader: &dyn SceneReader,
        window: Window,
        text: ArrayView2<f32>,
        options: &MapOptions,
    ) -> Result<Block> {
        let (classes, d) = (text.nrows(), self.config.embed);
        if text.ncols() != d || classes == 0 || classes > usize::from(u16::MAX) {
            return Err(MmlgnetError::Input(format!(
                "class text features have shape [{classes}, {}], the model's space has width {d}",
                text.ncols()
            )));
        }
        let margin = self.config.margin();
        let inputs = self
            .config
            .encoders
            .iter()
            .map(|(name, encoder)| read_padded(reader, name, encoder.channels, window, margin, self.config.padding))
            .collect::<Result<Vec<_>>>()?;
        // [D, K], so that scores are one product.
        let text: Vec<f32> = text.t().iter().copied().collect();
        let side = options.tile.max(2).next_multiple_of(2);
        let tiles: Vec<Window> = (0..window.height)
            .step_by(side)
            .flat_map(|row| (0..window.width).step_by(side).map(move |col| (row, col)))
            .map(|(row, col)| Window::new(col, row, side.min(window.width - col), side.min(window.height - row)))
            .collect();
        let pitch = window.width + 2 * margin;
        let results: Vec<Tile> = tiles
            .par_iter()
            .map_init(Scratch::default, |scratch, &tile| {
                let embeddings = match &self.engine {
                    Engine::Dense { encoders, head, bias } => {
                        dense_tile(encoders, head, bias, &inputs, pitch, tile, scratch)
                    }
                    Engine::Patches { network, device } => self.patch_tile(network, device, &inputs, pitch, tile),
                };
                self.finish(embeddings, &text, classes, options.embeddings)
            })
            .collect();
        let mut block = Block {
            window,
            scores: Array3::zeros((classes, window.height, window.width)),
            classes: Array2::zeros((window.height, window.width)),
            confidence: Array2::zeros((window.height, window.width)),
            embeddings: options.embeddings.then(|| Array3::zeros((window.height, window.width, d))),
        };
        for (tile, result) in tiles.iter().zip(results) {
            for pixel in 0..tile.area() {
                let (y, x) = (tile.row + pixel / tile.width, tile.col + pixel % tile.width);
                for k in 0..classes {
                    block.scores[[k, y, x]] = result.scores[pixel * classes + k];
                }
                (block.classes[[y, x]], block.confidence[[y, x]]) = result.best[pixel];
                if let (Some(all), Some(own)) = (&mut block.embeddings, &result.embeddings) {
                    let own = ndarray::ArrayView1::from(&own[pixel * d..(pixel + 1) * d]);
                    all.slice_mut(ndarray::s![y, x, ..]).assign(&own);
                }
            }
        }
        Ok(block)
    }

    /// From unnormalised embeddings [pixels, D] to a tile's results.
    fn finish(&self, mut embeddings: Vec<f32>, text: &[f32], classes: usize, keep: bool) -> Tile {
        let d = self.config.embed;
        for row in embeddings.chunks_exact_mut(d) {
            let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-12);
            row.iter_mut().for_each(|v| *v /= norm);
        }
        let pixels = embeddings.len() / d;
        let mut scores = vec![0.0; pixels * classes];
        matmul([pixels, classes, d], &mut scores, classes, false, &embeddings, d, text, classes);
        let best = scores.chunks_exact(classes).map(|row| {
            let (mut index, mut top) = (0, row[0]);
            for (k, &score) in row.iter().enumerate() {
                if score > top {
                    (index, top) = (k, score);
                }
            }
            let total: f32 = row.iter().map(|s| ((s - top) * self.scale).exp()).sum();
            (index as u16, 1.0 / total)
        });
        let best = best.collect();
        Tile { scores, best, embeddings: keep.then_some(embeddings) }
    }

    fn patch_tile(
        &self,
        network: &Mmlgnet,
        device: &Device,
        inputs: &[Vec<f32>],
        pitch: usize,
        tile: Window,
    ) -> Vec<f32> {
        let p = self.config.patch;
        let mut embeddings = Vec::with_capacity(tile.area() * self.config.embed);
        for start in (0..tile.area()).step_by(BATCH) {
            let end = (start + BATCH).min(tile.area());
            let tensors = self.config.encoders.values().zip(inputs).map(|(encoder, values)| {
                let c = encoder.channels;
                let mut patches = Vec::with_capacity((end - start) * c * p * p);
                for pixel in start..end {
                    let (y, x) = (tile.row + pixel / tile.width, tile.col + pixel % tile.width);
                    for channel in 0..c {
                        for row in y..y + p {
                            patches.extend((x..x + p).map(|col| values[(row * pitch + col) * c + channel]));
                        }
                    }
                }
                Tensor::<4>::from_data(TensorData::new(patches, [end - start, c, p, p]), device)
            });
            embeddings.extend(network.forward(tensors.collect()).into_data().iter::<f32>());
        }
        embeddings
    }
}

/// Results of one tile, pixels in row-major order.
struct Tile {
    scores: Vec<f32>,
    best: Vec<(u16, f32)>,
    embeddings: Option<Vec<f32>>,
}

/// Unnormalised embeddings of a tile, [pixels, D].
fn dense_tile(
    encoders: &[DenseEncoder],
    head: &[f32],
    bias: &[f32],
    inputs: &[Vec<f32>],
    pitch: usize,
    tile: Window,
    scratch: &mut Scratch,
) -> Vec<f32> {
    // The dense evaluation takes even sizes; the extra row and column are zeros and are not handed on.
    let [height, width] = [tile.height.next_multiple_of(2), tile.width.next_multiple_of(2)];
    let features: usize = encoders.iter().map(DenseEncoder::features).sum();
    let mut feature_map = vec![0.0; height * width * features];
    let mut start = 0;
    for (encoder, values) in encoders.iter().zip(inputs) {
        let c = encoder.channels();
        let mut region = vec![0.0; (height + 2 * MARGIN) * (width + 2 * MARGIN) * c];
        let run = (tile.width + 2 * MARGIN) * c;
        for row in 0..tile.height + 2 * MARGIN {
            let from = ((tile.row + row) * pitch + tile.col) * c;
            let to = row * (width + 2 * MARGIN) * c;
            region[to..to + run].copy_from_slice(&values[from..from + run]);
        }
        encoder.run(&region, [height, width], &mut feature_map[start..], features, scratch);
        start += encoder.features();
    }
    let d = bias.len();
    let mut embeddings: Vec<f32> = bias.iter().copied().cycle().take(tile.area() * d).collect();
    for row in 0..tile.height {
        let lhs = &feature_map[row * width * features..];
        let dst = &mut embeddings[row * tile.width * d..];
        matmul([tile.width, d, features], dst, d, true, lhs, features, head, d);
    }
    embeddings
}

/// One input's window grown by `margin`, [H + 2·margin, W + 2·margin, C], padded beyond the scene's edge.
fn read_padded(
    reader: &dyn SceneReader,
    name: &str,
    channels: usize,
    window: Window,
    margin: usize,
    padding: Padding,
) -> Result<Vec<f32>> {
    let (height, width) = reader.size();
    let inside = window.grown(margin, width, height);
    let data = reader.read(name, inside).map_err(MmlgnetError::Other)?;
    let expected = (channels, inside.height, inside.width);
    if data.dim() != expected {
        return Err(MmlgnetError::Input(format!(
            "input `{name}`: the reader gave an array of shape {:?}, expected {expected:?} (channels, rows, columns)",
            data.dim()
        )));
    }
    if let Some(((channel, row, col), value)) = data.indexed_iter().find(|(_, v)| !v.is_finite()) {
        return Err(MmlgnetError::Input(format!(
            "input `{name}`, channel {channel} holds {value} at row {}, column {}; mask such pixels or give the band a nodata value",
            inside.row + row,
            inside.col + col
        )));
    }
    // Scene index → position in `data`, or None for zeros.
    let index = |at: usize, size: usize, first: usize| -> Option<usize> {
        let at = at as isize - margin as isize;
        if (0..size as isize).contains(&at) {
            return Some(at as usize - first);
        }
        match padding {
            Padding::Zero => None,
            Padding::Reflect => Some(reflect(at, size) - first),
        }
    };
    let columns: Vec<_> = (0..window.width + 2 * margin).map(|c| index(window.col + c, width, inside.col)).collect();
    let mut out = vec![0.0; (window.height + 2 * margin) * columns.len() * channels];
    let flat = data.as_standard_layout();
    let flat = flat.as_slice().expect("standard layout");
    for (row, line) in out.chunks_exact_mut(columns.len() * channels).enumerate() {
        let Some(y) = index(window.row + row, height, inside.row) else { continue };
        for channel in 0..channels {
            let source = &flat[(channel * inside.height + y) * inside.width..][..inside.width];
            for (to, column) in line[channel..].iter_mut().step_by(channels).zip(&columns) {
                if let Some(x) = column {
                    *to = source[*x];
                }
            }
        }
    }
    Ok(out)
}

/// Mirrors an index at the first and last pixel, which are not repeated.
fn reflect(at: isize, size: usize) -> usize {
    if size == 1 {
        return 0;
    }
    let period = 2 * (size as isize - 1);
    let at = at.rem_euclid(period);
    (if at < size as isize { at } else { period - at }) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reflection_does_not_repeat_the_edge() {
        let mirrored: Vec<_> = (-3..6).map(|i| reflect(i, 3)).collect();
        assert_eq!(mirrored, [1, 2, 1, 0, 1, 2, 1, 0, 1]);
        assert_eq!(reflect(-4, 1), 0);
    }
}
