//! Bands to wavelengths.

use geoglot_core::{Band, Registry, Unit};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The published wavelengths of red, green and blue, µm.
pub const RGB: [f32; 3] = [0.665, 0.560, 0.490];

/// Wavelengths in µm that an optical or thermal band can have; placeholders of radar lie inside, too.
const POSSIBLE: std::ops::RangeInclusive<f32> = 0.2..=20.0;

/// What stands in for a wavelength that a band does not have.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fill {
    /// This number for every such band.
    Wavelength(f32),
    /// Red's, green's, blue's for the first, second, third such band, and so on from the start.
    Rgb,
}

/// What a checkpoint declares for bands without a wavelength; a kind without a declaration is an error.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Placeholders {
    /// Radar backscatter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub radar: Option<Fill>,
    /// Elevation and everything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<Fill>,
}

impl Placeholders {
    /// RGB's wavelengths for everything, as GeoLangBind.
    pub fn rgb() -> Self {
        Self { radar: Some(Fill::Rgb), other: Some(Fill::Rgb) }
    }
}

/// Centre wavelengths in µm of `bands`, one a band, placeholders where a band has none.
///
/// Bands that share the RGB placeholder take its wavelengths in the order of their sensor's registry entry (by name for
/// unknown sensors), not in the order given, so that permuted images give the same embedding.
///
/// # Errors
/// [`Error::Input`] naming the band: no wavelength and no placeholder, a value that looks like nanometres, or one that is no
/// wavelength at all.
pub fn bind_wavelengths(bands: &[Band], placeholders: &Placeholders) -> Result<Vec<f32>> {
    let mut waves = vec![0.0; bands.len()];
    let mut cycled = Vec::new();
    for (i, band) in bands.iter().enumerate() {
        let label = band.label();
        match band.wavelength_um {
            Some(w) if POSSIBLE.contains(&w) => waves[i] = w,
            Some(w) if (100.0..=20_000.0).contains(&w) => {
                return Err(Error::Input(format!(
                    "band {label}: wavelength {w} looks like nanometres; wavelengths are in µm: give {}",
                    w / 1000.0
                )));
            }
            Some(w) => {
                return Err(Error::Input(format!(
                    "band {label}: wavelength {w} µm is outside {}–{} µm",
                    POSSIBLE.start(),
                    POSSIBLE.end()
                )));
            }
            None => {
                let radar = matches!(band.unit, Unit::Decibel | Unit::LinearPower);
                match if radar { placeholders.radar } else { placeholders.other } {
                    Some(Fill::Wavelength(w)) => waves[i] = w,
                    Some(Fill::Rgb) => cycled.push(i),
                    None => {
                        return Err(Error::Input(format!(
                            "band {label} has no wavelength, and the model declares no placeholder for {}: give the band's \
                             wavelength, name its sensor, leave the band out, or set a placeholder in the model's config",
                            if radar { "radar" } else { "such bands" }
                        )));
                    }
                }
            }
        }
    }
    cycled.sort_by_key(|&i| registry_place(&bands[i]));
    for (k, i) in cycled.into_iter().enumerate() {
        waves[i] = RGB[k % 3];
    }
    Ok(waves)
}

/// Where a band stands among the bands of its sensor; bands of unknown sensors by name, digits by value.
fn registry_place(band: &Band) -> (usize, usize, String) {
    let place = band
        .sensor
        .as_deref()
        .and_then(|s| Registry::builtin().sensor(s).ok())
        .and_then(|sensor| sensor.bands.iter().position(|b| b.name == band.name));
    let digits: String = band.name.chars().filter(char::is_ascii_digit).collect();
    (place.unwrap_or(usize::MAX), digits.parse().unwrap_or(0), band.label())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn band(name: &str, wavelength: Option<f32>, unit: Unit) -> Band {
        Band { wavelength_um: wavelength, unit, ..Band::named(name) }
    }

    #[test]
    fn registry_bands_bind_by_wavelength_in_any_order() {
        let sensor = Registry::builtin().sensor("sentinel-2-l2a").unwrap();
        let waves = bind_wavelengths(&sensor.bands, &Placeholders::default()).unwrap();
        let turned: Vec<Band> = sensor.bands.iter().rev().cloned().collect();
        let back: Vec<f32> = bind_wavelengths(&turned, &Placeholders::default()).unwrap().into_iter().rev().collect();
        assert_eq!(waves, back);
        assert!(waves.contains(&0.665));
    }

    #[test]
    fn placeholders_follow_the_kind_and_not_the_order() {
        let s1 = Registry::builtin().sensor("sentinel-1").unwrap();
        let two: Vec<Band> = s1.bands.iter().take(2).cloned().collect();
        let rgb = bind_wavelengths(&two, &Placeholders::rgb()).unwrap();
        assert_eq!(rgb, RGB[..2]);
        let turned: Vec<Band> = two.iter().rev().cloned().collect();
        assert_eq!(bind_wavelengths(&turned, &Placeholders::rgb()).unwrap(), [RGB[1], RGB[0]]);
        let dofa = Placeholders { radar: Some(Fill::Wavelength(3.75)), other: None };
        assert_eq!(bind_wavelengths(&two, &dofa).unwrap(), [3.75, 3.75]);
        let elevation = [band("dsm", None, Unit::Metre)];
        let error = bind_wavelengths(&elevation, &dofa).unwrap_err().to_string();
        assert!(error.contains("dsm") && error.contains("placeholder"), "{error}");
        let many: Vec<Band> = (1..=12).map(|i| band(&format!("b{i}"), None, Unit::Unitless)).collect();
        let waves = bind_wavelengths(&many, &Placeholders::rgb()).unwrap();
        assert_eq!(waves[..4], [RGB[0], RGB[1], RGB[2], RGB[0]]);
        assert_eq!(waves[9..], [RGB[0], RGB[1], RGB[2]]);
    }

    #[test]
    fn nanometres_and_nonsense_are_said() {
        for (w, word) in
            [(665.0, "nanometres"), (2190.0, "2.19"), (0.001, "outside"), (50.0, "outside"), (f32::NAN, "outside")]
        {
            let error = bind_wavelengths(&[band("x", Some(w), Unit::Reflectance)], &Placeholders::rgb())
                .unwrap_err()
                .to_string();
            assert!(error.contains(word) && error.contains("band x"), "{w}: {error}");
        }
    }
}
