//! Land cover: shares, places and regions of the classes of a label raster.

use std::collections::BTreeMap;

use geoglot_core::Legend;
use indexmap::IndexMap;
use ndarray::Array2;

use super::error::{Error, Result};
use super::facts::{ClassFact, CoverFacts, Layout, RegionFact};
use super::noun::{Noun, Words};
use super::place::{Mass, Position};
use super::region::{Region, regions};

/// The noun of a class: the recipe's words, else the name.
pub(super) fn noun_of(name: &str, words: &IndexMap<String, Words>) -> Noun {
    words.get(name).map_or_else(|| Noun::of(name), Words::noun)
}

/// Measures land cover. Pixels that hold `legend.unlabelled` count as without data; regions of fewer than `smallest` pixels are not counted.
///
/// # Errors
/// [`Error::Wording`] for ids that the legend lacks, and when no pixel has a class.
pub fn land_cover(
    labels: &Array2<u16>,
    legend: &Legend,
    words: &IndexMap<String, Words>,
    smallest: usize,
) -> Result<CoverFacts> {
    let mut counts = BTreeMap::<u16, usize>::new();
    labels.iter().for_each(|id| *counts.entry(*id).or_default() += 1);
    counts.remove(&legend.unlabelled);
    let outside: Vec<String> = counts
        .iter()
        .filter(|(id, _)| legend.index_of(**id).is_none())
        .map(|(id, n)| format!("{id} ({n} pixels)"))
        .collect();
    if !outside.is_empty() {
        let known: Vec<String> = legend.classes.iter().map(|c| format!("{} {}", c.id, c.name)).collect();
        return Err(Error::Wording(format!(
            "the labels hold ids that the legend lacks: {}; the legend has {}. Add the classes, or give the value that means no data with nodata=…",
            outside.join(", "),
            known.join(", ")
        )));
    }
    let labelled: usize = counts.values().sum();
    if labelled == 0 {
        return Err(Error::Wording("no pixel has a class: every pixel is without data or unlabelled".into()));
    }
    let mut by_class = BTreeMap::<u16, Vec<Region>>::new();
    for region in regions(labels, Some(legend.unlabelled)) {
        by_class.entry(region.id).or_default().push(region);
    }
    let percent = |pixels: usize| 100.0 * pixels as f64 / labelled as f64;
    let mut cover = CoverFacts::default();
    for class in &legend.classes {
        let noun = noun_of(&class.name, words);
        match by_class.get(&class.id).and_then(|own| layout(own, labelled, smallest)) {
            None => cover.absent.push(noun),
            Some(layout) => cover.classes.push(ClassFact {
                id: Some(class.id),
                name: class.name.clone(),
                noun,
                percent: percent(counts[&class.id]),
                layout: Some(layout),
                heights: None,
            }),
        }
    }
    cover.classes.sort_by(|a, b| b.percent.total_cmp(&a.percent));
    Ok(cover)
}

/// Where the regions of one class lie, among `valid` pixels; none without regions.
pub(super) fn layout(own: &[Region], valid: usize, smallest: usize) -> Option<Layout> {
    let largest = own.iter().max_by_key(|r| r.pixels)?;
    let mut mass = Mass::default();
    own.iter().for_each(|r| mass += r.mass);
    Some(Layout {
        position: Position::of(&mass),
        regions: own.iter().filter(|r| r.pixels >= smallest).count().max(1),
        largest: RegionFact {
            pixels: largest.pixels,
            percent: 100.0 * largest.pixels as f64 / valid as f64,
            center: largest.center,
            position: Position::of(&largest.mass),
        },
    })
}

/// Land cover from shares that came as a table, in percent; classes with 0 are absent.
///
/// # Errors
/// [`Error::Wording`] for negative shares, shares that are no numbers, and sums that are 0 or above 100 by more than rounding.
pub fn land_cover_shares(shares: &[(String, f64)], words: &IndexMap<String, Words>) -> Result<CoverFacts> {
    if let Some((name, value)) = shares.iter().find(|(_, v)| !(0.0..=100.5).contains(v)) {
        return Err(Error::Wording(format!("the share of `{name}` is {value} %; expected 0 to 100")));
    }
    let sum: f64 = shares.iter().map(|s| s.1).sum();
    if !(sum > 0.0 && sum <= 101.0) {
        return Err(Error::Wording(format!(
            "the shares add up to {sum:.1} %; expected more than 0 and at most 100. Are they percent? (unit = \"percent\" or \"fraction\")"
        )));
    }
    let mut cover = CoverFacts::default();
    for (name, percent) in shares {
        let noun = noun_of(name, words);
        if *percent > 0.0 {
            let fact = ClassFact { id: None, name: name.clone(), noun, percent: *percent, layout: None, heights: None };
            cover.classes.push(fact);
        } else {
            cover.absent.push(noun);
        }
    }
    cover.classes.sort_by(|a, b| b.percent.total_cmp(&a.percent));
    Ok(cover)
}

#[cfg(test)]
mod tests {
    use ndarray::s;

    use super::super::place::Place;
    use super::*;

    fn legend() -> Legend {
        Legend::from_names(["Water", "Tree cover", "Roads"]).unwrap()
    }

    #[test]
    fn shares_places_and_regions() {
        let mut labels = Array2::from_elem((40, 40), 1u16);
        labels.slice_mut(s![0..10, 0..10]).fill(2);
        labels.slice_mut(s![30..32, 30..32]).fill(2);
        labels.slice_mut(s![10..40, 0..20]).fill(0);
        let cover = land_cover(&labels, &legend(), &IndexMap::new(), 5).unwrap();
        let [water, trees] = &cover.classes[..] else { panic!("{cover:?}") };
        assert_eq!((water.name.as_str(), trees.noun.words.as_str()), ("Water", "tree cover"));
        assert!((trees.percent - 10.4).abs() < 1e-9, "{}", trees.percent);
        let layout = trees.layout.as_ref().unwrap();
        assert_eq!((layout.position.place, layout.regions, layout.largest.pixels), (Place::UpperLeft, 1, 100));
        assert_eq!(layout.largest.center, (4.5, 4.5));
        assert_eq!(cover.absent[0].words, "roads");
        assert_eq!(water.layout.as_ref().unwrap().position.place, Place::Right);
    }

    #[test]
    fn faults_are_named() {
        let fail = |labels: Array2<u16>| land_cover(&labels, &legend(), &IndexMap::new(), 1).unwrap_err().to_string();
        assert!(fail(Array2::from_elem((4, 4), 9)).contains("9 (16 pixels)"));
        assert!(fail(Array2::zeros((4, 4))).contains("no pixel has a class"));
        let shares = |v: f64| land_cover_shares(&[("a".into(), v), ("b".into(), 60.0)], &IndexMap::new());
        assert_eq!(shares(0.0).unwrap().absent.len(), 1);
        for wrong in [-1.0, f64::NAN, 70.0] {
            assert!(shares(wrong).is_err(), "{wrong}");
        }
    }
}
