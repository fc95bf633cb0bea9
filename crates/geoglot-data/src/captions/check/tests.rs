use super::*;
use crate::captions::facts::{CategoryFact, ClassFact, CoverFacts, ElevationFacts, Extreme, ObjectFacts, Terrain};
use crate::captions::noun::{Noun, Thing};
use crate::captions::place::{Place, Position};

fn class(name: &str, percent: f64) -> ClassFact {
    ClassFact { id: None, name: name.into(), noun: Noun::of(name), percent, layout: None, heights: None }
}

fn facts() -> Facts {
    let position = Position { place: Place::Left, percent: 90.0 };
    let extreme = |metres, name| Extreme { metres, class: Some(Noun::of(name)), position };
    let car = CategoryFact {
        name: "Car".into(),
        thing: Thing::of("Car"),
        count: 12,
        position,
        places: vec![(Place::UpperLeft, 9), (Place::Center, 3)],
        largest_percent: 1.0,
    };
    Facts {
        image: "Sentinel-2 image".into(),
        width: 224,
        height: 200,
        valid_percent: 100.0,
        cover: Some(CoverFacts {
            classes: vec![class("water", 51.8), class("trees", 37.2), class("class 6", 11.0)],
            absent: vec![Noun::of("snow and ice")],
        }),
        elevation: Some(ElevationFacts {
            above: Default::default(),
            lowest: extreme(0.0, "water"),
            highest: extreme(16.4, "trees"),
            mean: 4.0,
            relief: 16.4,
            terrain: Terrain::Flat,
        }),
        objects: Some(ObjectFacts { found: vec![car], absent: vec![Thing::of("Person")], left_out: 0 }),
        ..Facts::default()
    }
}

#[test]
fn true_captions_pass() {
    for text in [
        "Water covers 52% of this Sentinel-2 image, trees 37% and class 6 11%.",
        "A Sentinel-2 image of 224 × 200 pixels.",
        "52% of the area is water; trees make up 37.2 %.",
        "More than half of the image is water, and about a third is trees.",
        "This Sentinel-2 image contains three land cover types.",
        "The highest ground, at 16 m, is covered by trees; the lowest lies at 0 m.",
        "Elevations range from 0 to 16 meters, a relief of 16.4 m.",
        "Twelve cars, nine cars of them in the upper left. No people.",
        "One of the scenes with trees in the left half.",
        "No snow and ice. Snow and ice cover 0%.",
    ] {
        assert_eq!(check_caption(&facts(), text), [], "{text}");
    }
}

#[test]
fn false_captions_fail() {
    for (text, number) in [
        ("Water covers 37% of the image and trees 52%.", "37%"),
        ("Snow and ice cover 52% of the image.", "52%"),
        ("Water covers 53% of this Sentinel-2 image.", "53%"),
        ("Less than half of the image is covered by class 6, three quarters by water.", "half"),
        ("Five land cover types.", "five"),
        ("The highest ground, trees, reaches 61 m.", "61 m"),
        ("The lowest ground lies at 16 m.", "16 m"),
        ("Heights from 16 to 0 m.", "16"),
        ("Thirteen cars are parked here.", "thirteen"),
        ("One person walks by.", "one"),
        ("Water covers 120 ha.", "120 ha"),
        ("There are no cars in this image.", "no cars"),
        ("Taken in 2017, water covers 52%.", "2017"),
    ] {
        let wrong = check_caption(&facts(), text);
        assert!(wrong.first().is_some_and(|w| w.number == number), "{text}: {wrong:?}");
    }
}

#[test]
fn numbers_of_other_scripts_are_checked() {
    let description = "图像中水体占52%，森林占37%。 تغطي المياه ٥٢٪ من الصورة، وفيها ١٢ سيارة.";
    let facts = Facts { image: "image".into(), description: Some(description.into()), ..Facts::default() };
    assert_eq!(check_caption(&facts, description), []);
    for (text, number) in [("水体占５３％。", "53%"), ("تغطي المياه ٧٢٪ من الصورة", "72%"), ("वहाँ १३ गाड़ियाँ हैं", "13")]
    {
        let wrong = check_caption(&facts, text);
        assert!(wrong.len() == 1 && wrong[0].number == number, "{text}: {wrong:?}");
    }
    assert_eq!(check_caption(&facts, "🌊 52% 🌊"), []);
}
