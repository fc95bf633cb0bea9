//! Indices of reflectance and what they say.

use geoglot_core::Band;
use ndarray::{Array2, ArrayView3, Axis, Zip};
use serde::{Deserialize, Serialize};

/// Farthest a band's centre may lie from the wavelength asked for, in µm.
const NEAR: f32 = 0.04;
/// Vegetation: NDVI above this (dense green cover).
const VEGETATION: f32 = 0.4;
/// Water: NDWI (McFeeters 1996) above this.
const WATER: f32 = 0.0;
/// Snow: NDSI above this and near infrared above [`BRIGHT`] (Hall et al. 1995).
const SNOW: f32 = 0.4;
const BRIGHT: f32 = 0.11;
/// Burnt ground: NBR below this on land.
const BURNT: f32 = -0.1;
/// Cloud: blue above this, and no snow.
const CLOUD: f32 = 0.3;
/// Haze: blue above what the red band explains on clear land, blue − 0.5·red (the haze-optimised transform of Zhang et al. 2002).
const HAZE: f32 = 0.08;

/// What an image's spectra say; shares are of its valid pixels, in percent. A fact whose bands the sensor lacks is not there.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SpectralFacts {
    /// Mean NDVI, (NIR − red)/(NIR + red).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ndvi: Option<f64>,
    /// Mean NDWI, (green − NIR)/(green + NIR).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ndwi: Option<f64>,
    /// Mean NBR, (NIR − SWIR 2.2)/(NIR + SWIR 2.2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nbr: Option<f64>,
    /// Densely vegetated share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vegetation: Option<f64>,
    /// Share of open water.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub water: Option<f64>,
    /// Share of snow and ice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snow: Option<f64>,
    /// Clouded share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloud: Option<f64>,
    /// Hazy share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub haze: Option<f64>,
    /// Share of burnt or bare dry ground that burning would look like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burnt: Option<f64>,
}

/// Measures an image's reflectance `data` [C, H, W] with these bands where `mask` is true.
pub fn spectral_facts(data: ArrayView3<f32>, mask: &Array2<bool>, bands: &[Band]) -> SpectralFacts {
    let find = |wavelength: f32| {
        let distance = |b: &Band| b.wavelength_um.map(|w| (w - wavelength).abs()).filter(|d| *d <= NEAR);
        let near = bands.iter().enumerate().filter_map(|(i, b)| distance(b).map(|d| (i, d)));
        near.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(i, _)| data.index_axis(Axis(0), i))
    };
    let [blue, green, red, nir, swir1, swir2] = [0.49, 0.56, 0.665, 0.842, 1.61, 2.19].map(find);
    let valid = mask.iter().filter(|m| **m).count();
    if valid == 0 {
        return SpectralFacts::default();
    }
    let percent = |is: &Array2<bool>| {
        let count = Zip::from(is).and(mask).fold(0usize, |n, is, m| n + usize::from(*is && *m));
        100.0 * count as f64 / valid as f64
    };
    let mean = |values: &Array2<f32>| {
        let sum =
            Zip::from(values).and(mask).fold(0f64, |s, v, m| if *m && v.is_finite() { s + f64::from(*v) } else { s });
        sum / valid as f64
    };
    type Plane<'a> = ndarray::ArrayView2<'a, f32>;
    let index = |a: Option<Plane<'_>>, b: Option<Plane<'_>>| {
        let (a, b) = (a?, b?);
        Some(Zip::from(&a).and(&b).map_collect(|a, b| if a + b > 1e-6 { (a - b) / (a + b) } else { 0.0 }))
    };
    let (ndvi, ndwi) = (index(nir, red), index(green, nir));
    let (nbr, ndsi) = (index(nir, swir2), index(green, swir1));
    let snow = ndsi
        .as_ref()
        .zip(nir)
        .map(|(ndsi, nir)| Zip::from(ndsi).and(&nir).map_collect(|ndsi, nir| *ndsi > SNOW && *nir > BRIGHT));
    let none = Array2::from_elem(mask.dim(), false);
    let snowy = snow.as_ref().unwrap_or(&none);
    // Without the band that tells snow from cloud, bright blue could be either.
    let cloud = blue.filter(|_| snow.is_some()).map(|b| Zip::from(&b).and(snowy).map_collect(|b, s| *b > CLOUD && !s));
    let cloudy = cloud.as_ref().unwrap_or(&none);
    let water =
        ndwi.as_ref().map(|ndwi| Zip::from(ndwi).and(snowy).and(cloudy).map_collect(|v, s, c| *v > WATER && !s && !c));
    let wet = water.as_ref().unwrap_or(&none);
    let haze = blue.zip(red).map(|(blue, red)| {
        Zip::from(&blue).and(&red).and(cloudy).and(snowy).map_collect(|b, r, c, s| b - 0.5 * r > HAZE && !c && !s)
    });
    let burnt = nbr.as_ref().map(|nbr| {
        Zip::from(nbr).and(wet).and(cloudy).and(snowy).map_collect(|v, w, c, s| *v < BURNT && !w && !c && !s)
    });
    let vegetation = ndvi.as_ref().map(|ndvi| ndvi.mapv(|v| v > VEGETATION));
    SpectralFacts {
        ndvi: ndvi.as_ref().map(mean),
        ndwi: ndwi.as_ref().map(mean),
        nbr: nbr.as_ref().map(mean),
        vegetation: vegetation.as_ref().map(percent),
        water: water.as_ref().map(percent),
        snow: snow.as_ref().map(percent),
        cloud: cloud.as_ref().map(percent),
        haze: haze.as_ref().map(percent),
        burnt: burnt.as_ref().map(percent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use geoglot_core::Registry;
    use ndarray::Array3;

    #[test]
    fn surfaces_are_told_by_their_spectra() {
        let bands = &Registry::builtin().sensor("sentinel-2-l2a").unwrap().bands;
        // Blue, green, red, near infrared, 1.6 µm, 2.2 µm of water, forest, snow and cloud, one a column.
        let spectra = [
            [0.05, 0.06, 0.04, 0.02, 0.01, 0.01],
            [0.03, 0.06, 0.04, 0.40, 0.20, 0.10],
            [0.80, 0.80, 0.80, 0.75, 0.10, 0.08],
            [0.50, 0.50, 0.50, 0.55, 0.45, 0.40],
        ];
        let of = |name: &str| match name {
            "B02" => 0,
            "B03" => 1,
            "B04" => 2,
            "B11" => 4,
            "B12" => 5,
            _ => 3,
        };
        let data = Array3::from_shape_fn((bands.len(), 2, 4), |(c, _, x)| spectra[x][of(&bands[c].name)]);
        let mask = Array2::from_elem((2, 4), true);
        let facts = spectral_facts(data.view(), &mask, bands);
        let share = |f: Option<f64>| f.unwrap();
        assert_eq!([facts.water, facts.vegetation, facts.snow, facts.cloud].map(share), [25.0; 4], "{facts:?}");
        assert_eq!((share(facts.burnt), share(facts.haze)), (0.0, 0.0));
        // Red, green and blue alone know none of it but haze.
        let rgb = [1, 2, 3].map(|i| bands[i].clone());
        let facts = spectral_facts(data.slice(ndarray::s![1..4, .., ..]), &mask, &rgb);
        assert!(facts.snow.is_none() && facts.cloud.is_none() && facts.ndvi.is_none() && facts.haze.is_some());
    }
}
