//! `[[distill]]`: a teacher of a recipe.

use std::path::Path;

use geoglot_models::geolangbind::{GridResize, MatchLoss};
use serde::{Deserialize, Serialize};

/// When a teacher's features get a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeadKind {
    /// Unless the teacher has the student's width and grid.
    #[default]
    Auto,
    /// Always.
    Maka,
    /// Never: student and teacher are compared as they are.
    None,
}

/// One teacher of a recipe: a `[[distill]]` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistillSection {
    /// Image tower: a folder (relative to the recipe), a weight file or a name of `geoglot models list`.
    pub teacher: String,
    /// Name in logs; the tower's when none is given.
    #[serde(default)]
    pub name: String,
    /// λ, the weight of its loss beside the contrastive one. The published ones are 2 for SigLIP, 1 for DINOv2 and ViT.
    #[serde(default = "one")]
    pub weight: f64,
    /// How the student's tokens get the teacher's grid.
    #[serde(default)]
    pub resize: GridResize,
    /// When there is a head.
    #[serde(default)]
    pub head: HeadKind,
    /// Whether the head's norm depends on the wavelengths; `false` is ordinary distillation.
    #[serde(default = "yes")]
    pub conditional: bool,
    /// Width of the head's wavelength embedding.
    #[serde(default = "embedding")]
    pub embedding: usize,
    /// Weights of the loss's parts, and whether an image or a patch is one vector.
    #[serde(default)]
    pub loss: MatchLoss,
    /// Folder (relative to the recipe) where features of whole images are kept, so that the teacher runs once; needs
    /// `train.crop = [1, 1]` and `train.turns = false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<String>,
    /// Features of whole images lie in the shards, where [`Precomputed`](super::Precomputed) put them (`geoglot shards teach`); as for a cache, crops and turns
    /// must be off.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stored: bool,
}

fn one() -> f64 {
    1.0
}
fn yes() -> bool {
    true
}
fn embedding() -> usize {
    128
}

impl DistillSection {
    /// Name in logs.
    pub fn label(&self) -> &str {
        match self.name.is_empty() {
            true => Path::new(&self.teacher).file_name().and_then(|n| n.to_str()).unwrap_or(&self.teacher),
            false => &self.name,
        }
    }

    /// What is out of range.
    pub(super) fn problem(&self) -> Option<&'static str> {
        let parts = [self.loss.smooth_l1, self.loss.mse, self.loss.cosine];
        let positive = |v: &f64| v.is_finite() && *v >= 0.0;
        match () {
            () if self.teacher.is_empty() => Some("teacher is empty"),
            () if !(positive(&self.weight) && self.weight > 0.0) => {
                Some("weight must be above 0; leave the section out instead")
            }
            () if !parts.iter().all(positive) || parts.iter().all(|v| *v == 0.0) => {
                Some("loss: weights must not be negative, and not all 0")
            }
            () if self.stored && self.cache.is_some() => Some("stored and cache: features are kept in one place only"),
            () if self.embedding < 2 || !self.embedding.is_multiple_of(2) => Some("embedding must be even"),
            () => None,
        }
    }
}
