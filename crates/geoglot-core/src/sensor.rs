//! The sensor registry: data in `sensors/*.toml`, looked up by id or alias; users add their own file.

use std::path::Path;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::{Band, Error, Result, Unit, small_file};

/// What kind of instrument a sensor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SensorKind {
    /// Optical with a few bands (RGB, multispectral).
    Multispectral,
    /// Optical with many narrow bands.
    Hyperspectral,
    /// Synthetic-aperture radar.
    Sar,
    /// Heights: LiDAR or photogrammetry.
    Elevation,
    /// Emitted infrared.
    Thermal,
}

/// An order of bands in which some product stores a sensor's bands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// Name, such as `eurosat`.
    pub name: String,
    /// Canonical band names in file order.
    pub bands: Vec<String>,
    /// Why the layout exists: which product, which trap.
    #[serde(default)]
    pub note: String,
}

/// One sensor with its bands in their usual order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sensor {
    /// Id, such as `sentinel-2-l2a`.
    pub id: String,
    /// Full name.
    pub name: String,
    /// Kind.
    pub kind: SensorKind,
    /// Other ids that mean this sensor.
    pub aliases: Vec<String>,
    /// Where the numbers come from.
    pub source: String,
    /// Bands in the usual order.
    pub bands: Vec<Band>,
    /// Other names of each band, parallel to `bands`.
    pub band_aliases: Vec<Vec<String>>,
    /// Known file orders.
    pub layouts: Vec<Layout>,
}

/// All known sensors.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    sensors: Vec<Sensor>,
}

const BUILTIN: &[(&str, &str)] = &[
    ("sentinel.toml", include_str!("../sensors/sentinel.toml")),
    ("landsat.toml", include_str!("../sensors/landsat.toml")),
    ("commercial.toml", include_str!("../sensors/commercial.toml")),
    ("modis.toml", include_str!("../sensors/modis.toml")),
    ("hyperspectral.toml", include_str!("../sensors/hyperspectral.toml")),
    ("other.toml", include_str!("../sensors/other.toml")),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    sensor: Vec<SensorEntry>,
}

/// A sensor as written in a registry file: defaults for its bands, then bands one by one or evenly spaced.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SensorEntry {
    id: String,
    name: String,
    kind: SensorKind,
    #[serde(default)]
    aliases: Vec<String>,
    #[serde(default)]
    source: String,
    #[serde(default)]
    unit: Unit,
    scale: Option<f64>,
    offset: Option<f64>,
    nodata: Option<f64>,
    range: Option<(f64, f64)>,
    gsd: Option<f32>,
    #[serde(default)]
    band: Vec<BandEntry>,
    evenly_spaced: Option<EvenlySpaced>,
    #[serde(default)]
    layout: Vec<Layout>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BandEntry {
    name: String,
    #[serde(default)]
    aliases: Vec<String>,
    wavelength: Option<f32>,
    fwhm: Option<f32>,
    gsd: Option<f32>,
    unit: Option<Unit>,
    scale: Option<f64>,
    offset: Option<f64>,
    nodata: Option<f64>,
    range: Option<(f64, f64)>,
}

/// More channels than any spectrometer in use has (IASI: 8461); a larger count is a typing error.
const MOST_BANDS: usize = 1 << 14;

/// `count` bands named `<prefix>1…` with centres from `first` to `last` µm.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EvenlySpaced {
    prefix: String,
    count: usize,
    first: f64,
    last: f64,
    fwhm: f32,
}

/// Case, blanks, `_` and `-` do not matter in names, and neither does a leading zero in a band number (B8A = B08A, B4 = B04).
fn key(name: &str) -> String {
    let plain: String =
        name.chars().filter(|c| !matches!(c, ' ' | '_' | '-' | '.')).flat_map(char::to_lowercase).collect();
    match plain.strip_prefix("b0") {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_digit()) => format!("b{rest}"),
        _ => plain,
    }
}

impl Registry {
    /// The registry that ships with geoglot.
    pub fn builtin() -> &'static Self {
        static REGISTRY: OnceLock<Registry> = OnceLock::new();
        REGISTRY.get_or_init(|| {
            let mut registry = Self::default();
            for (name, text) in BUILTIN {
                registry.add(name, text).expect("the built-in sensor files are checked by a test");
            }
            registry
        })
    }

    /// The built-in registry and the sensors of a user's TOML file, which win over built-in ones of the same id.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Format`] naming the file.
    pub fn with_file(path: &Path) -> Result<Self> {
        let text = small_file::read_text(path, small_file::TEXT)?;
        let mut registry = Self::builtin().clone();
        registry.add(&path.display().to_string(), &text)?;
        Ok(registry)
    }

    /// Adds the sensors of registry TOML `text`; `origin` names it in errors.
    ///
    /// # Errors
    /// [`Error::Format`] for TOML of another form, repeated names, layouts with unknown bands, impossible wavelengths.
    pub fn add(&mut self, origin: &str, text: &str) -> Result<()> {
        let wrong = |problem: String| Error::Format { path: origin.into(), problem };
        let file: File = toml::from_str(text).map_err(|e| wrong(format!("is not a sensor registry: {e}")))?;
        for entry in file.sensor {
            let sensor = entry.build().map_err(wrong)?;
            self.sensors.retain(|s| s.id != sensor.id);
            let ids = std::iter::once(&sensor.id).chain(&sensor.aliases);
            if let Some((id, other)) = ids.filter_map(|id| self.find(id).map(|other| (id, other))).next() {
                return Err(wrong(format!("sensor `{}`: the name `{id}` already means `{}`", sensor.id, other.id)));
            }
            self.sensors.push(sensor);
        }
        Ok(())
    }

    /// All sensors.
    pub fn sensors(&self) -> &[Sensor] {
        &self.sensors
    }

    fn find(&self, id: &str) -> Option<&Sensor> {
        let wanted = key(id);
        self.sensors.iter().find(|s| key(&s.id) == wanted || s.aliases.iter().any(|a| key(a) == wanted))
    }

    /// The sensor with this id or alias.
    ///
    /// # Errors
    /// [`Error::UnknownSensor`] listing what is known.
    pub fn sensor(&self, id: &str) -> Result<&Sensor> {
        self.find(id).ok_or_else(|| Error::UnknownSensor {
            sensor: id.into(),
            known: self.sensors.iter().map(|s| s.id.as_str()).collect::<Vec<_>>().join(", "),
        })
    }

    /// A sensor's band by name or alias.
    ///
    /// # Errors
    /// [`Error::UnknownSensor`], [`Error::UnknownBand`] listing what is known.
    pub fn band(&self, sensor: &str, band: &str) -> Result<&Band> {
        self.sensor(sensor)?.band(band)
    }
}

impl Sensor {
    /// The band with this name or alias.
    ///
    /// # Errors
    /// [`Error::UnknownBand`] listing the sensor's bands.
    pub fn band(&self, name: &str) -> Result<&Band> {
        self.find_band(name).ok_or_else(|| Error::UnknownBand {
            sensor: self.id.clone(),
            band: name.into(),
            known: self.band_names(),
        })
    }

    /// The band with this name or alias, if the sensor has it.
    pub fn find_band(&self, name: &str) -> Option<&Band> {
        let wanted = key(name);
        let index = self
            .bands
            .iter()
            .zip(&self.band_aliases)
            .position(|(b, aliases)| key(&b.name) == wanted || aliases.iter().any(|a| key(a) == wanted))?;
        Some(&self.bands[index])
    }

    /// The bands of a named layout, in file order.
    ///
    /// # Errors
    /// [`Error::UnknownLayout`] listing the layouts.
    pub fn layout(&self, name: &str) -> Result<Vec<Band>> {
        let wanted = key(name);
        let layout = self.layouts.iter().find(|l| key(&l.name) == wanted).ok_or_else(|| Error::UnknownLayout {
            sensor: self.id.clone(),
            layout: name.into(),
            known: self.layouts.iter().map(|l| l.name.as_str()).collect::<Vec<_>>().join(", "),
        })?;
        layout.bands.iter().map(|b| self.band(b).cloned()).collect()
    }

    /// Layouts whose number of bands is `count`.
    pub fn layouts_of(&self, count: usize) -> impl Iterator<Item = &Layout> {
        self.layouts.iter().filter(move |l| l.bands.len() == count)
    }

    /// Band names, comma separated.
    pub fn band_names(&self) -> String {
        self.bands.iter().map(|b| b.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

impl SensorEntry {
    fn build(self) -> Result<Sensor, String> {
        let id = &self.id;
        let mut entries = self.band;
        if let Some(even) = self.evenly_spaced {
            if !entries.is_empty() || !(2..=MOST_BANDS).contains(&even.count) {
                return Err(format!(
                    "sensor `{id}`: evenly_spaced needs a count of 2 to {MOST_BANDS} and no [[sensor.band]] beside it"
                ));
            }
            let step = (even.last - even.first) / (even.count - 1) as f64;
            entries = (0..even.count)
                .map(|k| BandEntry {
                    name: format!("{}{}", even.prefix, k + 1),
                    aliases: Vec::new(),
                    wavelength: Some((even.first + step * k as f64) as f32),
                    fwhm: Some(even.fwhm),
                    gsd: None,
                    unit: None,
                    scale: None,
                    offset: None,
                    nodata: None,
                    range: None,
                })
                .collect();
        }
        if entries.is_empty() {
            return Err(format!("sensor `{id}` has no bands; give [[sensor.band]] tables or evenly_spaced"));
        }
        let mut seen = std::collections::HashMap::new();
        let (mut bands, mut band_aliases) = (Vec::new(), Vec::new());
        for entry in entries {
            for name in std::iter::once(&entry.name).chain(&entry.aliases) {
                if let Some(other) = seen.insert(key(name), entry.name.clone()) {
                    return Err(format!("sensor `{id}`: the band name `{name}` already means `{other}`"));
                }
            }
            // Visible light starts at 0.3 µm; thermal infrared ends before 20 µm. Values outside are nanometres or typing errors.
            if let Some(w) = entry.wavelength.filter(|w| !(0.2..=20.0).contains(w)) {
                return Err(format!("sensor `{id}`, band `{}`: wavelength {w} is not in µm (0.2–20)", entry.name));
            }
            bands.push(Band {
                sensor: Some(id.clone()),
                name: entry.name,
                wavelength_um: entry.wavelength,
                fwhm_um: entry.fwhm,
                gsd_m: entry.gsd.or(self.gsd),
                unit: entry.unit.unwrap_or(self.unit),
                scale: entry.scale.or(self.scale).unwrap_or(1.0),
                offset: entry.offset.or(self.offset).unwrap_or(0.0),
                nodata: entry.nodata.or(self.nodata),
                range: entry.range.or(self.range),
            });
            band_aliases.push(entry.aliases);
        }
        let sensor = Sensor {
            id: self.id,
            name: self.name,
            kind: self.kind,
            aliases: self.aliases,
            source: self.source,
            bands,
            band_aliases,
            layouts: self.layout,
        };
        for layout in &sensor.layouts {
            if let Some(unknown) = layout.bands.iter().find(|b| sensor.find_band(b).is_none()) {
                return Err(format!("sensor `{}`, layout `{}`: no band `{unknown}`", sensor.id, layout.name));
            }
        }
        Ok(sensor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_files_are_sound() {
        let mut registry = Registry::default();
        for (name, text) in BUILTIN {
            registry.add(name, text).unwrap();
        }
        for sensor in registry.sensors() {
            assert!(!sensor.source.is_empty(), "{} names no source", sensor.id);
            if matches!(sensor.kind, SensorKind::Multispectral | SensorKind::Hyperspectral | SensorKind::Thermal) {
                assert!(
                    // A height has none.
                    sensor
                        .bands
                        .iter()
                        .all(|b| b.unit == Unit::Metre || b.wavelength_um.is_some() && b.fwhm_um.is_some()),
                    "{} lacks wavelengths",
                    sensor.id
                );
            }
        }
    }

    #[test]
    fn names_are_forgiving_but_not_guessing() {
        let s2 = Registry::builtin().sensor("S2 L2A").unwrap();
        for name in ["B8A", "B08A", "b8a", "nir narrow"] {
            assert_eq!(s2.band(name).unwrap().name, "B8A");
        }
        let error = s2.band("B99").unwrap_err().to_string();
        assert!(error.contains("B99") && error.contains("B8A"), "{error}");
        let error = Registry::builtin().sensor("sputnik").unwrap_err().to_string();
        assert!(error.contains("sentinel-2-l2a"), "{error}");
    }

    #[test]
    fn eurosat_keeps_b8a_last() {
        let bands = Registry::builtin().sensor("sentinel-2-l1c").unwrap().layout("eurosat").unwrap();
        assert_eq!(bands.len(), 13);
        assert_eq!(bands[12].name, "B8A");
        assert_eq!(bands[8].name, "B09");
    }

    #[test]
    fn a_users_file_adds_and_replaces() {
        let mut registry = Registry::builtin().clone();
        let text = r#"
            [[sensor]]
            id = "my-camera"
            name = "A drone camera"
            kind = "multispectral"
            unit = "reflectance"
            evenly_spaced = { prefix = "B", count = 3, first = 0.45, last = 0.65, fwhm = 0.02 }
        "#;
        registry.add("mine.toml", text).unwrap();
        assert_eq!(registry.band("my camera", "B2").unwrap().wavelength_um, Some(0.55));
        for (bad, expected) in [
            (text.replace("0.45", "450.0"), "µm"),
            (text.replace("my-camera", "x").replace("name =", "aliases = [\"s2-l2a\"]\nname ="), "already means"),
            (text.replace("count = 3", "count = 1"), "count"),
            (text.replace("count = 3", "count = 9000000000000000000"), "count"),
            ("sensor = 3".into(), "mine.toml"),
        ] {
            let error = registry.clone().add("mine.toml", &bad).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
