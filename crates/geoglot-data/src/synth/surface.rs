//! From covers to mixtures of materials, with differences between objects and within them.

use super::land::{Cell, Cover};
use super::materials::{MATERIALS, Material};
use super::noise::{Noise, normal};

/// Share of each material, summing to about the brightness of the place (1 = ordinary).
pub(super) type Mix = [f32; MATERIALS.len()];

pub(super) struct Surface {
    seed: u64,
    spread: f32,
    patches: Noise,
    texture: Noise,
}

impl Surface {
    pub fn new(seed: u64, spread: f32) -> Self {
        Self { seed, spread, patches: Noise::new(seed + 50, 22.0, 3), texture: Noise::new(seed + 51, 2.2, 1) }
    }

    /// The mixture of a cell; `row` and `column` count cells.
    pub fn mix(&self, cell: &Cell, row: usize, column: usize) -> Mix {
        let (x, y) = (column as f32 * 0.5, row as f32 * 0.5);
        let s = self.spread;
        let object = |k: i64| s * normal(self.seed + 60, i64::from(cell.object), k);
        let place = s * self.patches.at(x, y);
        let grain = s * normal(self.seed + 61, row as i64, column as i64);
        let texture = s * self.texture.at(x, y);
        let share = |v: f32| v.clamp(0.0, 1.0);
        let mut mix = [0.0; MATERIALS.len()];
        let mut bright = 1.0 + 0.07 * object(0) + 0.05 * grain;
        let mut put = |material: Material, v: f32| mix[material as usize] += v.max(0.0);
        match cell.cover {
            Cover::Water => {
                let turbid = share(0.4 + 0.18 * object(1) + 0.25 * place);
                put(Material::WaterClear, 1.0 - turbid);
                put(Material::WaterTurbid, turbid);
                // Sun glint and floating matter.
                put(Material::Paint, 0.008 * grain.max(0.0));
                put(Material::Leaf, 0.02 * (place + texture).max(0.0));
            }
            Cover::Asphalt => {
                let old = share(0.5 + 0.28 * object(1) + 0.2 * place);
                let gravel = share(0.08 + 0.12 * object(2) + 0.06 * texture);
                let dirt = share(0.05 + 0.04 * place);
                let rest = 1.0 - gravel - dirt;
                put(Material::AsphaltNew, rest * (1.0 - old));
                put(Material::AsphaltOld, rest * old);
                put(Material::Gravel, gravel);
                put(Material::SoilDry, 0.7 * dirt);
                put(Material::Grass, 0.3 * dirt);
            }
            Cover::Tile => {
                let fresh = share(0.55 + 0.3 * object(1) + 0.1 * texture);
                let moss = share(0.04 + 0.05 * object(2));
                put(Material::TileFresh, (1.0 - moss) * fresh);
                put(Material::TileOld, (1.0 - moss) * (1.0 - fresh));
                put(Material::Grass, moss);
                bright += 0.08 * object(3);
            }
            Cover::Grass => {
                let green = share(0.79 + 0.1 * object(1) + 0.13 * place + 0.06 * texture);
                let stress = share(0.15 + 0.1 * object(2) + 0.1 * place);
                put(Material::Grass, green * (1.0 - stress));
                put(Material::PaleLeaf, green * stress);
                put(Material::DryPlant, 0.6 * (1.0 - green));
                put(Material::SoilDry, 0.3 * (1.0 - green));
                put(Material::SoilWet, 0.1 * (1.0 - green));
            }
            Cover::Turf => {
                put(Material::Turf, 0.93);
                put(Material::AsphaltNew, 0.07 + 0.03 * place);
                bright += 0.06 * object(1) + 0.03 * texture;
            }
            Cover::Line => put(Material::Paint, 0.9),
            Cover::Soil => {
                let wet = share(0.4 + 0.2 * object(1) + 0.28 * place);
                let straw = share(0.07 + 0.05 * object(2) + 0.04 * texture);
                let weeds = share(0.04 + 0.04 * object(3) + 0.04 * place);
                let rest = 1.0 - straw - weeds;
                put(Material::SoilDry, rest * (1.0 - wet));
                put(Material::SoilWet, rest * wet);
                put(Material::DryPlant, straw);
                put(Material::Grass, weeds);
            }
            Cover::Cereal => {
                let green = share(0.22 + 0.1 * object(1) + 0.09 * place);
                let soil = share(0.16 + 0.08 * object(2) + 0.05 * texture);
                put(Material::Grass, 0.6 * green);
                put(Material::PaleLeaf, 0.4 * green);
                put(Material::SoilDry, 0.6 * soil);
                put(Material::SoilWet, 0.4 * soil);
                put(Material::DryPlant, 1.0 - green - soil);
            }
            Cover::Foliage | Cover::Canopy => {
                let pale = share(0.3 + 0.18 * object(1) + 0.15 * place);
                let wood = share(0.12 + 0.05 * object(2) + 0.04 * texture);
                put(Material::Leaf, (1.0 - wood) * (1.0 - pale));
                put(Material::PaleLeaf, (1.0 - wood) * pale);
                put(Material::Bark, wood);
                // Shade inside the canopy looks alike in low and in tall plants.
                bright *= 0.86 + 0.13 * texture;
            }
            Cover::RowGround => {
                let green = share(0.55 + 0.22 * object(1) + 0.15 * place);
                put(Material::Grass, 0.75 * green);
                put(Material::PaleLeaf, 0.25 * green);
                put(Material::DryPlant, 0.4 * (1.0 - green));
                put(Material::SoilDry, 0.4 * (1.0 - green));
                put(Material::SoilWet, 0.2 * (1.0 - green));
                bright *= 0.72;
            }
            Cover::Car => {
                let (lane, bay) = ((row / 16) as i64, (column / 5) as i64);
                put(Material::Paint, 0.45 + 0.3 * normal(self.seed + 62, lane, bay));
                put(Material::AsphaltNew, 0.4);
            }
        }
        mix.iter_mut().for_each(|v| *v *= bright.max(0.2));
        mix
    }
}
