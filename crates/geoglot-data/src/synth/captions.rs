//! Captions worded from the facts, several a scene, drawn by seed.

use geoglot_core::Seeds;
use rand::RngExt;
use rand::seq::IndexedRandom;
use serde::{Deserialize, Serialize};

use super::facts::{ClassFact, Facts};

/// Length of a caption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// At most 30 words.
    Short,
    /// Several sentences.
    Long,
}

/// One caption of a scene.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caption {
    /// Length.
    pub form: Form,
    /// The words.
    pub text: String,
}

/// A class name as it reads in a sentence.
fn phrase(fact: &ClassFact) -> &str {
    match fact.name.as_str() {
        "road or car park" => "roads and car parks",
        "flat-roofed building" => "flat-roofed buildings",
        "tiled-roof house" => "tiled-roof houses",
        "meadow or lawn" => "meadows and lawns",
        "cereal crop" => "cereal fields",
        "orchard" => "orchards",
        name => name,
    }
}

/// `one` or `many`, as the class name asks for.
fn agree<'a>(fact: &ClassFact, one: &'a str, many: &'a str) -> &'a str {
    let phrase = phrase(fact);
    if phrase.ends_with('s') && !phrase.ends_with("ss") { many } else { one }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|c| c.to_uppercase().collect::<String>() + letters.as_str()).unwrap_or_default()
}

/// Six short captions and two long ones.
pub(super) fn captions(facts: &Facts, seeds: Seeds) -> Vec<Caption> {
    let mut rng = seeds.stream("synth/captions");
    let mut short = Vec::new();
    let [first, second, third, ..] = &facts.classes[..] else { return Vec::new() };
    let others: Vec<&ClassFact> = facts.classes[3..].iter().filter(|c| c.regions > 0).collect();
    let scenes = ["An aerial view of", "A landscape with", "A scene of", "An overhead image showing"];
    short.push(format!(
        "{} {}, {} and {}.",
        scenes.choose(&mut rng).expect("not empty"),
        phrase(first),
        phrase(second),
        phrase(third)
    ));
    short.push(format!(
        "{} {} {:.0} % of the scene.",
        capital(phrase(first)),
        agree(first, "covers", "cover"),
        first.percent
    ));
    for fact in others.sample(&mut rng, 2) {
        let wording = [
            format!("{} in the {} of the image.", capital(phrase(fact)), fact.largest_position),
            format!("The largest patch of {} lies in the {}.", phrase(fact), fact.largest_position),
            format!("{} {} up {:.1} % of the area.", capital(phrase(fact)), agree(fact, "takes", "take"), fact.percent),
        ];
        short.push(wording[rng.random_range(0..wording.len())].clone());
    }
    let tall =
        facts.classes.iter().filter(|c| c.mean_height > 2.0).max_by(|a, b| a.mean_height.total_cmp(&b.mean_height));
    if let Some(tall) = tall {
        short.push(format!("The tallest cover is {}, {:.0} m high on average.", phrase(tall), tall.mean_height));
    }
    short.push(match facts.cloud_percent {
        p if p >= 0.5 => format!("A rural town where clouds hide {p:.0} % of the ground."),
        _ => format!("A cloudless scene with {:.0} m of relief.", facts.highest - facts.lowest),
    });
    let list = facts.classes.iter().map(|c| format!("{} {:.1} %", phrase(c), c.percent)).collect::<Vec<_>>().join(", ");
    let places = facts
        .classes
        .iter()
        .take(4)
        .map(|c| format!("the largest patch of {} lies in the {}", phrase(c), c.largest_position));
    let places = places.collect::<Vec<_>>().join("; ");
    let long = [
        format!("The scene is covered by {list}. {}.", capital(&places)),
        format!(
            "{} and {} prevail. The ground lies between {:.0} and {:.0} m; {}. {}",
            capital(phrase(first)),
            phrase(second),
            facts.lowest,
            facts.highest,
            places,
            short.last().expect("several")
        ),
    ];
    let short = short.into_iter().map(|text| Caption { form: Form::Short, text });
    short.chain(long.into_iter().map(|text| Caption { form: Form::Long, text })).collect()
}
