//! What shards are written from: data sets of any layout, and lists of captions.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use geoglot_core::{Band, Grid, Registry, Window};
use geoglot_raster::{BandSource, Bound, Footprints, SampleType, SceneArg, SourceOptions};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::error::{Error, OnFault, Result};
use super::index::ShardIndex;
use super::sample::{Sample, masked};
use super::writer::{ShardWriter, WriteOptions, hex};
use crate::datasets::{Dataset, ImageSource};

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

/// Stored values of all bands of `source`, with what they mean.
fn stored(source: &dyn BandSource) -> Result<(super::Image, Vec<Band>)> {
    let tile = source.read_stored(&source.all_bands(), source.grid().window())?;
    let kept = match source.sample_type() {
        kept @ (SampleType::U8 | SampleType::U16) => kept,
        _ => SampleType::F32,
    };
    let values = tile.data.permuted_axes([1, 2, 0]).as_standard_layout().into_owned();
    let bands = source.bands();
    // Where every band has a number for "no data", that number stays; other masks need floats.
    let numbered = bands.iter().all(|b| b.nodata.is_some()) && kept != SampleType::F32;
    let image = if numbered { super::Image::of_values(values, kept) } else { masked(values, &tile.mask, kept) };
    Ok((image, bands.to_vec()))
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
        let (image, bands) = stored(scene.inputs()[0].source().as_ref())?;
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
    sensor: Option<String>,
    #[serde(default)]
    bands: Vec<String>,
    #[serde(default, alias = "wavelengths_um")]
    wavelengths: Vec<Option<f32>>,
    #[serde(default)]
    short: Option<String>,
    #[serde(default)]
    long: Option<String>,
    #[serde(default)]
    captions: Vec<String>,
}

/// Items of a `captions.jsonl`: a line an image with the fields `key`, `image` (path from the list), `bands`, `wavelengths` (µm), `short`
/// and `long`; `sensor` and `captions` may be there, other fields are left alone.
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
        let path = self.folder.join(&line.image);
        let source: Arc<dyn BandSource> = match path.is_file() && ImageSource::recognises(&path)? {
            true => Arc::new(ImageSource::open(&path)?),
            false => geoglot_raster::open(&path, &SourceOptions::default())?,
        };
        let sensor = line.sensor.clone().or_else(|| self.sensor.clone());
        let arg = SceneArg { sensor, layout: self.layout.clone(), bands: line.bands.clone(), ..SceneArg::new(&path) };
        let bound = Bound::new(source, &arg, &self.registry)?;
        let (image, mut bands) = stored(&bound)?;
        if !line.wavelengths.is_empty() {
            if line.wavelengths.len() != bands.len() {
                let problem = format!(
                    "{} has {} bands, the list {} wavelengths",
                    path.display(),
                    bands.len(),
                    line.wavelengths.len()
                );
                return Err(Error::item(&line.key, problem));
            }
            bands.iter_mut().zip(&line.wavelengths).for_each(|(band, wave)| band.wavelength_um = *wave);
        }
        let texts: Vec<String> =
            [&line.short, &line.long].into_iter().flatten().chain(&line.captions).cloned().collect();
        if texts.is_empty() {
            return Err(Error::item(&line.key, "has neither a short nor a long caption"));
        }
        Ok((Sample { geoloc: place(&path, bound.grid()), ..Sample::new(self.key(i), image, texts) }, bands))
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
