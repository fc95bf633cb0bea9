//! Water masks: share, halves, place.

use ndarray::{Array2, s};

use super::cover::layout;
use super::error::{Error, Result};
use super::facts::{FloodFacts, Halves};
use super::noun::Noun;
use super::region::{Region, regions};

/// Measures a mask: 1 where there is water, 0 where there is none, `None` where that is not known; [H, W].
///
/// # Errors
/// [`Error::Wording`] when nothing is known of any pixel.
pub fn flood(mask: &Array2<Option<bool>>, water: Noun, smallest: usize) -> Result<FloodFacts> {
    let share = |part: ndarray::ArrayView2<Option<bool>>| {
        let (known, wet) = part.iter().flatten().fold((0usize, 0usize), |(n, w), wet| (n + 1, w + usize::from(*wet)));
        100.0 * wet as f64 / known.max(1) as f64
    };
    let known = mask.iter().flatten().count();
    if known == 0 {
        return Err(Error::Wording("the mask says nothing of any pixel: every pixel is without data".into()));
    }
    let (rows, cols) = mask.dim();
    let ids = mask.mapv(|v| u16::from(v == Some(true)));
    let wet: Vec<Region> = regions(&ids, Some(0));
    Ok(FloodFacts {
        water,
        percent: share(mask.view()),
        halves: Halves {
            top: share(mask.slice(s![..rows / 2, ..])),
            bottom: share(mask.slice(s![rows / 2.., ..])),
            left: share(mask.slice(s![.., ..cols / 2])),
            right: share(mask.slice(s![.., cols / 2..])),
        },
        layout: layout(&wet, known, smallest),
    })
}

#[cfg(test)]
mod tests {
    use super::super::place::Place;
    use super::*;

    #[test]
    fn shares_are_of_what_is_known() {
        let mut mask = Array2::from_elem((10, 10), Some(false));
        mask.slice_mut(s![0..2, 0..5]).fill(Some(true));
        mask.slice_mut(s![5.., ..]).fill(None);
        let facts = flood(&mask, Noun::new("floodwater"), 1).unwrap();
        assert_eq!((facts.percent, facts.halves.top, facts.halves.left, facts.halves.right), (20.0, 20.0, 40.0, 0.0));
        let layout = facts.layout.unwrap();
        assert_eq!((layout.position.place, layout.regions, layout.largest.percent), (Place::UpperLeft, 1, 20.0));
        mask.fill(Some(false));
        assert!(flood(&mask, Noun::new("water"), 1).unwrap().layout.is_none());
        mask.fill(None);
        assert!(flood(&mask, Noun::new("water"), 1).unwrap_err().to_string().contains("without data"));
    }
}
