//! PNG and JPEG images as rasters: bands red, green, blue (or grey), no place on the ground.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read, Seek};
use std::path::{Path, PathBuf};

use geoglot_core::{Band, Grid, Registry, Unit, Window};
use geoglot_raster::{BandSource, Error, Result, SampleType, Tile, check_request};
use ndarray::{Array2, Array3, s};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::{ZByteReaderTrait, ZCursor};
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Most pixels an image may have: larger ones belong into a GeoTIFF, which is read by windows.
const MOST_PIXELS: usize = 1 << 28;

/// Most bytes of an image file: four samples of 16 bits a pixel.
const MOST_BYTES: u64 = 8 * MOST_PIXELS as u64;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Png,
    Jpeg,
}

/// A PNG or JPEG opened as a raster. Opening reads the header; every read decodes the whole image, as both formats only can.
///
/// Palettes become colours, an alpha channel becomes the mask, orientation tags are not applied.
#[derive(Debug)]
pub struct ImageSource {
    path: PathBuf,
    kind: Kind,
    grid: Grid,
    bands: Vec<Band>,
    sample: SampleType,
    grey: bool,
}

/// Decoded samples, row by row, channels interleaved.
struct Decoded {
    width: usize,
    height: usize,
    channels: usize,
    values: Vec<f32>,
}

impl ImageSource {
    /// Whether the file begins as a PNG or JPEG does.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn recognises(path: &Path) -> Result<bool> {
        Ok(kind_of(path)?.is_some())
    }

    /// Opens an image; only its header is read.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] for damaged files, other formats and images too large to be decoded whole.
    pub fn open(path: &Path) -> Result<Self> {
        let kind = kind_of(path)?.ok_or_else(|| Error::format(path, "is neither a PNG nor a JPEG image"))?;
        // The decoders would look for an image through all of it.
        let length = std::fs::metadata(path).map_err(|e| Error::io(path, "read", e))?.len();
        if length > MOST_BYTES {
            return Err(Error::format(
                path,
                format!(
                    "has {length} bytes, more than a PNG or JPEG of {MOST_PIXELS} pixels; larger images need a GeoTIFF"
                ),
            ));
        }
        let (width, height, channels, sample) = match kind {
            Kind::Png => {
                let reader = png_reader(path, buffered(path)?)?;
                let info = reader.info();
                let (color, depth) = reader.output_color_type();
                let sample = if depth == png::BitDepth::Sixteen { SampleType::U16 } else { SampleType::U8 };
                (info.width as usize, info.height as usize, color.samples(), sample)
            }
            Kind::Jpeg => {
                let (width, height, channels) = jpeg_size(path, buffered(path)?)?;
                (width, height, channels, SampleType::U8)
            }
        };
        if width == 0 || height == 0 || width.saturating_mul(height) > MOST_PIXELS {
            return Err(Error::format(
                path,
                format!(
                    "has {width}×{height} pixels; images of 1 to {MOST_PIXELS} pixels are decoded, larger ones need a GeoTIFF"
                ),
            ));
        }
        let bands = match channels {
            1 | 2 => vec![Band { unit: Unit::DigitalNumber, ..Band::named("grey") }],
            _ => Registry::builtin().sensor("rgb")?.bands.clone(),
        };
        Ok(Self { path: path.into(), kind, grid: Grid::unreferenced(width, height), bands, sample, grey: false })
    }

    /// The image as one band: the mean of red, green and blue. Radar and thermal images are often stored as colour images of three equal channels.
    pub fn grey(self) -> Self {
        let bands = vec![Band { unit: Unit::DigitalNumber, ..Band::named("grey") }];
        Self { bands, grey: true, ..self }
    }

    fn decode(&self) -> Result<Decoded> {
        let decoded = match self.kind {
            Kind::Png => decode_png(&self.path, png_reader(&self.path, buffered(&self.path)?)?)?,
            Kind::Jpeg => decode_jpeg(&self.path, buffered(&self.path)?, self.bands.len())?,
        };
        let decoded = if self.grey { decoded.grey() } else { decoded };
        if (decoded.width, decoded.height) != (self.grid.width, self.grid.height)
            || decoded.values.len() != decoded.width * decoded.height * decoded.channels
            || decoded.channels < self.bands.len()
        {
            return Err(Error::format(
                &self.path,
                "has other contents than its header states; it is damaged or was changed",
            ));
        }
        Ok(decoded)
    }
}

impl Decoded {
    /// One channel for colours, beside the alpha channel if there is one.
    fn grey(self) -> Self {
        if self.channels < 3 {
            return self;
        }
        let pixel =
            |v: &[f32]| std::iter::once((v[0] + v[1] + v[2]) / 3.0).chain(v.get(3).copied()).collect::<Vec<_>>();
        let values = self.values.chunks_exact(self.channels).flat_map(pixel).collect();
        Self { channels: self.channels - 2, values, ..self }
    }
}

fn kind_of(path: &Path) -> Result<Option<Kind>> {
    let mut start = [0; 8];
    let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
    let mut taken = Vec::new();
    file.take(8).read_to_end(&mut taken).map_err(|e| Error::io(path, "read", e))?;
    start[..taken.len()].copy_from_slice(&taken);
    Ok(kind_of_bytes(&start))
}

fn kind_of_bytes(bytes: &[u8]) -> Option<Kind> {
    match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(Kind::Png),
        [0xff, 0xd8, 0xff, ..] => Some(Kind::Jpeg),
        _ => None,
    }
}

/// The file as a stream: what lies behind the image, or is no image, is never held.
fn buffered(path: &Path) -> Result<BufReader<File>> {
    File::open(path).map(BufReader::new).map_err(|e| Error::io(path, "open", e))
}

fn damaged(path: &Path, kind: &str, problem: &dyn std::fmt::Display) -> Error {
    Error::format(path, format!("is a damaged {kind} image ({problem}); fetch it again"))
}

fn png_reader<R: BufRead + Seek>(path: &Path, source: R) -> Result<png::Reader<R>> {
    let mut decoder = png::Decoder::new_with_limits(source, png::Limits { bytes: MOST_PIXELS * 8 });
    decoder.set_transformations(png::Transformations::EXPAND);
    decoder.read_info().map_err(|e| damaged(path, "PNG", &e))
}

fn decode_png<R: BufRead + Seek>(path: &Path, mut reader: png::Reader<R>) -> Result<Decoded> {
    let size = reader.output_buffer_size().ok_or_else(|| damaged(path, "PNG", &"its size overflows"))?;
    let mut bytes = vec![0; size];
    let frame = reader.next_frame(&mut bytes).map_err(|e| damaged(path, "PNG", &e))?;
    let bytes = &bytes[..frame.buffer_size()];
    let values = match frame.bit_depth {
        png::BitDepth::Sixteen => bytes.chunks_exact(2).map(|b| f32::from(u16::from_be_bytes([b[0], b[1]]))).collect(),
        _ => bytes.iter().map(|&b| f32::from(b)).collect(),
    };
    let (width, height) = (frame.width as usize, frame.height as usize);
    Ok(Decoded { width, height, channels: frame.color_type.samples(), values })
}

fn jpeg_options() -> DecoderOptions {
    // Strict: a truncated image is an error, not a grey area.
    DecoderOptions::default().set_strict_mode(true).set_max_width(1 << 16).set_max_height(1 << 16)
}

/// Width, height and channels that a JPEG states.
fn jpeg_size<R: ZByteReaderTrait>(path: &Path, source: R) -> Result<(usize, usize, usize)> {
    let mut decoder = JpegDecoder::new_with_options(source, jpeg_options());
    decoder.decode_headers().map_err(|e| damaged(path, "JPEG", &e))?;
    let (width, height) = decoder.dimensions().ok_or_else(|| damaged(path, "JPEG", &"no size is stated"))?;
    let grey = decoder.input_colorspace() == Some(ColorSpace::Luma);
    Ok((width, height, if grey { 1 } else { 3 }))
}

fn decode_jpeg<R: ZByteReaderTrait>(path: &Path, source: R, channels: usize) -> Result<Decoded> {
    let color = if channels == 1 { ColorSpace::Luma } else { ColorSpace::RGB };
    let options = jpeg_options().jpeg_set_out_colorspace(color);
    let mut decoder = JpegDecoder::new_with_options(source, options);
    let pixels = decoder.decode().map_err(|e| damaged(path, "JPEG", &e))?;
    let (width, height) = decoder.dimensions().unwrap_or_default();
    Ok(Decoded { width, height, channels, values: pixels.into_iter().map(f32::from).collect() })
}

/// A PNG or JPEG held in memory.
pub(crate) struct Picture {
    /// Values, [H, W, C]: grey or red, green, blue.
    pub values: Array3<f32>,
    /// Where it is not transparent, [H, W].
    pub mask: Array2<bool>,
    /// Bytes or 16-bit numbers.
    pub sample: SampleType,
}

/// Decodes a PNG or JPEG of at most `most` values; `None` for other formats. `path` names it in messages.
///
/// # Errors
/// [`Error::Format`] for damaged and for larger images.
pub(crate) fn decode_picture(path: &Path, bytes: &[u8], most: usize) -> Result<Option<Picture>> {
    let fits =
        |width: usize, height: usize, channels: usize| match width.saturating_mul(height).saturating_mul(channels) {
            1.. if width.saturating_mul(height).saturating_mul(channels) <= most => Ok(()),
            _ => Err(Error::format(
                path,
                format!("has {width}×{height} pixels of {channels} values; at most {most} values are decoded"),
            )),
        };
    let (decoded, sample) = match kind_of_bytes(bytes) {
        None => return Ok(None),
        Some(Kind::Png) => {
            let reader = png_reader(path, Cursor::new(bytes))?;
            let (color, depth) = reader.output_color_type();
            fits(reader.info().width as usize, reader.info().height as usize, color.samples())?;
            let sample = if depth == png::BitDepth::Sixteen { SampleType::U16 } else { SampleType::U8 };
            (decode_png(path, reader)?, sample)
        }
        Some(Kind::Jpeg) => {
            let (width, height, channels) = jpeg_size(path, ZCursor::new(bytes))?;
            fits(width, height, channels)?;
            (decode_jpeg(path, ZCursor::new(bytes), channels)?, SampleType::U8)
        }
    };
    let shape = (decoded.height, decoded.width, decoded.channels);
    let all = Array3::from_shape_vec(shape, decoded.values)
        .map_err(|e| Error::format(path, format!("has an impossible size: {e}")))?;
    // Two channels are grey and alpha, four are colours and alpha.
    let colors = if decoded.channels.is_multiple_of(2) { decoded.channels - 1 } else { decoded.channels };
    let mask = Array2::from_shape_fn((decoded.height, decoded.width), |(r, c)| {
        decoded.channels == colors || all[(r, c, colors)] > 0.0
    });
    Ok(Some(Picture { values: all.slice(s![.., .., ..colors]).to_owned(), mask, sample }))
}

impl BandSource for ImageSource {
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

    fn read_stored(&self, bands: &[usize], window: Window) -> Result<Tile> {
        check_request(self, bands, window)?;
        let decoded = self.decode()?;
        let shape = (decoded.height, decoded.width, decoded.channels);
        let image = Array3::from_shape_vec(shape, decoded.values)
            .map_err(|e| Error::format(&self.path, format!("has an impossible size: {e}")))?;
        let view = image.slice(s![window.row..window.row_end(), window.col..window.col_end(), ..]);
        let data =
            Array3::from_shape_fn((bands.len(), window.height, window.width), |(b, r, c)| view[(r, c, bands[b])]);
        let alpha = self.bands.len();
        let mask = Array2::from_shape_fn((window.height, window.width), |(r, c)| {
            decoded.channels == alpha || view[(r, c, alpha)] > 0.0
        });
        Ok(Tile { window, data, mask })
    }
}
