//! What a recipe describes.

use std::path::Path;

use toml::{Table, Value};

/// What `geoglot train` makes of a recipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Land cover with class prompts: a [`crate::Recipe`].
    LandCover,
    /// `kind = "segmentation"`: a [`crate::segmentation::SegmentRecipe`].
    Segmentation,
    /// `kind = "open-segmentation"`: a [`crate::open_segmentation::OpenRecipe`].
    OpenSegmentation,
    /// `kind = "masked"`: a [`crate::mae::MaskedRecipe`].
    Masked,
    /// `kind = "spectral-llava"`: a [`crate::llava::LlavaRecipe`].
    SpectralLlava,
    /// Image sets in `[[data.set]]`: a [`crate::contrastive::PretrainRecipe`].
    ImageText,
}

impl Kind {
    /// The kind of the recipe at `path`. What cannot be read or says nothing is land cover, whose reader names the fault.
    pub fn of(path: &Path) -> Self {
        let table = std::fs::read_to_string(path).ok().and_then(|text| toml::from_str::<Table>(&text).ok());
        let Some(table) = table else { return Self::LandCover };
        match table.get("kind").and_then(Value::as_str) {
            Some("segmentation") => Self::Segmentation,
            Some("open-segmentation") => Self::OpenSegmentation,
            Some("masked") => Self::Masked,
            Some("spectral-llava") => Self::SpectralLlava,
            _ if table.get("data").and_then(|d| d.get("set")).is_some() => Self::ImageText,
            _ => Self::LandCover,
        }
    }
}
