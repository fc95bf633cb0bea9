//! Folders of one-band files at several pixel sizes, stacked on the grid of the finest: BigEarthNet patches, Sentinel-2 and Landsat products.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use geoglot_core::{Band, Grid, Registry, Sensor, Window};
use ndarray::{Array2, Array3, Axis, Zip, s};

use crate::{BandSource, Error, Resampled, Resampling, Result, SampleType, SourceOptions, Tile, check_request};

/// Deepest folder looked into (a Sentinel-2 product keeps its bands four levels down).
const DEEPEST: usize = 6;
const MOST_FILES: usize = 2000;

/// A folder of one-band rasters as one raster.
#[derive(Debug)]
pub struct FolderSource {
    path: PathBuf,
    grid: Grid,
    bands: Vec<Band>,
    sample: SampleType,
    /// One source a band, all on `grid`.
    parts: Vec<Arc<dyn BandSource>>,
    notes: Vec<String>,
}

/// The sensor that a product's official file or folder name states, if it is one: the name carries mission and processing level.
///
/// Sentinel-2 (`…_MSIL1C_…`, `…_MSIL2A_…`, with `_N0400` or later for products that need the offset), Sentinel-1 GRD (`S1A_IW_GRD…`), and Landsat
/// (`LC08_L2SP_…`).
pub fn sensor_of_product(name: &str) -> Option<&'static str> {
    let upper = name.to_ascii_uppercase();
    let has = |part: &str| upper.contains(part);
    // Processing baseline: _N0400 and later carry the offset of -1000 counts. _N9999 is synthetic.
    let baseline =
        upper.split(['_', '.']).find_map(|p| p.strip_prefix('N').filter(|d| d.len() == 4)?.parse::<u32>().ok());
    let offset = baseline.is_some_and(|b| (400..9999).contains(&b));
    if has("MSIL2A") {
        return Some(if offset { "sentinel-2-l2a-0400" } else { "sentinel-2-l2a" });
    }
    if has("MSIL1C") {
        return Some(if offset { "sentinel-2-l1c-0400" } else { "sentinel-2-l1c" });
    }
    if ["S1A", "S1B", "S1C"].iter().any(|m| upper.starts_with(m)) && has("_GRD") {
        return Some("sentinel-1-grd");
    }
    let level2 = has("_L2SP_") || has("_L2SR_");
    let level1 = has("_L1TP_") || has("_L1GT_") || has("_L1GS_");
    let mission = upper.get(..4)?;
    Some(match (mission, level2, level1) {
        ("LC08", true, _) => "landsat-8-l2",
        ("LC08", _, true) => "landsat-8-l1",
        ("LC09", true, _) => "landsat-9-l2",
        ("LC09", _, true) => "landsat-9-l1",
        ("LE07", true, _) => "landsat-7-l2",
        ("LE07", _, true) => "landsat-7-l1",
        ("LT05", true, _) => "landsat-5-l2",
        ("LT05", _, true) => "landsat-5-l1",
        _ => return None,
    })
}

/// The band that a file name means to a sensor: its last part that is a band name (`…_B02.tif`, `…_B02_10m.jp2`, `…_SR_B4.TIF`).
fn band_of<'a>(sensor: &'a Sensor, stem: &str) -> Option<&'a Band> {
    let parts: Vec<&str> = stem.split('_').collect();
    // A resolution may follow (`10m`), nothing else: `B02` inside a tile name must not count.
    let last = parts.last()?;
    let is_resolution = last.strip_suffix('m').is_some_and(|n| n.parse::<u32>().is_ok());
    let end = if is_resolution { parts.len() - 1 } else { parts.len() };
    let two = (end >= 2).then(|| parts[end - 2..end].join("_")).and_then(|n| sensor.find_band(&n));
    two.or_else(|| sensor.find_band(parts.get(end.checked_sub(1)?)?))
}

/// What tells file names apart: without the start they share (up to its last separator) and the end they share.
fn distinct_parts(stems: &[String]) -> Vec<String> {
    let Some(first) = stems.first() else { return Vec::new() };
    if stems.len() == 1 {
        return vec![first.rsplit('_').next().unwrap_or(first).to_owned()];
    }
    let separator = |c: char| matches!(c, '_' | '-' | '.' | ' ');
    let common = stems
        .iter()
        .skip(1)
        .fold(first.len(), |n, other| first.bytes().zip(other.bytes()).take(n).take_while(|(a, b)| a == b).count());
    let start = first
        .char_indices()
        .take_while(|(at, _)| *at < common)
        .filter(|(_, c)| separator(*c))
        .map(|(at, c)| at + c.len_utf8())
        .last();
    stems.iter().map(|s| s.get(start.unwrap_or(0)..).filter(|s| !s.is_empty()).unwrap_or(s).to_owned()).collect()
}

/// Orders names as people do: numbers by value.
fn natural_key(name: &str) -> Vec<(u64, String)> {
    let mut key = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let words = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (text, after) = rest.split_at(words);
        let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let (number, next) = after.split_at(digits);
        key.push((number.parse().unwrap_or(u64::MAX), text.to_lowercase()));
        rest = next;
    }
    // The text before a number decides first.
    key.into_iter().flat_map(|(n, t)| [(0, t), (n, String::new())]).collect()
}

fn rasters(folder: &Path, depth: usize, found: &mut Vec<PathBuf>, others: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io(folder, "list", e))?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(|e| Error::io(folder, "list", e))?.path());
    }
    paths.sort();
    for path in paths {
        if found.len() > MOST_FILES {
            return Err(Error::format(
                folder,
                format!("holds more than {MOST_FILES} rasters; name the folder of one scene"),
            ));
        }
        let ending = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
        if path.is_dir() {
            // Masks and previews of a product (QI_DATA, HTML) are no bands.
            let skipped = path.file_name().is_some_and(|n| n == "QI_DATA" || n == "HTML" || n == "AUX_DATA");
            if depth < DEEPEST && !skipped {
                rasters(&path, depth + 1, found, others)?;
            }
        } else if ending == "tif" || ending == "tiff" || (cfg!(feature = "gdal") && ending == "jp2") {
            found.push(path);
        } else if ending == "jp2" {
            others.push(path);
        }
    }
    Ok(())
}

/// A file of the folder, opened.
struct Entry {
    path: PathBuf,
    source: Arc<dyn BandSource>,
    band: Band,
    /// Order in the stack.
    order: (usize, Vec<(u64, String)>),
}

impl FolderSource {
    /// Opens every one-band raster in the folder; only metadata is read. Coarser bands are brought onto the finest grid by `resampling`.
    ///
    /// Bands are named by the registry where the folder or its files carry a product's official name ([`sensor_of_product`]), else by what tells
    /// the file names apart. A band present at several pixel sizes is taken from its finest file.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] for folders without rasters or with rasters of several bands; [`Error::Unsupported`] for JPEG 2000 bands
    /// without the feature `gdal`; [`Error::Align`] for bands of different places.
    pub fn open(path: &Path, resampling: Resampling) -> Result<Self> {
        let (mut files, mut unread) = (Vec::new(), Vec::new());
        rasters(path, 0, &mut files, &mut unread)?;
        if files.is_empty() {
            return Err(match unread.first() {
                Some(file) => Error::Unsupported {
                    path: file.clone(),
                    what: "JPEG 2000".into(),
                    remedy: "convert each band with `gdal_translate IN.jp2 OUT.tif`, or build with the feature `gdal`"
                        .into(),
                },
                None => {
                    Error::format(path, "is a folder without GeoTIFF files; expected one-band files such as *_B02.tif")
                }
            });
        }
        let stem = |p: &Path| p.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        let stems: Vec<String> = files.iter().map(|f| stem(f)).collect();
        let folder = path.canonicalize().unwrap_or_else(|_| path.into());
        let folder_name = folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let id = sensor_of_product(&folder_name).or_else(|| stems.iter().find_map(|s| sensor_of_product(s)));
        let sensor = id.map(|id| Registry::builtin().sensor(id)).transpose()?;
        let mut notes = Vec::new();
        if let Some(sensor) = sensor {
            notes.push(format!("sensor {} by the product's name", sensor.id));
        }
        let mut entries = entries(path, &files, &stems, sensor, &mut notes)?;
        entries.sort_by(|a, b| a.order.cmp(&b.order).then_with(|| size(&a.source).total_cmp(&size(&b.source))));
        entries.dedup_by(|later, kept| {
            let same = later.band.name == kept.band.name;
            if same {
                notes.push(format!(
                    "band {} taken from {}, the finer of its files",
                    kept.band.name,
                    kept.path.display()
                ));
            }
            same
        });
        let Some(finest) = entries.iter().min_by(|a, b| size(&a.source).total_cmp(&size(&b.source))) else {
            return Err(Error::format(path, "holds no file that is a band of its sensor"));
        };
        let grid = finest.source.grid().clone();
        let sample = entries
            .iter()
            .map(|e| e.source.sample_type())
            .max_by_key(|s| (!s.is_integer(), s.bytes()))
            .unwrap_or(SampleType::F32);
        let (mut parts, mut bands) = (Vec::new(), Vec::new());
        for entry in entries {
            let own = entry.source.grid();
            let part: Arc<dyn BandSource> = if own.same_as(&grid) {
                entry.source
            } else {
                if let (None, _) | (_, None) = (&own.crs, &grid.crs) {
                    return Err(Error::Align {
                        path: entry.path,
                        problem: format!(
                            "has {}×{} pixels, the finest band {}×{}, and no coordinate reference system tells how they lie",
                            own.width, own.height, grid.width, grid.height
                        ),
                    });
                }
                overlap(&entry.path, own, &grid)?;
                let (w, _) = own.pixel_size();
                notes.push(format!(
                    "band {} brought from {w} to {} by {resampling:?} resampling",
                    entry.band.name,
                    grid.pixel_size().0
                ));
                Arc::new(Resampled::new(entry.source, &grid, resampling)?)
            };
            parts.push(part);
            bands.push(entry.band);
        }
        for note in &notes {
            tracing::info!(folder = %path.display(), "{note}");
        }
        Ok(Self { path: path.into(), grid, bands, sample, parts, notes })
    }

    /// What was decided about sensor, bands and resampling, in words.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

fn size(source: &Arc<dyn BandSource>) -> f64 {
    let (w, h) = source.grid().pixel_size();
    w.max(h)
}

/// Bands in one reference system must share ground, or files of several scenes were mixed.
fn overlap(path: &Path, a: &Grid, b: &Grid) -> Result<()> {
    let (p, q) = (a.bounds(), b.bounds());
    if a.crs == b.crs && (p[0] >= q[2] || q[0] >= p[2] || p[1] >= q[3] || q[1] >= p[3]) {
        return Err(Error::Align {
            path: path.into(),
            problem: format!(
                "lies at {p:?}, apart from the finest band at {q:?}; keep the files of one scene in a folder"
            ),
        });
    }
    Ok(())
}

fn entries(
    path: &Path,
    files: &[PathBuf],
    stems: &[String],
    sensor: Option<&Sensor>,
    notes: &mut Vec<String>,
) -> Result<Vec<Entry>> {
    let names = distinct_parts(stems);
    let mut entries = Vec::new();
    for ((file, stem), name) in files.iter().zip(stems).zip(names) {
        let known = sensor.and_then(|s| band_of(s, stem));
        if sensor.is_some() && known.is_none() {
            // Quality layers, previews, scene classifications of a product.
            notes.push(format!("{} is no band of the sensor and was left out", file.display()));
            continue;
        }
        let source = crate::open(file, &SourceOptions::default())?;
        let [own] = source.bands() else {
            return Err(Error::format(
                file,
                format!(
                    "has {} bands; a folder is stacked from one-band files, so open this file alone or move it out of {}",
                    source.bands().len(),
                    path.display()
                ),
            ));
        };
        let band = match known {
            // Whole numbers are counts that need the sensor's scale; others are physical already. The file's own scale wins.
            Some(known) => {
                let own_scale = own.scale != 1.0 || own.offset != 0.0;
                let plain = own_scale || !source.sample_type().is_integer();
                Band {
                    scale: if plain { own.scale } else { known.scale },
                    offset: if plain { own.offset } else { known.offset },
                    nodata: own.nodata.or(known.nodata),
                    ..known.clone()
                }
            }
            None => Band { name: name.clone(), ..own.clone() },
        };
        let place = sensor.and_then(|s| s.bands.iter().position(|b| b.name == band.name)).unwrap_or(0);
        let order = (place, if sensor.is_some() { Vec::new() } else { natural_key(&name) });
        entries.push(Entry { path: file.clone(), source, band, order });
    }
    Ok(entries)
}

impl BandSource for FolderSource {
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
        self.parts.iter().map(|part| part.columns_at_once()).min().unwrap_or(self.grid.width)
    }

    fn read_stored(&self, bands: &[usize], window: Window) -> Result<Tile> {
        check_request(self, bands, window)?;
        let mut data = Array3::<f32>::zeros((bands.len(), window.height, window.width));
        let mut mask = Array2::from_elem((window.height, window.width), true);
        for (k, &band) in bands.iter().enumerate() {
            let tile = self.parts[band].read_stored(&[0], window)?;
            data.slice_mut(s![k, .., ..]).assign(&tile.data.index_axis(Axis(0), 0));
            // The registry may know a nodata value that the file does not state.
            let nodata = self.bands[band].nodata.map(|v| v as f32);
            Zip::from(&mut mask)
                .and(&tile.mask)
                .and(tile.data.index_axis(Axis(0), 0))
                .for_each(|m, &valid, &v| *m &= valid && v.is_finite() && Some(v) != nodata);
        }
        Ok(Tile { window, data, mask })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_known_by_their_official_names_only() {
        for (name, id) in [
            ("S2A_MSIL2A_20170613T101031_87_48", Some("sentinel-2-l2a")),
            ("S2B_MSIL2A_20230101T101031_N0509_R022_T32TQM_20230101T134159.SAFE", Some("sentinel-2-l2a-0400")),
            ("S2A_MSIL1C_20170613T101031_N0205_R022_T33UUP_20170613T101608", Some("sentinel-2-l1c")),
            ("S1A_IW_GRDH_1SDV_20170613T165043_33UUP_87_48", Some("sentinel-1-grd")),
            ("LC08_L2SP_193027_20200101_20200823_02_T1", Some("landsat-8-l2")),
            ("LE07_L1TP_193027_20000101_20200918_02_T1", Some("landsat-7-l1")),
            ("my_scene_B02", None),
            ("", None),
            ("äöü", None),
        ] {
            assert_eq!(sensor_of_product(name), id, "{name}");
        }
    }

    #[test]
    fn every_product_has_a_registry_entry_that_finds_its_bands() {
        let s = |id: &str| Registry::builtin().sensor(id).unwrap();
        let name = |id: &str, stem: &str| band_of(s(id), stem).map(|b| b.name.clone());
        assert_eq!(name("sentinel-2-l2a", "S2A_MSIL2A_20170613T101031_87_48_B8A").as_deref(), Some("B8A"));
        assert_eq!(name("sentinel-2-l2a-0400", "T32TQM_20230101T101031_B02_10m").as_deref(), Some("B02"));
        assert_eq!(name("sentinel-2-l2a-0400", "T32TQM_20230101T101031_SCL_20m"), None);
        assert_eq!(name("sentinel-1-grd", "S1A_IW_GRDH_1SDV_87_48_VH").as_deref(), Some("VH"));
        assert_eq!(name("landsat-8-l2", "LC08_L2SP_193027_20200101_20200823_02_T1_SR_B4").as_deref(), Some("B4"));
        assert_eq!(name("landsat-8-l2", "LC08_L2SP_193027_20200101_20200823_02_T1_ST_B10").as_deref(), Some("B10"));
        assert_eq!(name("landsat-8-l2", "LC08_L2SP_193027_20200101_20200823_02_T1_QA_PIXEL"), None);
        for id in [
            "landsat-8-l1",
            "landsat-9-l2",
            "landsat-9-l1",
            "landsat-7-l2",
            "landsat-5-l2",
            "landsat-5-l1",
            "sentinel-2-l1c-0400",
        ] {
            s(id);
        }
    }

    #[test]
    fn names_of_unknown_files() {
        let parts = |names: &[&str]| distinct_parts(&names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
        assert_eq!(parts(&["site_VV", "site_VH"]), ["VV", "VH"]);
        assert_eq!(parts(&["red", "green"]), ["red", "green"]);
        assert_eq!(parts(&["a_b_c"]), ["c"]);
        assert_eq!(parts(&["größe_1", "größe_2"]), ["1", "2"]);
        let mut names = ["b10", "b2", "b1", "a"];
        names.sort_by_key(|n| natural_key(n));
        assert_eq!(names, ["a", "b1", "b2", "b10"]);
    }
}
