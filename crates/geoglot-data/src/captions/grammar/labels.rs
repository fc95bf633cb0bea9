//! Wording of labels without shares and places.

use super::Draw;
use crate::captions::noun::{capital, list, number};

impl Draw<'_> {
    fn names(&self) -> Vec<String> {
        self.facts.labels.iter().map(|n| n.words.clone()).collect()
    }

    /// Short captions, the fullest first.
    pub(super) fn labels_short(&mut self) -> Vec<String> {
        let names = self.names();
        let (an_image, this) = (self.an_image(), self.this());
        let all = names.len();
        // Fewer names where all of them are too many words.
        let some = |n: usize| {
            if n == all {
                return list(&names);
            }
            let mut some: Vec<&str> = names[..n].iter().map(String::as_str).collect();
            some.push("other land cover");
            list(&some)
        };
        let choices: [Vec<String>; 5] = [
            (1..=all).rev().map(|n| format!("{an_image} of {}.", some(n))).collect(),
            (1..=all).rev().map(|n| format!("{an_image} showing {}.", some(n))).collect(),
            (1..=all).rev().map(|n| capital(&format!("{} in {this}.", some(n)))).collect(),
            (1..=all).rev().map(|n| format!("A landscape with {}, seen in {this}.", some(n))).collect(),
            (1..=all).rev().map(|n| format!("The land cover in {this} includes {}.", some(n))).collect(),
        ];
        let mut chosen = self.pick(&choices);
        chosen.push(format!("{an_image} of {} kinds of land cover.", number(all)));
        chosen
    }

    /// Sentences of a long caption.
    pub(super) fn labels_long(&mut self) -> Vec<String> {
        let names = self.names();
        let this = self.this();
        let all = list(&names);
        let count = number(names.len());
        let opening = match names.len() {
            1 => vec![
                format!("The land cover of {this} is {all}."),
                format!("{} shows a single kind of land cover: {all}.", capital(&this)),
                format!("{} can be seen in {this}.", capital(&all)),
            ],
            _ => vec![
                format!("{} contains {count} kinds of land cover: {all}.", capital(&this)),
                format!("The land cover of {this} is made up of {all}."),
                format!("In {this} there are {count} kinds of land cover, namely {all}."),
                format!("{} shows a landscape of {all}.", capital(&this)),
            ],
        };
        vec![self.pick(&opening)]
    }
}
