//! Wording of water.

use super::{Draw, share};
use crate::captions::facts::{FloodFacts, Layout};
use crate::captions::noun::{capital, number};

/// A patch that holds so much of the water, in percent, leaves little elsewhere.
const MOST_OF_IT: f64 = 70.0;

impl Draw<'_> {
    fn flood(&self) -> &FloodFacts {
        self.facts.flood.as_ref().expect("asked only with a mask")
    }

    /// Short captions, the fullest first.
    pub(super) fn flood_short(&mut self) -> Vec<String> {
        let facts = self.flood().clone();
        let (an_image, this, whole) = (self.an_image(), self.this(), self.whole());
        let water = &facts.water;
        let Some(layout) = &facts.layout else {
            let choices = [
                format!("{an_image} without any visible {water}."),
                format!("No {water} in {this}."),
                format!("{an_image} of dry land, without {water}."),
            ];
            return vec![self.pick(&choices)];
        };
        let p = share(facts.percent);
        let (name, covers) = (capital(&water.words), water.verb("covers", "cover"));
        if facts.percent >= 99.5 {
            let choices =
                [format!("{name} {covers} {p} of {whole}."), format!("{an_image} with {water} nearly everywhere.")];
            return vec![self.pick(&choices)];
        }
        let place = layout.position.is_local().then(|| layout.position.phrase());
        let comma = place.as_ref().map_or(String::new(), |p| format!(", {p}"));
        let mut choices = vec![
            format!("{name} {covers} {p} of {whole}{comma}."),
            format!("{an_image} with {water} on {p} of the {}{comma}.", self.area()),
        ];
        match &place {
            Some(place) => {
                choices.push(format!("{name} {place} of {this}, on {p} of the {}.", self.area()));
                if facts.percent < 10.0 && layout.position.percent >= 97.0 {
                    choices.push(format!(
                        "{name} {} limited to the {} of {this}.",
                        water.verb("is", "are"),
                        layout.position.place.words()
                    ));
                }
            }
            None => {
                choices.push(format!(
                    "{an_image} with {water} spread across the whole image, on {p} of the {}.",
                    self.area()
                ));
            }
        }
        if facts.percent >= 50.0 {
            choices.push(format!("Widespread {water} in {this}, on {p} of the {}{comma}.", self.area()));
        } else if facts.percent < 5.0 {
            choices.push(format!("Little {water} in {this}: {p} of the {}{comma}.", self.area()));
        }
        vec![self.pick(&choices)]
    }

    fn area(&self) -> &'static str {
        if self.is_whole() { "area" } else { "mapped area" }
    }

    /// Sentences of a long caption.
    pub(super) fn flood_long(&mut self) -> Vec<String> {
        let facts = self.flood().clone();
        let (this, whole) = (self.this(), self.whole());
        let water = &facts.water;
        let mut sentences = Vec::new();
        let Some(layout) = &facts.layout else {
            let choices = [
                vec![format!("There is no {water} in {this}."), "All of the land is dry.".to_owned()],
                vec![format!("{} shows dry land only, without any {water}.", capital(&this))],
            ];
            sentences = self.pick(&choices);
            sentences.extend(self.validity());
            return sentences;
        };
        let p = share(facts.percent);
        let name = capital(&water.words);
        let opening = [
            format!("{name} {} {p} of {whole}.", water.verb("covers", "cover")),
            format!("In {whole}, {p} of the area lies under {water}."),
            format!("{} shows {water} on {p} of the {}.", capital(&this), self.area()),
        ];
        sentences.push(self.pick(&opening));
        sentences.push(self.flood_place(&facts, layout));
        sentences.extend(self.flood_regions(&facts, layout));
        if facts.percent < 99.5 && self.pick(&[true, false]) {
            sentences.push(format!("The remaining {} of the {} is dry.", share(100.0 - facts.percent), self.area()));
        }
        sentences.extend(self.validity());
        sentences
    }

    fn flood_place(&self, facts: &FloodFacts, layout: &Layout) -> String {
        let it = if facts.water.plural { "They are" } else { "It is" };
        if layout.position.is_local() {
            return format!("{it} found {}.", layout.position.phrase());
        }
        let halves = facts.halves;
        // Said only where one half clearly holds more.
        let pairs = [
            (halves.top, halves.bottom, "upper", "lower"),
            (halves.bottom, halves.top, "lower", "upper"),
            (halves.left, halves.right, "left", "right"),
            (halves.right, halves.left, "right", "left"),
        ];
        match pairs.into_iter().find(|(more, less, ..)| *more >= 1.5 * less && *more > 0.0) {
            Some((_, _, more, less)) => {
                let of_it = if facts.water.plural { "them" } else { "it" };
                format!(
                    "{it} found across the whole image, more of {of_it} in the {more} half than in the {less} half."
                )
            }
            None => format!("{it} spread across the whole image."),
        }
    }

    fn flood_regions(&self, facts: &FloodFacts, layout: &Layout) -> Option<String> {
        let part = 100.0 * layout.largest.percent / facts.percent.max(1e-9);
        let largest = share(layout.largest.percent);
        let area = self.area();
        match layout.regions {
            1 if part >= MOST_OF_IT => Some("It forms a single connected body.".into()),
            1 => None,
            n => {
                let place = match layout.largest.position {
                    p if p.is_local() => format!(", {}", p.phrase()),
                    _ => String::new(),
                };
                let forms = if facts.water.plural { "They form" } else { "It forms" };
                let count = number(n);
                Some(format!(
                    "{forms} {count} separate bodies, the largest of which covers {largest} of the {area}{place}."
                ))
            }
        }
    }
}
