//! Optical and thermal sensors looking at the mixtures.

use geoglot_core::{Band, Seeds, Sensor, SensorKind, Unit};
use ndarray::Array3;
use rayon::prelude::*;

use super::clouds::Clouds;
use super::land::{FINE, Land};
use super::materials::{MATERIALS, through_band, vapour};
use super::noise::{Noise, hash, normal};
use super::snow::{self, Snow};
use super::surface::{Mix, Surface};
use super::{SynthConfig, SynthRaster};
use crate::{Error, Result};

const M: usize = MATERIALS.len();

/// Counts of a sensor for reflectance 1.
const COUNTS: f32 = 16_384.0;

/// Materials of every pixel, lit by the sun and by the sky: what all optical sensors see.
pub(super) struct Mixtures {
    width: usize,
    height: usize,
    /// [H·W] mixtures times direct light.
    sun: Vec<Mix>,
    /// [H·W] mixtures under the sky's light.
    sky: Vec<Mix>,
}

impl Mixtures {
    pub fn new(land: &Land, light: &[f32], surface: &Surface) -> Self {
        let (height, width) = (land.height / FINE, land.width / FINE);
        let mut pairs = vec![([0.0; M], [0.0; M]); height * width];
        pairs.par_chunks_mut(width).enumerate().for_each(|(row, line)| {
            for (column, (sun, sky)) in line.iter_mut().enumerate() {
                for k in 0..FINE * FINE {
                    let (r, c) = (row * FINE + k / FINE, column * FINE + k % FINE);
                    let mix = surface.mix(land.at(r, c), r, c);
                    let lit = light[r * land.width + c];
                    for m in 0..M {
                        sun[m] += mix[m] * lit / (FINE * FINE) as f32;
                        sky[m] += mix[m] / (FINE * FINE) as f32;
                    }
                }
            }
        });
        let (sun, sky) = pairs.into_iter().unzip();
        Self { width, height, sun, sky }
    }
}

/// Everything about one band that does not depend on the pixel.
struct BandView {
    sun: [f32; M],
    sky: [f32; M],
    path: f32,
    cloud: f32,
    /// Snow in direct light and under the sky's.
    snow: [f32; 2],
    noise: f32,
    /// Reflectance → physical unit of the band.
    gain: f32,
    bias: f32,
    unit: Unit,
    thermal: bool,
}

/// Share of the light at `w` µm that comes from the sky.
fn diffuse(w: f32) -> f32 {
    (0.05 + 0.17 * (0.45 / w).powi(3)).min(0.6)
}

/// Spectral radiance of the sun at the ground under a clear sky divided by π, W m⁻² sr⁻¹ µm⁻¹ for reflectance 1: a black body of 5778 K seen from
/// the Earth.
fn solar_radiance(w: f32, elevation: f32) -> f32 {
    let planck = 1.191e8 / (w.powi(5) * ((14_388.0 / (w * 5778.0)).exp() - 1.0));
    6.8e-5 * planck * elevation.sin() * (1.0 - 0.9 * vapour(w))
}

fn view(band: &Band, sensor: &Sensor, config: &SynthConfig) -> Result<BandView> {
    let Some(center) = band.wavelength_um else {
        return Err(Error::Synth(format!(
            "sensor `{}`: band `{}` has no wavelength, so it cannot be rendered; use an optical sensor",
            sensor.id, band.name
        )));
    };
    let fwhm = band.fwhm_um.unwrap_or(0.01);
    let thermal = center > 3.0;
    let through = |spectrum: &dyn Fn(f32) -> f32| through_band(center, fwhm, spectrum);
    // Products named top-of-atmosphere keep the whole path radiance and the vapour's absorption.
    let top = sensor.id.contains("l1c") || sensor.name.to_lowercase().contains("top-of-atmosphere");
    let (residual, through_air) = if top { (6.0, 1.0 - 0.97 * through(&vapour)) } else { (1.0, 1.0) };
    let mut out = BandView {
        sun: [0.0; M],
        sky: [0.0; M],
        path: config.haze * residual * through(&|w: f32| 0.009 * (0.45 / w).powi(3)) * through_air,
        cloud: through(&|w: f32| (0.78 - 0.13 * (w - 0.5).max(0.0)) * (1.0 - 0.5 * vapour(w) * f32::from(w > 1.4))),
        snow: [
            through_air * through(&|w| snow::reflectance(w) * (1.0 - diffuse(w))),
            through_air * through(&|w| snow::reflectance(w) * diffuse(w)),
        ],
        noise: config.noise * (0.0018 + 0.012 * through(&vapour)),
        gain: 1.0,
        bias: 0.0,
        unit: band.unit,
        thermal,
    };
    for (m, material) in MATERIALS.iter().enumerate() {
        out.sun[m] = through_air * through(&|w| material.reflectance(w) * (1.0 - diffuse(w)));
        out.sky[m] = through_air * through(&|w| material.reflectance(w) * diffuse(w));
    }
    let elevation = config.sun_elevation.to_radians();
    (out.gain, out.bias) = match band.unit {
        Unit::Radiance => (through(&|w| solar_radiance(w, elevation)), 0.0),
        Unit::DigitalNumber => {
            let (low, high) = band.range.unwrap_or((0.0, 10_000.0));
            ((high - low) as f32 / 0.7, low as f32)
        }
        _ => (1.0, 0.0),
    };
    if thermal {
        // Temperatures of sunlit materials in kelvin: plants and water stay cool, mineral ground heats up.
        const WARM: Mix =
            [299., 300., 301., 306., 314., 306., 318., 316., 313., 317., 315., 321., 292., 292.5, 300., 310.];
        out.sun = std::array::from_fn(|m| 0.7 * (WARM[m] - 288.0));
        out.sky = std::array::from_fn(|m| 0.3 * (WARM[m] - 288.0));
        out.snow = [-13.0, -5.0];
        (out.path, out.cloud, out.noise, out.bias) = (0.0, -25.0, 0.15 * config.noise, 288.0);
    }
    Ok(out)
}

/// Renders one sensor: physical values [C, H, W] in the bands' units.
pub(super) fn render(
    mixtures: &Mixtures,
    snow: Option<&Snow>,
    clouds: Option<&Clouds>,
    sensor: &Sensor,
    config: &SynthConfig,
    seeds: Seeds,
) -> Result<SynthRaster> {
    if !matches!(sensor.kind, SensorKind::Multispectral | SensorKind::Hyperspectral | SensorKind::Thermal) {
        return Err(Error::Synth(format!(
            "sensor `{}` is not optical; SAR and elevation are part of every synthetic scene",
            sensor.id
        )));
    }
    let views = sensor.bands.iter().map(|b| view(b, sensor, config)).collect::<Result<Vec<_>>>()?;
    let (height, width) = (mixtures.height, mixtures.width);
    let seed = seeds.value(&format!("synth/sensor/{}", sensor.id));
    let haze = Noise::new(seeds.value("synth/haze"), 260.0, 2);
    let mut data = Array3::<f32>::zeros((views.len(), height, width));
    let values = data.as_slice_mut().expect("standard layout");
    values.par_chunks_mut(width).enumerate().for_each(|(line_number, line)| {
        let (b, row) = (line_number / height, line_number % height);
        let v = &views[b];
        let band_seed = hash(seed, b as i64, 0);
        for (column, out) in line.iter_mut().enumerate() {
            let at = row * width + column;
            let (mut sun, mut sky) = (0.0, 0.0);
            for m in 0..M {
                sun += v.sun[m] * mixtures.sun[at][m];
                sky += v.sky[m] * mixtures.sky[at][m];
            }
            if let Some(snow) = snow {
                // Mixtures are shares times light, so that their sum is the light alone.
                let (share, bright) = snow.at(column as f32, row as f32);
                let light = |mix: &Mix| mix.iter().sum::<f32>() * bright;
                sun = sun * (1.0 - share) + v.snow[0] * light(&mixtures.sun[at]) * share;
                sky = sky * (1.0 - share) + v.snow[1] * light(&mixtures.sky[at]) * share;
            }
            let mut value = sun + sky;
            if let Some(clouds) = clouds {
                let (opacity, shadow) = (clouds.opacity[(row, column)], clouds.shadow[(row, column)]);
                value = (sun * (1.0 - 0.8 * shadow) + sky) * (1.0 - opacity) + v.cloud * opacity;
            }
            if !v.thermal {
                value += v.path * (1.0 + 0.35 * haze.at(column as f32, row as f32));
            }
            // Photon noise grows with the root of the signal.
            let signal = if v.thermal { 1.0 } else { (0.25 + 2.5 * value.max(0.0)).sqrt() };
            value += v.noise * signal * normal(band_seed, row as i64, column as i64);
            // A 14-bit converter, full scale at reflectance 1: also lets the files be compressed.
            let counted = (value.max(0.0) * COUNTS).round() / COUNTS;
            *out = match v.unit {
                _ if v.thermal => value + v.bias,
                Unit::DigitalNumber => (counted * v.gain + v.bias).round(),
                _ => counted * v.gain + v.bias,
            };
        }
    });
    Ok(SynthRaster { bands: sensor.bands.clone(), data })
}
