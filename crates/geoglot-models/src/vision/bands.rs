//! Which bands a tower reads.

use geoglot_core::Band;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::geolangbind::Placeholders;

/// How far, in µm, a band's centre may lie from the one a fixed-band tower expects: Sentinel-2's red edge (0.704) is not red.
const NEAR: f32 = 0.035;

/// One band of a fixed-band tower.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FixedBand {
    /// Name in messages and, for bands without wavelengths, to be found by.
    pub name: String,
    /// Centre wavelength in µm.
    pub wavelength: f32,
}

/// The bands a tower needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BandNeed {
    /// These bands in this order.
    Fixed(Vec<FixedBand>),
    /// Any bands with wavelengths; what stands in for a missing wavelength.
    Any(Placeholders),
}

impl BandNeed {
    /// Red, green, blue.
    pub fn rgb() -> Self {
        let band = |name: &str, wavelength| FixedBand { name: name.into(), wavelength };
        BandNeed::Fixed(vec![band("red", 0.665), band("green", 0.560), band("blue", 0.490)])
    }

    /// Indices into `bands` of what the tower reads, in its order: all of them for an any-band tower; for a fixed-band one the
    /// band of nearest wavelength, or of the same name, or, when no band has a wavelength and their number fits, all as they come.
    ///
    /// # Errors
    /// [`Error::Input`] naming the band that is not there.
    pub fn select(&self, bands: &[Band]) -> Result<Vec<usize>> {
        let needed = match self {
            BandNeed::Any(_) => return Ok((0..bands.len()).collect()),
            BandNeed::Fixed(needed) => needed,
        };
        let named = |need: &FixedBand| bands.iter().position(|b| b.name.eq_ignore_ascii_case(&need.name));
        let nearest = |need: &FixedBand| {
            let distance = |b: &Band| b.wavelength_um.map(|w| (w - need.wavelength).abs());
            let near = |(i, b): (usize, &Band)| distance(b).filter(|d| *d <= NEAR).map(|d| (i, d));
            bands.iter().enumerate().filter_map(near).min_by(|a, b| a.1.total_cmp(&b.1)).map(|(i, _)| i)
        };
        let found: Vec<Option<usize>> = needed.iter().map(|n| nearest(n).or_else(|| named(n))).collect();
        if let Some(all) = found.iter().copied().collect::<Option<Vec<usize>>>() {
            return Ok(all);
        }
        if bands.len() == needed.len() && bands.iter().all(|b| b.wavelength_um.is_none()) {
            return Ok((0..bands.len()).collect());
        }
        let missing = needed.iter().zip(&found).find(|(_, f)| f.is_none()).map(|(n, _)| n).expect("one is not found");
        if bands.iter().all(|b| b.wavelength_um.is_none()) {
            return Err(Error::Input(format!(
                "this tower reads {}; the {} bands {} have neither these names nor wavelengths: name their sensor (sensor=…), or \
                 choose {} (bands=…) in this order",
                self.names(),
                bands.len(),
                bands.iter().map(Band::label).collect::<Vec<_>>().join(", "),
                needed.len()
            )));
        }
        Err(Error::Input(format!(
            "this tower reads {}; no band within {NEAR} µm of {} ({} µm) among {}: give the bands in the tower's order without \
             wavelengths, or use an any-band model",
            self.names(),
            missing.name,
            missing.wavelength,
            bands.iter().map(Band::label).collect::<Vec<_>>().join(", ")
        )))
    }

    /// The needed bands in words.
    pub fn names(&self) -> String {
        match self {
            BandNeed::Fixed(bands) => bands.iter().map(|b| b.name.as_str()).collect::<Vec<_>>().join(", "),
            BandNeed::Any(_) => "any bands with wavelengths".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use geoglot_core::Registry;

    #[test]
    fn rgb_is_found_in_sentinel_2_and_in_photos() {
        let bands = &Registry::builtin().sensor("sentinel-2-l2a").unwrap().bands;
        let names: Vec<&str> = BandNeed::rgb().select(bands).unwrap().iter().map(|&i| bands[i].name.as_str()).collect();
        assert_eq!(names, ["B04", "B03", "B02"]);
        let photo: Vec<Band> = ["1", "2", "3"].map(Band::named).to_vec();
        assert_eq!(BandNeed::rgb().select(&photo).unwrap(), [0, 1, 2]);
        let turned: Vec<Band> = ["Blue", "Green", "Red"].map(Band::named).to_vec();
        assert_eq!(BandNeed::rgb().select(&turned).unwrap(), [2, 1, 0]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let bands = &Registry::builtin().sensor("sentinel-2-l2a").unwrap().bands;
        let infrared: Vec<Band> = bands.iter().filter(|b| b.wavelength_um > Some(0.7)).cloned().collect();
        let error = BandNeed::rgb().select(&infrared).unwrap_err().to_string();
        assert!(error.contains("red (0.665 µm)") && error.contains("B08"), "{error}");
        let error = BandNeed::rgb().select(&["VV", "VH"].map(Band::named)).unwrap_err().to_string();
        assert!(error.contains("the 2 bands VV, VH") && error.contains("choose 3 (bands=…)"), "{error}");
    }
}
