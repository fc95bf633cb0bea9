//! Captions of a scene, drawn by seed from the grammar of [`crate::captions`].

use geoglot_core::Seeds;
use serde::{Deserialize, Serialize};

use crate::captions::{Facts, Form, word_facts};
use crate::{Error, Result};

/// One caption of a scene.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caption {
    /// Length.
    pub form: Form,
    /// The words.
    pub text: String,
}

/// Short captions about land cover.
const COVER: usize = 6;

/// Seven short captions and two long ones, fewer where a scene has few classes: of land cover, and one of each length of the terrain.
pub(super) fn captions(facts: &Facts, seeds: Seeds) -> Result<Vec<Caption>> {
    let wrong = |e: crate::captions::Error| Error::Synth(e.to_string());
    let cover = Facts { elevation: None, ..facts.clone() };
    let terrain = Facts { cover: None, image: "landscape".into(), ..facts.clone() };
    let cover = word_facts(&cover, COVER, seeds, "synth/cover").map_err(wrong)?;
    let terrain = word_facts(&terrain, 1, seeds, "synth/terrain").map_err(wrong)?;
    let of = |form: Form| move |text: String| Caption { form, text };
    let short = cover.short.into_iter().chain(terrain.short).map(of(Form::Short));
    let long = cover.long.into_iter().take(1).chain(terrain.long).map(of(Form::Long));
    Ok(short.chain(long).collect())
}
