//! HDF5 files and MATLAB 7.3 files, read by hyperslab.
//!
//! MATLAB writes its axes backwards into HDF5 (a rows × columns × bands array becomes bands × columns × rows); shapes and indices here are MATLAB's.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use geoglot_core::Band;
use hdf5_reader::error::Error as Hdf5Error;
use hdf5_reader::group::Group;
use hdf5_reader::{Dataset, Datatype, Hdf5File, OpenOptions, SliceInfo, SliceInfoElem};
use ndarray::ArrayD;

use super::array::{ArraySource, ArrayStore, Variable};
use super::axes::Custom;
use super::guarded;
use crate::{Error, Result, SampleType, SourceOptions, placeholder_name};

const MOST_DATASETS: usize = 4096;
const DEEPEST: usize = 16;
/// Largest chunk and largest single read accepted: a window of many bands fits, a header that lies does not.
const CHUNK_LIMIT: usize = 1 << 30;
const READ_LIMIT: usize = 4 << 30;

#[derive(Debug, Clone, Copy, Default)]
struct Packing {
    scale: Option<f64>,
    offset: Option<f64>,
    nodata: Option<f64>,
}

struct Hdf5Store {
    path: PathBuf,
    matlab: bool,
    variables: Vec<Variable>,
    datasets: Vec<Dataset>,
    packing: Vec<Packing>,
}

impl std::fmt::Debug for Hdf5Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hdf5Store")
            .field("path", &self.path)
            .field("variables", &self.variables)
            .finish_non_exhaustive()
    }
}

fn kind_of(datatype: &Datatype) -> (String, Option<SampleType>) {
    let sample = match datatype {
        Datatype::FixedPoint { size: 1, signed: false, .. } => SampleType::U8,
        Datatype::FixedPoint { size: 1, signed: true, .. } => SampleType::I8,
        Datatype::FixedPoint { size: 2, signed: false, .. } => SampleType::U16,
        Datatype::FixedPoint { size: 2, signed: true, .. } => SampleType::I16,
        Datatype::FixedPoint { size: 4, signed: false, .. } => SampleType::U32,
        Datatype::FixedPoint { size: 4, signed: true, .. } => SampleType::I32,
        Datatype::FixedPoint { size: 8, signed: false, .. } => SampleType::U64,
        Datatype::FixedPoint { size: 8, signed: true, .. } => SampleType::I64,
        Datatype::FloatingPoint { size: 4, .. } => SampleType::F32,
        Datatype::FloatingPoint { size: 8, .. } => SampleType::F64,
        Datatype::String { .. } | Datatype::VarLen { .. } => return ("text".into(), None),
        Datatype::Compound { .. } => return ("records".into(), None),
        Datatype::Enum { .. } => return ("enumeration".into(), None),
        Datatype::Reference { .. } => return ("references".into(), None),
        _ => return ("other data".into(), None),
    };
    (sample.to_string(), Some(sample))
}

fn packing_of(dataset: &Dataset) -> Packing {
    let number = |name: &str| {
        let attribute = dataset.attribute(name).ok()?;
        attribute
            .read_as_f64()
            .ok()
            .or_else(|| attribute.read_1d::<f64>().ok()?.first().copied())
            .filter(|v| v.is_finite())
    };
    Packing {
        scale: number("scale_factor").filter(|&s| s != 0.0),
        offset: number("add_offset"),
        nodata: number("_FillValue").or_else(|| number("missing_value")).or_else(|| number("nodata")),
    }
}

/// Collects the data sets of a group and its groups, with their paths.
fn collect(
    group: &Group,
    prefix: &str,
    depth: usize,
    seen: &mut Vec<u64>,
    found: &mut Vec<(String, Dataset)>,
) -> Result<(), String> {
    if depth > DEEPEST || seen.contains(&group.address()) {
        return Ok(());
    }
    seen.push(group.address());
    let (groups, datasets) = group.members().map_err(|e| e.to_string())?;
    for dataset in datasets {
        if found.len() >= MOST_DATASETS {
            return Err(format!("holds more than {MOST_DATASETS} data sets"));
        }
        found.push((format!("{prefix}{}", last(dataset.name())), dataset));
    }
    for group in groups {
        let name = last(group.name()).to_owned();
        // MATLAB's store of cells and objects.
        if !name.starts_with('#') {
            collect(&group, &format!("{prefix}{name}/"), depth + 1, seen, found)?;
        }
    }
    Ok(())
}

fn last(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or(path)
}

impl Hdf5Store {
    fn open(path: &Path) -> Result<Self> {
        let wrong = |e: &dyn std::fmt::Display| Error::format(path, format!("cannot be read as HDF5: {e}"));
        // The metadata cannot be larger than the file; the pixels of one read are bounded as well.
        let options = OpenOptions::default().with_max_chunk_bytes(CHUNK_LIMIT).with_max_read_bytes(READ_LIMIT);
        let file = Hdf5File::open_with_options(path, options).map_err(|e| match e {
            Hdf5Error::Io(e) if e.kind() != std::io::ErrorKind::UnexpectedEof => Error::io(path, "open", e),
            e => wrong(&e),
        })?;
        let root = file.root_group().map_err(|e| wrong(&e))?;
        let mut found = Vec::new();
        collect(&root, "", 0, &mut Vec::new(), &mut found).map_err(|e| wrong(&e))?;
        let matlab = found.iter().any(|(_, d)| d.attribute("MATLAB_class").is_ok());
        let mut variables = Vec::new();
        let (mut datasets, mut packing) = (Vec::new(), Vec::new());
        for (name, dataset) in found {
            let (mut kind, mut sample) = kind_of(dataset.dtype());
            let mut shape = Vec::new();
            for &n in dataset.shape() {
                shape.push(usize::try_from(n).map_err(|_| wrong(&format!("`{name}` has an axis of length {n}")))?);
            }
            if shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).is_none() {
                return Err(wrong(&format!("`{name}` declares the impossible shape {shape:?}")));
            }
            if matlab {
                shape.reverse();
                // Text, cells and empty arrays are stored as numbers, too.
                let class = dataset.attribute("MATLAB_class").and_then(|a| a.read_string()).unwrap_or_default();
                if matches!(class.as_str(), "char" | "cell" | "struct" | "string" | "function_handle")
                    || dataset.attribute("MATLAB_empty").is_ok()
                {
                    (kind, sample) = (if class.is_empty() { "nothing".into() } else { class }, None);
                }
            }
            packing.push(packing_of(&dataset));
            variables.push(Variable { name, shape, kind, sample });
            datasets.push(dataset);
        }
        Ok(Self { path: path.into(), matlab, variables, datasets, packing })
    }
}

impl ArrayStore for Hdf5Store {
    fn variables(&self) -> &[Variable] {
        &self.variables
    }

    fn read(&self, variable: usize, ranges: &[Range<usize>]) -> Result<ArrayD<f32>> {
        let dataset = &self.datasets[variable];
        let mut selections: Vec<SliceInfoElem> =
            ranges.iter().map(|r| SliceInfoElem::Slice { start: r.start as u64, end: r.end as u64, step: 1 }).collect();
        if self.matlab {
            selections.reverse();
        }
        let selection = SliceInfo { selections };
        macro_rules! read {
            ($type:ty) => {
                dataset.read_slice::<$type>(&selection).map(|a| a.mapv(|v| v as f32))
            };
        }
        let name = &self.variables[variable].name;
        let wrong = |e: String| Error::format(&self.path, format!("data set `{name}` {e}"));
        let data = guarded(&self.path, || {
            by_sample!(
                self.variables[variable].sample,
                read,
                return Err(wrong(format!("holds {}, not numbers", self.variables[variable].kind)))
            )
            .map_err(|e| wrong(format!("cannot be read: {e}")))
        })?;
        let data = if self.matlab { data.reversed_axes() } else { data };
        if data.shape().iter().zip(ranges).any(|(&n, r)| n != r.len()) {
            return Err(wrong(format!("gave {:?} where {ranges:?} was asked for", data.shape())));
        }
        Ok(data)
    }

    fn bands(&self, variable: usize, axis: Option<usize>, count: usize) -> Vec<Band> {
        let packing = self.packing[variable];
        let name = &self.variables[variable].name;
        (0..count)
            .map(|k| Band {
                scale: packing.scale.unwrap_or(1.0),
                offset: packing.offset.unwrap_or(0.0),
                nodata: packing.nodata,
                ..Band::named(if axis.is_none() { last(name).to_owned() } else { placeholder_name(k) })
            })
            .collect()
    }

    fn custom(&self) -> Custom {
        if self.matlab { Custom::Matlab } else { Custom::Open }
    }

    fn stacks(&self) -> bool {
        !self.matlab
    }
}

/// Makes sure that the file is as long as its superblock says ("HDF5 File Format Specification", II.A); values beyond the end would read as fill.
fn ensure_whole(path: &Path) -> Result<()> {
    let io = |e| Error::io(path, "read", e);
    let mut file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    // Behind a block of the user's own, the superblock lies at 512 or a higher power of two.
    let places = std::iter::once(0).chain(std::iter::successors(Some(512u64), |at| at.checked_mul(2)));
    for at in places.take_while(|&at| at < length) {
        let mut head = Vec::new();
        file.seek(SeekFrom::Start(at)).map_err(io)?;
        (&mut file).take(52).read_to_end(&mut head).map_err(io)?;
        if !head.starts_with(b"\x89HDF\r\n\x1a\n") {
            continue;
        }
        let (size, end) = match head.get(8) {
            Some(0) => (13, 40),
            Some(1) => (13, 44),
            Some(2 | 3) => (9, 28),
            _ => break,
        };
        if head.get(size) == Some(&8)
            && let Some(end) = head.get(end..end + 8)
        {
            let end = u64::from_le_bytes(end.try_into().expect("8 bytes"));
            if end > length {
                return Err(Error::format(
                    path,
                    format!("is truncated: it declares {end} bytes and has {length}; copy or download it again"),
                ));
            }
        }
        break;
    }
    Ok(())
}

/// Opens an HDF5 or MATLAB 7.3 file; only metadata is read.
///
/// A data set of three axes is the scene; without one, all two-axis data sets of one size and type are its bands, named as they are
/// (GEO-Bench stores its scenes so).
///
/// # Errors
/// [`Error::Io`]; [`Error::Format`] for damaged files and where several arrays can be the scene, listing them with their shapes.
pub fn open(path: &Path, options: &SourceOptions) -> Result<ArraySource> {
    ensure_whole(path)?;
    let store = guarded(path, || Hdf5Store::open(path))?;
    ArraySource::new(path, Box::new(store), options)
}
