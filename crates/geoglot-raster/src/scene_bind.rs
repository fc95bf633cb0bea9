//! Which band of a file is which band of a sensor, and which scale its numbers need. Nothing is guessed: what was decided is recorded.

use std::path::Path;
use std::sync::Arc;

use geoglot_core::{Band, Grid, Registry, Sensor, Window};
use serde::{Deserialize, Serialize};

use crate::scene_arg::SceneArg;
use crate::scene_scale::Scaler;
use crate::{BandSource, Error, Result, SampleType, Tile};

/// How the bands of an input got their identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Binding {
    /// The file names its bands, and the names are the sensor's.
    ByName,
    /// The file states wavelengths or names of its own.
    ByFile,
    /// By a named layout of the sensor, as told or because it is the only one with this number of bands.
    ByLayout(String),
    /// The file has as many bands as the sensor, in the sensor's order.
    BySensorOrder,
    /// By the list of bands given, which is as long as the file has bands.
    ByList,
    /// Bands are known by number only.
    Unnamed,
}

impl std::fmt::Display for Binding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ByName => write!(f, "by name"),
            Self::ByFile => write!(f, "as the file says"),
            Self::ByLayout(layout) => write!(f, "by layout `{layout}`"),
            Self::BySensorOrder => write!(f, "by the sensor's order"),
            Self::ByList => write!(f, "by the list given"),
            Self::Unnamed => write!(f, "unnamed"),
        }
    }
}

/// A raster whose bands are bound: identity, scale and nodata decided, only the wanted ones left.
#[derive(Debug)]
pub struct Bound {
    inner: Arc<dyn BandSource>,
    /// Index in `inner` of each band.
    take: Vec<usize>,
    bands: Vec<Band>,
    binding: Binding,
    scaling: String,
    warnings: Vec<String>,
}

impl Bound {
    /// Binds the bands of `source` as `arg` says.
    ///
    /// # Errors
    /// [`Error::Core`] for unknown sensors, layouts and bands; [`Error::Bands`] when the binding is not certain, saying what would make it so.
    pub fn new(source: Arc<dyn BandSource>, arg: &SceneArg, registry: &Registry) -> Result<Self> {
        let mut warnings = Vec::new();
        let sensor = match &arg.sensor {
            Some(id) => Some(registry.sensor(id)?),
            None => named_sensor(source.bands(), registry, &mut warnings),
        };
        let (named, binding) = identify(source.as_ref(), arg, sensor, &mut warnings)?;
        let take = match binding {
            Binding::ByList => (0..named.len()).collect(),
            _ => select(source.path(), &arg.bands, &named, sensor)?,
        };
        let scaler = Scaler { arg, sensor, integer: source.sample_type().is_integer() };
        let mut said: Vec<&'static str> = Vec::new();
        let mut bands = Vec::new();
        for &index in &take {
            let (band, how) = scaler.apply(&source.bands()[index], &named[index], &mut warnings)?;
            bands.push(band);
            if !said.contains(&how) {
                said.push(how);
            }
        }
        Ok(Self { inner: source, take, bands, binding, scaling: said.join("; "), warnings })
    }

    /// How the bands got their identity.
    pub fn binding(&self) -> &Binding {
        &self.binding
    }

    /// Where the scale comes from, in words.
    pub fn scaling(&self) -> &str {
        &self.scaling
    }

    /// What a careful reader should know.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// The sensor that the file itself names for all its bands, where the registry knows it.
fn named_sensor<'a>(bands: &[Band], registry: &'a Registry, warnings: &mut Vec<String>) -> Option<&'a Sensor> {
    let id = bands.first()?.sensor.as_deref()?;
    if bands.iter().any(|b| b.sensor.as_deref() != Some(id)) {
        return None;
    }
    let found = registry.sensor(id).ok();
    if found.is_none() {
        warnings.push(format!("the file names the sensor `{id}`, which the registry does not know"));
    }
    found
}

/// True for names that say no more than a number: `band 3`, `Band_3`, `3`, nothing.
pub fn is_placeholder(name: &str) -> bool {
    let lower = name.trim().to_lowercase();
    let rest = lower.strip_prefix("band").unwrap_or(&lower);
    rest.trim_start_matches([' ', '_', '-', '#']).chars().all(|c| c.is_ascii_digit())
}

/// The sensor's band that a file's description means: `B04`, or `B4, central wavelength 665 nm`.
fn meant<'a>(sensor: &'a Sensor, description: &str) -> Option<&'a Band> {
    let first = || description.split([',', '(', ':', ';']).next().map(str::trim);
    sensor.find_band(description).or_else(|| first().and_then(|name| sensor.find_band(name)))
}

fn identify(
    source: &dyn BandSource,
    arg: &SceneArg,
    sensor: Option<&Sensor>,
    warnings: &mut Vec<String>,
) -> Result<(Vec<Band>, Binding)> {
    let file = source.bands();
    let path = source.path();
    let Some(sensor) = sensor else {
        if let Some(layout) = &arg.layout {
            return Err(Error::bands(
                path,
                format!("layout `{layout}` was given without the sensor it belongs to; add sensor=…"),
            ));
        }
        let named = file.iter().all(|b| b.wavelength_um.is_some() || !is_placeholder(&b.name));
        return Ok((file.to_vec(), if named { Binding::ByFile } else { Binding::Unnamed }));
    };
    if let Some(name) = &arg.layout {
        let bands = sensor.layout(name)?;
        if bands.len() != file.len() {
            let problem = format!("has {} bands, but layout `{name}` of {} has {}", file.len(), sensor.id, bands.len());
            return Err(Error::bands(path, problem));
        }
        for (k, (stored, told)) in file.iter().zip(&bands).enumerate() {
            if let Some(other) =
                meant(sensor, &stored.name).filter(|b| b.name != told.name && !is_placeholder(&stored.name))
            {
                warnings.push(format!(
                    "band {} is called `{}` in the file ({}), but `{}` by the layout given; the layout was followed",
                    k + 1,
                    stored.name,
                    other.name,
                    told.name
                ));
            }
        }
        return Ok((bands, Binding::ByLayout(name.clone())));
    }
    let matches: Vec<Option<&Band>> =
        file.iter().map(|b| if is_placeholder(&b.name) { None } else { meant(sensor, &b.name) }).collect();
    if matches.iter().any(Option::is_some) {
        return by_name(path, file, &matches, sensor, warnings);
    }
    if file.iter().all(|b| b.wavelength_um.is_some()) {
        let like = &sensor.bands[0];
        let bands = file.iter().map(|b| Band {
            sensor: Some(sensor.id.clone()),
            unit: like.unit,
            scale: like.scale,
            offset: like.offset,
            nodata: like.nodata,
            range: like.range,
            gsd_m: b.gsd_m.or(like.gsd_m),
            ..b.clone()
        });
        return Ok((bands.collect(), Binding::ByFile));
    }
    if let Some(other) = file.iter().find(|b| !is_placeholder(&b.name)) {
        let problem = format!(
            "none of its band names (such as `{}`) is a name of {}, whose bands are: {}. If the file's order is known, give it with layout=… ({}) or bands=…",
            other.name,
            sensor.id,
            sensor.band_names(),
            layout_names(sensor)
        );
        // A list as long as the file names its bands, whatever they are called there.
        return by_list(arg, file, sensor)?.ok_or_else(|| Error::bands(path, problem));
    }
    match by_list(arg, file, sensor)? {
        Some(bound) => Ok(bound),
        None => by_count(path, file.len(), sensor),
    }
}

fn by_name(
    path: &Path,
    file: &[Band],
    matches: &[Option<&Band>],
    sensor: &Sensor,
    warnings: &mut Vec<String>,
) -> Result<(Vec<Band>, Binding)> {
    let mut bands: Vec<Band> = Vec::new();
    for (stored, found) in file.iter().zip(matches) {
        let Some(found) = found else {
            warnings
                .push(format!("band `{}` is none of {}'s bands and stays without wavelength", stored.name, sensor.id));
            bands.push(Band { scale: 1.0, offset: 0.0, nodata: None, ..stored.clone() });
            continue;
        };
        if let Some(twice) = bands.iter().position(|b| b.sensor.is_some() && b.name == found.name) {
            let problem = format!(
                "bands {} and {} both mean {} of {}; name them by layout=… ({}) or bands=…",
                twice + 1,
                bands.len() + 1,
                found.name,
                sensor.id,
                layout_names(sensor)
            );
            return Err(Error::bands(path, problem));
        }
        bands.push((*found).clone());
    }
    Ok((bands, Binding::ByName))
}

/// A list of names as long as an unnamed file has bands names them in file order.
fn by_list(arg: &SceneArg, file: &[Band], sensor: &Sensor) -> Result<Option<(Vec<Band>, Binding)>> {
    if arg.bands.len() != file.len() || arg.bands.iter().any(|name| sensor.find_band(name).is_none()) {
        return Ok(None);
    }
    let bands = arg.bands.iter().map(|name| sensor.band(name).cloned()).collect::<Result<_, _>>()?;
    Ok(Some((bands, Binding::ByList)))
}

/// The one order of the sensor that has `count` bands.
fn by_count(path: &Path, count: usize, sensor: &Sensor) -> Result<(Vec<Band>, Binding)> {
    let own: Vec<&str> = sensor.bands.iter().map(|b| b.name.as_str()).collect();
    let mut orders: Vec<(Binding, Vec<&str>)> = sensor
        .layouts_of(count)
        .map(|l| (Binding::ByLayout(l.name.clone()), l.bands.iter().map(String::as_str).collect()))
        .collect();
    if own.len() == count && !orders.iter().any(|(_, order)| *order == own) {
        orders.push((Binding::BySensorOrder, own));
    }
    let mut kept: Vec<(Binding, Vec<&str>)> = Vec::new();
    for order in orders {
        if !kept.iter().any(|(_, o)| *o == order.1) {
            kept.push(order);
        }
    }
    match kept.as_slice() {
        [(binding, order)] => {
            let bands = order.iter().map(|name| sensor.band(name).cloned()).collect::<Result<_, _>>()?;
            Ok((bands, binding.clone()))
        }
        [] => Err(Error::bands(
            path,
            format!(
                "has {count} unnamed bands, but {} has {} ({}) and its layouts are: {}. Name the file's bands in order with bands=…, such as bands=B04+B03+B02",
                sensor.id,
                sensor.bands.len(),
                sensor.band_names(),
                layout_names(sensor)
            ),
        )),
        several => {
            let each = several.iter().map(|(binding, order)| {
                let name = match binding {
                    Binding::ByLayout(name) => format!("layout={name}"),
                    _ => "the sensor's own order".into(),
                };
                format!("{name} ({})", order.join(" "))
            });
            Err(Error::bands(
                path,
                format!(
                    "has {count} unnamed bands, and {} files of {count} bands come in {} orders: {}. Say which with layout=…",
                    sensor.id,
                    several.len(),
                    each.collect::<Vec<_>>().join("; ")
                ),
            ))
        }
    }
}

fn layout_names(sensor: &Sensor) -> String {
    let each = sensor.layouts.iter().map(|l| match l.note.as_str() {
        "" => format!("layout={} of {} bands", l.name, l.bands.len()),
        note => format!("layout={} of {} bands, {note}", l.name, l.bands.len()),
    });
    let text = each.collect::<Vec<_>>().join("; ");
    if text.is_empty() { "it has no layouts".into() } else { text }
}

/// Positions of the wanted bands.
fn select(path: &Path, wanted: &[String], named: &[Band], sensor: Option<&Sensor>) -> Result<Vec<usize>> {
    if wanted.is_empty() {
        return Ok((0..named.len()).collect());
    }
    let mut out = Vec::new();
    for name in wanted {
        let canonical = sensor.and_then(|s| s.find_band(name)).map_or(name.as_str(), |b| b.name.as_str());
        if let Some(k) = named.iter().position(|b| b.name.eq_ignore_ascii_case(canonical)) {
            out.push(k);
            continue;
        }
        let range = name.split_once('-').unwrap_or((name, name));
        match (range.0.trim().parse::<usize>(), range.1.trim().parse::<usize>()) {
            (Ok(first), Ok(last)) if 1 <= first && first <= last && last <= named.len() => out.extend(first - 1..last),
            _ => {
                let known = named.iter().map(|b| b.name.as_str()).collect::<Vec<_>>().join(", ");
                return Err(Error::bands(
                    path,
                    format!("has no band `{name}`; its bands are 1 to {}: {known}", named.len()),
                ));
            }
        }
    }
    if let Some(k) = (1..out.len()).find(|&k| out[..k].contains(&out[k])) {
        return Err(Error::bands(path, format!("band `{}` is asked for twice", named[out[k]].name)));
    }
    Ok(out)
}

impl BandSource for Bound {
    fn path(&self) -> &Path {
        self.inner.path()
    }

    fn grid(&self) -> &Grid {
        self.inner.grid()
    }

    fn bands(&self) -> &[Band] {
        &self.bands
    }

    fn sample_type(&self) -> SampleType {
        self.inner.sample_type()
    }

    fn columns_at_once(&self) -> usize {
        self.inner.columns_at_once()
    }

    fn read_stored(&self, bands: &[usize], window: Window) -> Result<Tile> {
        crate::check_request(self, bands, window)?;
        let stored: Vec<usize> = bands.iter().map(|&b| self.take[b]).collect();
        let mut tile = self.inner.read_stored(&stored, window)?;
        // A nodata value the file does not declare itself.
        for ((plane, &b), &s) in tile.data.outer_iter().zip(bands).zip(&stored) {
            let nodata = self.bands[b].nodata;
            if let Some(nodata) = nodata.filter(|_| nodata != self.inner.bands()[s].nodata) {
                ndarray::Zip::from(&mut tile.mask).and(plane).for_each(|m, &v| *m &= v != nodata as f32);
            }
        }
        Ok(tile)
    }
}
