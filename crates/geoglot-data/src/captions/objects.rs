//! Boxes around objects: counts and places.

use indexmap::IndexMap;

use super::facts::{CategoryFact, ObjectFacts};
use super::noun::{Thing, Words};
use super::place::{Mass, Place, Position};

/// One box of an image, wholly inside it.
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectBox {
    /// Name of the category.
    pub category: String,
    /// Left edge in pixels.
    pub x: f64,
    /// Upper edge in pixels.
    pub y: f64,
    /// Width in pixels.
    pub width: f64,
    /// Height in pixels.
    pub height: f64,
}

/// Measures boxes of an image of `width` × `height` pixels. `categories` are those that were looked for, `ignored` those that captions leave out.
pub fn objects(
    boxes: &[ObjectBox],
    categories: &[String],
    ignored: &[String],
    words: &IndexMap<String, Words>,
    (width, height): (usize, usize),
) -> ObjectFacts {
    let thing = |name: &str| words.get(name).map_or_else(|| Thing::of(name), Words::thing);
    let mut facts = ObjectFacts::default();
    for name in categories {
        let own: Vec<&ObjectBox> = boxes.iter().filter(|b| b.category == *name).collect();
        if ignored.contains(name) {
            facts.left_out += own.len();
            continue;
        }
        if own.is_empty() {
            facts.absent.push(thing(name));
            continue;
        }
        let mut all = Mass::default();
        let mut places: IndexMap<Place, usize> = IndexMap::new();
        let mut largest = 0.0f64;
        for b in &own {
            let (row, col) = ((b.y + b.height / 2.0) as usize, (b.x + b.width / 2.0) as usize);
            let mut one = Mass::default();
            one.add(row, col, (height, width));
            *places.entry(Position::of(&one).place).or_default() += 1;
            all += one;
            largest = largest.max(100.0 * b.width * b.height / (width * height) as f64);
        }
        let mut places: Vec<(Place, usize)> = places.into_iter().collect();
        places.sort_by_key(|(place, n)| (std::cmp::Reverse(*n), *place));
        facts.found.push(CategoryFact {
            name: name.clone(),
            thing: thing(name),
            count: own.len(),
            position: Position::of(&all),
            places,
            largest_percent: largest,
        });
    }
    facts.found.sort_by_key(|c| std::cmp::Reverse(c.count));
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_places() {
        let at =
            |category: &str, x: f64, y: f64| ObjectBox { category: category.into(), x, y, width: 10.0, height: 10.0 };
        let boxes = [at("Car", 0.0, 0.0), at("Car", 5.0, 8.0), at("Person", 45.0, 45.0), at("DontCare", 80.0, 80.0)];
        let names = ["Person", "Car", "Ship", "DontCare"].map(String::from);
        let facts = objects(&boxes, &names, &["DontCare".into()], &IndexMap::new(), (100, 100));
        assert_eq!((facts.total(), facts.left_out, facts.absent[0].many.as_str()), (3, 1, "ships"));
        let car = &facts.found[0];
        assert_eq!(
            (car.count, car.position.place, &car.places[..]),
            (2, Place::UpperLeft, &[(Place::UpperLeft, 2)][..])
        );
        assert_eq!((facts.found[1].position.place, facts.found[1].largest_percent), (Place::Center, 1.0));
    }
}
