//! A scene made of one or several arrays of a file: what MATLAB, npy, HDF5 and NetCDF have in common.

use std::fmt::Debug;
use std::ops::Range;
use std::path::{Path, PathBuf};

use geoglot_core::{Band, Grid, Window};
use ndarray::{Array3, ArrayD, Axis, s};

use super::axes::{AxisMap, Custom, choose, parse_selector, rank, split_list, times};
use super::mask_of;
use crate::{BandSource, Error, Result, SampleType, SourceOptions, Tile, check_request, placeholder_name};

/// One array of a file, before its pixels are read.
#[derive(Debug, Clone, PartialEq)]
pub struct Variable {
    /// Name or path in the file.
    pub name: String,
    /// Lengths of its axes, in the order a user of the format sees them.
    pub shape: Vec<usize>,
    /// Type of its numbers, such as `int16`; what it is instead when it holds none (`text`, `struct`).
    pub kind: String,
    /// Type in which its real numbers are stored; `None` for anything else.
    pub sample: Option<SampleType>,
}

impl Variable {
    /// `name (3×4, int16)`.
    pub fn label(&self) -> String {
        format!("{} ({}, {})", self.name, times(&self.shape), self.kind)
    }
}

/// A file of arrays.
pub(crate) trait ArrayStore: Send + Sync + Debug {
    /// Every array, numeric or not.
    fn variables(&self) -> &[Variable];

    /// A hyperslab: one range for each axis, each not empty and inside the shape.
    fn read(&self, variable: usize, ranges: &[Range<usize>]) -> Result<ArrayD<f32>>;

    /// What the file says about a variable's bands: `count` of them along `axis` (one where `None`).
    fn bands(&self, variable: usize, axis: Option<usize>, count: usize) -> Vec<Band> {
        let name = &self.variables()[variable].name;
        (0..count).map(|k| Band::named(if axis.is_none() { name.clone() } else { placeholder_name(k) })).collect()
    }

    /// The variable's axes, where the file names them.
    fn named_axes(&self, _variable: usize) -> Option<AxisMap> {
        None
    }

    /// The place on the ground, where the file says it.
    fn grid(&self, _variable: usize, _map: &AxisMap) -> Option<Grid> {
        None
    }

    /// What arrays of this format usually look like.
    fn custom(&self) -> Custom;

    /// Whether several 2-D arrays of one size are the bands of one image when nothing is said.
    fn stacks(&self) -> bool;
}

#[derive(Debug)]
struct Part {
    variable: usize,
    map: AxisMap,
    bands: usize,
}

/// Arrays of a file as bands of one scene.
#[derive(Debug)]
pub struct ArraySource {
    path: PathBuf,
    store: Box<dyn ArrayStore>,
    parts: Vec<Part>,
    grid: Grid,
    bands: Vec<Band>,
    sample: SampleType,
    notes: Vec<String>,
}

impl ArraySource {
    /// Chooses arrays and axes by `options`, else by the rules of [`super::axes`].
    pub(crate) fn new(path: &Path, store: Box<dyn ArrayStore>, options: &SourceOptions) -> Result<Self> {
        let wrong = |problem: String| Error::format(path, problem);
        let mut notes = Vec::new();
        let chosen = match &options.variable {
            Some(text) => requested(store.as_ref(), text).map_err(wrong)?,
            None => obvious(store.as_ref(), options, &mut notes).map_err(wrong)?,
        };
        let (mut parts, mut bands, mut size) = (Vec::new(), Vec::new(), None::<(usize, usize, String)>);
        for (variable, fixed) in chosen {
            let info = &store.variables()[variable];
            let shape = &info.shape;
            let map = match store.named_axes(variable) {
                Some(map) if options.axes.is_none() && fixed.is_empty() => map,
                _ => choose(shape, &fixed, options.axes, store.custom())
                    .map_err(|e| wrong(format!("`{}` {e}", info.name)))?,
            };
            let (height, width) = (shape[map.row], shape[map.col]);
            if let Some((h, w, other)) = &size
                && (*h, *w) != (height, width)
            {
                return Err(wrong(format!(
                    "`{other}` has {h}×{w} pixels and `{}` {height}×{width}; arrays stacked as bands must have one size",
                    info.name
                )));
            }
            size.get_or_insert((height, width, info.name.clone()));
            let count = map.band.map_or(1, |axis| shape[axis]);
            let mut own = store.bands(variable, map.band, count);
            if count > 1
                && own.iter().all(|b| b.wavelength_um.is_none())
                && let Some((name, list)) = wavelengths(store.as_ref(), count)
            {
                notes.push(format!("centre wavelengths from `{name}`, {} to {} µm", list[0], list[count - 1]));
                own.iter_mut().zip(list).for_each(|(band, um)| band.wavelength_um = Some(um));
            }
            notes.push(format!(
                "`{}` ({}): {count} band(s) of {height}×{width} pixels, {}",
                info.name,
                times(shape),
                map.rule
            ));
            bands.extend(own);
            parts.push(Part { variable, map, bands: count });
        }
        let Some((height, width, _)) = size else { return Err(wrong("no array was chosen".into())) };
        let grid = store.grid(parts[0].variable, &parts[0].map).unwrap_or_else(|| Grid::unreferenced(width, height));
        for note in &notes {
            tracing::info!(file = %path.display(), "{note}");
        }
        let sample = parts
            .iter()
            .filter_map(|p| store.variables()[p.variable].sample)
            .max_by_key(|s| (!s.is_integer(), s.bytes()));
        let sample = sample.unwrap_or(SampleType::F32);
        Ok(Self { path: path.into(), store, parts, grid, bands, sample, notes })
    }

    /// What was decided about arrays and axes, in words: print it, so that a wrong guess is seen.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Every array of the file.
    pub fn variables(&self) -> &[Variable] {
        self.store.variables()
    }

    /// Bands `range` of a part in a window, [C, H, W].
    fn block(&self, part: &Part, range: Range<usize>, window: Window) -> Result<Array3<f32>> {
        let shape = &self.store.variables()[part.variable].shape;
        let mut ranges: Vec<Range<usize>> = shape.iter().map(|_| 0..1).collect();
        for &(axis, index) in &part.map.fixed {
            ranges[axis] = index..index + 1;
        }
        ranges[part.map.row] = window.row..window.row_end();
        ranges[part.map.col] = window.col..window.col_end();
        if let Some(axis) = part.map.band {
            ranges[axis] = range;
        }
        let data = self.store.read(part.variable, &ranges)?;
        let mut order: Vec<usize> = part.map.band.into_iter().chain([part.map.row, part.map.col]).collect();
        let fixed: Vec<usize> = part.map.fixed.iter().map(|f| f.0).collect();
        order.extend(&fixed);
        let mut view = data.permuted_axes(order);
        for _ in fixed {
            let last = Axis(view.ndim() - 1);
            view = view.index_axis_move(last, 0);
        }
        if part.map.band.is_none() {
            view = view.insert_axis(Axis(0));
        }
        view.into_dimensionality().map_err(|e| Error::format(&self.path, format!("cannot be arranged as bands: {e}")))
    }
}

impl BandSource for ArraySource {
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
        let mut data = Array3::<f32>::zeros((bands.len(), window.height, window.width));
        let mut start = 0;
        for part in &self.parts {
            let mine = start..start + part.bands;
            let mut wanted: Vec<usize> = bands.iter().filter(|b| mine.contains(b)).map(|b| b - start).collect();
            wanted.sort_unstable();
            wanted.dedup();
            for run in runs(&wanted) {
                let block = self.block(part, run.clone(), window)?;
                for (k, _) in bands.iter().enumerate().filter(|(_, b)| mine.contains(b)) {
                    let band = bands[k] - start;
                    if run.contains(&band) {
                        data.slice_mut(s![k, .., ..]).assign(&block.index_axis(Axis(0), band - run.start));
                    }
                }
            }
            start = mine.end;
        }
        let used: Vec<&Band> = bands.iter().map(|&b| &self.bands[b]).collect();
        let mask = mask_of(data.view(), &used);
        Ok(Tile { window, data, mask })
    }
}

/// Sorted band numbers as ranges: near ones share a read, as interleaved and chunked files hold them together.
fn runs(sorted: &[usize]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for &band in sorted {
        match runs.last_mut() {
            Some(run) if band - run.end < 8 => run.end = band + 1,
            _ => runs.push(band..band + 1),
        }
    }
    runs
}

/// A list of `count` centre wavelengths (µm) that the file holds beside the scene, if there is one under a usual name. Nanometres are known by their
/// size: optical wavelengths lie between 0.2 and 20 µm.
fn wavelengths(store: &dyn ArrayStore, count: usize) -> Option<(String, Vec<f32>)> {
    const NAMES: &[&str] = &[
        "wavelength",
        "wavelengths",
        "wavelength_nm",
        "wavelength_um",
        "wl",
        "lambda",
        "center_wavelength",
        "centerwavelengths",
    ];
    let all = store.variables();
    let index = all.iter().position(|v| {
        let last = v.name.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
        v.sample.is_some()
            && v.shape.iter().product::<usize>() == count
            && v.shape.contains(&count)
            && NAMES.contains(&last.as_str())
    })?;
    let ranges: Vec<Range<usize>> = all[index].shape.iter().map(|&n| 0..n).collect();
    let list: Vec<f32> = store.read(index, &ranges).ok()?.iter().copied().collect();
    let within = |low: f32, high: f32| list.iter().all(|w| (low..=high).contains(w));
    if within(0.2, 20.0) {
        return Some((all[index].name.clone(), list));
    }
    within(200.0, 20_000.0).then(|| (all[index].name.clone(), list.iter().map(|w| w / 1000.0).collect()))
}

fn listing(store: &dyn ArrayStore) -> String {
    const SHOWN: usize = 40;
    let all = store.variables();
    let mut text = all.iter().take(SHOWN).map(Variable::label).collect::<Vec<_>>().join(", ");
    if all.len() > SHOWN {
        text += &format!(" and {} more", all.len() - SHOWN);
    }
    if text.is_empty() { "nothing".into() } else { text }
}

/// The arrays a user asked for: names separated by commas, each with indices of its first axes if need be.
fn requested(store: &dyn ArrayStore, text: &str) -> Result<Vec<(usize, Vec<usize>)>, String> {
    let all = store.variables();
    // Names may themselves hold commas and brackets.
    let whole = all.iter().position(|v| v.name == text.trim());
    let chosen = match whole {
        Some(index) => vec![(index, Vec::new())],
        None => split_list(text)
            .into_iter()
            .map(|item| {
                let (name, fixed) = parse_selector(item)?;
                let found = find(all, name);
                found
                    .map(|i| (i, fixed))
                    .ok_or_else(|| format!("holds no array `{name}`; it holds: {}", listing(store)))
            })
            .collect::<Result<_, _>>()?,
    };
    match chosen.iter().find(|(i, _)| all[*i].sample.is_none()) {
        Some((i, _)) => {
            Err(format!("`{}` holds {}, not numbers; the file holds: {}", all[*i].name, all[*i].kind, listing(store)))
        }
        None => Ok(chosen),
    }
}

/// A variable by its full name, else by its last path component or in other case if only one fits.
fn find(all: &[Variable], name: &str) -> Option<usize> {
    let only = |fits: &dyn Fn(&Variable) -> bool| {
        let mut found = all.iter().enumerate().filter(|(_, v)| fits(v)).map(|(i, _)| i);
        found.next().filter(|_| found.next().is_none())
    };
    let last = |v: &Variable| v.name.rsplit('/').next().unwrap_or_default().to_owned();
    only(&|v| v.name == name)
        .or_else(|| only(&|v| v.name.trim_matches('/') == name.trim_matches('/')))
        .or_else(|| only(&|v| last(v) == name))
        .or_else(|| only(&|v| v.name.eq_ignore_ascii_case(name)))
}

/// The array meant when nothing is said: the only cube, else the only image, else (where the format does so) all images of one size.
fn obvious(
    store: &dyn ArrayStore,
    options: &SourceOptions,
    notes: &mut Vec<String>,
) -> Result<Vec<(usize, Vec<usize>)>, String> {
    let all = store.variables();
    let fits = |v: &Variable| choose(&v.shape, &[], options.axes, store.custom());
    let numeric = || all.iter().enumerate().filter(|(_, v)| v.sample.is_some());
    let cubes: Vec<usize> = numeric().filter(|(_, v)| rank(&v.shape) == 3).map(|(i, _)| i).collect();
    let images: Vec<usize> =
        numeric().filter(|(_, v)| rank(&v.shape) == 2 && fits(v).is_ok()).map(|(i, _)| i).collect();
    let others = |chosen: usize, notes: &mut Vec<String>| {
        let rest: Vec<String> = numeric().filter(|(i, _)| *i != chosen).map(|(_, v)| v.label()).collect();
        if !rest.is_empty() && rest.len() <= 8 {
            notes.push(format!("`{}` was chosen; the file also holds {}", all[chosen].name, rest.join(", ")));
        }
    };
    match (cubes.as_slice(), images.as_slice()) {
        (&[cube], _) => {
            others(cube, notes);
            Ok(vec![(cube, Vec::new())])
        }
        (&[], &[image]) => {
            others(image, notes);
            Ok(vec![(image, Vec::new())])
        }
        (&[], images) if images.len() > 1 && store.stacks() && one_kind(all, images) => {
            Ok(images.iter().map(|&i| (i, Vec::new())).collect())
        }
        (&[], &[]) => {
            // One array alone: its own reason says more than a list.
            let mut numbers = numeric();
            if let (Some((_, v)), None) = (numbers.next(), numbers.next())
                && let Err(reason) = fits(v)
            {
                return Err(format!("`{}` {reason}", v.name));
            }
            let example = numeric().find(|(_, v)| rank(&v.shape) > 3).map(|(_, v)| {
                format!("; choose one slice of an array with more axes, for example variable={}[0]", v.name)
            });
            Err(format!(
                "holds no array that is an image (rows × columns, or with bands); it holds: {}{}",
                listing(store),
                example.unwrap_or_default()
            ))
        }
        _ => Err(format!(
            "holds several arrays that can be the image: {}; choose with variable=NAME (several names separated by commas are stacked)",
            listing(store)
        )),
    }
}

fn one_kind(all: &[Variable], images: &[usize]) -> bool {
    images.iter().all(|&i| all[i].shape == all[images[0]].shape && all[i].kind == all[images[0]].kind)
}
