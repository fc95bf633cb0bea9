//! Which blocks of a tower a head reads.

use burn::tensor::Tensor;
use geoglot_nn::segmentation::{Seen, image_for};

use crate::error::{Error, Result};
use crate::vision::{ImageBatch, ImageTower};

/// The blocks tapped in a tower of `depth` blocks, counted from 0: 3, 5, 7, 11 of 12 (Base); 7, 11, 15, 23 of 24 (Large); 11, 15, 23 and
/// the last of 27 (GeoLangBind on SO400M); else evenly spaced up to the last.
///
/// # Errors
/// [`Error::Input`] for fewer than four blocks.
pub fn default_taps(depth: usize) -> Result<[usize; 4]> {
    Ok(match depth {
        12 => [3, 5, 7, 11],
        24 => [7, 11, 15, 23],
        27 => [11, 15, 23, 26],
        4.. => [1, 2, 3, 4].map(|k| k * depth / 4 - 1),
        _ => {
            return Err(Error::Input(format!(
                "the image tower has {depth} blocks and a segmentation head taps four; name them (model.taps = [0, 0, {0}, {0}]: a \
                 block may be tapped more than once), or take a deeper tower",
                depth.saturating_sub(1)
            )));
        }
    })
}

/// Checks taps against a tower of `depth` blocks.
///
/// # Errors
/// [`Error::Input`] for a block that does not exist, or taps that go back.
pub fn check_taps(taps: [usize; 4], depth: usize) -> Result<()> {
    if let Some(bad) = taps.iter().find(|t| **t >= depth) {
        return Err(Error::Input(format!(
            "taps {taps:?}: there is no block {bad}; the image tower has {depth} blocks, counted from 0"
        )));
    }
    if taps.windows(2).any(|w| w[0] > w[1]) {
        return Err(Error::Input(format!("taps {taps:?}: name the blocks from the first to the last")));
    }
    Ok(())
}

/// The maps `[B, D, h, w]` of the tapped blocks.
///
/// # Errors
/// As [`ImageTower::intermediate`]; [`Error::Input`] for values that are not finite.
pub fn tapped(tower: &dyn ImageTower, images: &ImageBatch, taps: [usize; 4]) -> Result<[Tensor<4>; 4]> {
    let states = tower.intermediate(images, &taps)?;
    let maps: [Tensor<4>; 4] = states.try_into().expect("one state a tap");
    Ok(maps.map(|m| m.permute([0, 3, 1, 2])))
}

/// What a head sees of images: the maps of the tapped blocks and, with `image`, the images on the grid of the finest level.
///
/// # Errors
/// As [`tapped`].
pub fn seen(tower: &dyn ImageTower, images: &ImageBatch, taps: [usize; 4], image: bool) -> Result<Seen> {
    let maps = tapped(tower, images, taps)?;
    let side = maps[0].dims()[2];
    Ok(Seen { image: image.then(|| image_for(images.pixels().clone(), side)), maps })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_and_other_depths() {
        for (depth, taps) in [(12, [3, 5, 7, 11]), (24, [7, 11, 15, 23]), (4, [0, 1, 2, 3]), (6, [0, 2, 3, 5])] {
            assert_eq!(default_taps(depth).unwrap(), taps);
            check_taps(taps, depth).unwrap();
        }
        assert!(default_taps(2).unwrap_err().to_string().contains("2 blocks"));
        assert!(check_taps([0, 1, 2, 4], 4).unwrap_err().to_string().contains("no block 4"));
        assert!(check_taps([0, 2, 1, 3], 4).is_err());
    }
}
