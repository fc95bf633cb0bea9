//! Captions, classes and spectral facts as questions and answers.

use geoglot_core::Seeds;
use rand::seq::{IndexedRandom, SliceRandom};

use super::{Conversation, SpectralFacts, Turn};
use crate::captions::CaptionedImage;

/// What conversations are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstructOptions {
    /// A description.
    pub captions: bool,
    /// A list of classes.
    pub classification: bool,
    /// Questions about what spectra know.
    pub spectral: bool,
    /// Answers are the class labels only: the first of table I's two variants of alignment.
    pub labels_only: bool,
    /// Seed of the wording.
    pub seed: u64,
}

impl Default for InstructOptions {
    fn default() -> Self {
        Self { captions: true, classification: true, spectral: true, labels_only: false, seed: 0 }
    }
}

const DESCRIBE: &[&str] = &[
    "Describe this multispectral scene.",
    "What does this image show?",
    "Give a description of the scene.",
    "Describe what can be seen from above.",
];
const CLASSIFY: &[&str] = &[
    "Which classes does this multispectral scene show?",
    "List the land-cover classes of the scene.",
    "What classes are present?",
];

/// A kind of ground that spectra tell: words for questions and answers.
type Surface = (&'static str, fn(&SpectralFacts) -> Option<f64>);

const SURFACES: &[Surface] = &[
    ("snow or ice", |f| f.snow),
    ("clouds", |f| f.cloud),
    ("haze", |f| f.haze),
    ("open water", |f| f.water),
    ("dense green vegetation", |f| f.vegetation),
];

/// A share in words, rounded to what a reader can use.
fn share(percent: f64) -> String {
    match percent {
        p if p < 1.0 => "less than 1 %".into(),
        p if p > 99.0 => "nearly all".into(),
        p if p < 10.0 => format!("about {} %", p.round()),
        p => format!("about {} %", (p / 5.0).round() * 5.0),
    }
}

/// What spectra add to a description, in a sentence; empty when there is nothing to tell.
fn spectral_sentence(facts: &SpectralFacts) -> String {
    let told: Vec<String> = SURFACES
        .iter()
        .filter_map(|(words, of)| of(facts).filter(|p| *p >= 1.0).map(|p| format!("{words} on {}", share(p))))
        .collect();
    match told.as_slice() {
        [] => String::new(),
        [one] => format!(" Spectrally, the scene has {one} of its area."),
        [first @ .., last] => format!(" Spectrally, the scene has {} and {last} of its area.", first.join(", ")),
    }
}

/// Classes that are true of an image, as its captions name them.
fn labels(image: &CaptionedImage) -> Vec<String> {
    let facts = &image.facts;
    let cover = facts.cover.iter().flat_map(|c| &c.classes).filter(|c| c.percent >= 1.0).map(|c| c.noun.words.clone());
    let named = facts.labels.iter().map(|n| n.words.clone());
    let mut all: Vec<String> = cover.chain(named).collect();
    if facts.flood.as_ref().is_some_and(|f| f.percent >= 1.0) {
        all.push("water".into());
    }
    let mut seen = std::collections::HashSet::new();
    all.retain(|l| seen.insert(l.clone()));
    all
}

/// Conversations about an image, one a task; `path` is what the entries say of where it lies.
pub fn conversations(
    image: &CaptionedImage,
    path: &str,
    spectral: Option<&SpectralFacts>,
    options: InstructOptions,
) -> Vec<Conversation> {
    let mut rng = Seeds::new(options.seed).stream(&format!("instruct/{}", image.key));
    let labels = labels(image);
    let entry = |task: &str, turns: Vec<(String, String)>| Conversation {
        id: format!("{}-{task}", image.key),
        image: path.to_owned(),
        conversations: turns
            .into_iter()
            .flat_map(|(question, answer)| {
                [Turn { from: "human".into(), value: question }, Turn { from: "gpt".into(), value: answer }]
            })
            .collect(),
        labels: labels.clone(),
        spectral: spectral.cloned(),
        location: image.geoloc,
        preview: None,
    };
    let mut found = Vec::new();
    let mut listed = labels.clone();
    if options.labels_only {
        listed.sort();
        let question = format!("<image>\n[caption] {}", DESCRIBE.choose(&mut rng).expect("not empty"));
        if !listed.is_empty() {
            found.push(entry("labels", vec![(question, format!("{}.", listed.join(", ")))]));
        }
        return found;
    }
    let captions: Vec<&String> =
        if image.long.is_empty() { image.short.iter().collect() } else { image.long.iter().collect() };
    if options.captions
        && let Some(caption) = captions.choose(&mut rng)
    {
        let question = format!("<image>\n[caption] {}", DESCRIBE.choose(&mut rng).expect("not empty"));
        let more = spectral.filter(|_| options.spectral).map(spectral_sentence).unwrap_or_default();
        found.push(entry("caption", vec![(question, format!("{caption}{more}"))]));
    }
    if options.classification && !listed.is_empty() {
        listed.sort();
        let question = format!("<image>\n[classification] {}", CLASSIFY.choose(&mut rng).expect("not empty"));
        found.push(entry("classification", vec![(question, format!("{}.", listed.join(", ")))]));
    }
    if options.spectral
        && let Some(facts) = spectral
    {
        let mut asked: Vec<(String, String)> = SURFACES
            .iter()
            .filter_map(|(words, of)| {
                let percent = of(facts)?;
                let answer = match percent {
                    p if p < 1.0 => "No.".to_owned(),
                    p => format!("Yes, on {} of the area.", share(p)),
                };
                Some((format!("Is there {words} in this scene?").replace("there clouds", "there any cloud"), answer))
            })
            .collect();
        asked.shuffle(&mut rng);
        asked.truncate(3);
        if let Some(first) = asked.first_mut() {
            first.0 = format!("<image>\n{}", first.0);
            found.push(entry("spectra", asked));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::captions::{Facts, Noun};

    #[test]
    fn answers_say_what_is_true() {
        let image = CaptionedImage {
            key: "a".into(),
            image: "a.tif".into(),
            options: String::new(),
            bands: Vec::new(),
            wavelengths: Vec::new(),
            geoloc: None,
            facts: Facts {
                labels: vec![
                    Noun { words: "pastures".into(), plural: true },
                    Noun { words: "lake".into(), plural: false },
                ],
                ..Facts::default()
            },
            short: vec!["A lake.".into()],
            long: vec!["A lake among pastures.".into()],
            seed: 0,
            worded_by: "grammar".into(),
        };
        let facts = SpectralFacts { snow: Some(0.2), water: Some(31.0), ..SpectralFacts::default() };
        let made = conversations(&image, "a.tif", Some(&facts), InstructOptions::default());
        assert_eq!(made.len(), 3);
        assert_eq!(
            made[0].conversations[1].value,
            "A lake among pastures. Spectrally, the scene has open water on about 30 % of its area."
        );
        assert_eq!(made[1].conversations[1].value, "lake, pastures.");
        let spectra: Vec<(&str, &str)> =
            made[2].conversations.chunks(2).map(|t| (t[0].value.as_str(), t[1].value.as_str())).collect();
        assert!(spectra[0].0.starts_with("<image>\n") && spectra.len() == 2);
        for (question, answer) in spectra {
            assert_eq!(answer.starts_with("Yes"), question.contains("water"), "{question} {answer}");
        }
        assert!(made.iter().all(|c| c.conversations.iter().filter(|t| t.value.contains("<image>")).count() == 1));
        let only =
            conversations(&image, "a.tif", None, InstructOptions { labels_only: true, ..InstructOptions::default() });
        assert_eq!((only.len(), only[0].conversations[1].value.as_str()), (1, "lake, pastures."));
        let again = conversations(&image, "a.tif", Some(&facts), InstructOptions::default());
        assert_eq!(made, again);
    }
}
