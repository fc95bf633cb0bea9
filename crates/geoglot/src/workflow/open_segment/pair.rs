//! Optical and SAR rasters on one grid, as the network sees them.

use anyhow::{Context, bail};
use ndarray::{Array2, Array3, s};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::core::{Band, Seeds, Unit};
use crate::models::tsmnet::{INPUTS, InputCard, PairReader, PairTile, TsmNetCard};
use crate::raster::Scene;
use crate::raster::registration::{Shift, shift};
use crate::raster::stats::{scene_stats, warnings};
use crate::workflow::bind::bind;
use crate::workflow::images::Place;

/// Side of the windows that misregistration is measured in.
const WINDOW: usize = 256;
/// Strength below which a measured shift is chance.
const CERTAIN: f64 = 8.0;
/// Pixels that are said to the user.
const FAR: f64 = 2.0;

/// A scene whose bands are bound to the two inputs; either may be missing.
#[derive(Debug, Clone)]
pub struct PairScene {
    scene: Scene,
    /// Position of the input in the scene and of its bands.
    taken: [Option<(usize, Vec<usize>)>; 2],
}

impl PairScene {
    /// All bands of the inputs named `optical` and `sar`.
    ///
    /// # Errors
    /// A scene without either.
    pub fn named(scene: Scene) -> anyhow::Result<Self> {
        let taken = INPUTS.map(|name| {
            let position = scene.inputs().iter().position(|i| i.name() == name)?;
            Some((position, (0..scene.inputs()[position].bands().len()).collect()))
        });
        if taken.iter().all(Option::is_none) {
            let names = scene.inputs().iter().map(|i| i.name()).collect::<Vec<_>>().join(", ");
            bail!(
                "the scene has the inputs {names}; name one `optical` or `sar`: --scene optical=PATH --scene sar=PATH"
            );
        }
        Ok(Self { scene, taken })
    }

    /// One raster whose first `optical` bands are optical and the others SAR.
    ///
    /// # Errors
    /// A raster with too few bands.
    pub fn stacked(scene: Scene, optical: usize) -> anyhow::Result<Self> {
        let n = scene.inputs()[0].bands().len();
        if optical == 0 || optical >= n {
            let path = scene.inputs()[0].source().path().display().to_string();
            bail!("{path}: has {n} bands; {optical} of them optical leaves none for one of the two (optical_bands)");
        }
        Ok(Self { scene, taken: [Some((0, (0..optical).collect())), Some((0, (optical..n).collect()))] })
    }

    /// The bands that `card` asks for, by name or wavelength. An input that the scene lacks is missing, as long as one is there.
    ///
    /// # Errors
    /// Bands that an input lacks; a scene without any input of the network.
    pub fn bound(scene: Scene, card: &TsmNetCard) -> anyhow::Result<Self> {
        let whole = Self::named(scene)?;
        let mut taken = [None, None];
        for (m, input) in card.inputs.iter().enumerate() {
            if let (Some(input), Some((position, _))) = (input, &whole.taken[m]) {
                let bands = bind(INPUTS[m], &input.bands, whole.scene.inputs()[*position].bands())?;
                taken[m] = Some((*position, bands));
            }
        }
        if taken.iter().all(Option::is_none) {
            let needed =
                (0..2).filter(|&m| card.inputs[m].is_some()).map(|m| INPUTS[m]).collect::<Vec<_>>().join(" or ");
            bail!("the model reads {needed}, which the scene does not have; give --scene NAME=PATH");
        }
        Ok(Self { taken, ..whole })
    }

    /// The scene.
    pub fn scene(&self) -> &Scene {
        &self.scene
    }

    /// Rows and columns.
    pub fn size(&self) -> (usize, usize) {
        (self.scene.grid().height, self.scene.grid().width)
    }

    /// Bands of optical (0) or SAR (1), in the network's order; `None` where it is missing.
    pub fn bands(&self, modality: usize) -> Option<Vec<Band>> {
        let (input, bands) = self.taken[modality].as_ref()?;
        let all = self.scene.inputs()[*input].bands();
        Some(bands.iter().map(|&b| all[b].clone()).collect())
    }

    /// Physical values of both, [C, H, W], NaN where a band has no data or the scene ends.
    ///
    /// # Errors
    /// Damaged files.
    pub fn read(&self, place: Place) -> anyhow::Result<[Option<Array3<f32>>; 2]> {
        let mut out = [None, None];
        for (m, taken) in self.taken.iter().enumerate() {
            let Some((input, bands)) = taken else { continue };
            let mut values = Array3::from_elem((bands.len(), place.height, place.width), f32::NAN);
            if let Some((window, (left, top))) = place.inside(self.scene.grid()) {
                let tile = self.scene.inputs()[*input].source().read(bands, window)?;
                let part = s![.., top..top + window.height, left..left + window.width];
                let mut to = values.slice_mut(part);
                for (mut plane, data) in to.outer_iter_mut().zip(tile.data.outer_iter()) {
                    ndarray::Zip::from(&mut plane).and(&data).and(&tile.mask).for_each(|p, &d, &m| {
                        if m && d.is_finite() {
                            *p = d;
                        }
                    });
                }
            }
            out[m] = Some(values);
        }
        Ok(out)
    }

    /// What is wrong with the values, in words: SAR in linear power where decibels are declared, missing scales, constant bands; and how far
    /// the two lie apart, if they do.
    ///
    /// # Errors
    /// Damaged files.
    pub fn problems(&self) -> anyhow::Result<Vec<String>> {
        let mut out = Vec::new();
        let mut seen = Vec::new();
        for (input, _) in self.taken.iter().flatten() {
            if seen.contains(input) {
                continue;
            }
            seen.push(*input);
            let input = &self.scene.inputs()[*input];
            let stats = scene_stats(input.source().as_ref())?;
            out.extend(warnings(&stats, input.bands()).iter().map(|w| format!("{}: {w}", input.name())));
        }
        if let Some(found) = misregistration(self)?
            && found.strength >= CERTAIN
            && found.distance() >= FAR
        {
            out.push(format!(
                "optical and SAR lie {:.1} pixels apart: SAR {:+.1} rows, {:+.1} columns (phase correlation, strength {:.0}); masks will be \
                 blurred along borders. Register the two images first",
                found.distance(),
                found.rows,
                found.cols,
                found.strength
            ));
        }
        Ok(out)
    }
}

/// The shift of SAR against optical, from up to four windows; `None` where one is missing or the scene is too small.
///
/// # Errors
/// Damaged files.
pub fn misregistration(pair: &PairScene) -> anyhow::Result<Option<Shift>> {
    let (height, width) = pair.size();
    if pair.taken.iter().any(Option::is_none) {
        return Ok(None);
    }
    let mut windows = Vec::new();
    let along = |size: usize| {
        if size >= 2 * WINDOW {
            vec![size / 4 - WINDOW / 2, 3 * size / 4 - WINDOW / 2]
        } else {
            vec![size.saturating_sub(WINDOW) / 2]
        }
    };
    for row in along(height) {
        for col in along(width) {
            let place =
                Place { row: row as isize, col: col as isize, height: WINDOW.min(height), width: WINDOW.min(width) };
            let [Some(optical), Some(sar)] = pair.read(place)? else { continue };
            let (Some(optical), Some(sar)) = (mean(&optical), mean(&sar)) else { continue };
            windows.push((optical, sar));
        }
    }
    let views: Vec<_> = windows.iter().map(|(a, b)| (a.view(), b.view())).collect();
    Ok(shift(&views))
}

/// Mean over bands.
fn mean(values: &Array3<f32>) -> Option<Array2<f32>> {
    values.mean_axis(ndarray::Axis(0))
}

/// Most values of a band that are kept for its median.
const KEPT: usize = 1 << 18;

/// Values of each band at chosen pixels, or of more than [`KEPT`] a random sample: one at even steps would see the same columns of each row.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    bands: Vec<Vec<f32>>,
    /// Values seen, by band.
    seen: Vec<usize>,
    draws: ChaCha8Rng,
}

impl Sample {
    pub(super) fn new(bands: usize) -> Self {
        Self {
            bands: vec![Vec::new(); bands],
            seen: vec![0; bands],
            draws: Seeds::new(0).stream("open-segmentation/values"),
        }
    }

    /// Adds the pixels for which `counts` holds (Vitter 1985, algorithm R).
    pub(super) fn add(&mut self, values: &Array3<f32>, counts: &Array2<bool>) {
        for ((kept, seen), plane) in self.bands.iter_mut().zip(&mut self.seen).zip(values.outer_iter()) {
            for (v, _) in plane.iter().zip(counts).filter(|(v, c)| **c && v.is_finite()) {
                *seen += 1;
                if kept.len() < KEPT {
                    kept.push(*v);
                } else if let Some(place) = kept.get_mut(self.draws.random_range(0..*seen)) {
                    *place = *v;
                }
            }
        }
    }

    /// Centre and spread of each band.
    pub(super) fn card(&self, bands: Vec<Band>, name: &str) -> anyhow::Result<InputCard> {
        let (mut center, mut spread) = (Vec::new(), Vec::new());
        for (values, band) in self.bands.iter().zip(&bands) {
            let Some(middle) = median(values.clone()) else {
                bail!("{name}: band {} has no data at the training pixels", band.label());
            };
            let away = |v: &f32| (v - middle).abs();
            let near = median(values.iter().map(away).collect()).unwrap_or_default();
            // Where more than half of the pixels have one value their median distance says nothing of the others.
            let wide = values.iter().map(away).sum::<f32>() / values.len() as f32;
            let found = if near > 0.0 { 1.4826 * near } else { wide };
            center.push(middle);
            // A constant band stays at zero.
            spread.push(found.max(1e-6));
        }
        Ok(InputCard { bands, center, spread })
    }
}

fn median(mut values: Vec<f32>) -> Option<f32> {
    let middle = values.len().checked_sub(1)? / 2;
    Some(*values.select_nth_unstable_by(middle, f32::total_cmp).1)
}

/// Values around zero, 0 without data; `None` for a modality that the network does not read or that has no data at all.
pub(super) fn normalised(values: [Option<Array3<f32>>; 2], cards: &[Option<InputCard>; 2]) -> [Option<Array3<f32>>; 2] {
    let mut m = 0;
    values.map(|values| {
        let card = cards[m].as_ref();
        m += 1;
        let (mut values, card) = (values?, card?);
        if values.iter().all(|v| v.is_nan()) {
            return None;
        }
        for (k, mut plane) in values.outer_iter_mut().enumerate() {
            plane.mapv_inplace(|v| if v.is_nan() { 0.0 } else { card.scaled(k, v) });
        }
        Some(values)
    })
}

/// Where at least one of the modalities that the network reads has data.
pub(super) fn valid(values: &[Option<Array3<f32>>; 2], cards: &[Option<InputCard>; 2]) -> Option<Array2<bool>> {
    let mut mask: Option<Array2<bool>> = None;
    for (values, _) in values.iter().zip(cards).filter_map(|(v, c)| Some((v.as_ref()?, c.as_ref()?))) {
        let own = values.map_axis(ndarray::Axis(0), |v| v.iter().all(|v| v.is_finite()));
        match &mut mask {
            Some(mask) => mask.zip_mut_with(&own, |m, o| *m |= *o),
            None => mask = Some(own),
        }
    }
    mask
}

/// A scene, or a part of one, that gives tiles to a network.
pub(super) struct PairTiles<'a> {
    pub(super) pair: &'a PairScene,
    pub(super) cards: &'a [Option<InputCard>; 2],
    /// First row and column of the part; tiles at its border see what lies around it.
    pub(super) origin: (usize, usize),
}

impl PairReader for PairTiles<'_> {
    fn read(&self, row: usize, col: usize, side: usize) -> Result<PairTile, Box<dyn std::error::Error + Send + Sync>> {
        let (row, col) = ((self.origin.0 + row) as isize, (self.origin.1 + col) as isize);
        let values = self.pair.read(Place { row, col, width: side, height: side })?;
        let mask = valid(&values, self.cards).context("no input")?;
        Ok(PairTile { images: normalised(values, self.cards), mask })
    }

    fn identity(&self) -> String {
        let inputs = self.pair.scene.inputs().iter().map(|input| {
            let path = input.source().path();
            let written = std::fs::metadata(path).ok().and_then(|m| Some((m.len(), m.modified().ok()?)));
            format!("{}={:?} {written:?}", input.name(), path.canonicalize().unwrap_or(path.to_owned()))
        });
        format!("{} {:?} {:?}", inputs.collect::<Vec<_>>().join(";"), self.pair.taken, self.origin)
    }
}

/// What is said when a network trained on decibels gets linear power, or the other way round.
pub(super) fn unit_mismatch(trained: &InputCard, given: &[Band]) -> Option<String> {
    let unit = |bands: &[Band]| bands.iter().map(|b| b.unit).find(|u| matches!(u, Unit::Decibel | Unit::LinearPower));
    match (unit(&trained.bands)?, unit(given)?) {
        (a, b) if a == b => None,
        (a, b) => Some(format!(
            "sar: the model was trained on {a:?} and the image is declared as {b:?}; convert it (10·log10 of linear power is dB), or the mask \
             means nothing"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_values_are_zero_and_an_empty_modality_is_missing() {
        let card = |n: usize| InputCard {
            bands: (0..n).map(|k| Band::named(format!("b{k}"))).collect(),
            center: vec![1.0; n],
            spread: vec![2.0; n],
        };
        let mut optical = Array3::from_elem((2, 1, 2), 5.0);
        optical[[0, 0, 1]] = f32::NAN;
        let values = [Some(optical), Some(Array3::from_elem((1, 1, 2), f32::NAN))];
        let cards = [Some(card(2)), Some(card(1))];
        assert_eq!(valid(&values, &cards).unwrap(), ndarray::array![[true, false]]);
        let [optical, sar] = normalised(values, &cards);
        assert_eq!(optical.unwrap().into_raw_vec_and_offset().0, [2.0, 0.0, 2.0, 2.0]);
        assert!(sar.is_none(), "all clouds: the modality is missing");
    }

    #[test]
    fn a_third_of_clouds_leaves_centre_and_spread_to_the_land() {
        let land = |k: usize| 0.05 + 0.01 * (k % 11) as f32;
        let values = Array3::from_shape_fn((1, 30, 33), |(_, r, c)| if r < 10 { 0.8 } else { land(c) });
        let mut sample = Sample::new(1);
        sample.add(&values, &Array2::from_elem((30, 33), true));
        let card = sample.card(vec![Band::named("x")], "optical").unwrap();
        // Of 990 values the middle is 0.13, and half lie within 0.06 of it; their standard deviation is 0.34.
        assert!((card.center[0] - 0.13).abs() < 1e-5 && (card.spread[0] - 1.4826 * 0.06).abs() < 1e-5, "{card:?}");
    }

    #[test]
    fn samples_leave_out_what_does_not_count_and_stay_small() {
        let mut sample = Sample::new(1);
        let values = Array3::from_shape_vec((1, 1, 5), vec![1.0, 3.0, 2.0, f32::NAN, 100.0]).unwrap();
        sample.add(&values, &ndarray::array![[true, true, true, true, false]]);
        let card = sample.card(vec![Band::named("x")], "sar").unwrap();
        assert_eq!((card.center[0], card.spread[0]), (2.0, 1.4826));
        assert!(Sample::new(1).card(vec![Band::named("x")], "sar").is_err());
        let many = Array3::from_shape_fn((1, 1000, 1000), |(_, r, c)| ((r * 1000 + c) % 1000) as f32);
        let mut sample = Sample::new(1);
        sample.add(&many, &Array2::from_elem((1000, 1000), true));
        assert_eq!(sample.bands[0].len(), KEPT);
        let card = sample.card(vec![Band::named("x")], "sar").unwrap();
        assert!((card.center[0] - 499.5).abs() < 2.0 && (card.spread[0] / 1.4826 - 250.0).abs() < 2.0, "{card:?}");
    }

    #[test]
    fn decibels_and_linear_power_are_told_apart() {
        let band = |unit| Band { unit, ..Band::named("VV") };
        let trained = InputCard { bands: vec![band(Unit::Decibel)], center: vec![0.0], spread: vec![1.0] };
        assert!(unit_mismatch(&trained, &[band(Unit::Decibel)]).is_none());
        assert!(unit_mismatch(&trained, &[band(Unit::LinearPower)]).unwrap().contains("trained"));
    }
}
