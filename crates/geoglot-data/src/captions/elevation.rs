//! Heights: the highest and lowest pixels, what covers them, how uneven the ground is.

use std::collections::BTreeMap;

use geoglot_core::Legend;
use indexmap::IndexMap;
use ndarray::{ArrayView2, Zip};

use super::cover::noun_of;
use super::error::{Error, Result};
use super::facts::{Above, ElevationFacts, Extreme, Terrain};
use super::noun::Words;
use super::place::{Mass, Position};

/// Class ids with what they mean.
#[derive(Debug, Clone, Copy)]
pub struct Classes<'a> {
    /// Ids, [H, W].
    pub labels: ArrayView2<'a, u16>,
    /// Their names.
    pub legend: &'a Legend,
    /// Their words.
    pub words: &'a IndexMap<String, Words>,
}

/// Measures heights in metres, [H, W], over the pixels where `mask` is true and the value is finite; `side` is the length of the image's
/// shorter side in metres, where it is known.
///
/// # Errors
/// [`Error::Wording`] when no pixel has a height, and for arrays of different sizes.
pub fn elevation(
    heights: ArrayView2<f32>,
    mask: ArrayView2<bool>,
    classes: Option<Classes>,
    above: Above,
    side: Option<f64>,
) -> Result<ElevationFacts> {
    let size = heights.dim();
    if mask.dim() != size || classes.is_some_and(|c| c.labels.dim() != size) {
        return Err(Error::Wording(format!("heights ({size:?}), mask and labels differ in size")));
    }
    let (mut low, mut high, mut sum, mut count) = (f32::INFINITY, f32::NEG_INFINITY, 0.0, 0usize);
    Zip::from(&heights).and(&mask).for_each(|&h, &valid| {
        if valid && h.is_finite() {
            (low, high) = (low.min(h), high.max(h));
            sum += f64::from(h);
            count += 1;
        }
    });
    if count == 0 {
        return Err(Error::Wording("no pixel has a height: every value is without data or not a number".into()));
    }
    let extreme = |value: f32| {
        let (mut mass, mut votes) = (Mass::default(), BTreeMap::<u16, usize>::new());
        for (at, h) in heights.indexed_iter() {
            if *h == value && mask[at] {
                mass.add(at.0, at.1, size);
                if let Some(c) = classes.filter(|c| c.labels[at] != c.legend.unlabelled) {
                    *votes.entry(c.labels[at]).or_default() += 1;
                }
            }
        }
        // The lower id decides a tie.
        let winner = votes.iter().max_by_key(|(id, n)| (**n, std::cmp::Reverse(**id)));
        let class = winner.zip(classes).and_then(|((id, _), c)| {
            let index = c.legend.index_of(*id)?;
            Some(noun_of(&c.legend.classes[index].name, c.words))
        });
        Extreme { metres: f64::from(value), class, position: Position::of(&mass) }
    };
    let relief = f64::from(high) - f64::from(low);
    let (flat, rolling) = side.map_or((10.0, 60.0), |s| (0.02 * s, 0.1 * s));
    let terrain = match relief {
        r if r < flat => Terrain::Flat,
        r if r < rolling => Terrain::Rolling,
        _ => Terrain::Steep,
    };
    Ok(ElevationFacts {
        above,
        lowest: extreme(low),
        highest: extreme(high),
        mean: sum / count as f64,
        relief,
        terrain,
    })
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::super::place::Place;
    use super::*;

    #[test]
    fn extremes_and_their_classes() {
        let mut heights = Array2::from_elem((20, 20), 50.0f32);
        let mut labels = Array2::from_elem((20, 20), 1u16);
        heights[(1, 1)] = 62.5;
        labels[(1, 1)] = 2;
        heights[(18, 18)] = -3.0;
        heights[(10, 10)] = f32::NAN;
        heights[(0, 19)] = 9000.0;
        let mut mask = Array2::from_elem((20, 20), true);
        mask[(0, 19)] = false;
        let legend = Legend::from_names(["water", "trees"]).unwrap();
        let words = IndexMap::new();
        let classes = Classes { labels: labels.view(), legend: &legend, words: &words };
        let facts = elevation(heights.view(), mask.view(), Some(classes), Above::Sea, Some(200.0)).unwrap();
        assert_eq!((facts.highest.metres, facts.lowest.metres, facts.relief), (62.5, -3.0, 65.5));
        assert_eq!(facts.highest.class.as_ref().unwrap().words, "trees");
        assert_eq!((facts.highest.position.place, facts.terrain), (Place::UpperLeft, Terrain::Steep));
        heights.fill(f32::NAN);
        let error = elevation(heights.view(), mask.view(), None, Above::Sea, None).unwrap_err().to_string();
        assert!(error.contains("no pixel has a height"), "{error}");
    }
}
