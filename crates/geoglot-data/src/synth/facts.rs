//! What is true of a scene, measured on its rasters: the ground truth of its captions.

use geoglot_core::Legend;
use indexmap::IndexMap;
use ndarray::Array2;

use crate::captions::{Above, Classes, Facts, Heights, Thing, Words, elevation, land_cover};
use crate::{Error, Result};

/// Regions of fewer pixels are not counted.
const SMALLEST_REGION: usize = 20;

/// How the classes read in a sentence, where their names do not.
fn words() -> IndexMap<String, Words> {
    let counted = [
        ("road or car park", "road or car park", "roads and car parks"),
        ("flat-roofed building", "flat-roofed building", "flat-roofed buildings"),
        ("tiled-roof house", "tiled-roof house", "tiled-roof houses"),
        ("meadow or lawn", "meadow or lawn", "meadows and lawns"),
        ("cereal crop", "cereal field", "cereal fields"),
        ("orchard", "orchard", "orchards"),
    ];
    let thing = |one: &str, many: &str| Words::Counted(Thing { one: one.into(), many: many.into() });
    counted.into_iter().map(|(name, one, many)| (name.to_owned(), thing(one, many))).collect()
}

/// Land cover with heights above the ground, terrain and clouds; `gsd` in metres.
pub(super) fn measure(
    labels: &Array2<u16>,
    legend: &Legend,
    (dsm, dtm): (&Array2<f32>, &Array2<f32>),
    cloud_mask: Option<&Array2<u8>>,
    gsd: f64,
) -> Result<Facts> {
    let (height, width) = labels.dim();
    let words = words();
    let wrong = |e: crate::captions::Error| Error::Synth(e.to_string());
    let mut cover = land_cover(labels, legend, &words, SMALLEST_REGION).map_err(wrong)?;
    for class in &mut cover.classes {
        let heights =
            labels.indexed_iter().filter(|(_, id)| Some(**id) == class.id).map(|(at, _)| f64::from(dsm[at] - dtm[at]));
        let (count, sum, max) = heights.fold((0.0, 0.0, 0f64), |(n, s, m), h| (n + 1.0, s + h, m.max(h)));
        class.heights = Some(Heights { mean: sum / f64::max(count, 1.0), max });
    }
    let everywhere = Array2::from_elem(labels.dim(), true);
    let classes = Classes { labels: labels.view(), legend, words: &words };
    let side = gsd * width.min(height) as f64;
    let terrain = elevation(dtm.view(), everywhere.view(), Some(classes), Above::Sea, Some(side)).map_err(wrong)?;
    let clouded = cloud_mask.map_or(0, |mask| mask.iter().filter(|v| **v == 1).count());
    Ok(Facts {
        image: "aerial image".into(),
        width,
        height,
        gsd: Some(gsd),
        valid_percent: 100.0,
        cover: Some(cover),
        elevation: Some(terrain),
        cloud_percent: Some(100.0 * clouded as f64 / labels.len() as f64),
        ..Facts::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_heights_and_clouds_are_measured() {
        let mut labels = Array2::from_elem((30, 30), 1u16);
        labels.slice_mut(ndarray::s![20..30, 20..30]).fill(2);
        let legend = Legend::from_names(["a", "orchard", "c"]).unwrap();
        let (dsm, dtm) = (Array2::from_elem((30, 30), 12.0), Array2::from_elem((30, 30), 10.0));
        let mut mask = Array2::zeros((30, 30));
        mask.slice_mut(ndarray::s![0..3, ..]).fill(1);
        let facts = measure(&labels, &legend, (&dsm, &dtm), Some(&mask), 1.0).unwrap();
        let cover = facts.cover.unwrap();
        let orchard = &cover.classes[1];
        assert_eq!((orchard.noun.words.as_str(), orchard.noun.plural), ("orchards", true));
        assert_eq!(orchard.heights, Some(Heights { mean: 2.0, max: 2.0 }));
        assert!((facts.cloud_percent.unwrap() - 10.0).abs() < 1e-9 && facts.elevation.unwrap().relief == 0.0);
    }
}
