//! A sample: image, texts, wavelengths and what else belongs to one key.

use std::collections::BTreeMap;
use std::path::Path;

use geoglot_core::{Band, Registry};
use geoglot_raster::SampleType;
use geoglot_raster::formats::npy::NpyHeader;
use geoglot_raster::{BandSource, is_placeholder, tiff};
use ndarray::{Array3, ArrayD, Axis, Ix3, s};

use super::error::{Error, Result};
use super::modality::Modality;
use super::npy::{self, Npy};
use super::text;
use crate::datasets::decode_picture;

/// Limits and demands of reading.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReadOptions {
    /// Samples without a text are faulty.
    pub need_text: bool,
    /// Suffix of the image, such as `rgb.png`, where a sample has several; else `image`, or the only one.
    pub image: Option<String>,
    /// Read teacher features, too.
    pub teachers: bool,
    /// Most bytes of a sample in its shard.
    pub most_bytes: u64,
    /// Most values of an image.
    pub most_values: usize,
    /// Longest text, in characters.
    pub longest_text: usize,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            need_text: true,
            image: None,
            teachers: true,
            most_bytes: 1 << 30,
            most_values: 1 << 28,
            longest_text: 10_000,
        }
    }
}

/// An image as it is stored, [H, W, C].
#[derive(Debug, Clone, PartialEq)]
pub enum Image {
    /// Bytes.
    U8(Array3<u8>),
    /// 16-bit numbers.
    U16(Array3<u16>),
    /// Floats; other number types become these.
    F32(Array3<f32>),
}

impl Image {
    /// Rows, columns, bands.
    pub fn dim(&self) -> (usize, usize, usize) {
        match self {
            Self::U8(a) => a.dim(),
            Self::U16(a) => a.dim(),
            Self::F32(a) => a.dim(),
        }
    }

    /// Number type.
    pub fn sample_type(&self) -> SampleType {
        match self {
            Self::U8(_) => SampleType::U8,
            Self::U16(_) => SampleType::U16,
            Self::F32(_) => SampleType::F32,
        }
    }

    /// The image as an npy file.
    pub fn to_npy(&self) -> Vec<u8> {
        match self {
            Self::U8(a) => npy::encode(a.view().into_dyn()),
            Self::U16(a) => npy::encode(a.view().into_dyn()),
            Self::F32(a) => npy::encode(a.view().into_dyn()),
        }
    }

    /// Physical values [C, H, W] of `bands`, one a channel: stored × scale + offset, NaN in every band where any band has no data.
    ///
    /// # Panics
    /// When there are fewer bands than channels.
    pub fn physical(&self, bands: &[Band]) -> Array3<f32> {
        let (h, w, c) = self.dim();
        assert!(bands.len() >= c, "one band a channel");
        let mut out = Array3::zeros((c, h, w));
        match self {
            Self::U8(a) => scale(a, bands, &mut out),
            Self::U16(a) => scale(a, bands, &mut out),
            Self::F32(a) => scale(a, bands, &mut out),
        }
        out
    }

    /// `values` [H, W, C] in the number type `sample`; whatever is neither bytes nor 16-bit numbers becomes floats.
    pub(super) fn of_values(values: Array3<f32>, sample: SampleType) -> Self {
        match sample {
            SampleType::U8 => Self::U8(values.mapv(|v| v.round() as u8)),
            SampleType::U16 => Self::U16(values.mapv(|v| v.round() as u16)),
            _ => Self::F32(values),
        }
    }
}

fn scale<T: Copy + Into<f32>>(stored: &Array3<T>, bands: &[Band], out: &mut Array3<f32>) {
    let (_, w, c) = stored.dim();
    let rules: Vec<(f32, f32, Option<f32>)> =
        bands[..c].iter().map(|b| (b.scale as f32, b.offset as f32, b.nodata.map(|v| v as f32))).collect();
    let stored = stored.as_standard_layout();
    let pixels = stored.as_slice().unwrap_or_default();
    let mut lost = Vec::new();
    for (k, (scale, offset, nodata)) in rules.into_iter().enumerate() {
        // No value equals NaN.
        let nodata = nodata.unwrap_or(f32::NAN);
        let mut plane = out.index_axis_mut(Axis(0), k);
        for (i, (value, pixel)) in plane.iter_mut().zip(pixels.chunks_exact(c)).enumerate() {
            let v: f32 = pixel[k].into();
            if v.is_nan() || v == nodata {
                lost.push(i);
            }
            *value = v * scale + offset;
        }
    }
    for i in lost {
        out.slice_mut(s![.., i / w, i % w]).fill(f32::NAN);
    }
}

/// One key of a shard.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its name.
    pub key: String,
    /// The image.
    pub image: Image,
    /// Captions: those of `.json`, after `.text` where that is not one of them.
    pub texts: Vec<String>,
    /// Centre wavelengths in µm, one a band; `None` for bands without one. Empty where the sample does not say.
    pub wavelengths: Vec<Option<f32>>,
    /// Bands as `sensor/name` or `name`; empty where the sample does not say.
    pub bands: Vec<String>,
    /// Class names.
    pub classes: Vec<String>,
    /// Class number (`.cls`).
    pub class: Option<i64>,
    /// Place, as written.
    pub geoloc: Option<String>,
    /// Features of frozen teachers by name.
    pub teachers: BTreeMap<String, ArrayD<f32>>,
}

impl Sample {
    /// A sample of nothing but an image and its texts.
    pub fn new(key: impl Into<String>, image: Image, texts: Vec<String>) -> Self {
        Self {
            key: key.into(),
            image,
            texts,
            wavelengths: Vec::new(),
            bands: Vec::new(),
            classes: Vec::new(),
            class: None,
            geoloc: None,
            teachers: BTreeMap::new(),
        }
    }

    /// What the image is of.
    pub fn modality(&self) -> Modality {
        Modality::new(self.image.sample_type(), self.image.dim().2, &self.wavelengths, &self.bands)
    }
}

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role<'a> {
    Image,
    Text,
    Wavelength,
    Place,
    Json,
    Class,
    Teacher(&'a str),
    Other,
}

pub(super) fn role(suffix: &str) -> Role<'_> {
    if let Some(name) = suffix.strip_prefix("teacher-") {
        return name.strip_suffix(".npy").map_or(Role::Other, Role::Teacher);
    }
    match suffix {
        "image" => Role::Image,
        "text" | "txt" | "caption" => Role::Text,
        "wavelength" | "wavelengths" => Role::Wavelength,
        "geoloc" => Role::Place,
        "json" => Role::Json,
        "cls" => Role::Class,
        other => match other.rsplit('.').next().unwrap_or_default() {
            "npy" | "jpg" | "jpeg" | "png" | "tif" | "tiff" => Role::Image,
            _ => Role::Other,
        },
    }
}

/// The member that is the sample's image.
pub(super) fn image_member(suffixes: &[&str], options: &ReadOptions) -> Result<usize, String> {
    let at = |wanted: &str| suffixes.iter().position(|s| *s == wanted);
    if let Some(wanted) = &options.image {
        return at(wanted).ok_or_else(|| format!("has no member `.{wanted}`; it has {}", list(suffixes)));
    }
    if let Some(k) = at("image") {
        return Ok(k);
    }
    let images: Vec<usize> = (0..suffixes.len()).filter(|&k| role(suffixes[k]) == Role::Image).collect();
    match images[..] {
        [one] => Ok(one),
        [] => Err(format!("has no image; expected `.image`, .npy, .jpg, .png or .tif, found {}", list(suffixes))),
        _ => Err(format!("has several images ({}); say which one is meant", list(suffixes))),
    }
}

fn list(suffixes: &[&str]) -> String {
    suffixes.iter().map(|s| format!("`.{s}`")).collect::<Vec<_>>().join(", ")
}

/// Shape [H, W, C] and number type of an npy image.
pub(super) fn npy_shape(header: &NpyHeader, options: &ReadOptions) -> Result<([usize; 3], SampleType), String> {
    let shape = match header.shape[..] {
        [h, w] => [h, w, 1],
        [h, w, c] => [h, w, c],
        _ => return Err(format!("holds an array {:?}; an image is [H, W] or [H, W, C]", header.shape)),
    };
    match npy::count(&shape) {
        Some(1..) if npy::count(&shape).is_some_and(|n| n <= options.most_values) => {}
        _ => return Err(format!("holds an image {shape:?}; 1 to {} values are accepted", options.most_values)),
    }
    let sample = match header.sample {
        kept @ (SampleType::U8 | SampleType::U16) => kept,
        _ => SampleType::F32,
    };
    Ok((shape, sample))
}

fn npy_image(bytes: &[u8], options: &ReadOptions) -> Result<Image, String> {
    let npy = Npy::parse(bytes)?;
    let (shape, sample) = npy_shape(&npy.header, options)?;
    fn shaped<T>(array: ArrayD<T>, shape: [usize; 3]) -> Result<Array3<T>, String> {
        let array = if array.ndim() == 2 { array.insert_axis(Axis(2)) } else { array };
        array.into_dimensionality::<Ix3>().map_err(|e| format!("is no image of {shape:?}: {e}"))
    }
    Ok(match sample {
        SampleType::U8 => Image::U8(shaped(npy.u8()?, shape)?),
        SampleType::U16 => Image::U16(shaped(npy.u16()?, shape)?),
        _ => Image::F32(shaped(npy.f32()?, shape)?),
    })
}

/// An image with what its file says of its bands.
pub(super) struct Decoded {
    pub image: Image,
    pub bands: Vec<Band>,
}

pub(super) fn decode_image(place: &Path, bytes: &[u8], options: &ReadOptions) -> Result<Decoded, String> {
    if bytes.starts_with(b"\x93NUMPY") {
        return Ok(Decoded { image: npy_image(bytes, options)?, bands: Vec::new() });
    }
    // The decoders of picture formats belong to others; a panic in one is a fault of this sample.
    let work = std::panic::AssertUnwindSafe(|| decode_file(place, bytes, options));
    std::panic::catch_unwind(work).unwrap_or_else(|_| Err("is damaged in a way its decoder cannot follow".into()))
}

fn decode_file(place: &Path, bytes: &[u8], options: &ReadOptions) -> Result<Decoded, String> {
    let words = |e: geoglot_raster::Error| e.to_string();
    if let Some(picture) = decode_picture(place, bytes, options.most_values).map_err(words)? {
        let color = picture.values.dim().2 == 3;
        let bands = if color {
            Registry::builtin().sensor("rgb").map_err(|e| e.to_string())?.bands.clone()
        } else {
            Vec::new()
        };
        return Ok(Decoded { image: masked(picture.values, &picture.mask, picture.sample), bands });
    }
    if matches!(bytes.get(..4), Some([b'I', b'I', 42 | 43, 0] | [b'M', b'M', 0, 42 | 43])) {
        let source = tiff::open_bytes(place, bytes.to_vec()).map_err(words)?;
        let (h, w, c) = (source.grid().height, source.grid().width, source.bands().len());
        if npy::count(&[h, w, c]).is_none_or(|n| n > options.most_values) {
            return Err(format!("holds an image [{h}, {w}, {c}]; at most {} values are accepted", options.most_values));
        }
        let tile = source.read_stored(&source.all_bands(), source.grid().window()).map_err(words)?;
        let values = tile.data.permuted_axes([1, 2, 0]).as_standard_layout().into_owned();
        let said = source.bands().iter().all(|b| b.wavelength_um.is_some() || !is_placeholder(&b.name));
        let bands = if said { source.bands().to_vec() } else { Vec::new() };
        return Ok(Decoded { image: masked(values, &tile.mask, source.sample_type()), bands });
    }
    Err("holds an image that is neither npy, PNG, JPEG nor TIFF".into())
}

/// Stored values, as floats with NaN where some are masked out.
pub(super) fn masked(mut values: Array3<f32>, mask: &ndarray::Array2<bool>, sample: SampleType) -> Image {
    if mask.iter().all(|&valid| valid) {
        return Image::of_values(values, sample);
    }
    for ((r, c), &valid) in mask.indexed_iter() {
        if !valid {
            values.slice_mut(s![r, c, ..]).fill(f32::NAN);
        }
    }
    Image::F32(values)
}

/// The sample of `members` (suffix, bytes).
pub(super) fn decode(shard: &Path, key: &str, members: &[(&str, &[u8])], options: &ReadOptions) -> Result<Sample> {
    let suffixes: Vec<&str> = members.iter().map(|m| m.0).collect();
    let parts = || -> Result<Sample, String> {
        let at = image_member(&suffixes, options)?;
        let place = shard.join(format!("{key}.{}", suffixes[at]));
        let decoded = decode_image(&place, members[at].1, options).map_err(|e| format!("`.{}` {e}", suffixes[at]))?;
        let said = text::read(members, options)?;
        let mut sample = Sample {
            texts: said.texts,
            classes: said.classes,
            class: said.class,
            geoloc: said.place,
            ..Sample::new(key, decoded.image, Vec::new())
        };
        (sample.wavelengths, sample.bands) =
            text::bands(said.wavelengths, said.bands, &decoded.bands, sample.image.dim().2)?;
        if options.teachers {
            for (suffix, bytes) in members {
                if let Role::Teacher(name) = role(suffix) {
                    let features = Npy::parse(bytes).and_then(|n| n.f32()).map_err(|e| format!("`.{suffix}` {e}"))?;
                    sample.teachers.insert(name.to_owned(), features);
                }
            }
        }
        Ok(sample)
    };
    parts().map_err(|problem| Error::sample(shard, key, problem))
}
