//! What shards are written from: data sets of any layout, and lists of captions.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use geoglot_core::{Band, Grid, Registry, Window};
use geoglot_raster::{BandSource, Bound, Footprints, SampleType, SceneArg, SourceOptions, is_placeholder};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::error::{Error, OnFault, Result};
use super::index::ShardIndex;
use super::sample::{Sample, masked};
use super::writer::{ShardWriter, WriteOptions, hex};
use crate::datasets::{Dataset, ImageSource, is_colour};

/// Items that become samples, by number.
pub trait SampleSource: Sync {
    /// Number of items.
    fn len(&self) -> usize;

    /// True without items.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Key of item `i`.
    fn key(&self, i: usize) -> String;

    /// Stands for the items and their options: a job is resumed only with the same.
    fn fingerprint(&self) -> String;

    /// Item `i` with the bands of its channels.
    ///
    /// # Errors
    /// What reading the image gives.
    fn sample(&self, i: usize) -> Result<(Sample, Vec<Band>)>;
}

/// Writes `source` into the folder `out` and returns its index. `progress` gets the items done and their number after every few, and
/// returns false to stop: then what is written stays, to be resumed.
///
/// # Errors
/// Items that cannot be read, unless they are skipped; as [`ShardWriter`].
pub fn write_shards(
    source: &dyn SampleSource,
    out: &Path,
    options: WriteOptions,
    on_fault: OnFault,
    progress: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<Option<ShardIndex>> {
    let mut writer = ShardWriter::create(out, &source.fingerprint(), options)?;
    if writer.is_complete() {
        return ShardIndex::load(out);
    }
    let all: Vec<usize> = (0..source.len()).skip(writer.position() as usize).collect();
    // Few at once: their pixels are in memory.
    for some in all.chunks(2 * rayon::current_num_threads()) {
        let read: Vec<Result<(Sample, Vec<Band>)>> = some.to_vec().into_par_iter().map(|i| source.sample(i)).collect();
        for (&i, item) in some.iter().zip(read) {
            match item.and_then(|(sample, bands)| writer.write(&sample, &bands)) {
                Ok(()) => {}
                Err(e @ Error::Io { .. }) => return Err(e),
                Err(e) if on_fault == OnFault::Skip => {
                    tracing::warn!("left out: {e}");
                    writer.pass_over();
                }
                Err(e @ (Error::Item { .. } | Error::Dataset(_))) => return Err(e),
                Err(e) => return Err(Error::item(&source.key(i), e.to_string())),
            }
        }
        if !progress(some.last().map_or(0, |i| i + 1), source.len()) {
            return Ok(None);
        }
    }
    writer.finish().map(Some)
}

/// A key that WebDataset can take: no dots.
fn key_of(id: &str) -> String {
    let path = Path::new(id);
    let known = ["png", "jpg", "jpeg", "tif", "tiff", "npy", "hdf5", "h5", "mat", "hdr", "img", "nc"];
    let ending =
        path.extension().and_then(|e| e.to_str()).is_some_and(|e| known.contains(&e.to_ascii_lowercase().as_str()));
    let text = if ending { path.with_extension("").to_string_lossy().into_owned() } else { id.to_owned() };
    let parts = text.split(['/', '\\']).filter(|p| !p.is_empty() && *p != "." && *p != "..");
    parts.map(|p| p.replace(|c: char| c == '.' || c.is_control(), "_")).collect::<Vec<_>>().join("/")
}

/// Stored values of the bands `picked` of `source`, with what they mean.
fn stored(source: &dyn BandSource, picked: &[usize]) -> Result<(super::Image, Vec<Band>)> {
    let tile = source.read_stored(picked, source.grid().window())?;
    let kept = match source.sample_type() {
        kept @ (SampleType::U8 | SampleType::U16) => kept,
        _ => SampleType::F32,
    };
    let values = tile.data.permuted_axes([1, 2, 0]).as_standard_layout().into_owned();
    let bands: Vec<Band> = picked.iter().map(|&b| source.bands()[b].clone()).collect();
    // Where every band has a number for "no data", that number stays; other masks need floats.
    let numbered = bands.iter().all(|b| b.nodata.is_some()) && kept != SampleType::F32;
    let image = if numbered { super::Image::of_values(values, kept) } else { masked(values, &tile.mask, kept) };
    Ok((image, bands))
}

/// Longitude and latitude of an image's centre to about 10 cm, where it says where it is.
fn place(path: &Path, grid: &Grid) -> Option<String> {
    let centre = Window::new(grid.width / 2, grid.height / 2, 1, 1);
    let [lon, lat] = *Footprints::new(path, grid).ok()?.ring(centre, 1).ok()?.first()?;
    Some(format!("[{lon:.6}, {lat:.6}]"))
}

/// Items of a [`Dataset`].
pub struct DatasetSource {
    set: Dataset,
    items: Vec<usize>,
    classes: Vec<String>,
}

impl DatasetSource {
    /// The `items` of `set`.
    pub fn new(set: Dataset, items: Vec<usize>) -> Self {
        let classes = set.classes().to_vec();
        Self { set, items, classes }
    }
}

impl SampleSource for DatasetSource {
    fn len(&self) -> usize {
        self.items.len()
    }

    fn key(&self, i: usize) -> String {
        key_of(&self.set.items()[self.items[i]].id)
    }

    fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for &i in &self.items {
            let item = &self.set.items()[i];
            hash.update(format!("{:?}\n", (&item.id, &item.path, &item.labels, &item.captions)));
        }
        hex(&hash.finalize())
    }

    fn sample(&self, i: usize) -> Result<(Sample, Vec<Band>)> {
        let scene = self.set.scene(self.items[i])?;
        let source = scene.inputs()[0].source();
        let (image, bands) = stored(source.as_ref(), &source.all_bands())?;
        let item = &self.set.items()[self.items[i]];
        let sample = Sample {
            classes: item.labels.iter().map(|&k| self.classes[k].clone()).collect(),
            geoloc: place(&item.path, scene.grid()),
            ..Sample::new(self.key(i), image, item.captions.clone())
        };
        Ok((sample, bands))
    }
}

/// One line of a list of captions.
#[derive(Debug, Clone, Deserialize)]
struct Line {
    key: String,
    #[serde(alias = "path", alias = "image_path", alias = "file")]
    image: PathBuf,
    #[serde(default)]
    options: String,
    #[serde(default)]
    sensor: Option<String>,
    #[serde(default)]
    bands: Vec<String>,
    #[serde(default, alias = "wavelengths_um")]
    wavelengths: Vec<Option<f32>>,
    #[serde(default)]
    geoloc: Option<[f64; 2]>,
    #[serde(default)]
    short: Texts,
    #[serde(default)]
    long: Texts,
    #[serde(default)]
    captions: Vec<String>,
}

/// A text or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Texts {
    One(String),
    Many(Vec<String>),
}

impl Default for Texts {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl Texts {
    fn all(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

/// Positions of the bands `wanted` (`name` or `sensor/name`; all when empty) among `bands`. Bands that are known by number only take the
/// names wanted, when there are as many.
fn pick(wanted: &[String], bands: &mut [Band]) -> Result<Vec<usize>, String> {
    if wanted.is_empty() {
        return Ok((0..bands.len()).collect());
    }
    if bands.len() == wanted.len() && bands.iter().all(|b| is_placeholder(&b.name)) {
        for (band, label) in bands.iter_mut().zip(wanted) {
            *band = match label.split_once('/') {
                Some((sensor, name)) => Band { sensor: Some(sensor.into()), name: name.into(), ..band.clone() },
                None => Band { name: label.clone(), ..band.clone() },
            };
        }
    }
    let find = |label: &String| {
        bands
            .iter()
            .position(|b| b.label().eq_ignore_ascii_case(label) || b.name.eq_ignore_ascii_case(label))
            .ok_or_else(|| {
                let known: Vec<String> = bands.iter().map(Band::label).collect();
                format!("has no band `{label}`; it has {}", known.join(", "))
            })
    };
    wanted.iter().map(find).collect()
}

/// Items of a `captions.jsonl`: a line an image with the fields `key`, `image` (path from the list), `bands`, `wavelengths` (µm), `short`
/// and `long` (a text or several); `options` (as behind the colon of a scene), `sensor`, `geoloc` and `captions` may be there, other fields
/// are left alone.
pub struct ManifestSource {
    path: PathBuf,
    folder: PathBuf,
    lines: Vec<Line>,
    sensor: Option<String>,
    layout: Option<String>,
    registry: Arc<Registry>,
}

impl ManifestSource {
    /// Reads the list; `sensor` and `layout` are those of images that do not say.
    ///
    /// # Errors
    /// [`Error::Index`] naming file and line; [`Error::Io`].
    pub fn open(path: &Path, sensor: Option<String>, layout: Option<String>, registry: Arc<Registry>) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, "read", e))?;
        let mut lines = Vec::new();
        for (number, line) in bytes.split(|&b| b == b'\n').enumerate().filter(|(_, l)| !l.trim_ascii().is_empty()) {
            let wrong = |problem: String| Error::index(path, format!("line {}: {problem}", number + 1));
            let line: Line = serde_json::from_slice(line)
                .map_err(|e| wrong(format!("{e}; expected key, image, bands, wavelengths, short and long")))?;
            let count = line.wavelengths.len();
            if count > 0 && !line.bands.is_empty() && count != line.bands.len() {
                return Err(wrong(format!("{} bands and {count} wavelengths", line.bands.len())));
            }
            lines.push(line);
        }
        if lines.is_empty() {
            return Err(Error::index(path, "names no image"));
        }
        let folder = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
        Ok(Self { path: path.into(), folder, lines, sensor, layout, registry })
    }
}

impl SampleSource for ManifestSource {
    fn len(&self) -> usize {
        self.lines.len()
    }

    fn key(&self, i: usize) -> String {
        key_of(&self.lines[i].key)
    }

    fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(format!("{:?} {:?} {:?}\n", self.path, self.sensor, self.layout));
        self.lines.iter().for_each(|line| hash.update(format!("{line:?}\n")));
        hex(&hash.finalize())
    }

    fn sample(&self, i: usize) -> Result<(Sample, Vec<Band>)> {
        let line = &self.lines[i];
        let wrong = |problem: String| Error::item(&line.key, problem);
        let path = match self.folder.join(&line.image) {
            beside if beside.exists() => beside,
            // As the job that made the list named it.
            _ => line.image.clone(),
        };
        let source: Arc<dyn BandSource> = match path.is_file() && ImageSource::recognises(&path)? {
            true => Arc::new(ImageSource::open(&path)?),
            false => geoglot_raster::open(&path, &SourceOptions::default())?,
        };
        let options: SceneArg = match line.options.as_str() {
            "" => SceneArg::default(),
            options => format!("image=x:{options}").parse().map_err(|e: geoglot_raster::Error| wrong(e.to_string()))?,
        };
        let told = line.sensor.clone().or_else(|| self.sensor.clone());
        let sensor = options.sensor.clone().or(told).or_else(|| is_colour(source.as_ref()).then(|| "rgb".into()));
        let layout = options.layout.clone().or_else(|| self.layout.clone());
        let bound = Bound::new(source, &SceneArg { sensor, layout, path: path.clone(), ..options }, &self.registry)?;
        let mut known = bound.bands().to_vec();
        let picked = pick(&line.bands, &mut known).map_err(|e| wrong(format!("{} {e}", path.display())))?;
        let (image, _) = stored(&bound, &picked)?;
        let mut bands: Vec<Band> = picked.iter().map(|&b| known[b].clone()).collect();
        if !line.wavelengths.is_empty() {
            if line.wavelengths.len() != bands.len() {
                let (path, count) = (path.display(), line.wavelengths.len());
                return Err(wrong(format!("{path} has {} bands, the list {count} wavelengths", bands.len())));
            }
            bands.iter_mut().zip(&line.wavelengths).for_each(|(band, wave)| band.wavelength_um = *wave);
        }
        let texts = line.short.all().iter().chain(line.long.all()).chain(&line.captions).cloned().collect::<Vec<_>>();
        if texts.is_empty() {
            return Err(wrong("has neither a short nor a long caption".into()));
        }
        let place = line.geoloc.map(|[lon, lat]| format!("[{lon}, {lat}]")).or_else(|| place(&path, bound.grid()));
        Ok((Sample { geoloc: place, ..Sample::new(self.key(i), image, texts) }, bands))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_no_dots() {
        for (id, key) in [
            ("airport/airport_1.jpg", "airport/airport_1"),
            ("S2A.SAFE/T32.B04", "S2A_SAFE/T32_B04"),
            ("./x/../y.tif", "x/y"),
            ("деревня 1.png", "деревня 1"),
        ] {
            assert_eq!(key_of(id), key);
        }
    }
}
