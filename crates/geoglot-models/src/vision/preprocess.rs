//! From raster values to network input: size, value scale, mean and standard deviation, applied exactly once.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use geoglot_core::Band;
use geoglot_nn::vision::resample::Interpolation;
use ndarray::{Array3, ArrayView3, Axis, s};
use serde::{Deserialize, Serialize};

use super::resize::{resize, resize_bytes};
use super::{BandNeed, ImageBatch};
use crate::error::{Error, Result};

/// How an image gets the network's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResizeMode {
    /// Both sides to the size, whatever the shape (SigLIP).
    Squash,
    /// The shorter side to the size (or to `resize_to`), then the centre cut out (CLIP, DINOv2).
    Shortest,
    /// Not resized: the network reads the image's own size and resamples its positions.
    Keep,
}

/// How values become numbers of about 0–1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ValueScale {
    /// Bytes: value / 255. Whole numbers are resized as Pillow does, byte for byte.
    Byte,
    /// Each band's range of ordinary physical values, from the sensor registry, to 0–1, clipped.
    SensorRange,
    /// Given ranges, one for all bands or one a band, to 0–1, clipped.
    Ranges(Vec<(f64, f64)>),
    /// Each band's percentiles `(low, high)` of the whole scene, 0–100, to 0–1, clipped; the caller brings their values.
    Percentiles(f64, f64),
    /// Values as they are.
    AsIs,
}

/// The preprocessing of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImagePreprocess {
    /// Rows and columns of the network's input.
    pub size: (usize, usize),
    /// How an image gets that size.
    pub resize: ResizeMode,
    /// Length of the shorter side before the centre is cut out, when it is not the size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize_to: Option<usize>,
    /// Interpolation, always with antialiasing.
    pub interpolation: Interpolation,
    /// How values are scaled.
    pub values: ValueScale,
    /// Subtracted after scaling: one number for all bands, or one a band.
    pub mean: Vec<f32>,
    /// Divided by after that: one number for all bands, or one a band.
    pub std: Vec<f32>,
    /// Mean and standard deviation of single bands, by `sensor/name` or name, instead of the above.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub by_band: BTreeMap<String, (f32, f32)>,
}

/// Longest side of a network's input in pixels.
const LARGEST: usize = 8192;

impl ImagePreprocess {
    /// What makes these numbers impossible, if anything.
    pub fn problem(&self) -> Option<String> {
        let (h, w) = self.size;
        if h == 0 || w == 0 || self.resize_to == Some(0) {
            return Some(format!("preprocess: size {h} × {w}"));
        }
        if h.max(w).max(self.resize_to.unwrap_or(0)) > LARGEST {
            return Some(format!(
                "preprocess: size {h} × {w} is more than a network reads at once ({LARGEST} px a side)"
            ));
        }
        if self.resize_to.is_some_and(|to| to < h.max(w)) {
            return Some(format!("preprocess: resize_to is smaller than the size {h} × {w} cut out of it"));
        }
        if self.mean.is_empty() || self.mean.len() != self.std.len() {
            return Some(format!("preprocess: {} means and {} standard deviations", self.mean.len(), self.std.len()));
        }
        if self.std.iter().chain(self.by_band.values().map(|(_, s)| s)).any(|s| !(s.is_finite() && *s > 0.0)) {
            return Some("preprocess: a standard deviation is not above 0".into());
        }
        match &self.values {
            ValueScale::Ranges(ranges) if ranges.is_empty() || ranges.iter().any(|(l, h)| h <= l) => {
                Some(format!("preprocess: ranges {ranges:?}; each needs low < high"))
            }
            ValueScale::Percentiles(low, high) if !(0.0 <= *low && low < high && *high <= 100.0) => {
                Some(format!("preprocess: percentiles {low}, {high}"))
            }
            _ => None,
        }
    }

    /// The preprocessing in words, a line a step.
    pub fn describe(&self) -> String {
        let (h, w) = self.size;
        let kernel = match self.interpolation {
            Interpolation::Bilinear => "bilinear",
            Interpolation::Bicubic => "bicubic",
        };
        let size = match (self.resize, self.resize_to) {
            (ResizeMode::Squash, _) => format!("squashed to {h} × {w} px, {kernel}, antialiased"),
            (ResizeMode::Shortest, to) => {
                format!("shorter side to {} px, {kernel}, antialiased; centre {h} × {w} px", to.unwrap_or(h.min(w)))
            }
            (ResizeMode::Keep, _) => format!("own size (trained at {h} × {w} px)"),
        };
        let values = match &self.values {
            ValueScale::Byte => "value / 255".to_owned(),
            ValueScale::SensorRange => "each band's range in the sensor registry to 0–1, clipped".into(),
            ValueScale::Ranges(ranges) => {
                let ranges: Vec<String> = ranges.iter().map(|(l, h)| format!("{l}–{h}")).collect();
                format!("{} to 0–1, clipped", ranges.join(", "))
            }
            ValueScale::Percentiles(low, high) => format!("each band's {low}–{high} % percentiles to 0–1, clipped"),
            ValueScale::AsIs => "as they are".into(),
        };
        let list = |v: &[f32]| v.iter().map(f32::to_string).collect::<Vec<_>>().join(", ");
        let mut text = format!(
            "size: {size}\nvalues: {values}\nnormalisation: (x − [{}]) / [{}]",
            list(&self.mean),
            list(&self.std)
        );
        for (band, (mean, std)) in &self.by_band {
            text += &format!("\n  {band}: (x − {mean}) / {std}");
        }
        text
    }

    /// Binds the preprocessing to bands: picks what the tower reads, finds every band's range and statistics. `percentiles` are
    /// the scene's values at the percentiles that [`ValueScale::Percentiles`] names, one pair a band of `bands`.
    ///
    /// # Errors
    /// [`Error::Input`] naming the band that lacks a range, a statistic, or that the tower needs.
    pub fn bind(&self, need: &BandNeed, bands: &[Band], percentiles: Option<&[(f64, f64)]>) -> Result<BoundPreprocess> {
        if bands.is_empty() {
            return Err(Error::Input("an image without bands".into()));
        }
        let picked = need.select(bands)?;
        let c = picked.len();
        let of = |list: &[f32], k: usize| if list.len() == 1 { Some(list[0]) } else { list.get(k).copied() };
        let mut channels = Vec::with_capacity(c);
        for (k, &i) in picked.iter().enumerate() {
            let band = &bands[i];
            let label = band.label();
            let range = match &self.values {
                ValueScale::Byte => Some((0.0, 255.0)),
                ValueScale::AsIs => None,
                ValueScale::SensorRange => Some(band.range.filter(|(low, high)| low < high).ok_or_else(|| {
                    Error::Input(format!(
                        "band {label} has no range of ordinary values, which the model's preprocessing scales to 0–1: name the \
                         sensor, add `range` to the band in a sensor file, or choose percentiles"
                    ))
                })?),
                ValueScale::Ranges(ranges) if ranges.len() == 1 => Some(ranges[0]),
                ValueScale::Ranges(ranges) => Some(*ranges.get(k).ok_or_else(|| {
                    Error::Input(format!("band {label} is number {}; the model has ranges for {}", k + 1, ranges.len()))
                })?),
                ValueScale::Percentiles(low, high) => {
                    let values = percentiles.and_then(|p| p.get(i)).copied().ok_or_else(|| {
                        Error::Input(format!("the {low} % and {high} % percentiles of band {label} are not given"))
                    })?;
                    // A constant band has no spread: everything becomes 0.
                    Some(if values.0 < values.1 { values } else { (values.0, values.0 + 1.0) })
                }
            };
            let own = self.by_band.get(&label).or_else(|| self.by_band.get(&band.name)).copied();
            let statistics = own.or_else(|| Some((of(&self.mean, k)?, of(&self.std, k)?)));
            let (mean, std) = statistics.ok_or_else(|| {
                Error::Input(format!(
                    "band {label} is number {} of {c}; the model has a mean and a standard deviation for {} bands",
                    k + 1,
                    self.mean.len()
                ))
            })?;
            channels.push(Channel { source: i, range, mean, std });
        }
        let bands = picked.iter().map(|&i| bands[i].clone()).collect();
        Ok(BoundPreprocess { preprocess: self.clone(), channels, bands })
    }

    /// Rows and columns after resizing, and the window cut out of that: (rows, columns, first row, first column).
    fn geometry(&self, h: usize, w: usize) -> (usize, usize, usize, usize) {
        let (th, tw) = self.size;
        match self.resize {
            ResizeMode::Keep => (h, w, 0, 0),
            ResizeMode::Squash => (th, tw, 0, 0),
            ResizeMode::Shortest => {
                let short = self.resize_to.unwrap_or(th.min(tw));
                let (rows, columns) = if h <= w { (short, short * w / h) } else { (short * h / w, short) };
                // A window that is no square may reach beyond the shorter side.
                let (rows, columns) = (rows.max(th), columns.max(tw));
                // Python rounds halves to even.
                let start = |have: usize, want: usize| ((have - want) as f64 / 2.0).round_ties_even() as usize;
                (rows, columns, start(rows, th), start(columns, tw))
            }
        }
    }
}

/// What happens to one channel.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Channel {
    /// Index into the given bands.
    source: usize,
    range: Option<(f64, f64)>,
    mean: f32,
    std: f32,
}

/// A preprocessing bound to the bands of a scene.
#[derive(Debug, Clone, PartialEq)]
pub struct BoundPreprocess {
    preprocess: ImagePreprocess,
    channels: Vec<Channel>,
    bands: Vec<Band>,
}

impl BoundPreprocess {
    /// The bands that reach the network, in its order.
    pub fn bands(&self) -> &[Band] {
        &self.bands
    }

    /// Rows and columns of what [`BoundPreprocess::apply`] gives, unless images keep their own size.
    pub fn output_size(&self) -> (usize, usize) {
        self.preprocess.size
    }

    /// One image of physical values `[C, H, W]`, bands as they were bound, to network input `[c, h, w]`. Pixels that are not
    /// finite (nodata) become the band's mean, zero for the network.
    ///
    /// # Errors
    /// [`Error::Input`] for an empty image or another number of bands.
    pub fn apply(&self, image: ArrayView3<f32>) -> Result<Array3<f32>> {
        let (c, h, w) = image.dim();
        let needed = self.channels.iter().map(|ch| ch.source).max().map_or(0, |m| m + 1);
        if c < needed || h == 0 || w == 0 {
            return Err(Error::Input(format!(
                "an image of {c} bands and {h} × {w} px; {needed} bands were bound, and at least one pixel is needed"
            )));
        }
        let p = &self.preprocess;
        let (rows, columns, top, left) = p.geometry(h, w);
        let (th, tw) = if p.resize == ResizeMode::Keep { (h, w) } else { p.size };
        let mut out = Array3::zeros((self.channels.len(), th, tw));
        for (channel, mut to) in self.channels.iter().zip(out.axis_iter_mut(Axis(0))) {
            let source = image.slice(s![channel.source..channel.source + 1, .., ..]);
            let bytes = p.values == ValueScale::Byte && source.iter().all(|&v| f32::from(v as u8) == v);
            let resized = if bytes {
                resize_bytes(source, rows, columns, p.interpolation).mapv(|v| v / 255.0)
            } else {
                let clip = p.values != ValueScale::Byte;
                let scaled = source.mapv(|v| match channel.range {
                    _ if !v.is_finite() => channel.mean,
                    Some((low, high)) => {
                        let x = ((f64::from(v) - low) / (high - low)) as f32;
                        if clip { x.clamp(0.0, 1.0) } else { x }
                    }
                    None => v,
                });
                resize(scaled.view(), rows, columns, p.interpolation)
            };
            let window = resized.slice(s![0, top..top + th, left..left + tw]);
            to.zip_mut_with(&window, |to, v| *to = (v - channel.mean) / channel.std);
        }
        Ok(out)
    }

    /// As [`BoundPreprocess::apply`] for several images of one output size, as a batch on `device`.
    ///
    /// # Errors
    /// As `apply`; [`Error::Input`] for no image or, when images keep their size, for different ones.
    pub fn batch(&self, images: &[ArrayView3<f32>], device: &Device) -> Result<ImageBatch> {
        let mut values = Vec::new();
        let mut shape = None;
        for image in images {
            let ready = self.apply(image.view())?;
            if shape.is_some_and(|s| s != ready.dim()) {
                return Err(Error::Input("images of different sizes cannot make one batch".into()));
            }
            shape = Some(ready.dim());
            values.extend(ready);
        }
        let (c, h, w) = shape.ok_or_else(|| Error::Input("a batch without images".into()))?;
        let pixels = Tensor::from_data(TensorData::new(values, [images.len(), c, h, w]), device);
        Ok(ImageBatch::preprocessed(pixels, self.bands.clone()))
    }
}
