//! What to generate.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Configuration of a synthetic scene; every field has a default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SynthConfig {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Pixel size in metres on the map. Objects keep their size in pixels (a house is about 12 long), so that every class is seen at any pixel size.
    pub gsd: f64,
    /// Root seed: same seed, same bytes.
    pub seed: u64,
    /// Optical and thermal sensors of the registry to render.
    pub sensors: Vec<String>,
    /// Share of the scene under clouds, 0 to 0.9.
    pub clouds: f32,
    /// Share of the scene under snow, 0 to 1.
    pub snow: f32,
    /// Independent looks of the SAR speckle.
    pub looks: u32,
    /// Sun elevation in degrees, 10 to 90.
    pub sun_elevation: f32,
    /// Direction the sun stands in, degrees clockwise from north.
    pub sun_azimuth: f32,
    /// Spread of spectra within a class, 1 = ordinary.
    pub variability: f32,
    /// Instrument noise of optical sensors, 1 = ordinary (signal-to-noise ratio about 150 at reflectance 0.3).
    pub noise: f32,
    /// Path radiance left in surface reflectance, 1 = ordinary.
    pub haze: f32,
    /// Standard deviation of the LiDAR heights in metres.
    pub lidar_noise: f32,
    /// Height range of the terrain in metres.
    pub relief: f32,
}

impl Default for SynthConfig {
    fn default() -> Self {
        Self {
            width: 500,
            height: 500,
            gsd: 1.0,
            seed: 0,
            sensors: vec!["aisa-eagle".into()],
            clouds: 0.0,
            snow: 0.0,
            looks: 4,
            sun_elevation: 52.0,
            sun_azimuth: 155.0,
            variability: 1.0,
            noise: 1.0,
            haze: 1.0,
            lidar_noise: 0.12,
            relief: 18.0,
        }
    }
}

/// Smaller scenes have no room for every class.
const SMALLEST: usize = 96;
/// Larger scenes would not fit the memory of an ordinary machine.
const LARGEST: usize = 8192;

impl SynthConfig {
    pub(super) fn check(&self) -> Result<()> {
        let sizes = SMALLEST..=LARGEST;
        if !sizes.contains(&self.width) || !sizes.contains(&self.height) {
            return Err(Error::Synth(format!(
                "{}×{} pixels; width and height must be {SMALLEST} to {LARGEST}",
                self.width, self.height
            )));
        }
        let ranges = [
            ("gsd", self.gsd, 1e-3, 1e4),
            ("clouds", f64::from(self.clouds), 0.0, 0.9),
            ("snow", f64::from(self.snow), 0.0, 1.0),
            ("looks", f64::from(self.looks), 1.0, 1000.0),
            ("sun_elevation", f64::from(self.sun_elevation), 10.0, 90.0),
            ("sun_azimuth", f64::from(self.sun_azimuth), -360.0, 360.0),
            ("variability", f64::from(self.variability), 0.0, 5.0),
            ("noise", f64::from(self.noise), 0.0, 100.0),
            ("haze", f64::from(self.haze), 0.0, 10.0),
            ("lidar_noise", f64::from(self.lidar_noise), 0.0, 10.0),
            ("relief", f64::from(self.relief), 0.0, 1000.0),
        ];
        match ranges.iter().find(|(_, value, low, high)| !(*low..=*high).contains(value)) {
            None => Ok(()),
            Some((name, value, low, high)) => {
                Err(Error::Synth(format!("{name} = {value} is out of range; give a number from {low} to {high}")))
            }
        }
    }
}
