//! Words for classes: templates, and the list of prompts that a class becomes.

use crate::{Error, Legend, Result};

/// Templates for land-cover pixels and patches.
pub const LAND_COVER: [&str; 4] = ["{c}", "a satellite image of {c}", "an aerial view of {c}", "land covered by {c}"];

/// The template of the MMLGNet paper (section II-C).
pub const MMLGNET: [&str; 1] = ["the hyperspectral patch of {c}"];

/// The two templates of SkyScript's zero-shot protocol.
pub const SKYSCRIPT: [&str; 2] = ["a satellite photo of {c}.", "a satellite image of {c}"];

/// SkyScript's templates for roof shapes.
pub const SKYSCRIPT_BUILDING: [&str; 2] = ["a satellite photo of building, {c}.", "a satellite image of building, {c}"];

/// SkyScript's templates for surface and smoothness of roads.
pub const SKYSCRIPT_ROAD: [&str; 2] = ["a satellite photo of road, {c}.", "a satellite image of road, {c}"];

/// Templates by name: `land-cover`, `mmlgnet`, `skyscript`, `skyscript-building`, `skyscript-road`, `none`.
///
/// # Errors
/// [`Error::Prompt`] listing the names.
pub fn named(name: &str) -> Result<Vec<String>> {
    let templates: &[&str] = match name {
        "land-cover" => &LAND_COVER,
        "mmlgnet" => &MMLGNET,
        "skyscript" => &SKYSCRIPT,
        "skyscript-building" => &SKYSCRIPT_BUILDING,
        "skyscript-road" => &SKYSCRIPT_ROAD,
        "none" => &["{c}"],
        _ => {
            return Err(Error::Prompt(format!(
                "no template set `{name}`; known: land-cover, mmlgnet, skyscript, skyscript-building, skyscript-road, none"
            )));
        }
    };
    Ok(templates.iter().map(|t| t.to_string()).collect())
}

/// Puts `words` into `template` at `{c}`.
///
/// # Errors
/// [`Error::Prompt`] when the template has no `{c}`.
pub fn fill(template: &str, words: &str) -> Result<String> {
    if !template.contains("{c}") {
        return Err(Error::Prompt(format!("the template `{template}` has no {{c}} where the class belongs")));
    }
    Ok(template.replace("{c}", words))
}

/// Every prompt of every class: each of a class's words in each template. The class's text feature is the normalised mean of their normalised
/// features.
///
/// # Errors
/// [`Error::Prompt`] for a template without `{c}` or an empty list of templates.
pub fn ensemble(legend: &Legend, templates: &[String]) -> Result<Vec<Vec<String>>> {
    if templates.is_empty() {
        return Err(Error::Prompt("no templates; `{c}` alone uses the class's words as they are".into()));
    }
    (0..legend.len())
        .map(|k| legend.words(k).iter().flat_map(|words| templates.iter().map(move |t| fill(t, words))).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_meets_every_template() {
        let mut legend = Legend::from_names(["water", "trees"]).unwrap();
        legend.classes[1].prompts = vec!["woods".into(), "forest".into()];
        let prompts = ensemble(&legend, &named("skyscript").unwrap()).unwrap();
        assert_eq!(prompts[0], ["a satellite photo of water.", "a satellite image of water"]);
        assert_eq!(prompts[1].len(), 4);
        let roof = fill(&named("skyscript-building").unwrap()[0], "hipped").unwrap();
        assert_eq!(roof, "a satellite photo of building, hipped.");
        assert!(ensemble(&legend, &["no place".into()]).is_err());
        assert!(ensemble(&legend, &[]).is_err());
    }
}
