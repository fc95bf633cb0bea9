//! What the frozen tower says of every tile, computed once.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use burn::tensor::{Tensor, TensorData};
use geoglot_core::{Band, atomic};
use geoglot_data::Symmetry;
use geoglot_models::mmlgnet::sha256;
use geoglot_models::segmentation::seen;
use geoglot_models::vision::{ImageBatch, ImageTower};
use geoglot_nn::segmentation::Seen;
use ndarray::Array3;

use super::error::{Result, SegmentError};

/// Tiles as a tower sees them.
pub trait Tiles: Sync {
    /// Number of tiles.
    fn len(&self) -> usize;

    /// True without tiles.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bands of every tile, in the order of its channels.
    fn bands(&self) -> &[Band];

    /// Tile `i`, preprocessed, `[C, input, input]`.
    ///
    /// # Errors
    /// Damaged files.
    fn read(&self, i: usize) -> Result<Array3<f32>, Box<dyn std::error::Error + Send + Sync>>;

    /// What tells these tiles from others: files, windows, sizes.
    fn identity(&self) -> String;
}

/// Where features are kept.
#[derive(Debug, Clone, Copy)]
pub struct FeatureOptions<'a> {
    /// Run the tower once and keep what it says; else run it for every batch anew.
    pub cache: bool,
    /// Most bytes kept in memory; more go to a file.
    pub memory: usize,
    /// Folder of that file.
    pub folder: Option<&'a Path>,
    /// Tiles that go through the tower together.
    pub batch: usize,
    /// Keep the tiles' pixels, too, for heads that read them.
    pub pixels: bool,
}

enum Kept {
    No,
    Memory(Vec<f32>),
    Disk(Mutex<File>, PathBuf),
}

/// The tapped maps of tiles, `[4, D, h, w]` each, and behind them the pixels, `[C, 4h, 4w]`, where they are asked for.
pub struct Features<'a> {
    tower: &'a dyn ImageTower,
    tiles: &'a dyn Tiles,
    taps: [usize; 4],
    kept: Kept,
    /// D, h, w.
    shape: [usize; 3],
    /// Bands of the pixels, where they are kept.
    pixels: Option<usize>,
}

/// Name of the file of features; its id stands in front, so that features of other tiles or another tower are never taken for these.
const FILE: &str = "features.bin";

impl<'a> Features<'a> {
    /// Runs `tower` over `tiles`, or finds a whole file of the same in the folder. `tell` gets tiles done and in all.
    ///
    /// # Errors
    /// Tiles that cannot be read or are of several sizes, values that are not finite, a full disk.
    pub fn prepare(
        tower: &'a dyn ImageTower,
        tiles: &'a dyn Tiles,
        taps: [usize; 4],
        options: FeatureOptions<'_>,
        mut tell: impl FnMut(usize, usize),
    ) -> Result<Self> {
        if tiles.is_empty() {
            return Err(SegmentError::Input("there are no tiles".into()));
        }
        let mut features = Self { tower, tiles, taps, kept: Kept::No, shape: [0; 3], pixels: None };
        features.pixels = options.pixels.then(|| tiles.bands().len());
        let first = features.compute(&[0], &[])?;
        let [_, d, h, w] = first.maps[0].dims();
        if h < 2 || w < 2 {
            return Err(SegmentError::Input(format!(
                "a tile has {h} × {w} patches, and a segmentation head needs at least 2 × 2: make model.input larger (the tower's patch is {} px)",
                tower.patch()
            )));
        }
        features.shape = [d, h, w];
        if !options.cache {
            return Ok(features);
        }
        let all = tiles.len();
        let fits = features.record().checked_mul(all).is_some_and(|n| n * 4 <= options.memory);
        let Some(folder) = options.folder.filter(|_| !fits) else {
            let mut values = Vec::with_capacity(features.record() * all);
            features.each(options.batch, |k, some| {
                values.extend(some);
                tell(k, all);
                Ok(())
            })?;
            features.kept = Kept::Memory(values);
            return Ok(features);
        };
        let path = folder.join(FILE);
        let id = sha256(
            format!("{} {taps:?} {} {} {:?}", tower.fingerprint(), tiles.identity(), all, features.pixels).as_bytes(),
        );
        let fail = |action| {
            let path = path.clone();
            move |source| SegmentError::Cache { path, action, source }
        };
        let length = (id.len() + features.record() * all * 4) as u64;
        if !is_whole(&path, &id, length) {
            let mut file = tempfile_beside(&path).map_err(fail("write"))?;
            file.0.write_all(id.as_bytes()).map_err(fail("write"))?;
            features.each(options.batch, |k, some| {
                let bytes: Vec<u8> = some.iter().flat_map(|v| v.to_le_bytes()).collect();
                file.0.write_all(&bytes).map_err(fail("write"))?;
                tell(k, all);
                Ok(())
            })?;
            file.0.sync_all().map_err(fail("write"))?;
            std::fs::rename(&file.1.0, &path).map_err(fail("write"))?;
        }
        let file = File::open(&path).map_err(fail("read"))?;
        features.kept = Kept::Disk(Mutex::new(file), path);
        Ok(features)
    }

    /// Width D of the maps.
    pub fn width(&self) -> usize {
        self.shape[0]
    }

    /// Bands of the pixels, where they are kept.
    pub fn pixels(&self) -> Option<usize> {
        self.pixels
    }

    /// True when the tower is run once, and images can no longer be turned.
    pub fn cached(&self) -> bool {
        !matches!(self.kept, Kept::No)
    }

    /// Removes the file of features, if there is one.
    pub fn remove(self) {
        if let Kept::Disk(_, path) = self.kept {
            // What cannot be removed is only in the way of nothing.
            let _ = std::fs::remove_file(path);
        }
    }

    /// Numbers of one tile.
    fn record(&self) -> usize {
        self.sizes().iter().sum()
    }

    /// Numbers of each of a tile's four maps and of its pixels.
    fn sizes(&self) -> [usize; 5] {
        let [d, h, w] = self.shape;
        let map = d * h * w;
        [map, map, map, map, self.pixels.unwrap_or(0) * 16 * h * w]
    }

    /// What the head sees of tiles, turned where `turns` says so.
    fn compute(&self, which: &[usize], turns: &[Symmetry]) -> Result<Seen> {
        let (mut values, mut shape) = (Vec::new(), None);
        for (k, &i) in which.iter().enumerate() {
            let mut image = self.tiles.read(i).map_err(SegmentError::Tiles)?;
            let dims = image.dim();
            if *shape.get_or_insert(dims) != dims || dims.1 != dims.2 {
                return Err(SegmentError::Input(format!(
                    "tile {i} has {dims:?} values; tiles are square and of one size"
                )));
            }
            if let Some(turn) = turns.get(k) {
                for mut plane in image.outer_iter_mut() {
                    turn.apply(plane.as_slice_mut().expect("a plane of a new array"), dims.1);
                }
            }
            values.extend(image);
        }
        let (c, h, w) = shape.ok_or_else(|| SegmentError::Input("a batch without tiles".into()))?;
        let pixels = Tensor::from_data(TensorData::new(values, [which.len(), c, h, w]), self.tower.device());
        let batch = ImageBatch::preprocessed(pixels, self.tiles.bands().to_vec());
        Ok(seen(self.tower, &batch, self.taps, self.pixels.is_some())?)
    }

    /// All tiles in order, some at a time, as records one behind the other.
    fn each(&self, batch: usize, mut take: impl FnMut(usize, Vec<f32>) -> Result<()>) -> Result<()> {
        let all: Vec<usize> = (0..self.tiles.len()).collect();
        let mut done = 0;
        for some in all.chunks(batch.max(1)) {
            let parts = numbers(self.compute(some, &[])?);
            let mut records = Vec::with_capacity(some.len() * self.record());
            for k in 0..some.len() {
                for (part, one) in parts.iter().zip(self.sizes()) {
                    records.extend_from_slice(&part[k * one..(k + 1) * one]);
                }
            }
            if let Some(bad) = records.iter().position(|v| !v.is_finite()) {
                return Err(SegmentError::Input(format!(
                    "the image tower gave a value that is not finite for tile {}: an image holds such values, or the weights are damaged",
                    some[bad / self.record()]
                )));
            }
            done += some.len();
            take(done, records)?;
        }
        Ok(())
    }

    /// What the head sees of tiles, on `device`; `turns`, one a tile or none, apply only where features are not cached.
    ///
    /// # Errors
    /// As [`Features::prepare`].
    pub fn batch(&self, which: &[usize], turns: &[Symmetry], device: &burn::tensor::Device) -> Result<Seen> {
        let [d, h, w] = self.shape;
        let (record, sizes) = (self.record(), self.sizes());
        let mut parts = sizes.map(|one| Vec::with_capacity(which.len() * one));
        match &self.kept {
            Kept::No => {
                let computed = self.compute(which, turns)?;
                parts = numbers(computed);
            }
            Kept::Memory(values) => {
                for &i in which {
                    split(&values[i * record..(i + 1) * record], sizes, &mut parts);
                }
            }
            Kept::Disk(file, path) => {
                let mut file = file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                let mut bytes = vec![0u8; record * 4];
                for &i in which {
                    let read = file.seek(SeekFrom::Start((64 + i * record * 4) as u64));
                    read.and_then(|_| file.read_exact(&mut bytes)).map_err(|source| SegmentError::Cache {
                        path: path.clone(),
                        action: "read",
                        source,
                    })?;
                    let values: Vec<f32> =
                        bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
                    split(&values, sizes, &mut parts);
                }
            }
        }
        let n = which.len();
        let tensor = |values: Vec<f32>, shape: [usize; 4]| Tensor::from_data(TensorData::new(values, shape), device);
        let [first, second, third, fourth, pixels] = parts;
        Ok(Seen {
            maps: [first, second, third, fourth].map(|m| tensor(m, [n, d, h, w])),
            image: self.pixels.map(|bands| tensor(pixels, [n, bands, 4 * h, 4 * w])),
        })
    }
}

/// Numbers of the four maps and of the pixels.
fn numbers(seen: Seen) -> [Vec<f32>; 5] {
    let plain = |t: Tensor<4>| t.into_data().iter::<f32>().collect::<Vec<f32>>();
    let [first, second, third, fourth] = seen.maps.map(plain);
    [first, second, third, fourth, seen.image.map(plain).unwrap_or_default()]
}

/// Adds the parts of a record to the parts of a batch.
fn split(record: &[f32], sizes: [usize; 5], parts: &mut [Vec<f32>; 5]) {
    let mut rest = record;
    for (part, size) in parts.iter_mut().zip(sizes) {
        let (own, behind) = rest.split_at(size);
        part.extend_from_slice(own);
        rest = behind;
    }
}

/// Whether the file holds all features of `id`.
fn is_whole(path: &Path, id: &str, length: u64) -> bool {
    let head = || -> std::io::Result<bool> {
        let mut file = File::open(path)?;
        let mut start = vec![0u8; id.len()];
        file.read_exact(&mut start)?;
        Ok(start == id.as_bytes() && file.metadata()?.len() == length)
    };
    head().unwrap_or(false)
}

/// A file under a temporary name that is removed unless it was renamed.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn tempfile_beside(path: &Path) -> std::io::Result<(File, Unfinished)> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    atomic::remove_stale(path);
    let name = Unfinished(atomic::temporary_name(path));
    Ok((File::create(&name.0)?, name))
}
