//! NetCDF files, classic and NetCDF-4, by the CF conventions: named axes, wavelengths, packing, place on the ground.

use std::ops::Range;
use std::path::{Path, PathBuf};

use geoglot_core::{Affine, Band, Crs, Grid};
use ndarray::ArrayD;
use netcdf_reader::{NcFile, NcGroup, NcOpenOptions, NcSliceInfo, NcSliceInfoElem, NcType, NcVariable};

use super::array::{ArraySource, ArrayStore, Variable};
use super::axes::{AxisMap, Custom};
use super::guarded;
use crate::{Error, Result, SampleType, SourceOptions, placeholder_name};

const CHUNK_LIMIT: usize = 1 << 30;
const READ_LIMIT: usize = 4 << 30;
/// A coordinate or wavelength list longer than this is not read.
const LIST_LIMIT: u64 = 1 << 20;

struct NetcdfStore {
    path: PathBuf,
    file: NcFile,
    variables: Vec<Variable>,
    details: Vec<NcVariable>,
}

impl std::fmt::Debug for NetcdfStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NetcdfStore")
            .field("path", &self.path)
            .field("variables", &self.variables)
            .finish_non_exhaustive()
    }
}

fn kind_of(dtype: &NcType) -> (String, Option<SampleType>) {
    let sample = match dtype {
        NcType::Byte => SampleType::I8,
        NcType::UByte => SampleType::U8,
        NcType::Short => SampleType::I16,
        NcType::UShort => SampleType::U16,
        NcType::Int => SampleType::I32,
        NcType::UInt => SampleType::U32,
        NcType::Int64 => SampleType::I64,
        NcType::UInt64 => SampleType::U64,
        NcType::Float => SampleType::F32,
        NcType::Double => SampleType::F64,
        NcType::Char | NcType::String => return ("text".into(), None),
        _ => return ("records".into(), None),
    };
    (sample.to_string(), Some(sample))
}

fn number(variable: &NcVariable, name: &str) -> Option<f64> {
    variable.attribute(name)?.value.as_f64().filter(|v| v.is_finite())
}

fn text(variable: &NcVariable, name: &str) -> Option<String> {
    variable.attribute(name)?.value.as_string()
}

fn collect(group: &NcGroup, prefix: &str, found: &mut Vec<(String, NcVariable)>) {
    found.extend(group.variables.iter().map(|v| (format!("{prefix}{}", v.name), v.clone())));
    for inner in &group.groups {
        collect(inner, &format!("{prefix}{}/", inner.name), found);
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Role {
    Band,
    Row,
    Col,
}

impl NetcdfStore {
    fn open(path: &Path) -> Result<Self> {
        let wrong = |e: &dyn std::fmt::Display| Error::format(path, format!("cannot be read as NetCDF: {e}"));
        let options = NcOpenOptions { max_chunk_bytes: CHUNK_LIMIT, max_read_bytes: READ_LIMIT, ..Default::default() };
        let file = NcFile::open_with_options(path, options).map_err(|e| wrong(&e))?;
        let mut found = Vec::new();
        collect(file.root_group().map_err(|e| wrong(&e))?, "", &mut found);
        let (mut variables, mut details) = (Vec::new(), Vec::new());
        for (name, variable) in found {
            let shape = variable.shape().iter().map(|&n| usize::try_from(n)).collect::<Result<Vec<_>, _>>();
            let shape = shape.map_err(|_| wrong(&format!("`{name}` has an impossible shape")))?;
            if shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).is_none() {
                return Err(wrong(&format!("`{name}` declares the impossible shape {shape:?}")));
            }
            let (kind, mut sample) = kind_of(variable.dtype());
            // Cell bounds (`lat_bnds`) are tables beside the axes.
            if name.ends_with("_bnds") || name.ends_with("_bounds") {
                sample = None;
            }
            variables.push(Variable { name, shape, kind, sample });
            details.push(variable);
        }
        Ok(Self { path: path.into(), file, variables, details })
    }

    /// A one-axis variable's numbers.
    fn list(&self, name: &str) -> Option<Vec<f64>> {
        let variable = self.file.variable(name).ok()?;
        if variable.ndim() != 1 || variable.num_elements().ok()? > LIST_LIMIT {
            return None;
        }
        let data = guarded(&self.path, || {
            self.file.read_variable_as_f64(name).map_err(|e| Error::format(&self.path, e.to_string()))
        });
        Some(data.ok()?.iter().copied().collect())
    }

    fn role(&self, dimension: &str) -> Option<Role> {
        let units = self.file.variable(dimension).ok().and_then(|v| text(v, "units")).unwrap_or_default();
        let plain = dimension.to_ascii_lowercase();
        match plain.as_str() {
            "wavelength" | "wavelengths" | "wl" | "band" | "bands" | "nbands" | "channel" | "channels"
            | "wavelength_bands" => Some(Role::Band),
            "y" | "lat" | "latitude" | "row" | "rows" | "northing" | "downtrack" | "lines" | "number_of_lines" => {
                Some(Role::Row)
            }
            "x" | "lon" | "longitude" | "col" | "cols" | "column" | "columns" | "easting" | "crosstrack" | "pixels"
            | "pixels_per_line" => Some(Role::Col),
            _ if matches!(units.as_str(), "nm" | "um" | "µm" | "micrometer" | "nanometer" | "nanometers") => {
                Some(Role::Band)
            }
            _ if units == "degrees_north" => Some(Role::Row),
            _ if units == "degrees_east" => Some(Role::Col),
            _ => None,
        }
    }

    /// Centre wavelengths in µm of `count` bands along a dimension.
    fn wavelengths(&self, dimension: &str, count: usize) -> Option<Vec<f32>> {
        let names = [dimension, "wavelength", "wavelengths", "center_wavelength", "sensor_band_parameters/wavelengths"];
        names.into_iter().find_map(|name| {
            let list = self.list(name).filter(|l| l.len() == count)?;
            let units = self.file.variable(name).ok().and_then(|v| text(v, "units")).unwrap_or_default();
            let says = units.to_ascii_lowercase();
            let factor = match says.as_str() {
                "nm" | "nanometer" | "nanometers" | "nanometre" | "nanometres" => 1e-3,
                "um" | "µm" | "μm" | "micrometer" | "micrometers" | "microns" | "micrometre" => 1.0,
                // Without a unit only a variable named so counts; numbers above 20 cannot be µm.
                _ if name.contains("wavelength") && list.iter().all(|&w| w > 200.0) => 1e-3,
                _ if name.contains("wavelength") => 1.0,
                _ => return None,
            };
            let um: Vec<f32> = list.iter().map(|w| (w * factor) as f32).collect();
            um.iter().all(|w| (0.2..=20.0).contains(w)).then_some(um)
        })
    }
}

impl ArrayStore for NetcdfStore {
    fn variables(&self) -> &[Variable] {
        &self.variables
    }

    fn read(&self, variable: usize, ranges: &[Range<usize>]) -> Result<ArrayD<f32>> {
        let name = &self.variables[variable].name;
        let selections = ranges
            .iter()
            .map(|r| NcSliceInfoElem::Slice { start: r.start as u64, end: r.end as u64, step: 1 })
            .collect();
        let selection = NcSliceInfo { selections };
        let wrong = |e: String| Error::format(&self.path, format!("variable `{name}` {e}"));
        macro_rules! read {
            ($type:ty) => {
                self.file.read_variable_slice::<$type>(name, &selection).map(|a| a.mapv(|v| v as f32))
            };
        }
        let data = guarded(&self.path, || {
            by_sample!(
                self.variables[variable].sample,
                read,
                return Err(wrong(format!("holds {}, not numbers", self.variables[variable].kind)))
            )
            .map_err(|e| wrong(format!("cannot be read: {e}")))
        })?;
        if data.shape().len() != ranges.len() || data.shape().iter().zip(ranges).any(|(&n, r)| n != r.len()) {
            return Err(wrong(format!("gave {:?} where {ranges:?} was asked for", data.shape())));
        }
        Ok(data)
    }

    fn bands(&self, variable: usize, axis: Option<usize>, count: usize) -> Vec<Band> {
        let detail = &self.details[variable];
        let wavelengths = axis
            .and_then(|a| detail.dimensions().get(a))
            .and_then(|dimension| self.wavelengths(&dimension.name, count));
        (0..count)
            .map(|k| Band {
                scale: number(detail, "scale_factor").filter(|&s| s != 0.0).unwrap_or(1.0),
                offset: number(detail, "add_offset").unwrap_or(0.0),
                nodata: number(detail, "_FillValue").or_else(|| number(detail, "missing_value")),
                wavelength_um: wavelengths.as_ref().map(|w| w[k]),
                ..Band::named(if axis.is_none() { detail.name.clone() } else { placeholder_name(k) })
            })
            .collect()
    }

    fn named_axes(&self, variable: usize) -> Option<AxisMap> {
        let detail = &self.details[variable];
        let roles: Vec<Option<Role>> = detail.dimensions().iter().map(|d| self.role(&d.name)).collect();
        let only = |role: Role| {
            let mut found = roles.iter().enumerate().filter(|(_, r)| **r == Some(role)).map(|(a, _)| a);
            found.next().filter(|_| found.next().is_none())
        };
        let (row, col, band) = (only(Role::Row)?, only(Role::Col)?, only(Role::Band));
        let rest: Vec<usize> = (0..roles.len()).filter(|a| ![Some(row), Some(col), band].contains(&Some(*a))).collect();
        // A time axis of one step can be held; a longer one must be chosen by the user.
        if rest.iter().any(|&a| self.variables[variable].shape[a] != 1) {
            return None;
        }
        let fixed = rest.into_iter().map(|a| (a, 0)).collect();
        Some(AxisMap { fixed, band, row, col, rule: "axes by their names".into() })
    }

    fn grid(&self, variable: usize, map: &AxisMap) -> Option<Grid> {
        let detail = &self.details[variable];
        let axis = |a: usize| detail.dimensions().get(a).map(|d| d.name.as_str());
        let (x_name, y_name) = (axis(map.col)?, axis(map.row)?);
        let (x, y) = (self.list(x_name)?, self.list(y_name)?);
        let shape = &self.variables[variable].shape;
        let (width, height) = (shape[map.col], shape[map.row]);
        if x.len() != width || y.len() != height {
            return None;
        }
        let (dx, dy) = (even_step(&x)?, even_step(&y)?);
        // Coordinates are pixel centres.
        let transform = Affine { x0: x[0] - dx / 2.0, dx, rx: 0.0, y0: y[0] - dy / 2.0, ry: 0.0, dy };
        let mapping = text(detail, "grid_mapping").and_then(|name| self.file.variable(&name).ok());
        let crs = mapping.and_then(crs_of).or_else(|| {
            let units = |name: &str| self.file.variable(name).ok().and_then(|v| text(v, "units"));
            (units(x_name)? == "degrees_east" && units(y_name)? == "degrees_north").then_some(Crs::Epsg(4326))
        });
        Some(Grid { crs, transform, width, height })
    }

    fn custom(&self) -> Custom {
        Custom::Open
    }

    fn stacks(&self) -> bool {
        true
    }
}

/// The step of evenly spaced coordinates (to a hundredth of it).
fn even_step(list: &[f64]) -> Option<f64> {
    let n = list.len();
    if n < 2 {
        return None;
    }
    let step = (list[n - 1] - list[0]) / (n - 1) as f64;
    let even = step.is_finite()
        && step != 0.0
        && list.iter().enumerate().all(|(k, v)| (v - list[0] - step * k as f64).abs() <= 0.01 * step.abs());
    even.then_some(step)
}

/// The reference system of a grid mapping variable: EPSG code, or well-known text.
fn crs_of(mapping: &NcVariable) -> Option<Crs> {
    if let Some(code) = number(mapping, "epsg_code") {
        return Some(Crs::Epsg(code as u32));
    }
    let wkt = ["crs_wkt", "spatial_ref", "epsg_code"].into_iter().find_map(|name| text(mapping, name));
    match wkt {
        Some(text) => Some(super::wkt::crs_of_wkt(&text)),
        None => (text(mapping, "grid_mapping_name")? == "latitude_longitude").then_some(Crs::Epsg(4326)),
    }
}

/// Opens a NetCDF file; only metadata is read.
///
/// Axes, wavelengths and the grid are taken from the names and attributes of the CF conventions where they are there; the arrays are chosen as for HDF5.
///
/// # Errors
/// [`Error::Io`]; [`Error::Format`] for damaged files and where several arrays can be the scene, listing them with their shapes.
pub fn open(path: &Path, options: &SourceOptions) -> Result<ArraySource> {
    std::fs::File::open(path).map_err(|e| Error::io(path, "open", e))?;
    let store = guarded(path, || NetcdfStore::open(path))?;
    ArraySource::new(path, Box::new(store), options)
}
