//! The frozen tower of a recipe, and how tiles reach it.

use anyhow::{Context, bail};
use burn::tensor::Device;

use crate::models::segmentation::{check_taps, default_taps};
use crate::models::vision::{ImagePreprocess, ImageTower, ResizeMode, load_image_tower};
use crate::train::segmentation::SegmentRecipe;

/// The frozen tower, its taps, and how tiles reach it.
pub struct Setting {
    /// The tower.
    pub tower: Box<dyn ImageTower>,
    /// Its name or folder.
    pub name: String,
    /// Blocks tapped.
    pub taps: [usize; 4],
    /// Side of a tile in pixels of the scene.
    pub tile: usize,
    /// Side of what the tower sees of it.
    pub input: usize,
    /// Pixels from one training tile to the next.
    pub stride: usize,
    /// From a tile's values to what the tower sees.
    pub preprocess: ImagePreprocess,
}

impl Setting {
    /// Loads the recipe's tower.
    ///
    /// # Errors
    /// A tower that does not load, has too few blocks for the taps, or whose patches do not divide the input.
    pub fn new(recipe: &SegmentRecipe, device: &Device) -> anyhow::Result<Self> {
        let name = recipe.tower()?;
        let tower = load_image_tower(&name, device)?;
        let taps = match recipe.model.taps {
            Some(taps) => taps,
            None => default_taps(tower.depth()).with_context(|| name.clone())?,
        };
        check_taps(taps, tower.depth()).with_context(|| name.clone())?;
        let patch = tower.patch();
        let own = tower.preprocess().size.0;
        let input = recipe.model.input.unwrap_or((own / patch * patch).max(patch));
        if !input.is_multiple_of(patch) || input < 2 * patch {
            bail!(
                "model.input = {input}: it must be a multiple of the tower's patch of {patch} px and hold at least two patches, such as {}",
                input.next_multiple_of(patch).max(2 * patch)
            );
        }
        let tile = recipe.model.tile.unwrap_or(own);
        let stride = recipe.model.stride.unwrap_or((tile / 2).max(1));
        if stride > tile {
            bail!("model.stride = {stride} leaves out pixels between tiles of {tile} px; give at most {tile}");
        }
        let preprocess = tile_preprocess(tower.as_ref(), input);
        Ok(Self { tower, name, taps, tile, input, stride, preprocess })
    }
}

/// The tower's preprocessing of values with a whole square tile as its input: nothing is cut off at the sides, as classification does.
pub(super) fn tile_preprocess(tower: &dyn ImageTower, input: usize) -> ImagePreprocess {
    ImagePreprocess { size: (input, input), resize: ResizeMode::Squash, resize_to: None, ..tower.preprocess().clone() }
}
