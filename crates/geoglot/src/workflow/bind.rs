//! A model's bands in a scene: by sensor and name, else by wavelength; by position only where the model's own bands have no names.

use anyhow::bail;

use crate::core::Band;
use crate::raster::is_placeholder;

/// Largest distance in µm at which another sensor's band stands for the model's.
const NEAR: f32 = 0.02;

/// For each band of the model its position in the scene's input.
///
/// # Errors
/// Bands that are missing or ambiguous: names the input, the band, what the scene has, and how to name bands.
pub fn bind(input: &str, model: &[Band], scene: &[Band]) -> anyhow::Result<Vec<usize>> {
    let names = || scene.iter().map(Band::label).collect::<Vec<_>>().join(", ");
    let nameless = |bands: &[Band]| bands.iter().all(|b| b.wavelength_um.is_none() && is_placeholder(&b.name));
    if nameless(model) {
        if scene.len() != model.len() {
            bail!(
                "input `{input}` has {} bands ({}); the model was trained on {} bands without names, which can only be taken in the same number and order",
                scene.len(),
                names(),
                model.len()
            );
        }
        return Ok((0..model.len()).collect());
    }
    if nameless(scene) {
        let sensor = model.iter().find_map(|b| b.sensor.as_deref()).unwrap_or("SENSOR");
        bail!(
            "the bands of input `{input}` have no names, and geoglot does not guess their order. Name them: \
             --scene {input}=PATH:sensor={sensor} (or :sensor={sensor},bands=…). The model needs {}",
            model.iter().map(Band::label).collect::<Vec<_>>().join(", ")
        );
    }
    model
        .iter()
        .map(|wanted| {
            let by_name = |same_sensor: bool| {
                scene.iter().position(|b| b.name == wanted.name && (!same_sensor || b.sensor == wanted.sensor))
            };
            let by_wavelength = || {
                let distance = |b: &Band| Some((b.wavelength_um? - wanted.wavelength_um?).abs());
                let near = scene.iter().enumerate().filter_map(|(k, b)| Some((k, distance(b)?)));
                near.filter(|(_, d)| *d <= NEAR).min_by(|a, b| a.1.total_cmp(&b.1)).map(|(k, _)| k)
            };
            // The same name means the same band only within a sensor or where neither has a wavelength.
            let found = by_name(true)
                .or_else(by_wavelength)
                .or_else(|| wanted.wavelength_um.is_none().then(|| by_name(false))?);
            match found {
                Some(k) => Ok(k),
                None => bail!(
                    "input `{input}` has no band for the model's {}{}; the scene has: {}",
                    wanted.label(),
                    wanted.wavelength_um.map_or_else(String::new, |w| format!(" at {w} µm")),
                    names()
                ),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Registry;

    fn s2(names: &[&str]) -> Vec<Band> {
        names.iter().map(|n| Registry::builtin().band("sentinel-2-l2a", n).unwrap().clone()).collect()
    }

    #[test]
    fn another_order_is_put_right() {
        assert_eq!(bind("s2", &s2(&["B02", "B03", "B04"]), &s2(&["B04", "B08", "B03", "B02"])).unwrap(), [3, 2, 0]);
    }

    #[test]
    fn another_sensor_binds_by_wavelength() {
        let landsat: Vec<Band> =
            ["B4", "B3", "B2"].iter().map(|n| Registry::builtin().band("landsat-8", n).unwrap().clone()).collect();
        // Landsat's B4 is red, Sentinel-2's B04 too; its B2 is blue. Names alone would be right by luck only.
        assert_eq!(bind("x", &s2(&["B04", "B03"]), &landsat).unwrap(), [0, 1]);
    }

    #[test]
    fn missing_and_nameless_bands_are_errors() {
        let error = bind("s2", &s2(&["B11"]), &s2(&["B02", "B03"])).unwrap_err().to_string();
        assert!(error.contains("B11") && error.contains("1.61") && error.contains("B03"), "{error}");
        let nameless: Vec<Band> = (1..=3).map(|k| Band::named(crate::raster::placeholder_name(k))).collect();
        let error = bind("s2", &s2(&["B02"]), &nameless).unwrap_err().to_string();
        assert!(error.contains("sensor=sentinel-2-l2a"), "{error}");
        assert_eq!(bind("pca", &nameless, &nameless).unwrap(), [0, 1, 2]);
        assert!(bind("pca", &nameless, &nameless[..2]).unwrap_err().to_string().contains("without names"));
    }
}
