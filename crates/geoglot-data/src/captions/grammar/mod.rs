//! Words from facts: short captions of at most 30 words and long ones of several sentences, drawn by seed.

mod cover;
mod description;
mod elevation;
mod flood;
mod labels;
mod objects;

use geoglot_core::Seeds;
use indexmap::IndexSet;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::check::check_caption;
use super::error::{Error, Result};
use super::facts::Facts;
use super::noun::{capital, with_article};
use super::script::word_count;

/// Most words of a short caption.
pub const SHORT_WORDS: usize = 30;

/// Captions of one image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Captions {
    /// At most [`SHORT_WORDS`] words each.
    pub short: Vec<String>,
    /// Several sentences each.
    pub long: Vec<String>,
}

/// Length of a caption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// At most [`SHORT_WORDS`] words.
    Short,
    /// Several sentences.
    Long,
}

/// Up to `count` different short captions and as many long ones; fewer where the facts do not allow more. Depends on facts, `seeds` and
/// `stream` only.
///
/// # Errors
/// [`Error::Wording`] for facts that say nothing, and if a caption should hold a number that the facts do not bear out.
pub fn word_facts(facts: &Facts, count: usize, seeds: Seeds, stream: &str) -> Result<Captions> {
    let mut draw = Draw { facts, rng: seeds.stream(&format!("captions/{stream}")) };
    let (mut short, mut long) = (IndexSet::new(), IndexSet::new());
    for _ in 0..count * 12 {
        if short.len() < count {
            short.insert(draw.short()?);
        }
        if long.len() < count {
            long.insert(draw.long()?);
        }
        if short.len() == count && long.len() == count {
            break;
        }
    }
    for caption in short.iter().chain(&long) {
        if let Some(wrong) = check_caption(facts, caption).first() {
            return Err(Error::Wording(format!(
                "`{caption}` disagrees with the facts, {wrong}; a class name reads as something else, give it other words in [words]"
            )));
        }
    }
    Ok(Captions { short: short.into_iter().collect(), long: long.into_iter().collect() })
}

/// A wording in the making.
struct Draw<'a> {
    facts: &'a Facts,
    rng: ChaCha8Rng,
}

impl Draw<'_> {
    fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices.choose(&mut self.rng).cloned().expect("there is always a choice")
    }

    /// `this aerial image`.
    fn this(&self) -> String {
        format!("this {}", self.facts.image)
    }

    /// `An aerial image`.
    fn an_image(&self) -> String {
        capital(&with_article(&self.facts.image))
    }

    /// What shares are of: the image, or the part of it that has labels.
    fn whole(&self) -> String {
        if self.is_whole() { self.this() } else { format!("the mapped part of {}", self.this()) }
    }

    fn is_whole(&self) -> bool {
        self.facts.valid_percent >= 99.5
    }

    /// A sentence for long captions where labels do not cover the image.
    fn validity(&self) -> Option<String> {
        (!self.is_whole()).then(|| format!("Only {} of the image has data.", share(self.facts.valid_percent)))
    }

    fn short(&mut self) -> Result<String> {
        let candidates = match self.facts {
            Facts { description: Some(text), .. } => vec![description::shorten(text)],
            Facts { objects: Some(_), .. } => self.objects_short(),
            Facts { flood: Some(_), .. } => self.flood_short(),
            Facts { elevation: Some(_), .. } => self.elevation_short(),
            Facts { cover: Some(_), .. } => self.cover_short(),
            _ if !self.facts.labels.is_empty() => self.labels_short(),
            _ => return Err(Error::Wording("there is no fact to be worded".into())),
        };
        let shortest = candidates.iter().min_by_key(|c| word_count(c)).cloned();
        let fits = candidates.into_iter().find(|c| word_count(c) <= SHORT_WORDS).or(shortest).unwrap_or_default();
        if word_count(&fits) > SHORT_WORDS || fits.is_empty() {
            return Err(Error::Wording(format!(
                "`{fits}` is the shortest wording and has more than {SHORT_WORDS} words; give shorter class names in [words]"
            )));
        }
        Ok(fits)
    }

    fn long(&mut self) -> Result<String> {
        let sentences = match self.facts {
            Facts { description: Some(text), .. } => vec![text.clone()],
            Facts { objects: Some(_), .. } => self.objects_long(),
            Facts { flood: Some(_), .. } => self.flood_long(),
            Facts { elevation: Some(_), .. } => self.elevation_long(),
            Facts { cover: Some(_), .. } => self.cover_long(),
            _ if !self.facts.labels.is_empty() => self.labels_long(),
            _ => return Err(Error::Wording("there is no fact to be worded".into())),
        };
        Ok(sentences.join(" "))
    }
}

/// A share as it is said: whole percents, and never 0 or 100 for what is not.
fn share(percent: f64) -> String {
    match percent {
        p if p >= 100.0 => "100%".into(),
        p if p >= 99.5 => "more than 99%".into(),
        p if p <= 0.0 => "0%".into(),
        p if p < 1.0 => "less than 1%".into(),
        p => format!("{p:.0}%"),
    }
}

/// A height as it is said: whole metres, with one decimal where the whole range is a few metres.
fn metres(value: f64, range: f64) -> String {
    let rounded = if range < 10.0 && value.fract() != 0.0 { (value * 10.0).round() / 10.0 } else { value.round() };
    // No minus before a zero.
    let rounded = if rounded == 0.0 { 0.0 } else { rounded };
    if rounded.fract() == 0.0 { format!("{rounded:.0} m") } else { format!("{rounded:.1} m") }
}

#[cfg(test)]
mod tests;
