//! An image tower: preprocessing, trunk, caches, L2 norm.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::{Device, Tensor};
use geoglot_core::Band;
use geoglot_nn::vision::{Engine, KernelCache, Vit, VitBlock, engine};
use ndarray::{Array2, ArrayView3};

use super::{BandNeed, ImageBatch, ImagePreprocess, VisionConfig};
use crate::error::{Error, Result};
use crate::geolangbind::bind_wavelengths;
use crate::text::{SpaceId, normalize_rows};

/// A frozen image encoder.
pub trait ImageTower: Send + Sync {
    /// The space its vectors live in.
    fn space(&self) -> &SpaceId;

    /// Width D of the vectors.
    fn width(&self) -> usize {
        self.space().width
    }

    /// SHA-256 over everything that determines a vector (weights, configuration), in hex.
    fn fingerprint(&self) -> &str;

    /// From raster values to network input.
    fn preprocess(&self) -> &ImagePreprocess;

    /// Bands the tower reads.
    fn bands(&self) -> &BandNeed;

    /// Where the network lives.
    fn device(&self) -> &Device;

    /// Pixels a patch covers; dense outputs have one vector a patch.
    fn patch(&self) -> usize;

    /// Number of blocks, the range of [`ImageTower::intermediate`]'s taps.
    fn depth(&self) -> usize;

    /// The tower in words, a line a fact, for `info`.
    fn describe(&self) -> String;

    /// Vectors `[B, D]`, rows of length 1.
    ///
    /// # Errors
    /// [`Error::Input`] for bands the tower cannot read, images smaller than a patch, or values that are not finite.
    fn encode(&self, images: &ImageBatch) -> Result<Array2<f32>>;

    /// One vector a patch in the space of the whole image's, `[B, h, w, D]`, each of length 1.
    ///
    /// # Errors
    /// As [`ImageTower::encode`].
    fn tokens(&self, images: &ImageBatch) -> Result<Tensor<4>>;

    /// Patch states `[B, h, w, width]` after the blocks in `taps` (counted from 0), in that order, before the final norm.
    ///
    /// # Errors
    /// As [`ImageTower::encode`]; [`Error::Input`] for a block that does not exist.
    fn intermediate(&self, images: &ImageBatch, taps: &[usize]) -> Result<Vec<Tensor<4>>>;

    /// Patch states `[B, h, w, width]` of the last block after the final norm: what a student learns from.
    ///
    /// # Errors
    /// As [`ImageTower::encode`].
    fn patch_features(&self, images: &ImageBatch) -> Result<Tensor<4>>;

    /// As [`ImageTower::patch_features`], apart for each group of bands where the tower has tokens of groups: `[B, groups, h, w, width]`.
    ///
    /// # Errors
    /// As [`ImageTower::encode`].
    fn grouped_features(&self, images: &ImageBatch) -> Result<Tensor<5>> {
        let states = self.patch_features(images)?;
        let [b, h, w, d] = states.dims();
        Ok(states.reshape([b, 1, h, w, d]))
    }

    /// Groups of bands that have tokens of their own: those of [`ImageTower::grouped_features`].
    fn groups(&self) -> usize {
        1
    }

    /// Width of [`ImageTower::patch_features`].
    fn feature_width(&self) -> usize {
        self.width()
    }

    /// Preprocesses images of physical values `[C, H, W]` with these bands.
    ///
    /// # Errors
    /// As [`ImagePreprocess::bind`] and [`super::BoundPreprocess::batch`].
    fn prepare(&self, images: &[ArrayView3<f32>], bands: &[Band]) -> Result<ImageBatch> {
        self.preprocess().bind(self.bands(), bands, None)?.batch(images, self.device())
    }
}

/// A vision transformer as an image tower.
pub struct VitTower {
    /// Without its blocks, which the engine has.
    vit: Vit,
    engine: Box<dyn Engine>,
    config: VisionConfig,
    space: SpaceId,
    fingerprint: String,
    device: Device,
    kernels: KernelCache,
    positions: Mutex<HashMap<(usize, usize), Positions>>,
}

type Positions = Arc<(Option<Tensor<2>>, Tensor<2>)>;

/// Patch grids whose positions are kept.
const GRIDS: usize = 16;

impl VitTower {
    /// A tower from a trunk of `config.vit`, its blocks run by the fastest engine for their device.
    pub fn new(vit: Vit, config: VisionConfig, space: SpaceId, fingerprint: String, device: Device) -> Self {
        Self::with_engine(vit, config, space, fingerprint, device, engine)
    }

    /// As [`VitTower::new`], with an engine of one's own. The blocks are handed over to it, so that their weights are not kept twice.
    pub fn with_engine(
        mut vit: Vit,
        config: VisionConfig,
        space: SpaceId,
        fingerprint: String,
        device: Device,
        engine: impl FnOnce(Vec<VitBlock>) -> Box<dyn Engine>,
    ) -> Self {
        let engine = engine(std::mem::take(&mut vit.blocks));
        Self {
            vit,
            engine,
            config,
            space,
            fingerprint,
            device,
            kernels: KernelCache::default(),
            positions: Mutex::default(),
        }
    }

    /// The configuration.
    pub fn config(&self) -> &VisionConfig {
        &self.config
    }

    /// Wavelength sets whose kernels are cached.
    pub fn cached_sensors(&self) -> usize {
        self.kernels.len()
    }

    fn positions(&self, grid: (usize, usize)) -> Positions {
        let mut kept = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= GRIDS && !kept.contains_key(&grid) {
            kept.clear();
        }
        kept.entry(grid).or_insert_with(|| Arc::new(self.vit.positions(grid))).clone()
    }

    /// Tokens of the last block and the patch grid.
    fn run(
        &self,
        images: &ImageBatch,
        taps: &[usize],
        tap: &mut dyn FnMut(usize, Tensor<3>),
    ) -> Result<(Tensor<3>, [usize; 2])> {
        let [b, c, height, width] = images.pixels().dims();
        let vit = self.vit.config();
        let grid = vit.patches(height, width);
        if b == 0 || grid.0 == 0 || grid.1 == 0 {
            return Err(Error::Input(format!(
                "{b} images of {height} × {width} px: at least one image of at least one patch ({0} × {0} px) is needed",
                vit.patch
            )));
        }
        let patches = match (&self.vit.patch, &self.vit.wavelength, &self.config.bands) {
            (Some(patch), _, _) => {
                let expected = patch.weight.dims()[1];
                if c != expected {
                    return Err(Error::Input(format!(
                        "images of {c} bands; this tower reads {expected} ({})",
                        self.config.bands.names()
                    )));
                }
                patch.forward(images.pixels().clone())
            }
            (None, Some(embed), BandNeed::Any(placeholders)) => {
                if c == 0 {
                    return Err(Error::Input("images without bands".into()));
                }
                let waves = bind_wavelengths(images.bands(), placeholders)?;
                embed.forward(images.pixels().clone(), &self.kernels.get(embed, &waves))
            }
            _ => unreachable!("a checked configuration has a patch embedding that fits its bands"),
        };
        let tokens = self.vit.assemble(patches, &self.positions(grid));
        let tokens = self.engine.run(tokens, &|i| taps.contains(&i), tap);
        Ok((tokens, [grid.0, grid.1]))
    }
}

impl ImageTower for VitTower {
    fn space(&self) -> &SpaceId {
        &self.space
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn preprocess(&self) -> &ImagePreprocess {
        &self.config.preprocess
    }

    fn bands(&self) -> &BandNeed {
        &self.config.bands
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn patch(&self) -> usize {
        self.config.vit.patch
    }

    fn depth(&self) -> usize {
        self.config.vit.depth
    }

    fn feature_width(&self) -> usize {
        self.config.vit.width
    }

    fn describe(&self) -> String {
        let v = &self.config.vit;
        format!(
            "vision transformer: {} blocks, width {}, {} heads, patches of {} px, trained at {} × {} px\n\
             space: {}\nbands: {}\n{}\npositions for other sizes: bicubic{}\nengine: {}",
            v.depth,
            v.width,
            v.heads,
            v.patch,
            v.grid.0 * v.patch,
            v.grid.1 * v.patch,
            self.space,
            self.config.bands.names(),
            self.config.preprocess.describe(),
            if v.positions.antialias { ", antialiased" } else { "" },
            self.engine.name()
        )
    }

    fn encode(&self, images: &ImageBatch) -> Result<Array2<f32>> {
        let (tokens, _) = self.run(images, &[], &mut |_, _| {})?;
        let pooled = self.vit.pool(tokens);
        let dims = pooled.dims();
        let values: Vec<f32> = pooled.into_data().iter::<f32>().collect();
        if values.iter().any(|v| !v.is_finite()) {
            return Err(Error::Input(
                "the image tower gave NaN or infinite values: an image holds such values, or the weights are damaged"
                    .into(),
            ));
        }
        let mut rows = Array2::from_shape_vec((dims[0], dims[1]), values).expect("the tensor's own size");
        normalize_rows(&mut rows);
        Ok(rows)
    }

    fn tokens(&self, images: &ImageBatch) -> Result<Tensor<4>> {
        let (tokens, [h, w]) = self.run(images, &[], &mut |_, _| {})?;
        let dense = self.vit.dense(tokens);
        let [b, _, d] = dense.dims();
        let length = dense.clone().square().sum_dim(2).sqrt().clamp_min(1e-12);
        Ok((dense / length).reshape([b, h, w, d]))
    }

    fn patch_features(&self, images: &ImageBatch) -> Result<Tensor<4>> {
        let (tokens, [h, w]) = self.run(images, &[], &mut |_, _| {})?;
        let states = self.vit.patch_tokens(tokens);
        let [b, _, d] = states.dims();
        Ok(states.reshape([b, h, w, d]))
    }

    fn intermediate(&self, images: &ImageBatch, taps: &[usize]) -> Result<Vec<Tensor<4>>> {
        if let Some(bad) = taps.iter().find(|t| **t >= self.depth()) {
            return Err(Error::Input(format!("block {bad}: this tower has blocks 0 to {}", self.depth() - 1)));
        }
        let mut states: HashMap<usize, Tensor<3>> = HashMap::new();
        let (_, [h, w]) = self.run(images, taps, &mut |i, tokens| {
            states.insert(i, tokens);
        })?;
        let prefix = self.config.vit.prefix();
        let map = |tokens: &Tensor<3>| {
            let [b, n, d] = tokens.dims();
            tokens.clone().narrow(1, prefix, n - prefix).reshape([b, h, w, d])
        };
        Ok(taps.iter().map(|t| map(&states[t])).collect())
    }
}
