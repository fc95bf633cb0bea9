//! Checking captions against the facts they were made from.
//!
//! Every number in a caption, in digits or words, must be one of [`Facts::statements`]: of the same quantity, said of the same thing, and equal
//! to it at the precision in which it is written. `about 50%` may be off by a little, `more than 50%` must be true.

mod bind;
mod numbers;

use super::facts::Facts;
use super::script::plain_digits;
use super::statement::Quantity;

use bind::{Mentions, Subject};
use numbers::{Number, RangeEnd};

/// A number in a caption that the facts do not bear out.
#[derive(Debug, Clone, PartialEq)]
pub struct Disagreement {
    /// The number as written, with its unit.
    pub number: String,
    /// What is wrong with it.
    pub problem: String,
}

impl std::fmt::Display for Disagreement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}`: {}", self.number, self.problem)
    }
}

/// The numbers in `caption` that `facts` do not bear out; none where all agree.
///
/// ```
/// use geoglot_data::captions::{Facts, FloodFacts, Noun, check_caption};
/// let flood = FloodFacts { water: Noun::new("floodwater"), percent: 26.7, halves: Default::default(), layout: None };
/// let facts = Facts { image: "radar image".into(), flood: Some(flood), valid_percent: 100.0, ..Facts::default() };
/// assert!(check_caption(&facts, "Floodwater covers 27% of this radar image.").is_empty());
/// assert!(check_caption(&facts, "About a quarter of the area is flooded.").is_empty());
/// assert_eq!(check_caption(&facts, "Floodwater covers 72% of this radar image.")[0].number, "72%");
/// ```
pub fn check_caption(facts: &Facts, caption: &str) -> Vec<Disagreement> {
    let text = plain_digits(&caption.to_lowercase());
    let statements = facts.statements();
    let mentions = Mentions::find(&text, &statements, &names(facts));
    let mut wrong = Vec::new();
    for number in numbers::numbers(&mentions.masked) {
        if let Some(problem) = problem(&number, &mentions, &statements, &text) {
            wrong.push(Disagreement { number: text[number.span.clone()].trim().to_owned(), problem });
        }
    }
    wrong.extend(mentions.denied(&text, &statements));
    wrong
}

/// Names that may hold digits or number words of their own.
fn names(facts: &Facts) -> Vec<String> {
    let cover = facts.cover.iter().flat_map(|c| c.classes.iter().map(|c| &c.noun).chain(&c.absent));
    let nouns = cover.chain(&facts.labels).map(|n| plain_digits(&n.words.to_lowercase()));
    nouns.chain([plain_digits(&facts.image.to_lowercase())]).filter(|n| !n.trim().is_empty()).collect()
}

fn problem(
    number: &Number,
    mentions: &Mentions,
    statements: &[super::statement::Statement],
    text: &str,
) -> Option<String> {
    let quantity = match &number.quantity {
        Ok(quantity) => *quantity,
        Err(unit) => return Some(format!("nothing is known in `{unit}`")),
    };
    // The ends of a range of heights are the extremes, whatever was spoken of before.
    let extreme = match number.end.filter(|_| quantity == Quantity::Metres) {
        Some(RangeEnd::Lower) => Some("lowest"),
        Some(RangeEnd::Upper) => Some("highest"),
        None => None,
    };
    let extreme = extreme.filter(|e| statements.iter().any(|s| s.subjects.iter().any(|w| w == e)));
    let subject = extreme.map_or_else(|| mentions.subject(number, quantity, statements, text), Subject::Near);
    // `one` without a thing behind it is no count: `one of the`, `the one`.
    if number.is_one && !matches!(subject, Subject::Following(_)) {
        return None;
    }
    let of = |phrase: &str| {
        let fits = |s: &&super::statement::Statement| s.quantity == quantity && s.subjects.iter().any(|w| w == phrase);
        statements.iter().filter(fits).map(|s| s.value).collect::<Vec<f64>>()
    };
    let (values, subject) = match &subject {
        Subject::Following(phrase) | Subject::Near(phrase) => (of(phrase), format!(" of `{phrase}`")),
        Subject::None => {
            let general = statements.iter().filter(|s| s.quantity == quantity && s.general);
            (general.map(|s| s.value).collect(), String::new())
        }
    };
    if values.iter().any(|v| number.agrees(*v)) {
        return None;
    }
    let what = match quantity {
        Quantity::Percent => "share",
        Quantity::Metres => "height",
        Quantity::Count => "number",
        Quantity::Pixels => "size in pixels",
    };
    if values.is_empty() {
        return Some(format!("no {what}{subject} is among the facts"));
    }
    let values: Vec<String> = values.iter().map(|v| format!("{}", (v * 100.0).round() / 100.0)).collect();
    Some(format!("the facts say {} for the {what}{subject}", values.join(" or ")))
}

/// The numbers of a text with their quantities, in its order; those in other units are left out.
pub(super) fn quantities(text: &str) -> Vec<(Quantity, f64)> {
    let numbers = numbers::numbers(&plain_digits(&text.to_lowercase()));
    numbers.into_iter().filter(|n| !n.is_one).filter_map(|n| Some((n.quantity.clone().ok()?, n.value))).collect()
}

#[cfg(test)]
mod tests;
