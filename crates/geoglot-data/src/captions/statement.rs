//! The numbers that facts bear out.

use super::check::quantities;
use super::facts::{Facts, Layout};
use super::noun::{Noun, Thing};

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Quantity {
    /// A share in percent.
    Percent,
    /// A height, a difference of heights, a pixel size.
    Metres,
    /// How many.
    Count,
    /// A size in pixels.
    Pixels,
}

/// One number that is true of an image, and what it is said of.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// What it counts.
    pub quantity: Quantity,
    /// Words that name what it is said of, in lower case.
    pub subjects: Vec<String>,
    /// The value.
    pub value: f64,
    /// Whether it may be said without naming a subject.
    pub general: bool,
}

/// Words for a noun: as it is, and without the ending of the plural.
fn of_noun(noun: &Noun) -> Vec<String> {
    let words = noun.words.to_lowercase();
    let one = words.strip_suffix('s').filter(|w| noun.plural && w.len() > 2).map(str::to_owned);
    std::iter::once(words).chain(one).collect()
}

fn of_thing(thing: &Thing) -> Vec<String> {
    vec![thing.one.to_lowercase(), thing.many.to_lowercase()]
}

#[derive(Default)]
struct Statements(Vec<Statement>);

impl Statements {
    fn say(&mut self, quantity: Quantity, subjects: Vec<String>, value: f64) {
        self.0.push(Statement { quantity, subjects, value, general: false });
    }

    fn general(&mut self, quantity: Quantity, subjects: &[&str], value: f64) {
        let subjects = subjects.iter().map(|s| (*s).to_owned()).collect();
        self.0.push(Statement { quantity, subjects, value, general: true });
    }

    fn layout(&mut self, subjects: &[String], layout: Option<&Layout>) {
        if let Some(layout) = layout {
            self.say(Quantity::Count, subjects.to_vec(), layout.regions as f64);
            self.say(Quantity::Percent, subjects.to_vec(), layout.largest.percent);
        }
    }
}

impl Facts {
    /// Every number that a caption may hold, with what it may be said of.
    pub fn statements(&self) -> Vec<Statement> {
        use Quantity::{Count, Metres, Percent, Pixels};
        let mut all = Statements::default();
        all.general(Pixels, &[], self.width as f64);
        all.general(Pixels, &[], self.height as f64);
        if let Some(gsd) = self.gsd {
            all.say(Metres, vec!["pixel".into(), "pixels".into(), "resolution".into()], gsd);
        }
        if self.valid_percent < 100.0 {
            all.say(Percent, vec!["has data".into()], self.valid_percent);
        }
        if let Some(percent) = self.cloud_percent {
            all.say(Percent, vec!["cloud".into(), "clouds".into()], percent);
        }
        if let Some(cover) = &self.cover {
            let types =
                ["land cover types", "land-cover types", "types of land cover", "land cover classes", "classes"];
            all.general(Count, &types, cover.classes.len() as f64);
            for class in &cover.classes {
                let subjects = of_noun(&class.noun);
                all.layout(&subjects, class.layout.as_ref());
                if let Some(heights) = class.heights {
                    all.say(Metres, subjects.clone(), heights.mean);
                    all.say(Metres, subjects.clone(), heights.max);
                }
                all.say(Percent, subjects, class.percent);
            }
            for noun in &cover.absent {
                all.say(Percent, of_noun(noun), 0.0);
            }
        }
        if let Some(heights) = &self.elevation {
            let high = ["highest", "peak", "maximum", "tallest"].map(String::from);
            let low = ["lowest", "minimum"].map(String::from);
            for (extreme, words) in [(&heights.highest, &high[..]), (&heights.lowest, &low[..])] {
                let class = extreme.class.iter().flat_map(of_noun);
                let subjects = words.iter().cloned().chain(class).collect();
                all.0.push(Statement { quantity: Metres, subjects, value: extreme.metres, general: true });
            }
            all.say(Metres, ["relief", "difference", "variation"].map(String::from).into(), heights.relief);
            all.say(Metres, ["mean", "average"].map(String::from).into(), heights.mean);
        }
        if let Some(flood) = &self.flood {
            let mut subjects = of_noun(&flood.water);
            subjects.extend(["water", "flooded", "flooding", "flood", "inundated"].map(String::from));
            all.layout(&subjects, flood.layout.as_ref());
            all.say(Percent, ["dry", "rest", "remaining", "free of"].map(String::from).into(), 100.0 - flood.percent);
            all.0.push(Statement { quantity: Percent, subjects, value: flood.percent, general: true });
        }
        if let Some(objects) = &self.objects {
            all.general(Count, &["objects", "object", "in total", "altogether"], objects.total() as f64);
            for category in &objects.found {
                let subjects = of_thing(&category.thing);
                for (_, count) in &category.places {
                    all.say(Count, subjects.clone(), *count as f64);
                }
                all.say(Count, subjects, category.count as f64);
            }
            for thing in &objects.absent {
                all.say(Count, of_thing(thing), 0.0);
            }
        }
        if !self.labels.is_empty() {
            let kinds = ["kinds of land cover", "land cover types", "types", "classes", "labels"];
            all.general(Count, &kinds, self.labels.len() as f64);
        }
        if let Some(text) = &self.description {
            for (quantity, value) in quantities(text) {
                all.general(quantity, &[], value);
            }
        }
        all.0
    }
}
