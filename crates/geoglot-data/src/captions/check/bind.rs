//! What a number in a caption is said of.

use std::ops::Range;

use super::Disagreement;
use super::numbers::Number;
use crate::captions::statement::{Quantity, Statement};

/// What a number is said of.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Subject<'a> {
    /// What stands right behind the number: `two cars`, `52% of the area is water`.
    Following(&'a str),
    /// What was last named before it, else what is named next.
    Near(&'a str),
    /// Nothing that a number of the quantity is known of.
    None,
}

/// Where the subjects of statements are named in a caption.
pub(super) struct Mentions {
    found: Vec<(Range<usize>, String)>,
    /// The text with names blanked, so that digits in them are not taken for numbers.
    pub(super) masked: String,
}

/// Words between a number and the thing it counts.
const LINKS: [&str; 33] = [
    "of",
    "the",
    "this",
    "image",
    "scene",
    "area",
    "tile",
    "map",
    "picture",
    "patch",
    "patches",
    "ground",
    "is",
    "are",
    "covered",
    "occupied",
    "by",
    "under",
    "a",
    "an",
    "land",
    "mapped",
    "large",
    "small",
    "separate",
    "connected",
    "regions",
    "areas",
    "visible",
    "annotated",
    "total",
    "different",
    "distinct",
];

impl Mentions {
    /// Finds the subjects of `statements` and `names` in lower-case `text`; longer names win over shorter ones they contain.
    pub(super) fn find(text: &str, statements: &[Statement], names: &[String]) -> Self {
        let subjects = || statements.iter().flat_map(|s| &s.subjects);
        let mut phrases: Vec<&String> = subjects().chain(names).filter(|p| !p.is_empty()).collect();
        phrases.sort_by_key(|p| (std::cmp::Reverse(p.len()), *p));
        phrases.dedup();
        let mut found: Vec<(Range<usize>, String)> = Vec::new();
        for phrase in phrases {
            for (start, _) in text.match_indices(phrase.as_str()) {
                let span = start..start + phrase.len();
                let word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
                let inside = word(text[..start].chars().next_back()) || word(text[span.end..].chars().next());
                let taken = found.iter().any(|(other, _)| other.start < span.end && span.start < other.end);
                if !inside && !taken {
                    found.push((span, phrase.clone()));
                }
            }
        }
        found.sort_by_key(|(span, _)| span.start);
        let mut masked = text.to_owned();
        for (span, _) in &found {
            // Bytes that no number or unit can be made of, as many as there were.
            masked.replace_range(span.clone(), &"_".repeat(span.len()));
        }
        let is_subject = |phrase: &String| subjects().any(|s| s == phrase);
        found.retain(|(_, phrase)| is_subject(phrase));
        Self { found, masked }
    }

    /// What `number` is said of, among things of which a number of its quantity is known.
    pub(super) fn subject(
        &self,
        number: &Number,
        quantity: Quantity,
        statements: &[Statement],
        text: &str,
    ) -> Subject<'_> {
        let known =
            |phrase: &str| statements.iter().any(|s| s.quantity == quantity && s.subjects.iter().any(|w| w == phrase));
        let eligible = || self.found.iter().filter(|(_, phrase)| known(phrase));
        let next = eligible().find(|(span, _)| span.start >= number.span.end);
        if let Some((span, phrase)) = next {
            let gap = &text[number.span.end..span.start];
            let linked = gap.split_whitespace().all(|w| LINKS.contains(&w));
            if linked {
                return Subject::Following(phrase);
            }
        }
        if let Some((_, phrase)) = eligible().rfind(|(span, _)| span.end <= number.span.start) {
            return Subject::Near(phrase);
        }
        match next {
            Some((span, phrase)) if !text[number.span.end..span.start].contains(['.', '!', '?']) => {
                Subject::Near(phrase)
            }
            _ => Subject::None,
        }
    }

    /// Things that the text denies and the facts state: `no trees`, `without any cars`.
    pub(super) fn denied(&self, text: &str, statements: &[Statement]) -> Vec<Disagreement> {
        let mut wrong = Vec::new();
        for (span, phrase) in &self.found {
            let mut words = text[..span.start].split_whitespace().rev();
            let before = words.find(|w| !["any", "visible", "single"].contains(w));
            if !text[..span.start].ends_with(char::is_whitespace) || !matches!(before, Some("no" | "without")) {
                continue;
            }
            let there = |s: &&Statement| {
                matches!(s.quantity, Quantity::Percent | Quantity::Count)
                    && s.value > 0.0
                    && s.subjects.iter().any(|w| w == phrase)
            };
            if let Some(statement) = statements.iter().find(there) {
                let unit = if statement.quantity == Quantity::Percent { " %" } else { "" };
                let value = (statement.value * 100.0).round() / 100.0;
                wrong.push(Disagreement {
                    number: format!("{} {phrase}", before.unwrap_or_default()),
                    problem: format!("the facts say {value}{unit}"),
                });
            }
        }
        wrong
    }
}
