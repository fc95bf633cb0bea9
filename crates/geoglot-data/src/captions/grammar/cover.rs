//! Wording of land cover.

use indexmap::IndexMap;

use super::{Draw, share};
use crate::captions::facts::{ClassFact, CoverFacts, Facts};
use crate::captions::noun::{Noun, capital, list, number};
use crate::captions::place::Place;

/// Classes with a smaller share are only named among traces.
const TRACE: f64 = 1.0;
/// Most classes that get a place in a long caption.
const PLACED: usize = 3;

/// `trees`, or `trees (52%)`.
fn with_share(class: &ClassFact) -> String {
    format!("{} ({})", class.noun, share(class.percent))
}

/// `in the upper left`, where the class is to be found in one part.
fn local(class: &ClassFact) -> Option<String> {
    class.layout.as_ref().filter(|l| l.position.is_local()).map(|l| l.position.phrase())
}

impl Draw<'_> {
    fn cover(&self) -> &CoverFacts {
        self.facts.cover.as_ref().expect("asked only with land cover")
    }

    /// Short captions, the fullest first.
    pub(super) fn cover_short(&mut self) -> Vec<String> {
        let classes = self.cover().classes.clone();
        let (this, an_image, whole) = (self.this(), self.an_image(), self.whole());
        let first = &classes[0];
        let a = &first.noun;
        let (covers, fills) = (a.verb("covers", "cover"), a.verb("fills", "fill"));
        if first.percent >= 99.5 {
            let all = classes.len() == 1;
            let (entirely, extent) = if all { ("entirely", "all of") } else { ("almost entirely", "almost all of") };
            let choices = [
                format!("{an_image} {entirely} covered by {a}."),
                format!("{} {covers} {extent} {whole}.", capital(&a.words)),
                format!("{} {fills} {extent} {whole}.", capital(&a.words)),
                format!("{an_image} showing {}{a}.", if all { "nothing but " } else { "almost nothing but " }),
            ];
            return vec![self.pick(&choices)];
        }
        let notable: Vec<&ClassFact> = classes.iter().filter(|c| c.percent >= TRACE).take(4).collect();
        let names = |n: usize| {
            let names: Vec<&str> = notable.iter().take(n).map(|c| c.noun.words.as_str()).collect();
            list(&names)
        };
        let mut choices: Vec<Vec<String>> = Vec::new();
        let view = self.pick(&["of", "showing", "with"]);
        choices.push((1..=3).rev().map(|n| format!("{an_image} {view} {}.", names(n))).collect());
        let rest = |n: usize| {
            let rest: Vec<String> =
                notable[1..].iter().take(n).map(|c| format!("{} {}", c.noun, share(c.percent))).collect();
            list(&rest)
        };
        if let [_, second, ..] = notable[..] {
            let lead = format!("{} {covers} {} of {whole}", capital(&a.words), share(first.percent));
            choices.push((1..=2).rev().map(|n| format!("{lead}, {}.", rest(n))).chain([format!("{lead}.")]).collect());
            let most = if first.percent >= 50.0 { "Mostly " } else { "" };
            let shares = |n: usize| {
                let all: Vec<String> = notable.iter().skip(1).take(n).map(|c| with_share(c)).collect();
                capital(&format!("{most}{}, with {}, in {this}.", with_share(first), list(&all)))
            };
            if self.is_whole() {
                choices.push(vec![shares(2), shares(1)]);
            }
            let second_place = local(second).map_or(String::new(), |p| format!(" {p}"));
            let b = &second.noun;
            if first.percent >= 60.0 {
                choices.push(vec![
                    format!("{an_image} dominated by {a} ({}), with {b}{second_place}.", share(first.percent)),
                    format!("{an_image} dominated by {a}, with {b}."),
                ]);
            } else if first.percent - second.percent <= 10.0 && notable.len() == 2 {
                choices.push(vec![format!("{an_image} shared almost evenly by {a} and {b}.")]);
            }
            if let (Some(one), Some(two)) = (local(first), local(second)) {
                choices.push(vec![
                    format!("{} {one} and {b} {two} of {this}.", capital(&a.words)),
                    format!("{} and {b} in {this}.", capital(&a.words)),
                ]);
            }
        } else {
            let most = format!("{an_image} covered mostly by {a}, {} of the area.", share(first.percent));
            choices.push(vec![most, format!("{an_image} covered mostly by {a}.")]);
        }
        // A smaller class that lies in one place is worth a caption of its own.
        let placed: Vec<(&ClassFact, String)> = notable.iter().skip(1).filter_map(|c| Some((*c, local(c)?))).collect();
        if !placed.is_empty() {
            let (class, place) = self.pick(&placed);
            let (lies, words) = (class.noun.verb("lies", "lie"), capital(&class.noun.words));
            choices.push(vec![
                format!("{words}, {} of the area, {lies} {place} of {this}.", share(class.percent)),
                format!("{words} {lies} {place} of {this}."),
            ]);
        }
        let tall = classes.iter().filter_map(|c| Some((c, c.heights.filter(|h| h.mean > 2.0)?)));
        if let Some((class, heights)) = tall.max_by(|a, b| a.1.mean.total_cmp(&b.1.mean)) {
            let is = class.noun.verb("is", "are");
            choices.push(vec![format!(
                "{an_image} whose tallest cover {is} {}, {:.0} m high on average.",
                class.noun, heights.mean
            )]);
        }
        if let Some(clouds) = self.facts.cloud_percent.filter(|p| *p >= 0.5) {
            choices.push(vec![format!("{an_image} where clouds hide {} of the ground.", share(clouds))]);
        }
        let mut chosen = self.pick(&choices);
        chosen.push(format!("{an_image} of {a}."));
        chosen.push(format!("{an_image} of {} land cover types.", number(classes.len())));
        chosen
    }

    /// Sentences of a long caption.
    pub(super) fn cover_long(&mut self) -> Vec<String> {
        let mut sentences = self.cover_shares();
        sentences.extend(self.cover_places());
        sentences.extend(self.cover_regions());
        if let Some(clouds) = self.facts.cloud_percent.filter(|p| *p >= 0.5) {
            sentences.push(format!("Clouds hide {} of the ground.", share(clouds)));
        }
        sentences.extend(self.validity());
        sentences
    }

    /// Every class with its share.
    pub(super) fn cover_shares(&mut self) -> Vec<String> {
        let classes = self.cover().classes.clone();
        let whole = self.whole();
        let first = &classes[0];
        let a = &first.noun;
        if classes.len() == 1 {
            let choices = [
                format!("{} {} all of {whole}.", capital(&a.words), a.verb("covers", "cover")),
                format!("{} contains a single land cover type: {a}.", capital(&whole)),
                format!("Nothing but {a} can be seen in {whole}."),
            ];
            return vec![self.pick(&choices)];
        }
        let (notable, traces): (Vec<&ClassFact>, Vec<&ClassFact>) = classes.iter().partition(|c| c.percent >= TRACE);
        let rest: Vec<String> = notable[1..].iter().map(|c| format!("{} with {}", c.noun, share(c.percent))).collect();
        let shares: Vec<String> = notable.iter().map(|c| with_share(c)).collect();
        let count = number(classes.len());
        let followed = if rest.is_empty() { String::new() } else { format!(", followed by {}", list(&rest)) };
        let lead = (capital(&a.words), share(first.percent));
        let choices = [
            vec![
                format!("{} contains {count} land cover types.", capital(&whole)),
                format!("{} {} {} of it{followed}.", lead.0, a.verb("covers", "cover"), lead.1),
            ],
            vec![format!("{} {} up {} of {whole}{followed}.", lead.0, a.verb("makes", "make"), lead.1)],
            vec![format!("The land cover of {whole} consists of {}.", list(&shares))],
            vec![format!("{} shows {}.", capital(&whole), list(&shares))],
        ];
        let mut sentences = self.pick(&choices);
        if !traces.is_empty() {
            let names: Vec<&str> = traces.iter().map(|c| c.noun.words.as_str()).collect();
            let each = if traces.len() == 1 { "" } else { "each " };
            sentences.push(format!("There are also traces of {}, {each}less than 1%.", list(&names)));
        }
        sentences
    }

    /// Where the larger classes lie.
    fn cover_places(&mut self) -> Option<String> {
        let classes = self.cover().classes.clone();
        let placed: Vec<(&ClassFact, Place, String)> = classes
            .iter()
            .filter(|c| c.percent >= TRACE && c.percent < 99.5)
            .filter_map(|c| c.layout.as_ref().map(|l| (c, l.position.place, l.position.phrase())))
            .filter(|(c, place, _)| *place != Place::Throughout || c.percent < 60.0)
            .take(PLACED)
            .collect();
        if placed.iter().all(|p| p.1 == Place::Throughout) {
            return None;
        }
        // What lies in the same place is named together.
        let mut groups: IndexMap<String, (Place, Vec<&Noun>)> = IndexMap::new();
        for (class, place, phrase) in &placed {
            groups.entry(phrase.clone()).or_insert_with(|| (*place, Vec::new())).1.push(&class.noun);
        }
        let said = groups.iter().map(|(phrase, (place, nouns))| {
            let words: Vec<&str> = nouns.iter().map(|n| n.words.as_str()).collect();
            let many = nouns.len() > 1 || nouns[0].plural;
            let verb = match (place, many) {
                (Place::Throughout, false) => "is spread",
                (Place::Throughout, true) => "are spread",
                (_, false) => "lies",
                (_, true) => "lie",
            };
            format!("{} {verb} {phrase}", list(&words))
        });
        Some(format!("{}.", capital(&said.collect::<Vec<_>>().join("; "))))
    }

    /// How the classes hang together.
    fn cover_regions(&mut self) -> Option<String> {
        let classes = self.cover().classes.clone();
        let mut choices = Vec::new();
        let first = &classes[0];
        if let Some(layout) = first.layout.as_ref().filter(|l| l.regions > 1 && first.percent < 99.5) {
            let Facts { valid_percent, .. } = self.facts;
            let area = if *valid_percent >= 99.5 { "image" } else { "mapped area" };
            let place = match layout.largest.position {
                p if p.is_local() => format!(" and lies {}", p.phrase()),
                _ => String::new(),
            };
            let region = share(layout.largest.percent);
            choices
                .push(format!("The largest connected patch of {} covers {region} of the {area}{place}.", first.noun));
        }
        for class in classes.iter().filter(|c| c.percent >= TRACE) {
            if let Some(layout) = class.layout.as_ref().filter(|l| l.regions >= 4) {
                let (is, count) = (class.noun.verb("is", "are"), number(layout.regions));
                choices.push(format!("{} {is} broken into {count} patches.", capital(&class.noun.words)));
            }
        }
        let tall = classes.iter().filter_map(|c| Some((c, c.heights.filter(|h| h.mean > 2.0)?)));
        if let Some((class, heights)) = tall.max_by(|a, b| a.1.mean.total_cmp(&b.1.mean)) {
            let is = class.noun.verb("is", "are");
            choices.push(format!("The tallest cover {is} {}, {:.0} m high on average.", class.noun, heights.mean));
        }
        if choices.is_empty() { None } else { Some(self.pick(&choices)) }
    }
}
