//! Wording of heights.

use super::{Draw, metres};
use crate::captions::facts::{Above, ElevationFacts, Extreme, Facts, Terrain};
use crate::captions::noun::{Noun, capital};

impl Draw<'_> {
    fn heights(&self) -> &ElevationFacts {
        self.facts.elevation.as_ref().expect("asked only with heights")
    }

    /// Short captions, the fullest first.
    pub(super) fn elevation_short(&mut self) -> Vec<String> {
        let facts = self.heights().clone();
        let an_image = self.an_image();
        let say = |v: f64| metres(v, facts.relief);
        let (low, high, relief) = (say(facts.lowest.metres), say(facts.highest.metres), say(facts.relief));
        let classes = facts.highest.class.clone().zip(facts.lowest.class.clone());
        if low == high {
            let at = if facts.above == Above::Ground { "ground level" } else { "level terrain" };
            let choices =
                [format!("{an_image} of {at} at {low}."), format!("{an_image} that is completely flat, at {low}.")];
            return vec![self.pick(&choices)];
        }
        let mut choices: Vec<Vec<String>> = Vec::new();
        match (facts.above, classes) {
            (Above::Sea, classes) => {
                let terrain = self.terrain(facts.terrain);
                choices.push(vec![format!("{an_image} of {terrain}, from {low} to {high}.")]);
                choices.push(vec![format!(
                    "{} with a relief of {relief}, the highest ground {}.",
                    capital(&terrain),
                    at(&facts.highest, &high)
                )]);
                if let Some((top, bottom)) = classes {
                    choices.extend(self.extremes(&an_image, &terrain, (&top, &high), (&bottom, &low)));
                }
            }
            (Above::Ground, classes) => {
                let uneven = match facts.terrain {
                    Terrain::Flat => "low",
                    Terrain::Rolling => "varied",
                    Terrain::Steep => "tall and varied",
                };
                choices.push(vec![format!("{an_image} of {uneven} surface cover, up to {high} above the ground.")]);
                if let Some((top, bottom)) = classes {
                    choices.push(vec![format!(
                        "The tallest cover, {high} above the ground, {} {top}; the lowest, at {low}, {} {bottom}.",
                        top.verb("is", "are"),
                        bottom.verb("is", "are")
                    )]);
                    choices.push(vec![format!(
                        "{an_image} where {top} {} {high} above the ground.",
                        top.verb("reaches", "reach")
                    )]);
                }
            }
        }
        let mut chosen = self.pick(&choices);
        chosen.push(format!("{an_image} with heights from {low} to {high}."));
        chosen
    }

    /// Captions that name what covers the highest and the lowest ground.
    fn extremes(&mut self, an_image: &str, terrain: &str, high: (&Noun, &str), low: (&Noun, &str)) -> Vec<Vec<String>> {
        let (top, high) = high;
        let (bottom, low) = low;
        if top == bottom {
            let is = top.verb("covers", "cover");
            return vec![vec![format!(
                "{} {is} both the highest ground, at {high}, and the lowest, at {low}.",
                capital(&top.words)
            )]];
        }
        vec![
            vec![format!("The highest areas, at {high}, are {top}; the lowest, at {low}, are {bottom}.")],
            vec![format!(
                "{}: {top} on the highest ground, at {high}, {bottom} on the lowest, at {low}.",
                capital(terrain)
            )],
            vec![format!(
                "{an_image} of {terrain} with {top} at the highest point, {high}, and {bottom} at the lowest, {low}."
            )],
        ]
    }

    fn terrain(&mut self, terrain: Terrain) -> String {
        let words: &[&str] = match terrain {
            Terrain::Flat => &["nearly flat terrain", "relatively flat land", "flat terrain"],
            Terrain::Rolling => &["gently rolling terrain", "rolling terrain", "moderately uneven terrain"],
            Terrain::Steep => &["steep terrain", "terrain with strong relief", "rugged terrain"],
        };
        self.pick(words).to_owned()
    }

    /// Sentences of a long caption.
    pub(super) fn elevation_long(&mut self) -> Vec<String> {
        let facts = self.heights().clone();
        let this = self.this();
        let say = |v: f64| metres(v, facts.relief);
        let (low, high, relief) = (say(facts.lowest.metres), say(facts.highest.metres), say(facts.relief));
        let mut sentences = Vec::new();
        if low == high {
            sentences.push(format!("{} is completely flat; all of it lies at {low}.", capital(&this)));
        } else if facts.above == Above::Ground {
            sentences.push(format!("{} shows heights above the ground.", capital(&this)));
            let tallest = match &facts.highest.class {
                Some(noun) => format!("The tallest cover {} {noun}, reaching {high}", noun.verb("is", "are")),
                None => format!("The tallest cover reaches {high}"),
            };
            sentences.push(format!("{tallest}{}.", place(&facts.highest)));
            sentences.push(format!("The average height is {}.", say(facts.mean)));
        } else {
            let terrain = self.terrain(facts.terrain);
            let opening = [
                format!("{} shows {terrain} with a relief of {relief}.", capital(&this)),
                format!("The ground in {this} is {}, with a relief of {relief}.", adjective(facts.terrain)),
                format!("With a relief of {relief}, {this} shows {terrain}."),
            ];
            sentences.push(self.pick(&opening));
            let same = facts.highest.class.is_some() && facts.highest.class == facts.lowest.class;
            let said = |name: &str, extreme: &Extreme, height: &str| {
                let cover = extreme.class.as_ref().filter(|_| !same);
                let cover = cover.map_or(String::new(), |n| format!(" and is covered by {n}"));
                match extreme.position {
                    p if p.is_local() && p.phrase().starts_with("mainly") => {
                        let comma = if cover.is_empty() { "" } else { "," };
                        format!("{name} lies at {height}, {}{comma}{cover}", p.phrase())
                    }
                    _ => format!("{name} lies at {height}{}{cover}", place(extreme)),
                }
            };
            let pairs = [
                format!(
                    "{}; {}.",
                    said("The highest ground", &facts.highest, &high),
                    said("the lowest", &facts.lowest, &low)
                ),
                format!(
                    "{}, while {}.",
                    said("The lowest point", &facts.lowest, &low),
                    said("the highest", &facts.highest, &high)
                ),
            ];
            sentences.push(self.pick(&pairs));
            if let Some(class) = facts.highest.class.as_ref().filter(|_| same) {
                sentences.push(format!("Both are covered by {class}."));
            }
            if self.pick(&[true, false]) {
                sentences.push(format!("The mean elevation is {}.", say(facts.mean)));
            }
        }
        if self.facts.cover.is_some() {
            // Land cover is of the ground, not of the map.
            let area = Facts { image: "area".into(), ..self.facts.clone() };
            let mut draw = Draw { facts: &area, rng: self.rng.clone() };
            sentences.extend(draw.cover_shares());
            self.rng = draw.rng;
        } else {
            sentences.extend(self.validity());
        }
        sentences
    }
}

/// ` in the upper left`, where the pixels lie in one part.
fn place(extreme: &Extreme) -> String {
    if extreme.position.is_local() { format!(" {}", extreme.position.phrase()) } else { String::new() }
}

/// `in the upper left, at 16 m`.
fn at(extreme: &Extreme, height: &str) -> String {
    if extreme.position.is_local() {
        format!("{}, at {height}", extreme.position.phrase())
    } else {
        format!("at {height}")
    }
}

fn adjective(terrain: Terrain) -> &'static str {
    match terrain {
        Terrain::Flat => "relatively flat",
        Terrain::Rolling => "gently rolling",
        Terrain::Steep => "steep",
    }
}
