//! Houses and halls: oriented rectangles along the streets of the plan.

use geoglot_core::Seeds;
use rayon::prelude::*;

use super::noise::unit;
use super::plan::{Plan, Use};

/// An oriented rectangle with a gabled or a flat roof.
#[derive(Debug, Clone, Copy)]
pub(super) struct Building {
    /// Centre in pixels.
    x: f32,
    y: f32,
    /// Direction of the long side: (cos, sin).
    axis: (f32, f32),
    /// Half length and half width in pixels.
    half: (f32, f32),
    /// Height of the eaves in metres.
    eaves: f32,
    /// Height of the ridge above the eaves.
    ridge: f32,
    pub tiled: bool,
}

impl Building {
    fn local(&self, x: f32, y: f32) -> (f32, f32) {
        let (dx, dy) = (x - self.x, y - self.y);
        (dx * self.axis.0 + dy * self.axis.1, dy * self.axis.0 - dx * self.axis.1)
    }

    /// Height above the ground at a place, if the building stands there.
    pub fn height_at(&self, x: f32, y: f32) -> Option<f32> {
        let (u, v) = self.local(x, y);
        if u.abs() > self.half.0 || v.abs() > self.half.1 {
            return None;
        }
        Some(self.eaves + self.ridge * (1.0 - v.abs() / self.half.1))
    }

    /// Left, top, right, bottom.
    pub fn bounds(&self) -> (f32, f32, f32, f32) {
        let reach = self.half.0.hypot(self.half.1);
        (self.x - reach, self.y - reach, self.x + reach, self.y + reach)
    }

    fn corners(&self) -> [(f32, f32); 9] {
        let steps = [-1.0, 0.0, 1.0];
        std::array::from_fn(|k| {
            let (u, v) = (steps[k % 3] * self.half.0, steps[k / 3] * self.half.1);
            (self.x + u * self.axis.0 - v * self.axis.1, self.y + u * self.axis.1 + v * self.axis.0)
        })
    }

    /// True when the building stands inside its parcel, off the streets, the main roads and the river.
    fn fits(&self, plan: &Plan, parcel: usize, margin: f32) -> bool {
        self.corners().iter().all(|&(x, y)| {
            let spot = plan.spot(x, y);
            spot.parcel == parcel && spot.border > margin && !plan.on_main_road(x, y) && plan.river(x, y) > 3.0
        })
    }
}

/// Every building of the plan's villages: each parcel is filled row by row with buildings that keep their distance.
pub(super) fn buildings(plan: &Plan, seeds: Seeds) -> Vec<Building> {
    let seed = seeds.value("synth/buildings");
    plan.parcels
        .par_iter()
        .enumerate()
        .filter(|(_, parcel)| matches!(parcel.usage, Use::Houses | Use::Halls))
        .flat_map_iter(|(k, _)| fill(plan, k, seed))
        .collect()
}

/// Step in pixels of the places tried.
const STEP: f32 = 2.5;

fn fill(plan: &Plan, parcel: usize, seed: u64) -> Vec<Building> {
    let site = plan.parcels[parcel];
    let hall = site.usage == Use::Halls;
    let (margin, gap) = if hall { (4.0, 4.0) } else { (3.8, 2.8) };
    let (u0, v0) = plan.to_grid(site.x, site.y);
    let reach = |size: f32| (0.75 * size / STEP) as i32;
    let mut placed: Vec<(Building, [f32; 4])> = Vec::new();
    let (rows, columns) = (reach(plan.cell.1), reach(plan.cell.0));
    // Large ones first, smaller ones into the gaps.
    for (pass, scale) in [(0, 1.0), (1, 0.8), (2, 0.64)].into_iter().take(if hall { 3 } else { 2 }) {
        for (j, i) in (-rows..=rows).flat_map(|j| (-columns..=columns).map(move |i| (j, i))) {
            let draw = |n: i64| unit(seed + pass, i64::from(site.id) * 16 + n, i64::from(i * 64 + j));
            let (u, v) = (u0 + i as f32 * STEP, v0 + j as f32 * STEP);
            let turned = !hall && draw(2) < 0.3;
            let size = if hall {
                (9.0 + 6.0 * draw(4), 6.5 + 3.5 * draw(5))
            } else {
                (4.8 + 1.4 * draw(4), 3.7 + 0.9 * draw(5))
            };
            let half = (size.0 * scale, size.1 * scale);
            let (du, dv) = if turned { (half.1, half.0) } else { half };
            let extent = [u - du, v - dv, u + du, v + dv];
            let apart = |o: &[f32; 4]| {
                extent[0] > o[2] + gap || o[0] > extent[2] + gap || extent[1] > o[3] + gap || o[1] > extent[3] + gap
            };
            // Some places stay empty: gardens, yards.
            if draw(8) < 0.12 || !placed.iter().all(|(_, o)| apart(o)) {
                continue;
            }
            let (x, y) = plan.to_scene(u, v);
            let axis = if turned { (-plan.axis.1, plan.axis.0) } else { plan.axis };
            let tiled = !hall && draw(3) < 0.88;
            let eaves = if hall { 5.0 + 8.0 * draw(6) } else { 3.2 + 2.8 * draw(6) };
            let ridge = if tiled { 2.2 + 1.2 * draw(7) } else { 0.0 };
            let building = Building { x, y, axis, half, eaves, ridge, tiled };
            if building.fits(plan, parcel, margin) {
                placed.push((building, extent));
            }
        }
    }
    placed.into_iter().map(|(building, _)| building).collect()
}
