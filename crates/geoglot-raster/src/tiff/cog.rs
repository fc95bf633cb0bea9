//! Turns a plain tiled TIFF into a cloud-optimised one: reduced images, then all directories first and pixels last.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use geoglot_core::Window;
use ndarray::Array3;
use tiff_core::{ByteOrder, Compression, Predictor, TiffSample};
use tiff_reader::TiffFile;
use tiff_writer::encoder;

use super::tiler::{Sample, Tiler, Tiling, write_error};
use super::writer::Overviews;
use crate::{Error, Result};

/// Marks the layout for GDAL, right behind the header.
const PLANAR_LAYOUT: &str = "LAYOUT=IFDS_BEFORE_DATA\nKNOWN_INCOMPATIBLE_EDITION=NO\n ";
/// The same where each tile carries its size in front and its last four bytes again behind, so that one request fetches it.
const FRAMED_LAYOUT: &str = "LAYOUT=IFDS_BEFORE_DATA\nBLOCK_ORDER=ROW_MAJOR\nBLOCK_LEADER=SIZE_AS_UINT4\n\
    BLOCK_TRAILER=LAST_4_BYTES_REPEATED\nKNOWN_INCOMPATIBLE_EDITION=NO\n ";
const ORDER: ByteOrder = ByteOrder::LittleEndian;

/// Where the pixels of one image lie.
pub(super) struct Level {
    pub path: PathBuf,
    pub tiling: Tiling,
}

/// Files removed when dropped.
#[derive(Default)]
pub(super) struct Litter(pub Vec<PathBuf>);

impl Drop for Litter {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn read_error(path: &Path, error: tiff_reader::TiffError) -> Error {
    match error {
        tiff_reader::TiffError::Io(source, _) => Error::io(path, "read back", source),
        other => Error::format(path, format!("cannot be read back: {other}")),
    }
}

/// Halves the image until it fits one tile. Each reduced image is written beside the first; its file is added to `litter`.
pub(super) fn reduce<T: Sample + TiffSample>(
    target: &Path,
    base: Level,
    codec: (Compression, Predictor),
    nodata: Option<T>,
    kind: Overviews,
    litter: &mut Litter,
) -> Result<Vec<Level>> {
    let mut levels = vec![base];
    while let Some(last) = levels.last() {
        let t = last.tiling;
        if kind == Overviews::None || t.width.max(t.height) <= t.tile {
            break;
        }
        let tiling = Tiling { width: t.width.div_ceil(2), height: t.height.div_ceil(2), ..t };
        let mut name = levels[0].path.as_os_str().to_os_string();
        name.push(format!(".{}", levels.len()));
        let path = PathBuf::from(name);
        litter.0.push(path.clone());
        let source = TiffFile::open(&last.path).map_err(|e| read_error(target, e))?;
        // Left-over pixels of edge tiles repeat nodata or zero.
        let fill = nodata.unwrap_or_else(|| T::of(0.0).expect("zero fits"));
        let mut out = Tiler::create(target, &path, tiling, codec, fill)?;
        for index in 0..tiling.count() {
            let area = tiling.area(index);
            let from = Window::new(area.col * 2, area.row * 2, 2 * area.width, 2 * area.height)
                .intersection(&Window::new(0, 0, t.width, t.height))
                .expect("a reduced tile covers pixels of the larger image");
            let mut small = Array3::from_elem((t.bands, area.height, area.width), fill);
            for (band, mut plane) in small.outer_iter_mut().enumerate() {
                let pixels = source
                    .read_band_window::<T>(0, band, from.row, from.col, from.height, from.width)
                    .map_err(|e| read_error(target, e))?;
                let pixels = pixels.as_slice().expect("arrays just read are contiguous");
                for ((row, col), out) in plane.indexed_iter_mut() {
                    let mut four = [fill; 4];
                    let mut count = 0;
                    for (r, c) in [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(r, c)| (2 * row + r, 2 * col + c)) {
                        if r < from.height && c < from.width {
                            four[count] = pixels[r * from.width + c];
                            count += 1;
                        }
                    }
                    *out = merge(&four[..count], nodata, fill, kind);
                }
            }
            out.write(area, small.view())?;
        }
        out.finish()?;
        levels.push(Level { path, tiling });
    }
    Ok(levels)
}

/// One pixel out of up to four, nodata left out.
fn merge<T: Sample>(four: &[T], nodata: Option<T>, fill: T, kind: Overviews) -> T {
    let valid = |v: &&T| Some(**v) != nodata && !v.number().is_nan();
    if kind == Overviews::Average {
        let (mut sum, mut count) = (0.0, 0.0);
        for v in four.iter().filter(valid) {
            sum += v.number();
            count += 1.0;
        }
        let mean = sum / count;
        // Integers round to the nearest; `None` cannot happen as a mean lies between its values.
        let rounded = if T::SAMPLE_FORMAT == 3 { mean } else { mean.round() };
        return if count == 0.0 { fill } else { T::of(rounded as f32).unwrap_or(fill) };
    }
    // Most frequent; the first of equals.
    let votes = |v: &T| four.iter().filter(|w| *w == v).count();
    four.iter().filter(valid).rev().max_by_key(|v| votes(v)).copied().unwrap_or(fill)
}

/// Writes `levels` (largest first) as one cloud-optimised TIFF at `out`; `tags` gives the extra tags of the first image.
pub(super) fn assemble<T: Sample>(
    target: &Path,
    out: &Path,
    levels: &[Level],
    codec: (Compression, Predictor),
    finish: impl Fn(tiff_writer::ImageBuilder, usize) -> tiff_writer::ImageBuilder,
) -> Result<()> {
    let error = |e| write_error(target, e);
    let io = |e| Error::io(target, "write", e);
    let mut sources = Vec::new();
    let mut total = 0u64;
    for level in levels {
        let file = TiffFile::open(&level.path).map_err(|e| read_error(target, e))?;
        let ifd = file.ifd(0).map_err(|e| read_error(target, e))?;
        let offsets = ifd.tile_offsets().unwrap_or_default();
        let counts = ifd.tile_byte_counts().unwrap_or_default();
        total += counts.iter().sum::<u64>() + 32 * counts.len() as u64;
        sources.push((File::open(&level.path).map_err(io)?, offsets, counts));
    }
    // Classic TIFF addresses 4 GiB; a megabyte is kept for directories and metadata.
    let big = total + (1 << 20) > u64::from(u32::MAX);
    let mut sink = BufWriter::with_capacity(1 << 20, File::create(out).map_err(io)?);
    encoder::write_header(&mut sink, ORDER, big).map_err(error)?;
    let framed = levels.iter().all(|level| level.tiling.bands == 1);
    let layout = if framed { FRAMED_LAYOUT } else { PLANAR_LAYOUT };
    write!(sink, "GDAL_STRUCTURAL_METADATA_SIZE={:06} bytes\n{layout}", layout.len()).map_err(io)?;
    let mut directories: Vec<(Vec<tiff_core::Tag>, encoder::IfdWriteResult, (u16, u16))> = Vec::new();
    for (k, (level, (_, offsets, _))) in levels.iter().zip(&sources).enumerate() {
        let mut builder = level.tiling.builder::<T>(codec).map_err(error)?;
        if k > 0 {
            builder = builder.overview();
        }
        let builder = finish(builder, k);
        let tags = builder.checked_build_tags(big).map_err(error)?;
        let codes = builder.offset_tag_codes();
        // Directories begin on even offsets.
        if sink.stream_position().map_err(io)? % 2 == 1 {
            sink.write_all(&[0]).map_err(io)?;
        }
        let written =
            encoder::write_ifd(&mut sink, ORDER, big, &tags, codes.0, codes.1, offsets.len()).map_err(error)?;
        let end = sink.stream_position().map_err(io)?;
        match directories.last() {
            None => encoder::patch_first_ifd(&mut sink, 0, ORDER, big, written.ifd_offset),
            Some((_, before, _)) => {
                encoder::patch_next_ifd(&mut sink, ORDER, big, before.next_ifd_pointer_offset, written.ifd_offset)
            }
        }
        .map_err(error)?;
        sink.seek(SeekFrom::Start(end)).map_err(io)?;
        directories.push((tags, written, codes));
    }
    // Small images first: what a viewer asks for first lies together.
    let mut places: Vec<Vec<u64>> = vec![Vec::new(); levels.len()];
    let mut at = sink.stream_position().map_err(io)?;
    let mut buffer = Vec::new();
    for (k, (file, offsets, counts)) in sources.iter_mut().enumerate().rev() {
        for (&offset, &count) in offsets.iter().zip(counts.iter()) {
            buffer.resize(count as usize, 0);
            file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(&mut buffer)).map_err(io)?;
            if framed {
                let size = u32::try_from(count).map_err(|_| Error::format(target, "a tile is larger than 4 GiB"))?;
                sink.write_all(&size.to_le_bytes()).map_err(io)?;
                at += 4;
            }
            sink.write_all(&buffer).map_err(io)?;
            places[k].push(at);
            at += count;
            if framed {
                let last = &buffer[buffer.len().saturating_sub(4)..];
                sink.write_all(last).map_err(io)?;
                at += last.len() as u64;
            }
        }
    }
    for (((tags, written, codes), places), (_, _, counts)) in directories.iter().zip(&places).zip(&sources) {
        let find = |code| {
            encoder::find_tag_value_offset(written.ifd_offset, big, tags, code)
                .ok_or_else(|| Error::format(target, "cannot be written: a directory lacks its tile table"))
        };
        encoder::patch_block_offsets(&mut sink, ORDER, big, find(codes.0)?, places).map_err(error)?;
        encoder::patch_block_byte_counts(&mut sink, ORDER, big, find(codes.1)?, counts).map_err(error)?;
    }
    sink.flush().map_err(io)?;
    sink.get_ref().sync_all().map_err(io)
}
