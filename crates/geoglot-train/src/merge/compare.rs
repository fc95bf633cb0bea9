//! Whether models fit one another.

use geoglot_models::vision::{ValueScale, VisionConfig};
use geoglot_nn::vision::PatchKind;
use serde_json::Value;

use super::error::Difference;
use crate::diff::leaves;

/// Differences that are let pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Allowed {
    /// Preprocessing and small settings; the result has those of the model whose architecture it has.
    pub settings: bool,
    /// Image sizes: positions of another grid are resampled to the result's, bicubic, as each tower does for images of another size.
    pub positions: bool,
}

/// What two configurations differ in: what no merge can bridge, and settings that only change a little.
pub(super) struct Compared {
    pub structure: Vec<Difference>,
    pub settings: Vec<Difference>,
    /// Those that were allowed.
    pub passed: Vec<Difference>,
}

/// Settings of the network that leave the meaning of its tensors nearly as it is.
const SETTINGS: [&str; 2] = ["vit.activation", "vit.epsilon"];
/// Not compared: the patch embedding is compared by itself, positions matter for other image sizes only.
const APART: [&str; 2] = ["vit.embed", "vit.positions"];
/// What differs between one tower at two image sizes.
pub(super) const SIZES: [&str; 3] = ["vit.grid", "preprocess.size", "preprocess.resize_to"];

/// Compares two towers' configurations. A tower of fixed bands and an any-band one differ in their patch embedding and in how values are
/// scaled, and are merged in everything else.
pub(super) fn configs(first: &VisionConfig, other: &VisionConfig, allowed: Allowed) -> Compared {
    let (mut structure, mut settings, mut passed) = (Vec::new(), Vec::new(), Vec::new());
    let json = |value: &dyn Fn(&VisionConfig) -> serde_json::Result<Value>| {
        (value(first).expect("a plain structure"), value(other).expect("a plain structure"))
    };
    let (a, b) = json(&|c| serde_json::to_value(&c.vit));
    for found in fields("vit", &a, &b) {
        let name = found.what.as_str();
        if !APART.iter().any(|p| name.starts_with(p)) {
            if SETTINGS.contains(&name) { settings.push(found) } else { structure.push(found) }
        }
    }
    let any = |c: &VisionConfig| matches!(c.vit.embed, PatchKind::Wavelength(_));
    if any(first) == any(other) {
        let (a, b) = json(&|c| serde_json::to_value(c.vit.embed));
        structure.extend(fields("vit.embed", &a, &b));
        let (a, b) = json(&|c| serde_json::to_value(&c.bands));
        settings.extend(fields("bands", &a, &b));
    }
    let (a, b) = json(&|c| serde_json::to_value(&c.preprocess));
    // A picture's bytes are what a sensor range of 0–255 is for the bands of a photograph.
    let picture = |c: &VisionConfig| matches!(c.preprocess.values, ValueScale::Byte | ValueScale::SensorRange);
    let same_scale = any(first) != any(other) && picture(first) && picture(other);
    settings.extend(
        fields("preprocess", &a, &b).into_iter().filter(|d| !(same_scale && d.what.starts_with("preprocess.values"))),
    );
    let mut keep = |found: Vec<Difference>, may: &dyn Fn(&str) -> bool| -> Vec<Difference> {
        let (pass, stay): (Vec<_>, Vec<_>) = found.into_iter().partition(|d| may(&d.what));
        passed.extend(pass);
        stay
    };
    let sizes = |what: &str| allowed.positions && SIZES.contains(&what);
    let structure = keep(structure, &sizes);
    let settings = keep(settings, &|what| allowed.settings || sizes(what));
    Compared { structure, settings, passed }
}

/// The differing fields of two JSON objects.
fn fields(path: &str, a: &Value, b: &Value) -> Vec<Difference> {
    let found = leaves(path, a, b).into_iter();
    found.map(|(what, a, b)| Difference { what, first: a.to_string(), other: b.to_string() }).collect()
}
