use proptest::prelude::*;

use super::*;
use crate::captions::facts::*;
use crate::captions::noun::{Noun, Thing};
use crate::captions::place::{Mass, Position};

/// Names with digits, commas, plurals, and one that contains another.
const NAMES: [&str; 10] = [
    "water",
    "Permanent water bodies",
    "Tree cover",
    "snow and ice",
    "class 7",
    "zone B2",
    "Land principally occupied by agriculture, with significant areas of natural vegetation",
    "crops",
    "grass",
    "BuiltUpArea",
];

fn position() -> impl Strategy<Value = Position> {
    prop::collection::vec((0usize..64, 0usize..64), 1..12).prop_map(|points| {
        let mut mass = Mass::default();
        points.into_iter().for_each(|(r, c)| mass.add(r, c, (64, 64)));
        Position::of(&mass)
    })
}

fn layout() -> impl Strategy<Value = Layout> {
    (position(), position(), 1usize..40, 0.01f64..1.0).prop_map(|(position, other, regions, percent)| Layout {
        position,
        regions,
        largest: RegionFact { pixels: 9, percent, center: (1.0, 2.0), position: other },
    })
}

fn cover() -> impl Strategy<Value = CoverFacts> {
    let weights = prop::collection::vec((0.0f64..1.0, layout(), prop::option::of(0.0f64..30.0)), NAMES.len());
    (weights, 1usize..NAMES.len()).prop_map(|(weights, n)| {
        // Cubed, so that traces and dominant classes occur.
        let total: f64 = weights[..n].iter().map(|w| w.0.powi(3) + 1e-6).sum();
        let mut cover = CoverFacts::default();
        for (k, (weight, mut layout, height)) in weights.into_iter().enumerate() {
            let noun = Noun::of(NAMES[k]);
            if k >= n {
                cover.absent.push(noun);
                continue;
            }
            let percent = 100.0 * (weight.powi(3) + 1e-6) / total;
            layout.largest.percent *= percent;
            let heights = height.map(|h| Heights { mean: h, max: 2.0 * h });
            cover.classes.push(ClassFact {
                id: None,
                name: NAMES[k].into(),
                noun,
                percent,
                layout: Some(layout),
                heights,
            });
        }
        cover.classes.sort_by(|a, b| b.percent.total_cmp(&a.percent));
        cover
    })
}

fn heights() -> impl Strategy<Value = ElevationFacts> {
    let extreme = || (prop::option::of(0usize..NAMES.len()), position());
    (-400.0f64..3000.0, 0.0f64..500.0, 0.0f64..1.0, extreme(), extreme(), any::<bool>(), 0usize..3).prop_map(
        |(low, relief, part, (a, p), (b, q), ground, terrain)| {
            let noun = |k: Option<usize>| k.map(|k| Noun::of(NAMES[k]));
            // Both classes or none, as labels give them.
            let (a, b) = if a.is_some() && b.is_some() { (a, b) } else { (None, None) };
            ElevationFacts {
                above: if ground { Above::Ground } else { Above::Sea },
                lowest: Extreme { metres: low, class: noun(a), position: p },
                highest: Extreme { metres: low + relief, class: noun(b), position: q },
                mean: low + part * relief,
                relief,
                terrain: [Terrain::Flat, Terrain::Rolling, Terrain::Steep][terrain],
            }
        },
    )
}

fn flood() -> impl Strategy<Value = FloodFacts> {
    let halves = (0.0f64..100.0, 0.0f64..100.0, 0.0f64..100.0, 0.0f64..100.0);
    let water = prop::sample::select(vec!["floodwater", "surface water", "flooded areas"]);
    (water, prop_oneof![Just(0.0), 0.001f64..2.0, 0.0f64..100.0, Just(100.0)], halves, layout()).prop_map(
        |(water, percent, (top, bottom, left, right), mut layout)| {
            layout.largest.percent *= percent;
            FloodFacts {
                water: Noun::new(water),
                percent,
                halves: Halves { top, bottom, left, right },
                layout: (percent > 0.0).then_some(layout),
            }
        },
    )
}

fn things() -> impl Strategy<Value = ObjectFacts> {
    let names = ["Person", "Car", "OtherVehicle", "ship", "B747 plane"];
    prop::collection::vec(prop::collection::vec((0usize..64, 0usize..64), 0..30), names.len()).prop_map(move |all| {
        let mut facts = ObjectFacts::default();
        for (name, points) in names.into_iter().zip(all) {
            let thing = Thing::of(name);
            if points.is_empty() {
                facts.absent.push(thing);
                continue;
            }
            let boxes: Vec<_> = points
                .iter()
                .map(|&(r, c)| crate::captions::objects::ObjectBox {
                    category: name.into(),
                    x: c as f64,
                    y: r as f64,
                    width: 0.5,
                    height: 0.5,
                })
                .collect();
            let measured =
                crate::captions::objects::objects(&boxes, &[name.to_owned()], &[], &Default::default(), (64, 64));
            facts.found.extend(measured.found);
        }
        facts.found.sort_by_key(|c| std::cmp::Reverse(c.count));
        facts
    })
}

fn facts() -> impl Strategy<Value = Facts> {
    let base = (
        prop::sample::select(vec!["Sentinel-2 image", "aerial image", "elevation map"]),
        prop_oneof![Just(100.0), 50.0f64..100.0],
        prop::option::of(0.0f64..90.0),
    );
    let what = prop_oneof![
        cover().prop_map(|c| Facts { cover: Some(c), ..Facts::default() }),
        (heights(), prop::option::of(cover())).prop_map(|(h, c)| Facts {
            elevation: Some(h),
            cover: c,
            ..Facts::default()
        }),
        flood().prop_map(|f| Facts { flood: Some(f), ..Facts::default() }),
        things().prop_map(|o| Facts { objects: Some(o), ..Facts::default() }),
        prop::sample::subsequence(NAMES.to_vec(), 1..NAMES.len())
            .prop_map(|l| Facts { labels: l.into_iter().map(Noun::of).collect(), ..Facts::default() }),
    ];
    (base, what).prop_map(|((image, valid_percent, cloud_percent), facts)| Facts {
        image: image.into(),
        width: 64,
        height: 64,
        valid_percent,
        cloud_percent,
        ..facts
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn every_caption_agrees_with_its_facts(facts in facts(), seed in 0u64..1000) {
        let captions = word_facts(&facts, 4, Seeds::new(seed), "test").unwrap_or_else(|e| panic!("{e}\n{facts:#?}"));
        prop_assert!(!captions.short.is_empty() && !captions.long.is_empty());
        for text in captions.short.iter().chain(&captions.long) {
            prop_assert!(check_caption(&facts, text).is_empty(), "{text}");
            prop_assert!(!text.contains("  ") && text.ends_with('.'), "{text}");
            prop_assert!(text.starts_with(|c: char| c.is_uppercase() || c.is_ascii_digit()), "{text}");
        }
        for text in &captions.short {
            prop_assert!(word_count(text) <= SHORT_WORDS, "{text}");
        }
        prop_assert_eq!(word_facts(&facts, 4, Seeds::new(seed), "test").unwrap(), captions);
    }

    #[test]
    fn a_changed_share_is_noticed(facts in facts(), seed in 0u64..1000, by in 3i64..40) {
        // Every number with a percent sign is changed; none of the results may pass.
        let captions = word_facts(&facts, 2, Seeds::new(seed), "test").unwrap();
        for text in captions.short.iter().chain(&captions.long) {
            let Some(end) = text.find('%') else { continue };
            let start = text[..end].rfind(|c: char| !c.is_ascii_digit()).map_or(0, |k| k + 1);
            let Ok(value) = text[start..end].parse::<i64>() else { continue };
            if text[..start].ends_with("than ") { continue }
            let changed = format!("{}{}{}", &text[..start], value + by, &text[end..]);
            let known = facts.statements().iter().any(|s| s.quantity == crate::captions::Quantity::Percent && (s.value - (value + by) as f64).abs() < 0.6);
            prop_assert!(known || !check_caption(&facts, &changed).is_empty(), "{changed}");
        }
    }
}

#[test]
fn facts_that_say_nothing_are_refused() {
    let facts = Facts { image: "image".into(), ..Facts::default() };
    assert!(word_facts(&facts, 1, Seeds::new(0), "x").unwrap_err().to_string().contains("no fact"));
}
