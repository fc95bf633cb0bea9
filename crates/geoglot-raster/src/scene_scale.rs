//! From a file's numbers to physical values.

use geoglot_core::{Band, Sensor, Unit};

use crate::scene_arg::{ScaleRule, SceneArg};
use crate::{Error, Result};

/// Decides scale, offset, unit and nodata of one band.
pub(crate) struct Scaler<'a> {
    pub arg: &'a SceneArg,
    pub sensor: Option<&'a Sensor>,
    pub integer: bool,
}

impl Scaler<'_> {
    pub fn apply(&self, file: &Band, named: &Band, warnings: &mut Vec<String>) -> Result<(Band, &'static str)> {
        let own = file.scale != 1.0 || file.offset != 0.0;
        // Without a sensor, and for bands the sensor does not know, `named` is the file's own band.
        let known = self.sensor.is_some() && named.sensor.is_some();
        let sensors = known && (named.scale != 1.0 || named.offset != 0.0);
        let mut band = named.clone();
        let (scale, offset, how) = match self.arg.scale {
            ScaleRule::None => (1.0, 0.0, "no scale, as told"),
            ScaleRule::Factor(factor) => (factor, 0.0, "the scale given"),
            ScaleRule::Sensor if known => (named.scale, named.offset, "the sensor's scale, as told"),
            ScaleRule::Sensor => {
                return Err(Error::Usage(format!(
                    "input `{}`: scale=sensor needs sensor=… and a band of it, which `{}` is not",
                    self.arg.label(),
                    file.name
                )));
            }
            ScaleRule::Auto if own => {
                if sensors && (file.scale, file.offset) != (named.scale, named.offset) {
                    push_once(
                        warnings,
                        format!(
                            "the file's own scale {} and offset {} were used, not the sensor's {} and {} (scale=sensor changes that)",
                            file.scale, file.offset, named.scale, named.offset
                        ),
                    );
                }
                (file.scale, file.offset, "the file's own scale")
            }
            ScaleRule::Auto if sensors && self.integer => {
                (named.scale, named.offset, "the sensor's scale, for stored integers")
            }
            ScaleRule::Auto if sensors => {
                (1.0, 0.0, "no scale: stored as floats, taken as physical already (scale=sensor changes that)")
            }
            ScaleRule::Auto => (1.0, 0.0, "no scale"),
        };
        band.scale = scale;
        band.offset = self.arg.offset.unwrap_or(offset);
        band.nodata = self.arg.nodata.or(file.nodata).or(if known { named.nodata } else { None });
        if self.arg.scale == ScaleRule::None && sensors && band.unit == Unit::Reflectance {
            (band.unit, band.range) = (Unit::DigitalNumber, None);
        }
        Ok((band, how))
    }
}

fn push_once(warnings: &mut Vec<String>, text: String) {
    if !warnings.contains(&text) {
        warnings.push(text);
    }
}
