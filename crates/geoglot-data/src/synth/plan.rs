//! The land-use plan: a parcel mosaic with uses, roads along parcel borders, two main roads, a river.

use geoglot_core::Seeds;
use rand::seq::SliceRandom;

use super::noise::{Noise, hash, quantile, unit};

/// What a parcel is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Houses,
    Halls,
    Pitch,
    Meadow,
    Cereal,
    Soil,
    Orchard,
    Bushes,
    Shrubs,
    Woods,
    Pond,
}

/// Uses dealt in villages and in the countryside. Dealing from a deck, not drawing, spreads every use over the whole scene.
const VILLAGE: [(Use, usize); 3] = [(Use::Houses, 7), (Use::Halls, 7), (Use::Pitch, 1)];
const COUNTRY: [(Use, usize); 9] = [
    (Use::Meadow, 2),
    (Use::Cereal, 4),
    (Use::Soil, 4),
    (Use::Orchard, 2),
    (Use::Bushes, 2),
    (Use::Shrubs, 2),
    (Use::Woods, 1),
    (Use::Pond, 2),
    (Use::Pitch, 1),
];
/// Share of parcels in villages.
const VILLAGES: f32 = 0.44;

#[derive(Debug, Clone, Copy)]
pub(super) struct Parcel {
    /// Site in the scene's pixels.
    pub x: f32,
    pub y: f32,
    pub usage: Use,
    pub id: u32,
}

/// Where a place lies in the mosaic.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spot {
    /// Index of the parcel.
    pub parcel: usize,
    /// Distance in pixels to the border of the parcel.
    pub border: f32,
    /// Index of the parcel across that border.
    pub across: usize,
}

pub(super) struct Plan {
    seed: u64,
    width: f32,
    height: f32,
    /// Direction of the parcel grid: (cos, sin).
    pub axis: (f32, f32),
    /// Size of a parcel along and across the axis.
    pub cell: (f32, f32),
    columns: i32,
    rows: i32,
    pub parcels: Vec<Parcel>,
    warp: [Noise; 2],
    river: Path,
    roads: [Path; 2],
    pub woods: Noise,
    pub woods_above: f32,
}

impl Plan {
    pub fn new(seeds: Seeds, width: usize, height: usize) -> Self {
        let seed = seeds.value("synth/plan");
        let (w, h) = (width as f32, height as f32);
        let side = (w.min(h) / 12.0).clamp(22.0, 44.0);
        let angle = 0.15 + 0.5 * unit(seed, 1, 1);
        let cell = (side * 1.2, side * 0.85);
        let axis = (angle.cos(), angle.sin());
        let reach = w.hypot(h) / 2.0;
        let (columns, rows) = ((reach / cell.0).ceil() as i32 + 2, (reach / cell.1).ceil() as i32 + 2);
        let woods = Noise::new(seeds.value("synth/woods"), side * 1.5, 3);
        let samples = (0..2500).map(|k| woods.at((k % 50) as f32 * w / 50.0, (k / 50) as f32 * h / 50.0));
        let river = Noise::new(hash(seed, 3, 0), h * 0.45, 3);
        let bends = Noise::new(hash(seed, 5, 0), 38.0, 2);
        let roads = Noise::new(hash(seed, 4, 0), w * 0.4, 2);
        let mut plan = Self {
            seed,
            width: w,
            height: h,
            axis,
            cell,
            columns,
            rows,
            parcels: Vec::new(),
            warp: [1, 2].map(|k| Noise::new(hash(seed, k, 0), 38.0, 2)),
            river: Path::new(h, |y| {
                (
                    w * (0.3 + 0.2 * river.at(y, 5.0)) + 6.0 * bends.at(y * 0.8, 77.0),
                    6.5 + 2.5 * river.at(y * 2.5, 900.0),
                )
            }),
            roads: [
                Path::new(w, |x| (h * (0.42 + 0.16 * roads.at(x, 7.0)), 4.5)),
                Path::new(h, |y| (w * (0.68 + 0.16 * roads.at(y, 9000.0)), 4.0)),
            ],
            woods,
            woods_above: quantile(samples.collect(), 0.84),
        };
        plan.deal(seeds);
        plan
    }

    /// Sites on a jittered grid, each given a use.
    fn deal(&mut self, seeds: Seeds) {
        for row in -self.rows..=self.rows {
            for column in -self.columns..=self.columns {
                let jitter =
                    |k: i64| 0.24 * (2.0 * unit(self.seed + 10, i64::from(row) * 4 + k, i64::from(column)) - 1.0);
                let u = (column as f32 + jitter(0)) * self.cell.0;
                let v = (row as f32 + jitter(1)) * self.cell.1;
                let (x, y) = self.to_scene(u, v);
                let id = self.parcels.len() as u32;
                self.parcels.push(Parcel { x, y, usage: Use::Meadow, id });
            }
        }
        let seen = |p: &Parcel| (-20.0..self.width + 20.0).contains(&p.x) && (-20.0..self.height + 20.0).contains(&p.y);
        let visible: Vec<usize> = (0..self.parcels.len()).filter(|&k| seen(&self.parcels[k])).collect();
        let density = Noise::new(seeds.value("synth/villages"), self.cell.0 * 2.6, 2);
        let of = |k: usize| density.at(self.parcels[k].x, self.parcels[k].y);
        let limit = quantile(visible.iter().map(|&k| of(k)).collect(), 1.0 - VILLAGES);
        let (village, country): (Vec<usize>, Vec<usize>) = visible.into_iter().partition(|&k| of(k) >= limit);
        let mut rng = seeds.stream("synth/uses");
        for (members, deck) in [(village, &VILLAGE[..]), (country, &COUNTRY[..])] {
            // Neighbours are dealt from one deck: sort by coarse squares of the scene.
            let mut members = members;
            let square = 3.0 * self.cell.0;
            members.sort_by_key(|&k| {
                let p = &self.parcels[k];
                ((p.y / square).floor() as i32, (p.x / square).floor() as i32, hash(self.seed, p.x as i64, p.y as i64))
            });
            let mut hand: Vec<Use> = Vec::new();
            for k in members {
                if hand.is_empty() {
                    hand = deck.iter().flat_map(|&(usage, n)| std::iter::repeat_n(usage, n)).collect();
                    hand.shuffle(&mut rng);
                }
                self.parcels[k].usage = hand.pop().expect("the deck is not empty");
            }
        }
    }

    /// Coordinates along the parcel grid, from the scene's centre → pixels.
    pub fn to_scene(&self, u: f32, v: f32) -> (f32, f32) {
        let (c, s) = self.axis;
        (u * c - v * s + self.width / 2.0, u * s + v * c + self.height / 2.0)
    }

    /// Pixels → coordinates along the parcel grid.
    pub fn to_grid(&self, x: f32, y: f32) -> (f32, f32) {
        let (c, s) = self.axis;
        let (x, y) = (x - self.width / 2.0, y - self.height / 2.0);
        (x * c + y * s, y * c - x * s)
    }

    /// The parcel at a place, with the exact distance to its border (Voronoi cells of the sites, slightly bent).
    pub fn spot(&self, x: f32, y: f32) -> Spot {
        let (x, y) = (x + 2.5 * self.warp[0].at(x, y), y + 2.5 * self.warp[1].at(x, y));
        let (u, v) = self.to_grid(x, y);
        let (column, row) = ((u / self.cell.0).round() as i32, (v / self.cell.1).round() as i32);
        let around = |reach: i32| {
            let side = 2 * self.columns + 1;
            (-reach..=reach).flat_map(move |dr| {
                (-reach..=reach).map(move |dc| {
                    let r = (row + dr).clamp(-self.rows, self.rows) + self.rows;
                    let c = (column + dc).clamp(-self.columns, self.columns) + self.columns;
                    (r * side + c) as usize
                })
            })
        };
        let distance = |k: usize| (self.parcels[k].x - x).powi(2) + (self.parcels[k].y - y).powi(2);
        let parcel = around(1).min_by(|&a, &b| distance(a).total_cmp(&distance(b))).expect("nine candidates");
        let site = self.parcels[parcel];
        let (mut border, mut across) = (f32::INFINITY, parcel);
        for other in around(2).filter(|&k| k != parcel) {
            let o = self.parcels[other];
            let (dx, dy) = (o.x - site.x, o.y - site.y);
            let d = (((site.x + o.x) / 2.0 - x) * dx + ((site.y + o.y) / 2.0 - y) * dy) / dx.hypot(dy).max(1e-6);
            if d < border {
                (border, across) = (d.max(0.0), other);
            }
        }
        Spot { parcel, border, across }
    }

    /// True on a street or lane along the parcel's border.
    pub fn on_lane(&self, spot: &Spot) -> bool {
        let village = |k: usize| matches!(self.parcels[k].usage, Use::Houses | Use::Halls);
        let (a, b) = (spot.parcel.min(spot.across) as i64, spot.parcel.max(spot.across) as i64);
        let drawn = unit(self.seed + 20, a, b);
        let half = if village(spot.parcel) || village(spot.across) {
            if drawn < 0.8 { 3.0 } else { 0.0 }
        } else if drawn < 0.22 {
            2.2
        } else {
            0.0
        };
        spot.border < half
    }

    /// True on one of the two main roads, which cross the scene and bridge the river.
    pub fn on_main_road(&self, x: f32, y: f32) -> bool {
        self.roads[0].outside(y, x) < 0.0 || self.roads[1].outside(x, y) < 0.0
    }

    /// Distance in pixels to the river's bank: negative in the river.
    pub fn river(&self, x: f32, y: f32) -> f32 {
        self.river.outside(x, y)
    }
}

/// A band across the scene: middle and half width for every step along it.
struct Path {
    points: Vec<(f32, f32)>,
}

impl Path {
    /// Points are kept every half pixel, and this many pixels beyond the scene.
    const MARGIN: f32 = 32.0;

    fn new(length: f32, at: impl Fn(f32) -> (f32, f32)) -> Self {
        let n = (2.0 * (length + 2.0 * Self::MARGIN)) as usize + 2;
        Self { points: (0..n).map(|k| at(k as f32 / 2.0 - Self::MARGIN)).collect() }
    }

    /// Distance from the band's edge at `across` and `along`; negative inside.
    fn outside(&self, across: f32, along: f32) -> f32 {
        let t = (2.0 * (along + Self::MARGIN)).clamp(0.0, (self.points.len() - 2) as f32);
        let (k, part) = (t as usize, t.fract());
        let (a, b) = (self.points[k], self.points[k + 1]);
        let (middle, half) = (a.0 + part * (b.0 - a.0), a.1 + part * (b.1 - a.1));
        (across - middle).abs() / (2.0 * (b.0 - a.0)).hypot(1.0) - half
    }
}
