//! One band: who measured it, what it is called, where in the spectrum it lies, how its numbers are stored.

use serde::{Deserialize, Serialize};

/// What a band's scaled values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Unit {
    /// Surface or top-of-atmosphere reflectance, 0–1 (bright targets reach above 1).
    Reflectance,
    /// Radiance, W m⁻² sr⁻¹ µm⁻¹.
    Radiance,
    /// Sensor counts without a physical unit.
    DigitalNumber,
    /// Backscatter in decibels.
    Decibel,
    /// Backscatter as linear power.
    LinearPower,
    /// Height or depth in metres.
    Metre,
    /// Brightness temperature in kelvin.
    Kelvin,
    /// An index, a component, a probability: no unit.
    #[default]
    Unitless,
}

impl Unit {
    /// The unit's sign as printed beside numbers; empty for pure numbers.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Reflectance => "reflectance",
            Self::Radiance => "W/m²/sr/µm",
            Self::DigitalNumber => "DN",
            Self::Decibel => "dB",
            Self::LinearPower => "linear",
            Self::Metre => "m",
            Self::Kelvin => "K",
            Self::Unitless => "",
        }
    }
}

/// One band of one sensor. Physical value = stored value × `scale` + `offset`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Band {
    /// Sensor id in the registry, such as `sentinel-2-l2a`; `None` when the file does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensor: Option<String>,
    /// Canonical name, such as `B04`.
    pub name: String,
    /// Centre wavelength in µm; `None` for elevation, SAR, components and indices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wavelength_um: Option<f32>,
    /// Full width at half maximum in µm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fwhm_um: Option<f32>,
    /// Ground sampling distance in metres at which the sensor records the band.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gsd_m: Option<f32>,
    /// Unit of the scaled values.
    #[serde(default)]
    pub unit: Unit,
    /// Factor from stored to physical values.
    #[serde(default = "one")]
    pub scale: f64,
    /// Added after scaling.
    #[serde(default)]
    pub offset: f64,
    /// Stored value that means "no data".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodata: Option<f64>,
    /// Range of ordinary physical values, for warnings and display.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<(f64, f64)>,
}

fn one() -> f64 {
    1.0
}

impl Band {
    /// A band known by name only: no sensor, no wavelength, stored values taken as they are.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            sensor: None,
            name: name.into(),
            wavelength_um: None,
            fwhm_um: None,
            gsd_m: None,
            unit: Unit::Unitless,
            scale: 1.0,
            offset: 0.0,
            nodata: None,
            range: None,
        }
    }

    /// `sensor/name`, or the name alone.
    pub fn label(&self) -> String {
        match &self.sensor {
            Some(sensor) => format!("{sensor}/{}", self.name),
            None => self.name.clone(),
        }
    }

    /// Physical value of a stored value.
    pub fn physical(&self, stored: f64) -> f64 {
        stored * self.scale + self.offset
    }

    /// True when a stored value is this band's nodata value or not a number.
    pub fn is_nodata(&self, stored: f64) -> bool {
        stored.is_nan() || self.nodata.is_some_and(|nodata| stored == nodata)
    }
}
