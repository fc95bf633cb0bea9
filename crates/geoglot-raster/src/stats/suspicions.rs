//! What the statistics of bands say against how they are declared.

use geoglot_core::{Band, Unit};
use serde::Serialize;

use super::{BandStats, SceneStats};

/// What looks wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Suspicion {
    /// Every pixel is nodata.
    NoData,
    /// NaN or infinite pixels.
    NotFinite,
    /// One value everywhere.
    Constant,
    /// Two bands hold the same numbers.
    Duplicate,
    /// Too large for reflectance: the scale is missing.
    NotReflectance,
    /// Too small for reflectance: the scale was applied twice.
    ScaledTwice,
    /// Linear power where decibels are declared.
    LinearNotDecibel,
    /// Decibels where linear power is declared.
    DecibelNotLinear,
    /// Degrees Celsius where kelvin are declared.
    NotKelvin,
    /// The offset of processing baseline 04.00 was not removed.
    MissingOffset,
    /// Outside the sensor's ordinary range.
    OutOfRange,
}

/// A suspicion with the bands it concerns and what to do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Warning {
    /// What.
    pub suspicion: Suspicion,
    /// Names of the bands.
    pub bands: Vec<String>,
    /// In words, with a remedy.
    pub text: String,
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", shortened(&self.bands), self.text)
    }
}

/// Up to six names, then how many more.
fn shortened(names: &[String]) -> String {
    const SHOWN: usize = 6;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    if names.len() > SHOWN { format!("{shown} and {} more", names.len() - SHOWN) } else { shown }
}

/// Collects one warning for all bands of a suspicion.
struct Collector(Vec<Warning>);

impl Collector {
    fn add(&mut self, suspicion: Suspicion, band: &str, text: impl FnOnce() -> String) {
        match self.0.iter_mut().find(|w| w.suspicion == suspicion) {
            Some(warning) => warning.bands.push(band.into()),
            None => self.0.push(Warning { suspicion, bands: vec![band.into()], text: text() }),
        }
    }
}

/// What the statistics of `bands` (the same bands, in the same order) say against how they are declared.
pub fn warnings(stats: &SceneStats, bands: &[Band]) -> Vec<Warning> {
    let mut found = Collector(Vec::new());
    for (s, band) in stats.bands.iter().zip(bands) {
        check_band(s, band, &mut found);
    }
    let mut seen: Vec<&BandStats> = Vec::new();
    for s in stats.bands.iter().filter(|s| s.count > 0 && s.min < s.max) {
        match seen.iter().find(|o| o.fingerprint == s.fingerprint && o.count == s.count) {
            Some(other) => found.0.push(Warning {
                suspicion: Suspicion::Duplicate,
                bands: vec![other.name.clone(), s.name.clone()],
                text: "hold the same numbers; one of them was copied under the wrong name".into(),
            }),
            None => seen.push(s),
        }
    }
    missing_offset(stats, bands, &mut found);
    found.0
}

fn check_band(s: &BandStats, band: &Band, found: &mut Collector) {
    let (p1, p2, p50, p98, p99) =
        (s.percentile(1.0), s.percentile(2.0), s.percentile(50.0), s.percentile(98.0), s.percentile(99.0));
    if s.count == 0 {
        found.add(Suspicion::NoData, &s.name, || "every pixel is nodata; check the nodata value and the file".into());
        return;
    }
    if s.non_finite_share > 0.0 {
        found.add(Suspicion::NotFinite, &s.name, || {
            format!("{:.2} % of the pixels are NaN or infinite; they are treated as nodata", 100.0 * s.non_finite_share)
        });
    }
    if s.min == s.max {
        found.add(Suspicion::Constant, &s.name, || {
            format!(
                "every pixel is {:.6}; the band carries no information, or it is fill that is not declared as nodata",
                s.min
            )
        });
        return;
    }
    match band.unit {
        Unit::Reflectance if p99 > 2.0 => found.add(Suspicion::NotReflectance, &s.name, || {
            format!(
                "values reach {p99:.4} (99th percentile) after ×{} {:+}, which cannot be reflectance; the stored numbers need another scale (0.0001 is usual for counts up to 10000, 1/255 for bytes)",
                band.scale, band.offset
            )
        }),
        Unit::Reflectance if p98.abs() < 1e-3 => found.add(Suspicion::ScaledTwice, &s.name, || {
            let stored = if band.scale == 0.0 { 0.0 } else { (p98 - band.offset) / band.scale };
            format!(
                "values end at {p98:.2e} (98th percentile) after ×{}; stored ones at {stored:.3}: they look like reflectance already, so the scale would be applied twice (say scale=1)",
                band.scale
            )
        }),
        Unit::Reflectance if band.scale < 0.1 && p98 - band.offset < 1.5 * band.scale => {
            found.add(Suspicion::ScaledTwice, &s.name, || {
                format!("stored values end at {:.3}: they look like reflectance already, so the scale {} would be applied twice (say scale=1)", (p98 - band.offset) / band.scale, band.scale)
            });
        }
        Unit::Decibel if p1 >= 0.0 && p50 < 5.0 => found.add(Suspicion::LinearNotDecibel, &s.name, || {
            format!("declared as dB, but no value is negative (median {p50:.4}): it looks like linear power or amplitude; use the sensor's linear entry")
        }),
        Unit::LinearPower if p2 < 0.0 => found.add(Suspicion::DecibelNotLinear, &s.name, || {
            format!("declared as linear power, but values are negative (median {p50:.2}): it looks like dB; use the sensor's dB entry")
        }),
        Unit::Kelvin if p50 < 150.0 => found.add(Suspicion::NotKelvin, &s.name, || {
            format!("declared as kelvin, but the median is {p50:.2}; degrees Celsius need offset=273.15, counts their own scale")
        }),
        _ => {
            if let Some((low, high)) = band.range
                && (p2 < low - 0.5 * (high - low) || p98 > high + 0.5 * (high - low))
            {
                found.add(Suspicion::OutOfRange, &s.name, || {
                    format!("values of {p2:.4} to {p98:.4} lie far outside the sensor's ordinary {low} to {high}; check scale, offset and nodata")
                });
            }
        }
    }
}

/// Sentinel-2 products since baseline 04.00 carry +1000 counts, which shows as a floor near 0.1 in every band, also over water and shadow.
fn missing_offset(stats: &SceneStats, bands: &[Band], found: &mut Collector) {
    let pairs: Vec<_> = stats
        .bands
        .iter()
        .zip(bands)
        .filter(|(s, b)| s.count > 0 && b.sensor.as_deref().is_some_and(|id| id == "sentinel-2-l2a") && b.offset == 0.0)
        .collect();
    if pairs.len() >= 6 && pairs.iter().all(|(s, _)| s.percentile(1.0) >= 0.098) {
        for (s, _) in pairs {
            found.add(Suspicion::MissingOffset, &s.name, || {
                "no band falls below 0.1: the product probably has processing baseline 04.00 or later, whose counts carry +1000; use sensor=sentinel-2-l2a-0400".into()
            });
        }
    }
}
