//! Windows in, compressed tiles out: collects what falls into each tile and writes the tile once it is whole.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use geoglot_core::Window;
use ndarray::{Array2, ArrayView3, s};
use rayon::prelude::*;
use tiff_core::{ByteOrder, Compression, PlanarConfiguration, Predictor};
use tiff_writer::compress::{BlockEncodingOptions, compress_block};
use tiff_writer::{ImageBuilder, ImageHandle, TiffVariant, TiffWriteSample, TiffWriter, WriteOptions};

use crate::{Error, Result};

/// Tiles that windows have only partly filled are kept in memory up to this many bytes, then in a file.
const PENDING_BYTES: usize = 128 << 20;

/// A number type that can be written.
pub(super) trait Sample: TiffWriteSample + Copy + PartialEq + Send + Sync {
    /// The nearest representation, if the type can hold the value exactly enough: whole and in range for integers.
    fn of(value: f32) -> Option<Self>;
    /// Native-endian bytes.
    fn put(values: &[Self], out: &mut Vec<u8>);
    /// From native-endian bytes.
    fn get(bytes: &[u8]) -> Vec<Self>;
    /// For averages and comparisons.
    fn number(self) -> f64;
}

macro_rules! sample {
    ($($type:ty: $of:expr;)*) => {$(
        impl Sample for $type {
            fn of(value: f32) -> Option<Self> {
                $of(value)
            }
            fn put(values: &[Self], out: &mut Vec<u8>) {
                out.extend(values.iter().flat_map(|v| v.to_ne_bytes()));
            }
            fn get(bytes: &[u8]) -> Vec<Self> {
                let one = |b: &[u8]| Self::from_ne_bytes(b.try_into().expect("chunks of the size"));
                bytes.chunks_exact(size_of::<Self>()).map(one).collect()
            }
            fn number(self) -> f64 {
                self as f64
            }
        }
    )*};
}

fn whole<T>(value: f32, low: f64, high: f64, cast: impl Fn(f32) -> T) -> Option<T> {
    (value.fract() == 0.0 && f64::from(value) >= low && f64::from(value) <= high).then(|| cast(value))
}

sample! {
    u8: |v| whole(v, 0.0, 255.0, |v| v as u8);
    u16: |v| whole(v, 0.0, 65535.0, |v| v as u16);
    i16: |v| whole(v, -32768.0, 32767.0, |v| v as i16);
    i32: |v| whole(v, f64::from(i32::MIN), f64::from(i32::MAX), |v| v as i32);
    f32: Some;
}

/// A tile that is not whole yet.
struct Pending<T> {
    /// True where a pixel was written, [tile, tile].
    seen: Array2<bool>,
    /// Pixels still to come.
    left: usize,
    place: Place<T>,
}

enum Place<T> {
    /// All bands, [C, tile, tile].
    Memory(Vec<T>),
    /// The same in the scratch file, at this slot.
    Disk(u64),
}

/// Scratch file for pending tiles; removed with the writer.
struct Scratch {
    path: PathBuf,
    file: Option<File>,
    slots: u64,
    free: Vec<u64>,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Size and number of tiles of one image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tiling {
    pub width: usize,
    pub height: usize,
    pub bands: usize,
    pub tile: usize,
}

impl Tiling {
    pub fn across(&self) -> usize {
        self.width.div_ceil(self.tile)
    }

    pub fn count(&self) -> usize {
        self.across() * self.height.div_ceil(self.tile)
    }

    /// The image's description for the TIFF writer.
    pub fn builder<T: Sample>(&self, codec: (Compression, Predictor)) -> tiff_writer::Result<ImageBuilder> {
        let fit =
            |n: usize| u32::try_from(n).map_err(|_| tiff_writer::Error::InvalidConfig(format!("{n} is too large")));
        let bands = u16::try_from(self.bands)
            .map_err(|_| tiff_writer::Error::InvalidConfig(format!("{} bands are too many", self.bands)))?;
        let planar = if self.bands > 1 { PlanarConfiguration::Planar } else { PlanarConfiguration::Chunky };
        Ok(ImageBuilder::new(fit(self.width)?, fit(self.height)?)
            .sample_type::<T>()
            .samples_per_pixel(bands)
            .compression(codec.0)
            .predictor(codec.1)
            .planar_configuration(planar)
            .tiles(fit(self.tile)?, fit(self.tile)?))
    }

    /// The pixels of tile `index` that lie inside the image.
    pub fn area(&self, index: usize) -> Window {
        let (col, row) = (index % self.across() * self.tile, index / self.across() * self.tile);
        Window::new(col, row, self.tile.min(self.width - col), self.tile.min(self.height - row))
    }
}

/// Writes one tiled image, bands one after the other (planar), to a plain TIFF.
pub(super) struct Tiler<T: Sample> {
    /// Where the finished raster will be, for messages.
    target: PathBuf,
    writer: TiffWriter<File>,
    image: ImageHandle,
    codec: (Compression, Predictor),
    tiling: Tiling,
    fill: T,
    done: Vec<bool>,
    pending: HashMap<usize, Pending<T>>,
    in_memory: usize,
    budget: usize,
    scratch: Scratch,
}

pub(super) fn write_error(path: &Path, error: tiff_writer::Error) -> Error {
    match error {
        tiff_writer::Error::Io(source) => Error::io(path, "write", source),
        other => Error::format(path, format!("cannot be written: {other}")),
    }
}

impl<T: Sample> Tiler<T> {
    /// Starts an image in the new file `temporary`. Pixels outside the image and those never written hold `fill`.
    pub fn create(
        target: &Path,
        temporary: &Path,
        tiling: Tiling,
        codec: (Compression, Predictor),
        fill: T,
    ) -> Result<Self> {
        let file = File::create(temporary).map_err(|e| Error::io(target, "create", e))?;
        let error = |e| write_error(target, e);
        let variant = WriteOptions { byte_order: ByteOrder::LittleEndian, variant: TiffVariant::BigTiff };
        let mut writer = TiffWriter::new(file, variant).map_err(error)?;
        let image = writer.add_image(tiling.builder::<T>(codec).map_err(error)?).map_err(error)?;
        let mut scratch = temporary.as_os_str().to_os_string();
        scratch.push(".scratch");
        Ok(Self {
            target: target.into(),
            writer,
            image,
            codec,
            tiling,
            fill,
            done: vec![false; tiling.count()],
            pending: HashMap::new(),
            in_memory: 0,
            budget: PENDING_BYTES,
            scratch: Scratch { path: scratch.into(), file: None, slots: 0, free: Vec::new() },
        })
    }

    #[cfg(test)]
    pub fn set_budget(&mut self, bytes: usize) {
        self.budget = bytes;
    }

    fn tile_len(&self) -> usize {
        self.tiling.tile * self.tiling.tile * self.tiling.bands
    }

    /// Writes the pixels of `window`, [C, H, W]. Each pixel is written once.
    pub fn write(&mut self, window: Window, data: ArrayView3<'_, T>) -> Result<()> {
        let t = self.tiling;
        let mut whole = Vec::new();
        for tile_row in window.row / t.tile..window.row_end().div_ceil(t.tile) {
            for tile_col in window.col / t.tile..window.col_end().div_ceil(t.tile) {
                let index = tile_row * t.across() + tile_col;
                let area = t.area(index);
                let Some(part) = area.intersection(&window) else { continue };
                let (c, r) = (part.col - window.col, part.row - window.row);
                let pixels = data.slice(s![.., r..r + part.height, c..c + part.width]);
                if self.done[index] {
                    return Err(self.twice(part));
                }
                if part == area {
                    if self.pending.contains_key(&index) {
                        return Err(self.twice(part));
                    }
                    let mut tile = vec![self.fill; self.tile_len()];
                    self.place(&mut tile, area, part, pixels);
                    whole.push((index, tile));
                } else if let Some(tile) = self.collect(index, area, part, pixels)? {
                    whole.push((index, tile));
                }
                // Compressing a few at a time keeps both processors and memory in use, not more.
                if whole.len() * self.tile_len() * size_of::<T>() > 32 << 20 {
                    self.flush(std::mem::take(&mut whole))?;
                }
            }
        }
        self.flush(whole)
    }

    fn twice(&self, part: Window) -> Error {
        Error::Usage(format!(
            "{}: pixels at col {} row {} ({}×{}) were written twice; windows given to a writer must not overlap",
            self.target.display(),
            part.col,
            part.row,
            part.width,
            part.height
        ))
    }

    /// Copies `pixels` into a tile buffer [C, tile, tile].
    fn place(&self, tile: &mut [T], area: Window, part: Window, pixels: ArrayView3<'_, T>) {
        let side = self.tiling.tile;
        for (band, plane) in pixels.outer_iter().enumerate() {
            for (row, values) in plane.outer_iter().enumerate() {
                let start = (band * side + part.row - area.row + row) * side + part.col - area.col;
                for (out, &value) in tile[start..start + part.width].iter_mut().zip(values) {
                    *out = value;
                }
            }
        }
    }

    /// Adds pixels to a pending tile; returns the tile when it is whole.
    fn collect(
        &mut self,
        index: usize,
        area: Window,
        part: Window,
        pixels: ArrayView3<'_, T>,
    ) -> Result<Option<Vec<T>>> {
        let side = self.tiling.tile;
        let (c, r) = (part.col - area.col, part.row - area.row);
        let inside = s![r..r + part.height, c..c + part.width];
        if self.pending.get(&index).is_some_and(|p| p.seen.slice(inside).iter().any(|&s| s)) {
            return Err(self.twice(part));
        }
        let mut pending = match self.pending.remove(&index) {
            Some(pending) => pending,
            None => self.start(area)?,
        };
        pending.seen.slice_mut(inside).fill(true);
        pending.left -= part.area();
        match &mut pending.place {
            Place::Memory(tile) => self.place(tile, area, part, pixels),
            Place::Disk(slot) => {
                let start = *slot * self.tile_len() as u64;
                let mut bytes = Vec::new();
                for (band, plane) in pixels.outer_iter().enumerate() {
                    for (row, values) in plane.outer_iter().enumerate() {
                        bytes.clear();
                        T::put(&values.to_vec(), &mut bytes);
                        let at = start + ((band * side + r + row) * side + c) as u64;
                        self.on_disk(at, |file| file.write_all(&bytes))?;
                    }
                }
            }
        }
        if pending.left > 0 {
            self.pending.insert(index, pending);
            return Ok(None);
        }
        self.take(pending).map(Some)
    }

    fn start(&mut self, area: Window) -> Result<Pending<T>> {
        let side = self.tiling.tile;
        let bytes = self.tile_len() * size_of::<T>();
        let place = if self.in_memory + bytes <= self.budget {
            self.in_memory += bytes;
            Place::Memory(vec![self.fill; self.tile_len()])
        } else {
            let slot = self.scratch.free.pop().unwrap_or_else(|| {
                self.scratch.slots += 1;
                self.scratch.slots - 1
            });
            let mut empty = Vec::new();
            T::put(&vec![self.fill; self.tile_len()], &mut empty);
            self.on_disk(slot * self.tile_len() as u64, |file| file.write_all(&empty))?;
            Place::Disk(slot)
        };
        Ok(Pending { seen: Array2::from_elem((side, side), false), left: area.area(), place })
    }

    /// The pixels of a pending tile, its place given back.
    fn take(&mut self, pending: Pending<T>) -> Result<Vec<T>> {
        match pending.place {
            Place::Memory(tile) => {
                self.in_memory -= tile.len() * size_of::<T>();
                Ok(tile)
            }
            Place::Disk(slot) => {
                let mut bytes = vec![0; self.tile_len() * size_of::<T>()];
                self.on_disk(slot * self.tile_len() as u64, |file| file.read_exact(&mut bytes))?;
                self.scratch.free.push(slot);
                Ok(T::get(&bytes))
            }
        }
    }

    /// Does something at sample number `at` of the scratch file.
    fn on_disk(&mut self, at: u64, action: impl FnOnce(&mut File) -> std::io::Result<()>) -> Result<()> {
        let run = |scratch: &mut Scratch| {
            if scratch.file.is_none() {
                let file = File::options().read(true).write(true).create(true).truncate(true).open(&scratch.path)?;
                scratch.file = Some(file);
            }
            let file = scratch.file.as_mut().expect("opened above");
            file.seek(SeekFrom::Start(at * size_of::<T>() as u64))?;
            action(file)
        };
        run(&mut self.scratch).map_err(|e| Error::io(&self.target, "write a temporary file beside", e))
    }

    /// Compresses whole tiles in parallel and writes them in order.
    fn flush(&mut self, tiles: Vec<(usize, Vec<T>)>) -> Result<()> {
        let plane = self.tiling.tile * self.tiling.tile;
        let per_plane = self.tiling.count();
        let error = |e| write_error(&self.target, e);
        let blocks: Vec<(usize, &[T])> = tiles
            .iter()
            .flat_map(|(index, tile)| {
                tile.chunks(plane).enumerate().map(move |(b, data)| (b * per_plane + index, data))
            })
            .collect();
        let options = BlockEncodingOptions {
            byte_order: ByteOrder::LittleEndian,
            compression: self.codec.0,
            predictor: self.codec.1,
            samples_per_pixel: 1,
            row_width_pixels: self.tiling.tile,
            jpeg_options: None,
            jpeg_sampling: None,
            deflate_level: (self.codec.0 == Compression::Deflate).then_some(6),
        };
        let compressed: Vec<(usize, Vec<u8>)> = blocks
            .into_par_iter()
            .map(|(index, data)| Ok((index, compress_block(data, options, index)?)))
            .collect::<Result<_, tiff_writer::Error>>()
            .map_err(error)?;
        for (index, bytes) in compressed {
            self.writer.write_block_raw(&self.image, index, &bytes).map_err(error)?;
        }
        for (index, _) in tiles {
            self.done[index] = true;
        }
        Ok(())
    }

    /// Pixels never written.
    pub fn missing(&self) -> usize {
        let untouched = (0..self.done.len()).filter(|k| !self.done[*k] && !self.pending.contains_key(k));
        untouched.map(|k| self.tiling.area(k).area()).sum::<usize>()
            + self.pending.values().map(|p| p.left).sum::<usize>()
    }

    /// Fills what was never written and ends the file.
    pub fn finish(mut self) -> Result<()> {
        for index in 0..self.done.len() {
            if let Some(pending) = self.pending.remove(&index) {
                let tile = self.take(pending)?;
                self.flush(vec![(index, tile)])?;
            } else if !self.done[index] {
                self.flush(vec![(index, vec![self.fill; self.tile_len()])])?;
            }
        }
        let Self { writer, target, .. } = self;
        writer.finish().map(drop).map_err(|e| write_error(&target, e))
    }
}
