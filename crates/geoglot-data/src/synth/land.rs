//! The land cover in cells finer than pixels: what each cell is, what covers it, which object it belongs to, how high it stands.

use geoglot_core::Seeds;
use rayon::prelude::*;

use super::buildings::Building;
use super::classes::Kind;
use super::noise::{Noise, normal, unit};
use super::plan::{Plan, Spot, Use};

/// Cells along a pixel's side: mixed pixels are the mean of 2 × 2 cells.
pub(super) const FINE: usize = 2;

/// The surface of a cell, which decides its spectrum. Classes that only height tells apart share their covers: roads and flat roofs are both
/// `Asphalt`, bush rows and orchards both `Foliage` over `RowGround`, shrubs and woods both `Canopy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cover {
    Water,
    Asphalt,
    Tile,
    Grass,
    Turf,
    Line,
    Soil,
    Cereal,
    Foliage,
    RowGround,
    Canopy,
    Car,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Cell {
    pub kind: Kind,
    pub cover: Cover,
    /// Number of the object (field, building, parcel) the cell belongs to.
    pub object: u32,
    /// Height above the ground in metres.
    pub height: f32,
}

pub(super) struct Land {
    /// Cells a row, rows of cells.
    pub width: usize,
    pub height: usize,
    pub cells: Vec<Cell>,
}

/// Objects that are not parcels get numbers from here on.
const ROAD: u32 = 1 << 24;
const RIVER: u32 = ROAD + 1;
const TREES: u32 = ROAD + 2;
const BUILDINGS: u32 = 1 << 25;

struct Painter<'a> {
    plan: &'a Plan,
    seed: u64,
    clumps: Noise,
    crowns: Noise,
    patches: Noise,
}

impl Land {
    pub fn generate(plan: &Plan, buildings: &[Building], seeds: Seeds, width: usize, height: usize) -> Self {
        let (w, h) = (width * FINE, height * FINE);
        let seed = seeds.value("synth/land");
        let painter = Painter {
            plan,
            seed,
            clumps: Noise::new(seed + 1, 9.0, 2),
            crowns: Noise::new(seed + 2, 4.0, 1),
            patches: Noise::new(seed + 3, 16.0, 2),
        };
        let ground = Cell { kind: Kind::Grass, cover: Cover::Grass, object: 0, height: 0.0 };
        let mut cells = vec![ground; w * h];
        cells.par_chunks_mut(w).enumerate().for_each(|(row, line)| {
            for (column, cell) in line.iter_mut().enumerate() {
                let (x, y) = ((column as f32 + 0.5) / FINE as f32, (row as f32 + 0.5) / FINE as f32);
                *cell = painter.paint(x, y);
            }
        });
        let mut land = Self { width: w, height: h, cells };
        for (k, building) in buildings.iter().enumerate() {
            land.place(building, BUILDINGS + k as u32);
        }
        land
    }

    fn place(&mut self, building: &Building, object: u32) {
        let (left, top, right, bottom) = building.bounds();
        let fine = FINE as f32;
        let columns = (left * fine).max(0.0) as usize..((right * fine).max(0.0) as usize + 1).min(self.width);
        let rows = (top * fine).max(0.0) as usize..((bottom * fine).max(0.0) as usize + 1).min(self.height);
        for row in rows {
            for column in columns.clone() {
                if let Some(height) = building.height_at((column as f32 + 0.5) / fine, (row as f32 + 0.5) / fine) {
                    let (kind, cover) =
                        if building.tiled { (Kind::TiledRoof, Cover::Tile) } else { (Kind::FlatRoof, Cover::Asphalt) };
                    self.cells[row * self.width + column] = Cell { kind, cover, object, height };
                }
            }
        }
    }

    pub fn at(&self, row: usize, column: usize) -> &Cell {
        &self.cells[row * self.width + column]
    }
}

impl Painter<'_> {
    fn paint(&self, x: f32, y: f32) -> Cell {
        let spot = self.plan.spot(x, y);
        let parcel = self.plan.parcels[spot.parcel];
        let cell = |kind, cover, object, height| Cell { kind, cover, object, height };
        if self.plan.on_main_road(x, y) {
            return cell(Kind::Paved, Cover::Asphalt, ROAD, 0.0);
        }
        let river = self.plan.river(x, y);
        if river < 0.0 {
            return cell(Kind::Water, Cover::Water, RIVER, 0.0);
        }
        if self.plan.on_lane(&spot) {
            let lane = ROAD + 16 + (spot.parcel.min(spot.across) * 4099 + spot.parcel.max(spot.across)) as u32 % 4096;
            return cell(Kind::Paved, Cover::Asphalt, lane, 0.0);
        }
        let village = matches!(parcel.usage, Use::Houses | Use::Halls | Use::Pitch);
        if !village && river < 7.0 && self.clumps.at(x, y) > 0.15 {
            return self.woods(x, y, TREES);
        }
        let wild = matches!(parcel.usage, Use::Meadow | Use::Woods | Use::Soil | Use::Cereal);
        if wild && self.plan.woods.at(x, y) > self.plan.woods_above {
            return self.woods(x, y, TREES);
        }
        self.field(x, y, &spot)
    }

    /// The inside of a parcel.
    fn field(&self, x: f32, y: f32, spot: &Spot) -> Cell {
        let parcel = self.plan.parcels[spot.parcel];
        let id = parcel.id;
        let cell = |kind, cover, height| Cell { kind, cover, object: id, height };
        let tall = unit(self.seed + 4, i64::from(id), 0);
        match parcel.usage {
            Use::Houses => self.lone_tree(x, y, 11.0, 0.3).unwrap_or_else(|| self.grass(x, y, id)),
            Use::Halls => self.car_park(x, y, spot),
            Use::Pitch => self.pitch(x, y, spot),
            Use::Meadow => self.lone_tree(x, y, 17.0, 0.25).unwrap_or_else(|| self.grass(x, y, id)),
            Use::Cereal => cell(Kind::Cereal, Cover::Cereal, 0.25 + 0.2 * tall + 0.05 * self.patches.at(x, y)),
            Use::Soil => cell(Kind::Soil, Cover::Soil, 0.03),
            Use::Orchard => self.rows(x, y, id, Kind::Orchard, 3.4 + 1.2 * tall),
            Use::Bushes => self.rows(x, y, id, Kind::Bushes, 1.0 + 0.5 * tall),
            Use::Shrubs => {
                let height = (0.9 + 0.7 * tall) * (1.0 + 0.25 * self.crowns.at(x, y));
                cell(Kind::Shrubs, Cover::Canopy, height)
            }
            Use::Woods => self.woods(x, y, id),
            Use::Pond if spot.border > 5.0 + 4.0 * self.clumps.at(x * 0.5, y * 0.5) => {
                cell(Kind::Water, Cover::Water, 0.0)
            }
            Use::Pond => self.lone_tree(x, y, 9.0, 0.4).unwrap_or_else(|| self.grass(x, y, id)),
        }
    }

    fn grass(&self, x: f32, y: f32, object: u32) -> Cell {
        let height = 0.12 + 0.2 * self.patches.at(x, y).max(0.0);
        Cell { kind: Kind::Grass, cover: Cover::Grass, object, height }
    }

    fn woods(&self, x: f32, y: f32, object: u32) -> Cell {
        let stand = 9.0 + 7.0 * unit(self.seed + 5, (x / 60.0) as i64, (y / 60.0) as i64);
        let height = stand * (1.0 + 0.22 * self.crowns.at(x, y) + 0.1 * self.patches.at(x, y));
        Cell { kind: Kind::Woods, cover: Cover::Canopy, object, height }
    }

    /// A tree standing alone, on a jittered grid of `spacing` pixels.
    fn lone_tree(&self, x: f32, y: f32, spacing: f32, share: f32) -> Option<Cell> {
        let (i, j) = ((x / spacing).floor(), (y / spacing).floor());
        let draw = |k: i64| unit(self.seed + 6, i as i64 * 8 + k, j as i64);
        if draw(0) >= share {
            return None;
        }
        let radius = 1.6 + 1.6 * draw(1);
        let margin = radius + 0.3;
        let center = |base: f32, k: i64| base * spacing + margin + (spacing - 2.0 * margin) * draw(k);
        let d = (x - center(i, 2)).hypot(y - center(j, 3)) / radius;
        let height = (5.0 + 6.0 * draw(4)) * (1.0 - 0.4 * d * d);
        (d < 1.0).then_some(Cell { kind: Kind::Woods, cover: Cover::Canopy, object: TREES, height })
    }

    /// Plants in rows along the parcel grid. Row spacing and cover do not depend on the kind.
    fn rows(&self, x: f32, y: f32, object: u32, kind: Kind, height: f32) -> Cell {
        let (u, v) = self.plan.to_grid(x, y);
        let along = unit(self.seed + 7, i64::from(object), 1) < 0.5;
        let (across, along) = if along { (v, u) } else { (u, v) };
        let spacing = 4.0;
        let row = (across / spacing).floor();
        let plant = (along / 3.0 + 0.5 * (row as i64 & 1) as f32).floor();
        let gap = unit(self.seed + 8, row as i64, plant as i64) < 0.06;
        let middle = ((across / spacing).fract() + 1.0).fract() - 0.5;
        let inside = middle.abs() < 0.3 + 0.05 * self.crowns.at(x * 2.0, y * 2.0);
        if inside && !gap {
            let plant = normal(self.seed + 9, row as i64, plant as i64);
            let height = height * (1.0 + 0.1 * plant) * (1.0 - 1.5 * middle * middle);
            return Cell { kind, cover: Cover::Foliage, object, height };
        }
        Cell { kind, cover: Cover::RowGround, object, height: 0.1 }
    }

    /// A paved yard with parked cars and a few trees.
    fn car_park(&self, x: f32, y: f32, spot: &Spot) -> Cell {
        let object = self.plan.parcels[spot.parcel].id;
        if spot.border < 6.0 {
            return self.lone_tree(x, y, 8.0, 0.3).unwrap_or_else(|| self.grass(x, y, object));
        }
        let (u, v) = self.plan.to_grid(x, y);
        let (bay, line) = ((u / 2.6).floor(), (v / 8.0).floor());
        let parked = unit(self.seed + 11, bay as i64, line as i64) < 0.22;
        let (du, dv) = (u / 2.6 - bay, v / 8.0 - line);
        if parked && (0.15..0.85).contains(&du) && (0.1..0.65).contains(&dv) {
            return Cell { kind: Kind::Paved, cover: Cover::Car, object, height: 1.5 };
        }
        Cell { kind: Kind::Paved, cover: Cover::Asphalt, object, height: 0.0 }
    }

    fn pitch(&self, x: f32, y: f32, spot: &Spot) -> Cell {
        let parcel = self.plan.parcels[spot.parcel];
        let (u, v) = self.plan.to_grid(x, y);
        let (u0, v0) = self.plan.to_grid(parcel.x, parcel.y);
        let (du, dv) = ((u - u0).abs() / (0.36 * self.plan.cell.0), (v - v0).abs() / (0.36 * self.plan.cell.1));
        if du < 1.0 && dv < 1.0 && spot.border > 1.5 {
            let edge = (1.0 - du) * 0.36 * self.plan.cell.0;
            let edge = edge.min((1.0 - dv) * 0.36 * self.plan.cell.1);
            let line = (0.9..1.5).contains(&edge) || (u - u0).abs() < 0.3;
            let cover = if line { Cover::Line } else { Cover::Turf };
            return Cell { kind: Kind::Turf, cover, object: parcel.id, height: 0.03 };
        }
        self.lone_tree(x, y, 12.0, 0.25).unwrap_or_else(|| self.grass(x, y, parcel.id))
    }
}
