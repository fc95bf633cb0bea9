//! A seeded generator of aligned scenes: land cover, optical imagery of any sensor in the registry, heights, SAR, clouds, captions.
//!
//! The sensors complement each other by construction. Roads and flat roofs wear the same asphalt, bush rows and orchards the same leaves in the same
//! rows, shrubs and woods the same canopy: only heights tell them apart. Water, paved ground, grass, plastic turf, soil and grain lie equally low:
//! only spectra tell them apart. Spectra vary between objects and within them, pixels are mixed, slopes and shadows change the light.
//!
//! Everything depends on the seed alone, not on the number of threads.

mod buildings;
mod captions;
mod classes;
mod clouds;
mod config;
mod facts;
mod land;
mod light;
mod materials;
mod noise;
mod optical;
mod plan;
mod relief;
mod sar;
mod snow;
mod surface;
mod write;

use geoglot_core::{Affine, Band, Crs, Grid, Legend, Registry, Seeds};
use indexmap::IndexMap;
use ndarray::{Array2, Array3};

use crate::Result;
use crate::captions::Facts;

pub use captions::Caption;
pub use classes::legend;
pub use config::SynthConfig;
pub use write::write;

/// Physical values of some bands.
#[derive(Debug, Clone, PartialEq)]
pub struct SynthRaster {
    /// The bands, in the order of the channels.
    pub bands: Vec<Band>,
    /// Physical values, [C, H, W], in the units of the bands.
    pub data: Array3<f32>,
}

/// A generated scene; every array lies on `grid`.
#[derive(Debug, Clone, PartialEq)]
pub struct SynthScene {
    /// UTM zone 32 north.
    pub grid: Grid,
    /// Optical and thermal rasters by sensor id.
    pub optical: IndexMap<String, SynthRaster>,
    /// Heights of the surface in metres, [H, W].
    pub dsm: Array2<f32>,
    /// Heights of the ground in metres, [H, W].
    pub dtm: Array2<f32>,
    /// Backscatter VV and VH in decibels, [2, H, W].
    pub sar: SynthRaster,
    /// Class ids, [H, W]; every pixel has one.
    pub labels: Array2<u16>,
    /// The twelve classes.
    pub legend: Legend,
    /// 0 clear, 1 cloud, 2 cloud shadow, [H, W]; `None` under a clear sky.
    pub cloud_mask: Option<Array2<u8>>,
    /// 1 where snow covers at least half of the ground, under clouds too, [H, W]; `None` without snow.
    pub snow_mask: Option<Array2<u8>>,
    /// What is true of the scene.
    pub facts: Facts,
    /// Sentences that say so.
    pub captions: Vec<Caption>,
    /// What the scene was generated from.
    pub config: SynthConfig,
}

/// Generates a scene.
///
/// # Errors
/// [`crate::Error::Synth`] for impossible configurations and sensors that are not optical, [`crate::Error::Core`] for unknown sensors.
pub fn generate(config: &SynthConfig, registry: &Registry) -> Result<SynthScene> {
    config.check()?;
    let sensors = config.sensors.iter().map(|id| registry.sensor(id)).collect::<Result<Vec<_>, _>>()?;
    let (width, height) = (config.width, config.height);
    let seeds = Seeds::new(config.seed);
    let plan = plan::Plan::new(seeds, width, height);
    let buildings = buildings::buildings(&plan, seeds);
    let land = land::Land::generate(&plan, &buildings, seeds, width, height);
    let ground = relief::ground(&plan, &land, config, seeds);
    let (dsm, dtm) = relief::elevation(&land, &ground, config, seeds);
    let light = light::sunlight(&land, &ground, config);
    let surface = surface::Surface::new(seeds.value("synth/surface"), config.variability);
    let mixtures = optical::Mixtures::new(&land, &light, &surface);
    let clouds = clouds::clouds(config, seeds);
    let snow = snow::Snow::new(config, seeds);
    let mut optical = IndexMap::new();
    for sensor in sensors {
        let raster = optical::render(&mixtures, snow.as_ref(), clouds.as_ref(), sensor, config, seeds)?;
        optical.insert(sensor.id.clone(), raster);
    }
    let sar = sar::render(&land, &ground, registry, config, seeds);
    let labels = labels(&land);
    let legend = classes::legend();
    let cloud_mask = clouds.map(|c| c.mask());
    let snow_mask = snow.map(|s| s.mask(width, height));
    let facts = facts::measure(&labels, &legend, (&dsm, &dtm), cloud_mask.as_ref(), config.gsd)?;
    let captions = captions::captions(&facts, seeds)?;
    let grid = Grid {
        crs: Some(Crs::Epsg(32632)),
        transform: Affine::north_up(662_000.0, 5_103_000.0, config.gsd, config.gsd),
        width,
        height,
    };
    let config = config.clone();
    Ok(SynthScene { grid, optical, dsm, dtm, sar, labels, legend, cloud_mask, snow_mask, facts, captions, config })
}

/// The class that covers most of each pixel; the cell in the upper left decides a tie.
fn labels(land: &land::Land) -> Array2<u16> {
    use land::FINE;
    Array2::from_shape_fn((land.height / FINE, land.width / FINE), |(row, col)| {
        let of = |k: usize| land.at(row * FINE + k / FINE, col * FINE + k % FINE).kind as u16;
        let count = |id: u16| (0..FINE * FINE).filter(|&k| of(k) == id).count();
        (0..FINE * FINE).rev().map(of).max_by_key(|&id| count(id)).expect("pixels have cells")
    })
}

#[cfg(test)]
mod tests;
