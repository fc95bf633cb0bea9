//! Physical values as the 8-bit numbers that some towers were trained on.

use anyhow::bail;

use crate::core::{Band, Unit};

/// Reflectance shown as white to models that were trained on 8-bit pictures: that of Sentinel-2's true-colour product.
const REFLECTANCE_WHITE: f32 = 0.3558;

/// Values of one band that become 0 and 255; `None` for a band that is such numbers already.
pub(super) type BandLimits = Option<(f32, f32)>;

/// Limits that become 0 and 255 for a tower trained on 8-bit pictures; `None` when all bands are such numbers already.
pub(super) fn display_limits(bands: &[Band], warnings: &mut Vec<String>) -> anyhow::Result<Option<Vec<BandLimits>>> {
    let mut limits = Vec::new();
    for band in bands {
        limits.push(match (band.unit, band.range) {
            (Unit::DigitalNumber | Unit::Unitless, None | Some((0.0, 255.0))) => None,
            (Unit::Reflectance, _) => Some((0.0, REFLECTANCE_WHITE)),
            (_, Some((low, high))) if low < high => Some((low as f32, high as f32)),
            _ => bail!(
                "band {}: the model reads 8-bit pictures, and this band has no range of ordinary values to make one of; name its \
                 sensor, or add `range` to the band in a sensor file",
                band.label()
            ),
        });
    }
    let Some(first) = limits.iter().position(Option::is_some) else { return Ok(None) };
    let (low, high) = limits[first].unwrap_or_default();
    warnings.push(format!(
        "the model was trained on 8-bit pictures: physical values become such numbers ({} {low}–{high} to 0–255)",
        bands[first].label()
    ));
    Ok(Some(limits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Registry;

    #[test]
    fn physical_values_become_bytes_and_bytes_stay() {
        let mut warnings = Vec::new();
        let rgb = &Registry::builtin().sensor("rgb").unwrap().bands;
        assert_eq!(display_limits(rgb, &mut warnings).unwrap(), None);
        assert!(warnings.is_empty());
        let s2 = &Registry::builtin().sensor("sentinel-2-l2a").unwrap().bands[..3];
        assert_eq!(display_limits(s2, &mut warnings).unwrap().unwrap()[0], Some((0.0, REFLECTANCE_WHITE)));
        assert_eq!(warnings.len(), 1);
        let kelvin = [Band { unit: Unit::Kelvin, ..Band::named("t") }];
        assert!(display_limits(&kelvin, &mut warnings).unwrap_err().to_string().contains("band t"));
    }
}
