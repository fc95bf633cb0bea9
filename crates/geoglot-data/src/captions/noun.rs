//! Class names as they read in a sentence.

use serde::{Deserialize, Serialize};

use crate::datasets::spoken;

/// Something that covers ground: `trees`, `bare ground`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noun {
    /// The words.
    pub words: String,
    /// Whether they take a verb in the plural.
    pub plural: bool,
}

impl Noun {
    /// The noun of a class name: `AnnualCrop` and `Annual crop` become `annual crop`; abbreviations keep their capitals.
    pub fn of(name: &str) -> Self {
        Self::new(&lower(&spoken(name.trim())))
    }

    /// A noun from words that read well already; plural where they end as plurals do or join two things.
    pub fn new(words: &str) -> Self {
        let last = words.rsplit([' ', '-']).next().unwrap_or_default();
        let ends = last.ends_with('s') && !["ss", "us", "is"].iter().any(|e| last.ends_with(e));
        Self { words: words.to_owned(), plural: ends || last == "people" || words.contains(" and ") }
    }

    /// `one` or `many`, as the noun asks for: `trees cover`, `bare ground covers`.
    pub fn verb<'a>(&self, one: &'a str, many: &'a str) -> &'a str {
        if self.plural { many } else { one }
    }
}

impl std::fmt::Display for Noun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.words)
    }
}

/// Something that is counted: one `car`, two `cars`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thing {
    /// One of them.
    pub one: String,
    /// Several.
    pub many: String,
}

impl Thing {
    /// The thing of a category name: `OtherVehicle` becomes `other vehicle` and `other vehicles`.
    pub fn of(name: &str) -> Self {
        let one = lower(&spoken(name.trim()));
        let many = plural(&one);
        Self { one, many }
    }

    /// `no cars`, `one car`, `two cars`, `12 cars`.
    pub fn counted(&self, count: usize) -> String {
        let word = if count == 1 { &self.one } else { &self.many };
        format!("{} {word}", number(count))
    }
}

/// A class in a sentence, as a recipe may state it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Words {
    /// The words; whether they are plural is seen from their ending.
    Plain(String),
    /// The words and whether they are plural.
    Stated(Noun),
    /// Singular and plural of a countable thing.
    Counted(Thing),
}

impl Words {
    /// As a noun.
    pub fn noun(&self) -> Noun {
        match self {
            Self::Plain(words) => Noun::new(words),
            Self::Stated(noun) => noun.clone(),
            Self::Counted(thing) => Noun { words: thing.many.clone(), plural: true },
        }
    }

    /// As a thing to be counted.
    pub fn thing(&self) -> Thing {
        match self {
            Self::Plain(one) => Thing { one: one.clone(), many: plural(one) },
            Self::Stated(noun) => Thing { one: noun.words.clone(), many: noun.words.clone() },
            Self::Counted(thing) => thing.clone(),
        }
    }

    pub(super) fn is_blank(&self) -> bool {
        let blank = |text: &str| text.trim().is_empty();
        match self {
            Self::Plain(words) => blank(words),
            Self::Stated(noun) => blank(&noun.words),
            Self::Counted(thing) => blank(&thing.one) || blank(&thing.many),
        }
    }
}

/// Lower-case words; abbreviations (`NDVI`) keep their capitals.
fn lower(text: &str) -> String {
    let word = |w: &str| {
        let letters = w.chars().filter(|c| c.is_alphabetic()).count();
        let digits = w.chars().any(|c| c.is_ascii_digit());
        if (letters > 1 || digits) && !w.chars().any(char::is_lowercase) { w.to_owned() } else { w.to_lowercase() }
    };
    text.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

/// The plural of an English noun; irregular ones that occur in object data sets are known.
fn plural(one: &str) -> String {
    let (head, last) = one.rsplit_once(' ').map_or(("", one), |(h, l)| (h, l));
    let many = match last {
        "person" => "people".to_owned(),
        "man" => "men".to_owned(),
        "aircraft" | "people" | "sheep" => last.to_owned(),
        _ if ["s", "x", "ch", "sh"].iter().any(|e| last.ends_with(e)) => format!("{last}es"),
        _ => match last.strip_suffix('y') {
            Some(stem) if !stem.ends_with(['a', 'e', 'i', 'o', 'u']) => format!("{stem}ies"),
            _ => format!("{last}s"),
        },
    };
    if head.is_empty() { many } else { format!("{head} {many}") }
}

/// Words of small numbers, digits of others.
pub(super) fn number(count: usize) -> String {
    const WORDS: [&str; 11] = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
    WORDS.get(count).map_or_else(|| count.to_string(), |w| (*w).to_owned())
}

/// `a, b and c`.
pub(super) fn list<S: AsRef<str>>(items: &[S]) -> String {
    joined(items, "and")
}

/// `a, b or c`.
pub(super) fn either<S: AsRef<str>>(items: &[S]) -> String {
    joined(items, "or")
}

/// Items with a comma or an `and` of their own are kept apart by a comma before the last word.
fn joined<S: AsRef<str>>(items: &[S], word: &str) -> String {
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    match items[..] {
        [] => String::new(),
        [one] => one.to_owned(),
        [ref most @ .., last] => {
            let tangled = items.iter().any(|i| i.contains(',') || i.contains(" and "));
            let comma = if tangled { "," } else { "" };
            format!("{}{comma} {word} {last}", most.join(", "))
        }
    }
}

/// The first letter as a capital.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|c| c.to_uppercase().collect::<String>() + letters.as_str()).unwrap_or_default()
}

/// `a` or `an` before `text`.
pub(super) fn with_article(text: &str) -> String {
    let first = text.split([' ', '-']).next().unwrap_or_default();
    let start = first.chars().next().unwrap_or('x');
    let spelled = first.len() > 1 && first.chars().all(|c| c.is_ascii_uppercase());
    let an = if spelled && !first.contains(['A', 'E', 'I', 'O', 'U']) {
        // Read letter by letter: an RGB image.
        "FHLMNRSX".contains(start)
    } else if spelled && start == 'U' {
        false
    } else {
        "aeiouAEIOU".contains(start)
            && !["uni", "use", "eur", "one"].iter().any(|s| first.to_lowercase().starts_with(s))
    };
    format!("{} {text}", if an { "an" } else { "a" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_words() {
        assert_eq!(Noun::of("AnnualCrop"), Noun { words: "annual crop".into(), plural: false });
        assert_eq!(Noun::of("Urban fabric").words, "urban fabric");
        assert!(Noun::of("snow and ice").plural && Noun::of("crops").plural && !Noun::of("grass").plural);
        assert_eq!(Thing::of("Person").counted(3), "three people");
        assert_eq!(Thing::of("OtherVehicle").counted(1), "one other vehicle");
        assert_eq!(Thing::of("ship").counted(12), "12 ships");
        assert_eq!((plural("ferry"), plural("bus")), ("ferries".into(), "buses".into()));
    }

    #[test]
    fn words_of_a_recipe() {
        let read = |text: &str| serde_json::from_str::<Words>(text).unwrap();
        assert_eq!(read("\"built-up land\"").noun(), Noun { words: "built-up land".into(), plural: false });
        assert_eq!(read(r#"{"one":"fish","many":"fish"}"#).thing().counted(2), "two fish");
        assert!(read(r#"{"words":"cattle","plural":true}"#).noun().plural);
    }

    #[test]
    fn lists_and_articles() {
        assert_eq!(list(&["a", "b", "c"]), "a, b and c");
        assert_eq!(list(&["snow and ice", "water"]), "snow and ice, and water");
        assert_eq!(either(&["a", "b"]), "a or b");
        for (text, expected) in [
            ("aerial image", "an aerial image"),
            ("RGB image", "an RGB image"),
            ("SAR image", "a SAR image"),
            ("UAV image", "a UAV image"),
            ("Sentinel-2 image", "a Sentinel-2 image"),
            ("elevation map", "an elevation map"),
        ] {
            assert_eq!(with_article(text), expected);
        }
    }
}
