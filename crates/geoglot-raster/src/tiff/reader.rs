//! Windowed reading: only the strips and tiles that a window touches are decoded, in bounded chunks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use geoglot_core::{Affine, Band, Grid, Window};
use geotiff_core::tags::TAG_GDAL_NODATA;
use geotiff_reader::{GeoTiffFile, GeoTiffOpenOptions};
use ndarray::{Array2, Array3, s};
use tiff_reader::{ByteOrder, ParseBudgets, RasterLayout, TiffError, TiffFile};

use super::{crs, decode, metadata};
use crate::{BandSource, Error, Result, SampleType, Tile, check_request, placeholder_name};

/// Decoded blocks kept for the next window.
const CACHE_BYTES: usize = 64 << 20;
/// Decoded bytes held at once beside the result.
const CHUNK_BYTES: usize = 32 << 20;
/// Uncompressed strips above this are read row by row, not whole.
const BIG_STRIP_BYTES: usize = 4 << 20;

/// A GeoTIFF opened for windowed reading.
pub struct TiffSource {
    path: PathBuf,
    file: Backing,
    image: usize,
    layout: RasterLayout,
    sample: SampleType,
    grid: Grid,
    bands: Vec<Band>,
    /// Offsets of uncompressed strips in this machine's byte order.
    flat: Option<Vec<u64>>,
    /// Blocks that a sparse file leaves out; empty when there are none.
    missing: Vec<bool>,
}

/// A TIFF with or without georeference.
enum Backing {
    Geo(Box<GeoTiffFile>),
    Plain(TiffFile),
}

impl Backing {
    fn tiff(&self) -> &TiffFile {
        match self {
            Self::Geo(file) => file.tiff(),
            Self::Plain(file) => file,
        }
    }

    fn geo(&self) -> Option<&GeoTiffFile> {
        match self {
            Self::Geo(file) => Some(file),
            Self::Plain(_) => None,
        }
    }

    /// `geo`, or what `plain` opens when the TIFF has no geographic tags at all.
    fn open(
        geo: geotiff_reader::error::Result<GeoTiffFile>,
        plain: impl FnOnce() -> Result<TiffFile, TiffError>,
    ) -> geotiff_reader::error::Result<Self> {
        match geo {
            Ok(file) => Ok(Self::Geo(Box::new(file))),
            Err(geotiff_reader::error::Error::NotGeoTiff) => Ok(Self::Plain(plain()?)),
            Err(error) => Err(error),
        }
    }
}

impl std::fmt::Debug for TiffSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TiffSource").field("path", &self.path).field("layout", &self.layout).finish_non_exhaustive()
    }
}

fn options() -> GeoTiffOpenOptions {
    GeoTiffOpenOptions {
        block_cache_bytes: CACHE_BYTES,
        block_cache_slots: 1024,
        parse_budgets: ParseBudgets { max_ifds: 1000, ..ParseBudgets::default() },
        decode_output_bytes: 2 << 30,
    }
}

/// Opens a GeoTIFF or cloud-optimised GeoTIFF; reads its metadata only.
///
/// # Errors
/// [`Error::Io`], [`Error::Format`] for damaged files, [`Error::Unsupported`] for codecs and sample types this build does not read.
pub fn open(path: &Path) -> Result<TiffSource> {
    // Opening a folder succeeds on Unix and fails only at the first read.
    std::fs::File::open(path).map_err(|e| Error::io(path, "open", e))?;
    let plain = || TiffFile::open_with_options(path, options());
    TiffSource::new(path, guard(path, || Backing::open(GeoTiffFile::open_with_options(path, options()), plain))?)
}

/// Opens a GeoTIFF held in memory; `name` stands for its path in messages.
///
/// # Errors
/// As [`open`].
pub fn open_bytes(name: &Path, bytes: Vec<u8>) -> Result<TiffSource> {
    let open = || {
        let tiff = TiffFile::from_bytes_with_options(bytes.clone(), options());
        Backing::open(GeoTiffFile::from_bytes_with_options(bytes, options()), || tiff)
    };
    TiffSource::new(name, guard(name, open)?)
}

/// Runs the decoder; its errors and panics become errors that name the file.
fn guard<T, E: Into<geotiff_reader::error::Error>>(path: &Path, f: impl FnOnce() -> Result<T, E>) -> Result<T> {
    use geotiff_reader::error::Error as Geo;
    let failed = match catch_unwind(AssertUnwindSafe(f)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => error.into(),
        Err(_) => return Err(Error::format(path, "the TIFF is damaged: its decoder gave up")),
    };
    let unsupported = |what: String| Error::Unsupported {
        path: path.into(),
        what,
        remedy:
            "convert the file, for example with `gdal_translate -co COMPRESS=DEFLATE`, or build with the feature `gdal`"
                .into(),
    };
    Err(match failed {
        Geo::Io(source, _) | Geo::Tiff(TiffError::Io(source, _)) if source.raw_os_error().is_some() => {
            Error::io(path, "read", source)
        }
        Geo::Tiff(e @ (TiffError::InvalidMagic | TiffError::UnsupportedVersion(_))) => {
            Error::format(path, format!("is not a TIFF file: {e}"))
        }
        Geo::Tiff(
            e @ (TiffError::UnsupportedCompression(_)
            | TiffError::UnsupportedPredictor(_)
            | TiffError::UnsupportedBitsPerSample(_)
            | TiffError::UnsupportedSampleFormat(_)),
        ) => unsupported(e.to_string()),
        other => Error::format(path, format!("the TIFF is damaged, truncated or not supported: {other}")),
    })
}

fn sample_type(layout: &RasterLayout) -> Option<SampleType> {
    use SampleType::*;
    Some(match (layout.sample_format, layout.bytes_per_sample) {
        (1, 1) => U8,
        (1, 2) => U16,
        (1, 4) => U32,
        (1, 8) => U64,
        (2, 1) => I8,
        (2, 2) => I16,
        (2, 4) => I32,
        (2, 8) => I64,
        (3, 2) => F16,
        (3, 4) => F32,
        (3, 8) => F64,
        _ => return None,
    })
}

impl TiffSource {
    fn new(path: &Path, file: Backing) -> Result<Self> {
        let image = file.geo().map_or(0, GeoTiffFile::base_ifd_index);
        let layout = guard(path, || file.tiff().ifd(image)?.raster_layout())?;
        let sample = sample_type(&layout).ok_or_else(|| Error::Unsupported {
            path: path.into(),
            what: format!("{}-bit samples of format {}", layout.bits_per_sample, layout.sample_format),
            remedy: "convert the file to 8, 16 or 32 bits a sample".into(),
        })?;
        let ifd = guard(path, || file.tiff().ifd(image))?;
        let text = file.geo().and_then(GeoTiffFile::nodata);
        let text = text.or_else(|| ifd.tag(TAG_GDAL_NODATA)?.value.as_str());
        let nodata = text.and_then(|text| text.trim_matches(['\0', ' ']).parse::<f64>().ok());
        let mut bands: Vec<Band> =
            (0..layout.samples_per_pixel).map(|k| Band { nodata, ..Band::named(placeholder_name(k)) }).collect();
        if let Some(xml) = ifd.tag(metadata::TAG).and_then(|tag| tag.value.as_str()) {
            metadata::apply(xml, &mut bands);
        }
        // Tie points without a pixel size (ground control points) do not place pixels; a transform without area does not either.
        let geo = file.geo();
        let transform = geo.and_then(|g| g.transform()).map(crs::affine).filter(|t| t.inverse().is_ok());
        let crs = geo.filter(|_| transform.is_some()).and_then(|g| crs::read(g.geokeys(), g.epsg()));
        if transform.is_none() && geo.is_some_and(|g| g.epsg().is_some()) {
            tracing::warn!(
                "{}: has a reference system but no usable transform; read without georeference",
                path.display()
            );
        }
        let grid = Grid {
            crs,
            transform: transform.unwrap_or(Affine::identity()),
            width: layout.width,
            height: layout.height,
        };
        let flat = flat_strips(file.tiff(), ifd, &layout);
        let counts = if ifd.is_tiled() { ifd.tile_byte_counts() } else { ifd.strip_byte_counts() };
        let missing: Vec<bool> = counts.unwrap_or_default().iter().map(|&count| count == 0).collect();
        let missing = if missing.contains(&true) { missing } else { Vec::new() };
        Ok(Self { path: path.into(), image, layout, sample, grid, bands, flat, missing, file })
    }

    /// True when the file is a class map with colours of its own.
    pub fn has_color_table(&self) -> bool {
        self.file.tiff().ifd(self.image).is_ok_and(|ifd| matches!(ifd.color_map(), Ok(Some(_))))
    }

    /// Number of reduced-resolution images in the file.
    pub fn overview_count(&self) -> usize {
        self.file.geo().map_or(0, GeoTiffFile::overview_count)
    }

    fn planar(&self) -> bool {
        self.layout.planar_configuration == 2 && self.layout.samples_per_pixel > 1
    }

    /// Width and height of the blocks in which the pixels are stored.
    pub fn block_size(&self) -> (usize, usize) {
        let Ok(ifd) = self.file.tiff().ifd(self.image) else { return (1, 1) };
        match (ifd.tile_width(), ifd.tile_height()) {
            (Some(w), Some(h)) if ifd.is_tiled() => (w.max(1) as usize, h.max(1) as usize),
            _ => (self.grid.width, (ifd.rows_per_strip().max(1) as usize).min(self.grid.height)),
        }
    }

    /// Samples of a window; of all bands when the file interleaves them by pixel, else of `band` alone.
    fn bytes(&self, band: usize, window: Window) -> Result<Vec<u8>> {
        if let Some(offsets) = &self.flat {
            return self.flat_bytes(offsets, band, window);
        }
        let tiff = self.file.tiff();
        let Window { col, row, width, height } = window;
        guard(&self.path, || match self.planar() {
            true => tiff.read_band_window_bytes(self.image, band, row, col, height, width),
            false => tiff.read_window_bytes(self.image, row, col, height, width),
        })
    }

    fn flat_bytes(&self, offsets: &[u64], band: usize, window: Window) -> Result<Vec<u8>> {
        let per_strip = self.block_size().1;
        let pixel = self.sample.bytes() * if self.planar() { 1 } else { self.layout.samples_per_pixel };
        let strips = self.grid.height.div_ceil(per_strip);
        let mut out = Vec::with_capacity(window.area() * pixel);
        for row in window.row..window.row_end() {
            let strip = row / per_strip + if self.planar() { band * strips } else { 0 };
            let within = ((row % per_strip) * self.grid.width + window.col) * pixel;
            let read = guard(&self.path, || {
                let start = offsets.get(strip).and_then(|&o| o.checked_add(within as u64));
                let start = start.ok_or(TiffError::Other("a strip has no place in the file".into()))?;
                self.file.tiff().source().read_exact_at(start, window.width * pixel)
            })?;
            out.extend_from_slice(&read);
        }
        Ok(out)
    }

    /// Gives the pixels of left-out blocks the file's nodata value, or zero, as GDAL does.
    fn fill_missing(&self, bands: &[usize], tile: &mut Tile) {
        let (bw, bh) = self.block_size();
        let (across, down) = (self.grid.width.div_ceil(bw), self.grid.height.div_ceil(bh));
        let window = tile.window;
        for block_row in window.row / bh..=(window.row_end() - 1) / bh {
            for block_col in window.col / bw..=(window.col_end() - 1) / bw {
                let Some(part) = Window::new(block_col * bw, block_row * bh, bw, bh).intersection(&window) else {
                    continue;
                };
                let (c, r) = (part.col - window.col, part.row - window.row);
                let area = s![r..r + part.height, c..c + part.width];
                for (k, &band) in bands.iter().enumerate() {
                    let plane = if self.planar() { band * across * down } else { 0 };
                    if self.missing.get(plane + block_row * across + block_col) != Some(&true) {
                        continue;
                    }
                    let nodata = self.bands[band].nodata;
                    tile.data.index_axis_mut(ndarray::Axis(0), k).slice_mut(area).fill(nodata.unwrap_or(0.0) as f32);
                    if nodata.is_some() {
                        tile.mask.slice_mut(area).fill(false);
                    }
                }
            }
        }
    }
}

/// `window` cut at multiples of `cols` and `rows` of its raster.
fn chunks(window: Window, cols: usize, rows: usize) -> Vec<Window> {
    let cut = |start: usize, end: usize, step: usize| {
        let mut parts = Vec::new();
        let mut at = start;
        while at < end {
            let next = (at / step + 1).saturating_mul(step).min(end);
            parts.push((at, next - at));
            at = next;
        }
        parts
    };
    let across = cut(window.col, window.col_end(), cols);
    cut(window.row, window.row_end(), rows)
        .into_iter()
        .flat_map(|(row, height)| across.iter().map(move |&(col, width)| Window::new(col, row, width, height)))
        .collect()
}

/// Offsets of uncompressed strips that are too big to be read whole, when their rows can be read in place.
fn flat_strips(file: &TiffFile, ifd: &tiff_reader::Ifd, layout: &RasterLayout) -> Option<Vec<u64>> {
    let native = match file.byte_order() {
        ByteOrder::LittleEndian => cfg!(target_endian = "little"),
        ByteOrder::BigEndian => cfg!(target_endian = "big"),
    };
    let plain = ifd.compression() == 1 && !ifd.is_tiled() && !layout.is_bit_packed() && ifd.fill_order() == 1;
    let samples = if layout.planar_configuration == 2 { 1 } else { layout.samples_per_pixel };
    let rows = (ifd.rows_per_strip() as usize).min(layout.height);
    let strip_bytes = layout.width.checked_mul(samples * layout.bytes_per_sample)?.checked_mul(rows)?;
    // YCbCr samples may be subsampled.
    let direct = ifd.photometric_interpretation() != Some(6);
    (plain && (native || layout.bytes_per_sample == 1) && direct && strip_bytes > BIG_STRIP_BYTES)
        .then(|| ifd.strip_offsets())
        .flatten()
}

impl BandSource for TiffSource {
    fn path(&self) -> &Path {
        &self.path
    }

    fn grid(&self) -> &Grid {
        &self.grid
    }

    fn bands(&self) -> &[Band] {
        &self.bands
    }

    fn sample_type(&self) -> SampleType {
        self.sample
    }

    fn columns_at_once(&self) -> usize {
        let (width, height) = self.block_size();
        if width >= self.grid.width {
            return self.grid.width;
        }
        // Windows may lie across two rows of blocks; a quarter of the cache stays free.
        let column = 2 * width * height * self.layout.samples_per_pixel * self.sample.bytes();
        (CACHE_BYTES / 4 * 3 / column.max(1)).max(1) * width
    }

    fn read_stored(&self, bands: &[usize], window: Window) -> Result<Tile> {
        check_request(self, bands, window)?;
        let shape = (bands.len(), window.height, window.width);
        let mut tile =
            Tile { window, data: Array3::zeros(shape), mask: Array2::from_elem((window.height, window.width), true) };
        let interleaved = if self.planar() { 1 } else { self.layout.samples_per_pixel };
        let (block_width, block_height) = self.block_size();
        let pixel = self.sample.bytes() * interleaved;
        // Chunks end on block borders, so that no block is decoded twice.
        let cols = (CHUNK_BYTES / (pixel * block_height).max(1) / block_width).max(1).saturating_mul(block_width);
        let rows =
            (CHUNK_BYTES / (pixel * cols.min(window.width)).max(1) / block_height).max(1).saturating_mul(block_height);
        // Interleaved files give all bands of a chunk at once, others one band after the other.
        let groups: Vec<(usize, usize)> =
            if self.planar() { (0..bands.len()).map(|k| (k, k + 1)).collect() } else { vec![(0, bands.len())] };
        let nodata: Vec<Option<f64>> = bands.iter().map(|&b| self.bands[b].nodata).collect();
        for (first, end) in groups.into_iter().filter(|(first, end)| first < end) {
            let places: Vec<usize> = if self.planar() { vec![0] } else { bands.to_vec() };
            for chunk in chunks(window, cols, rows) {
                let layout = decode::Layout { sample: self.sample, interleaved, width: chunk.width };
                let bytes = self.bytes(bands[first], chunk)?;
                if bytes.len() < layout.row_bytes() * chunk.height {
                    return Err(Error::format(&self.path, "the TIFF is truncated: a block holds too few pixels"));
                }
                let (c, r) = (chunk.col - window.col, chunk.row - window.row);
                let (across, down) = (c..c + chunk.width, r..r + chunk.height);
                decode::unpack(
                    &bytes,
                    layout,
                    &places,
                    &nodata[first..end],
                    tile.data.slice_mut(s![first..end, down.clone(), across.clone()]),
                    tile.mask.slice_mut(s![down, across]),
                );
            }
        }
        if !self.missing.is_empty() {
            self.fill_missing(bands, &mut tile);
        }
        Ok(tile)
    }
}
