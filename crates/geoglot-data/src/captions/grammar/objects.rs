//! Wording of counted objects.

use indexmap::IndexMap;

use super::Draw;
use crate::captions::facts::{CategoryFact, ObjectFacts};
use crate::captions::noun::{capital, either, list, number};
use crate::captions::place::{Place, Position};

/// `two cars in the upper left`; what lies in the same place is named together.
fn placed(categories: &[CategoryFact]) -> String {
    let mut groups: IndexMap<String, Vec<String>> = IndexMap::new();
    for category in categories {
        let local = category.position.is_local();
        let place = if local { category.position.phrase() } else { String::new() };
        groups.entry(place).or_default().push(category.thing.counted(category.count));
    }
    let alone = groups.len() == 1;
    let said = groups.into_iter().map(|(place, counted)| match place.as_str() {
        "" => list(&counted),
        // A comma where nothing else is listed.
        _ if alone && place.starts_with("mainly") => format!("{}, {place}", list(&counted)),
        _ => format!("{} {place}", list(&counted)),
    });
    list(&said.collect::<Vec<_>>())
}

impl Draw<'_> {
    fn objects(&self) -> &ObjectFacts {
        self.facts.objects.as_ref().expect("asked only with boxes")
    }

    /// Short captions, the fullest first.
    pub(super) fn objects_short(&mut self) -> Vec<String> {
        let facts = self.objects().clone();
        let (an_image, this) = (self.an_image(), self.this());
        if facts.found.is_empty() {
            let names: Vec<&str> = facts.absent.iter().map(|t| t.many.as_str()).collect();
            let some = either(&names[..names.len().min(4)]);
            let choices = [
                format!("{an_image} without any {some}."),
                format!("No {some} in {this}."),
                format!("{an_image} of an empty scene: no {some}."),
            ];
            return vec![self.pick(&choices)];
        }
        let counted = |n: usize| {
            let all: Vec<String> = facts.found.iter().take(n).map(|c| c.thing.counted(c.count)).collect();
            list(&all)
        };
        let places = |n: usize| placed(&facts.found[..n]);
        let n = facts.found.len();
        // All categories or none: a caption that leaves some out must not seem to name them all.
        let among = |n: usize| if n < facts.found.len() { "among others " } else { "" };
        let there = if facts.total() == 1 { "There is" } else { "There are" };
        let mut choices: Vec<Vec<String>> = vec![
            (1..=n).rev().map(|k| format!("{an_image} with {}{}.", among(k), counted(k))).collect(),
            (1..=n).rev().map(|k| format!("{an_image} showing {}{}.", among(k), places(k))).collect(),
            (1..=n).rev().map(|k| capital(&format!("{}{} in {this}.", among(k), counted(k)))).collect(),
            (1..=n).rev().map(|k| format!("{there} {}{} in {this}.", among(k), counted(k))).collect(),
        ];
        let local: Vec<&CategoryFact> = facts.found.iter().filter(|c| c.position.is_local()).collect();
        if !local.is_empty() {
            let category = self.pick(&local);
            let (counted, place) = (category.thing.counted(category.count), category.position.phrase());
            choices.push(vec![capital(&format!("{counted} {place} of {this}."))]);
        }
        if n > 1 {
            let names: Vec<&str> = facts
                .found
                .iter()
                .map(|c| if c.count == 1 { c.thing.one.as_str() } else { c.thing.many.as_str() })
                .collect();
            let total = number(facts.total());
            choices.push(vec![
                format!("{an_image} with {total} objects: {}.", counted(n)),
                format!("{an_image} with {total} objects."),
            ]);
            if facts.found.iter().all(|c| c.count > 1) {
                choices.push(vec![capital(&format!("{} in {this}.", list(&names)))]);
            }
        }
        let mut chosen = self.pick(&choices);
        chosen.push(format!("{an_image} with {} objects.", number(facts.total())));
        chosen
    }

    /// Sentences of a long caption.
    pub(super) fn objects_long(&mut self) -> Vec<String> {
        let facts = self.objects().clone();
        let this = self.this();
        let absent: Vec<&str> = facts.absent.iter().map(|t| t.many.as_str()).collect();
        if facts.found.is_empty() {
            return vec![
                format!("{} shows an empty scene.", capital(&this)),
                format!("There are no {} in it.", either(&absent)),
            ];
        }
        let counted: Vec<String> = facts.found.iter().map(|c| c.thing.counted(c.count)).collect();
        let total = facts.total();
        let opening = [
            format!("{} contains {}.", capital(&this), list(&counted)),
            format!("{} can be seen in {this}.", capital(&list(&counted))),
            match facts.found.len() {
                1 => format!("{} shows {}.", capital(&this), list(&counted)),
                _ => format!("{} shows {} objects: {}.", capital(&this), number(total), list(&counted)),
            },
        ];
        let mut sentences = vec![self.pick(&opening)];
        let first = facts.found[0].position;
        if facts.found.len() > 1 && first.is_local() && facts.found.iter().all(|c| c.position.place == first.place) {
            let together = facts.found.iter().map(|c| c.position.percent).fold(100.0, f64::min);
            sentences.push(format!("They are {}.", Position { percent: together, ..first }.phrase()));
        } else {
            for category in facts.found.iter().take(3) {
                sentences.extend(where_they_are(category));
            }
        }
        // Boxes that are left out may hold what seems absent.
        if !absent.is_empty() && facts.left_out == 0 && self.pick(&[true, false]) {
            sentences.push(format!("There are no {}.", either(&absent)));
        }
        sentences
    }
}

fn where_they_are(category: &CategoryFact) -> Option<String> {
    let thing = &category.thing;
    let position = category.position;
    match category.count {
        1 => Some(format!("The {} is {}.", thing.one, position.phrase())),
        _ if position.is_local() => Some(format!("The {} are {}.", thing.many, position.phrase())),
        2 => None,
        _ => {
            let most: Vec<String> = category
                .places
                .iter()
                .take(3)
                .filter(|(place, _)| *place != Place::Throughout)
                .map(|(place, n)| format!("{} in the {}", number(*n), place.words()))
                .collect();
            let all = category.places.len() <= 3;
            let rest = if all { "" } else { ", among other places" };
            Some(format!("The {} are spread across the whole image: {}{rest}.", thing.many, list(&most)))
        }
    }
}
