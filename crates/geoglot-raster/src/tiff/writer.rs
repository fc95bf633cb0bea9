//! Streaming writing of georeferenced rasters in bounded memory.

use std::path::{Path, PathBuf};

use geoglot_core::{Grid, Legend, Window, atomic};
use geotiff_core::tags::TAG_GDAL_NODATA;
use ndarray::{Array3, ArrayView2, ArrayView3, Axis};
use serde::{Deserialize, Serialize};
use tiff_core::{ColorMap, Compression, PhotometricInterpretation, Predictor, Tag, TagValue, TiffSample};

use super::cog::{self, Level, Litter};
use super::tiler::{Sample, Tiler, Tiling};
use super::{crs, metadata, pam};
use crate::{Error, Result, SampleType};

/// Lossless compression of written rasters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// DEFLATE: read by everything.
    #[default]
    Deflate,
    /// Zstandard.
    Zstd,
    /// LZW.
    Lzw,
    /// None.
    None,
}

/// How reduced-resolution images are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overviews {
    /// No reduced images.
    None,
    /// The most frequent of four values: for class ids.
    Mode,
    /// The mean of the valid ones of four values.
    Average,
}

/// What a raster to be written holds.
#[derive(Debug, Clone, PartialEq)]
pub struct RasterSpec {
    /// Number type: u8, u16, i16, i32 or f32.
    pub sample: SampleType,
    /// Description of each band, in order.
    pub bands: Vec<String>,
    /// Value of pixels without data. NaN is allowed for floats.
    pub nodata: Option<f64>,
    /// Classes with names and colours: a class map of one band.
    pub legend: Option<Legend>,
    /// Compression.
    pub codec: Codec,
    /// Reduced images.
    pub overviews: Overviews,
    /// Tile edge in pixels, a multiple of 16.
    pub tile: usize,
    /// Further `name`, `value` pairs for the file's metadata.
    pub items: Vec<(String, String)>,
}

impl RasterSpec {
    /// A class map with `legend`'s names and colours; unlabelled pixels are nodata. 8 bits where the ids allow.
    pub fn classes(legend: &Legend) -> Self {
        let last = legend.classes.iter().map(|c| c.id).max().unwrap_or(0).max(legend.unlabelled);
        Self {
            sample: if last <= 255 { SampleType::U8 } else { SampleType::U16 },
            bands: vec!["class".into()],
            nodata: Some(legend.unlabelled.into()),
            legend: Some(legend.clone()),
            codec: Codec::default(),
            overviews: Overviews::Mode,
            tile: 512,
            items: Vec::new(),
        }
    }

    /// Scores, similarities, features: one f32 band a name, NaN where there is no data.
    pub fn scores<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self::values(SampleType::F32, names, Some(f64::NAN))
    }

    /// Measured values.
    pub fn values<S: Into<String>>(
        sample: SampleType,
        names: impl IntoIterator<Item = S>,
        nodata: Option<f64>,
    ) -> Self {
        let bands: Vec<String> = names.into_iter().map(Into::into).collect();
        let tile = if bands.len() > 1 { 256 } else { 512 };
        Self {
            sample,
            bands,
            nodata,
            legend: None,
            codec: Codec::default(),
            overviews: Overviews::Average,
            tile,
            items: Vec::new(),
        }
    }

    fn check(&self, path: &Path) -> Result<()> {
        let fail = |text: String| Err(Error::Usage(format!("{}: {text}", path.display())));
        if self.bands.is_empty() {
            return fail("a raster to be written needs at least one band".into());
        }
        if self.tile == 0 || !self.tile.is_multiple_of(16) {
            return fail(format!("the tile edge {} is not a multiple of 16", self.tile));
        }
        let Some(legend) = &self.legend else { return Ok(()) };
        if self.bands.len() != 1 || !matches!(self.sample, SampleType::U8 | SampleType::U16) {
            return fail("a class map has one band of type u8 or u16".into());
        }
        let most = if self.sample == SampleType::U8 { 255 } else { u16::MAX };
        match legend.classes.iter().find(|c| c.id > most) {
            Some(c) => fail(format!("class `{}` has id {}, which {} cannot hold; use u16", c.name, c.id, self.sample)),
            None => Ok(()),
        }
    }

    fn codec(&self) -> (Compression, Predictor) {
        let compression = match self.codec {
            Codec::Deflate => Compression::Deflate,
            Codec::Zstd => Compression::Zstd,
            Codec::Lzw => Compression::Lzw,
            Codec::None => Compression::None,
        };
        let predictor = match self.sample {
            _ if self.codec == Codec::None || self.legend.is_some() => Predictor::None,
            SampleType::F32 => Predictor::FloatingPoint,
            _ => Predictor::Horizontal,
        };
        (compression, predictor)
    }
}

/// Writes a cloud-optimised GeoTIFF window by window.
///
/// Windows may come in any order and of any size but must not overlap. The raster appears under its name only when [`RasterWriter::finish`]
/// succeeds; dropped before, nothing is left behind. Memory: the window in hand and at most 128 MB of partly filled tiles (the rest waits in a
/// temporary file), whatever the raster's size.
pub struct RasterWriter {
    path: PathBuf,
    grid: Grid,
    spec: RasterSpec,
    image: Image,
    base: PathBuf,
    litter: Litter,
}

/// One tiler for each number type.
enum Image {
    U8(Tiler<u8>),
    U16(Tiler<u16>),
    I16(Tiler<i16>),
    I32(Tiler<i32>),
    F32(Tiler<f32>),
}

/// Runs `$body` with `$tiler` bound to the tiler inside `$image`.
macro_rules! each {
    ($image:expr, $tiler:ident => $body:expr) => {
        match $image {
            Image::U8($tiler) => $body,
            Image::U16($tiler) => $body,
            Image::I16($tiler) => $body,
            Image::I32($tiler) => $body,
            Image::F32($tiler) => $body,
        }
    };
}

impl std::fmt::Debug for RasterWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RasterWriter").field("path", &self.path).field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl RasterWriter {
    /// Starts a raster on `grid`. Missing parent folders are created.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder cannot be written, [`Error::Usage`] for an impossible specification or grid.
    pub fn create(path: &Path, grid: &Grid, spec: RasterSpec) -> Result<Self> {
        spec.check(path)?;
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent).map_err(|e| Error::io(parent, "create the folder", e))?;
        }
        // Found out now, not after hours of mapping.
        crs::tags(grid).map_err(|e| Error::Usage(format!("{}: {e}", path.display())))?;
        let tiling = Tiling { width: grid.width, height: grid.height, bands: spec.bands.len(), tile: spec.tile };
        atomic::remove_stale(path);
        let base = atomic::temporary_name(path);
        let mut litter = Litter::default();
        litter.0.push(base.clone());
        let codec = spec.codec();
        fn tiler<T: Sample>(
            path: &Path,
            base: &Path,
            tiling: Tiling,
            codec: (Compression, Predictor),
            nodata: Option<f64>,
        ) -> Result<Tiler<T>> {
            let fill = T::of(nodata.unwrap_or(0.0) as f32).ok_or_else(|| {
                Error::Usage(format!("{}: the nodata value {nodata:?} does not fit the number type", path.display()))
            })?;
            Tiler::create(path, base, tiling, codec, fill)
        }
        let nodata = spec.nodata;
        let image = match spec.sample {
            SampleType::U8 => Image::U8(tiler(path, &base, tiling, codec, nodata)?),
            SampleType::U16 => Image::U16(tiler(path, &base, tiling, codec, nodata)?),
            SampleType::I16 => Image::I16(tiler(path, &base, tiling, codec, nodata)?),
            SampleType::I32 => Image::I32(tiler(path, &base, tiling, codec, nodata)?),
            SampleType::F32 => Image::F32(tiler(path, &base, tiling, codec, nodata)?),
            other => {
                return Err(Error::Unsupported {
                    path: path.into(),
                    what: format!("writing {other} samples"),
                    remedy: "write u8, u16, i16, i32 or f32".into(),
                });
            }
        };
        Ok(Self { path: path.into(), grid: grid.clone(), spec, image, base, litter })
    }

    /// The grid being written.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// Edge of the tiles: windows at multiples of it are written without waiting for neighbours.
    pub fn tile(&self) -> usize {
        self.spec.tile
    }

    /// Writes values, [C, H, W] for the window's H × W; pixels where `mask` [H, W] is false become nodata.
    ///
    /// # Errors
    /// [`Error::Usage`] for windows outside the grid, other shapes, pixels written twice, values the number type cannot hold exactly, masked
    /// pixels without a nodata value; [`Error::Io`] when the disk is full.
    pub fn write(
        &mut self,
        window: Window,
        data: ArrayView3<'_, f32>,
        mask: Option<ArrayView2<'_, bool>>,
    ) -> Result<()> {
        self.grid.check(window)?;
        let usage = |text: String| Error::Usage(format!("{}: {text}", self.path.display()));
        let shape = (self.spec.bands.len(), window.height, window.width);
        if data.dim() != shape || mask.is_some_and(|m| m.dim() != (shape.1, shape.2)) {
            return Err(usage(format!("values of shape {:?} were given for a window of shape {shape:?}", data.dim())));
        }
        let nodata = self.spec.nodata;
        if mask.is_some_and(|m| m.iter().any(|valid| !valid)) && nodata.is_none() {
            return Err(usage("has pixels without data but no nodata value; set one".into()));
        }
        let sample = self.spec.sample;
        each!(&mut self.image, tiler => {
            let mut values = Array3::from_elem(shape, convert(nodata.unwrap_or(0.0) as f32).expect("checked when created"));
            for (band, (mut out, plane)) in values.axis_iter_mut(Axis(0)).zip(data.outer_iter()).enumerate() {
                for (at, out) in out.indexed_iter_mut() {
                    if mask.is_none_or(|m| m[at]) {
                        let value = plane[at];
                        *out = convert(value).ok_or_else(|| usage(format!(
                            "band `{}` would hold {value} at col {} row {}, which {sample} cannot hold exactly",
                            self.spec.bands[band], window.col + at.1, window.row + at.0
                        )))?;
                    }
                }
            }
            tiler.write(window, values.view())
        })
    }

    /// Writes class ids, [H, W].
    ///
    /// # Errors
    /// As [`RasterWriter::write`].
    pub fn write_classes(&mut self, window: Window, ids: ArrayView2<'_, u16>) -> Result<()> {
        self.write(window, ids.mapv(f32::from).insert_axis(Axis(0)).view(), None)
    }

    /// Completes the raster: reduced images, metadata, class names, rename. Pixels never written become nodata.
    ///
    /// # Errors
    /// [`Error::Usage`] when pixels are missing and there is no nodata value for them; [`Error::Io`], [`Error::Format`].
    pub fn finish(self) -> Result<()> {
        let Self { path, grid, spec, image, base, mut litter } = self;
        each!(image, tiler => complete(&path, &grid, &spec, tiler, base, &mut litter))
    }
}

/// [`Sample::of`] with the type inferred.
fn convert<T: Sample>(value: f32) -> Option<T> {
    T::of(value)
}

fn complete<T: Sample + TiffSample>(
    path: &Path,
    grid: &Grid,
    spec: &RasterSpec,
    tiler: Tiler<T>,
    base: PathBuf,
    litter: &mut Litter,
) -> Result<()> {
    let missing = tiler.missing();
    if missing > 0 && spec.nodata.is_none() {
        return Err(Error::Usage(format!(
            "{}: {missing} of {} pixels were never written and there is no nodata value for them",
            path.display(),
            grid.width * grid.height
        )));
    }
    tiler.finish()?;
    let codec = spec.codec();
    let nodata = spec.nodata.and_then(|v| T::of(v as f32));
    let tiling = Tiling { width: grid.width, height: grid.height, bands: spec.bands.len(), tile: spec.tile };
    let mut whole = base.as_os_str().to_os_string();
    whole.push(".cog");
    let whole = PathBuf::from(whole);
    litter.0.push(whole.clone());
    let levels = cog::reduce::<T>(path, Level { path: base, tiling }, codec, nodata, spec.overviews, litter)?;
    let extra = extra_tags(path, grid, spec)?;
    let colors = spec.legend.as_ref().map(|legend| color_map(legend, spec.sample)).transpose();
    let colors = colors.map_err(|e| Error::format(path, e))?;
    cog::assemble::<T>(path, &whole, &levels, codec, |mut builder, level| {
        if let Some(colors) = &colors {
            builder = builder.photometric(PhotometricInterpretation::Palette).color_map(colors.clone());
        }
        for tag in &extra {
            // Reduced images need the nodata value only.
            if level == 0 || tag.code == TAG_GDAL_NODATA {
                builder = builder.tag(tag.clone());
            }
        }
        builder
    })?;
    let sidecar = pam::sidecar(path);
    match pam::compose(grid, spec.legend.as_ref()) {
        Some(xml) => atomic::write(&sidecar, xml.as_bytes())?,
        // A side file of an older raster of the same name would give this one wrong names.
        None => drop(std::fs::remove_file(&sidecar)),
    }
    std::fs::rename(&whole, path).map_err(|e| Error::io(path, "rename to", e))
}

/// Georeference, nodata, descriptions.
fn extra_tags(path: &Path, grid: &Grid, spec: &RasterSpec) -> Result<Vec<Tag>> {
    let mut tags = crs::tags(grid).map_err(|e| Error::Usage(format!("{}: {e}", path.display())))?;
    let mut items = spec.items.clone();
    if let Some(legend) = &spec.legend {
        items.extend(legend.classes.iter().map(|c| (format!("class_{}", c.id), c.name.clone())));
    }
    tags.push(Tag::new(metadata::TAG, TagValue::Ascii(metadata::compose(&spec.bands, &items))));
    if let Some(nodata) = spec.nodata {
        let text = if nodata.is_nan() { "nan".into() } else { nodata.to_string() };
        tags.push(Tag::new(TAG_GDAL_NODATA, TagValue::Ascii(text)));
    }
    Ok(tags)
}

/// The TIFF colour table: 16-bit red, green and blue of every possible id.
fn color_map(legend: &Legend, sample: SampleType) -> Result<ColorMap, String> {
    let size = if sample == SampleType::U8 { 256 } else { 65536 };
    let mut planes = [vec![0u16; size], vec![0u16; size], vec![0u16; size]];
    for (index, class) in legend.classes.iter().enumerate() {
        for (plane, value) in planes.iter_mut().zip(legend.color(index)) {
            plane[usize::from(class.id)] = u16::from(value) * 257;
        }
    }
    let [red, green, blue] = planes;
    ColorMap::new(red, green, blue)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_waiting_on_disk_come_back_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tif");
        let spec = RasterSpec { tile: 32, ..RasterSpec::values(SampleType::I16, ["a", "b"], Some(-1.0)) };
        let grid = Grid::unreferenced(100, 70);
        let mut writer = RasterWriter::create(&path, &grid, spec).unwrap();
        let Image::I16(tiler) = &mut writer.image else { panic!("an i16 image") };
        tiler.set_budget(3 * 2 * 32 * 32 * 2);
        let value = |band: usize, row: usize, col: usize| (band * 10_000 + row * 100 + col) as f32;
        // Rows one by one, from the last to the first: every tile waits.
        for row in (0..70).rev() {
            let data = Array3::from_shape_fn((2, 1, 100), |(b, _, c)| value(b, row, c));
            writer.write(Window::new(0, row, 100, 1), data.view(), None).unwrap();
        }
        assert!(std::fs::read_dir(dir.path()).unwrap().count() > 1, "tiles beyond the budget wait in a file");
        writer.finish().unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        let back = crate::BandSource::read_stored(&super::super::open(&path).unwrap(), &[0, 1], grid.window()).unwrap();
        assert_eq!(back.data, Array3::from_shape_fn((2, 70, 100), |(b, r, c)| value(b, r, c)));
    }
}
