//! What images of one batch share: number type, bands, wavelengths.

use std::path::Path;
use std::sync::Arc;

use geoglot_core::{Band, Grid, Registry, Window};
use geoglot_raster::{BandSource, Bound, SampleType, SceneArg, Tile, placeholder_name};

use super::error::Result;

/// Images of one modality have equal bands in number, wavelength and name, stored in one number type; one network input fits them all.
#[derive(Debug, Clone)]
pub struct Modality {
    /// Number type.
    pub sample: SampleType,
    /// Centre wavelengths in µm, one a channel; `None` where there is none or it is not known.
    pub wavelengths: Vec<Option<f32>>,
    /// Bands as `sensor/name` or `name`; empty where they are not known.
    pub bands: Vec<String>,
}

impl PartialEq for Modality {
    fn eq(&self, other: &Self) -> bool {
        let bits = |m: &Self| m.wavelengths.iter().map(|w| w.map(f32::to_bits)).collect::<Vec<_>>();
        self.sample == other.sample && self.bands == other.bands && bits(self) == bits(other)
    }
}

impl Eq for Modality {}

impl std::fmt::Display for Modality {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let waves = self.wavelengths.iter().map(|w| w.map_or("–".into(), |w| w.to_string()));
        let names: Vec<String> = match self.bands.is_empty() {
            true => waves.collect(),
            false => self.bands.iter().zip(waves).map(|(b, w)| format!("{b} {w}")).collect(),
        };
        write!(f, "{} bands of {} ({} µm)", self.wavelengths.len(), self.sample, names.join(", "))
    }
}

impl Modality {
    /// The modality of an image of `channels` bands; `wavelengths` and `bands` are empty where they are not known.
    pub fn new(sample: SampleType, channels: usize, wavelengths: &[Option<f32>], bands: &[String]) -> Self {
        let wavelengths = if wavelengths.len() == channels { wavelengths.to_vec() } else { vec![None; channels] };
        Self { sample, wavelengths, bands: bands.to_vec() }
    }

    /// Number of bands.
    pub fn channels(&self) -> usize {
        self.wavelengths.len()
    }

    /// Full descriptions of the bands: those of the registry where the samples name them or a sensor is told, with the sensor's scale
    /// for whole numbers; else the wavelengths alone. Three unnamed bytes are red, green, blue.
    ///
    /// # Errors
    /// Unknown sensors and layouts, a number of bands that the sensor does not have.
    pub fn bind(
        &self,
        shard: &Path,
        registry: &Registry,
        sensor: Option<&str>,
        layout: Option<&str>,
    ) -> Result<Vec<Band>> {
        let unknown = self.bands.is_empty() && self.wavelengths.iter().all(Option::is_none);
        let color = unknown && self.sample == SampleType::U8 && self.channels() == 3;
        let sensor = sensor.or(color.then_some("rgb"));
        let bands = self.wavelengths.iter().enumerate().map(|(k, &wave)| match (self.bands.get(k), sensor) {
            (Some(label), None) => self.named(label, wave, registry),
            (Some(label), Some(_)) => {
                Band { wavelength_um: wave, ..Band::named(label.rsplit('/').next().unwrap_or(label)) }
            }
            (None, _) => Band { wavelength_um: wave, ..Band::named(placeholder_name(k)) },
        });
        let source =
            Stored { path: shard.into(), bands: bands.collect(), sample: self.sample, grid: Grid::unreferenced(1, 1) };
        let arg =
            SceneArg { sensor: sensor.map(str::to_owned), layout: layout.map(str::to_owned), ..SceneArg::new(shard) };
        Ok(Bound::new(Arc::new(source), &arg, registry)?.bands().to_vec())
    }

    fn named(&self, label: &str, wave: Option<f32>, registry: &Registry) -> Band {
        let known = label.split_once('/').and_then(|(sensor, name)| registry.band(sensor, name).ok());
        let Some(band) = known else { return Band { wavelength_um: wave, ..Band::named(label) } };
        let (scale, offset, nodata) = match self.sample.is_integer() {
            true => (band.scale, band.offset, band.nodata),
            false => (1.0, 0.0, None),
        };
        Band { scale, offset, nodata, wavelength_um: wave.or(band.wavelength_um), ..band.clone() }
    }
}

/// Stands for the images where bands are bound; holds no pixels.
#[derive(Debug)]
struct Stored {
    path: std::path::PathBuf,
    bands: Vec<Band>,
    sample: SampleType,
    grid: Grid,
}

impl BandSource for Stored {
    fn path(&self) -> &Path {
        &self.path
    }

    fn grid(&self) -> &Grid {
        &self.grid
    }

    fn bands(&self) -> &[Band] {
        &self.bands
    }

    fn sample_type(&self) -> SampleType {
        self.sample
    }

    fn read_stored(&self, bands: &[usize], window: Window) -> geoglot_raster::Result<Tile> {
        geoglot_raster::check_request(self, bands, window)?;
        let shape = (bands.len(), window.height, window.width);
        let mask = ndarray::Array2::from_elem((window.height, window.width), false);
        Ok(Tile { window, data: ndarray::Array3::zeros(shape), mask })
    }
}
