//! Numbers in running text: digits, words, fractions, with unit and hedge.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use crate::captions::script::without_blanks;
use crate::captions::statement::Quantity;

/// How exact a number claims to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hedge {
    /// As written.
    Exact,
    /// `about`, `nearly`, or a fraction in words.
    About,
    /// `more than`.
    Over,
    /// `less than`.
    Under,
}

/// An end of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RangeEnd {
    Lower,
    Upper,
}

/// A number in a text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Number {
    /// Bytes of the number and its unit.
    pub(super) span: Range<usize>,
    pub(super) value: f64,
    /// Digits after the point.
    decimals: i32,
    /// What it counts, or a unit in which nothing is known.
    pub(super) quantity: Result<Quantity, String>,
    hedge: Hedge,
    /// The lower or the upper end of `from 3 to 16`.
    pub(super) end: Option<RangeEnd>,
    /// The bare word `one`.
    pub(super) is_one: bool,
}

impl Number {
    /// Whether the number may be said where the fact is `value`.
    pub(super) fn agrees(&self, value: f64) -> bool {
        let own = self.value;
        let half = 0.5 * 10f64.powi(-self.decimals) + 1e-6;
        match self.hedge {
            Hedge::Exact => (own - value).abs() <= half,
            Hedge::About => (own - value).abs() <= half.max((0.15 * own.abs()).min(5.0)),
            // True, and not so far off that it misleads.
            Hedge::Over => value >= own - 1e-6 && value <= own + own.abs().max(5.0),
            Hedge::Under => value <= own + 1e-6 && value >= own - own.abs().max(5.0),
        }
    }
}

static DIGITS: LazyLock<Regex> = LazyLock::new(|| pattern(r"\d+(?:,\d{3})*(?:\.\d+)?"));
static UNIT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^[ \u{a0}-]?(%|per ?cent\b|percentage points?\b|square\b|m²|m2\b|km²?|cm\b|mm\b|ft\b|feet\b|foot\b|miles?\b|kilomet(?:er|re)s?\b|centimet(?:er|re)s?\b|hectares?\b|ha\b|acres?\b|°c?|degrees?\b|db\b|kelvin\b|met(?:er|re)s?\b|m\b|pixels?\b|px\b)",
    )
});
/// What joins two numbers that share the second one's unit.
static RANGE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^ ?(?:-|–|to|and|by|x|×) ?$"));
static WORDS: LazyLock<Regex> = LazyLock::new(|| pattern(r"[a-z]+"));
static FRACTION: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\b(?:(a|one|two|three)[ -])?(half|third|thirds|quarter|quarters|fifth|fifths)\b"));

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a valid pattern")
}

/// The numbers of lower-case `text`, in its order.
pub(super) fn numbers(text: &str) -> Vec<Number> {
    let mut found: Vec<(Range<usize>, f64, i32, bool, bool)> = Vec::new();
    for c in FRACTION.captures_iter(text) {
        let all = c.get(0).expect("the whole match");
        let (count, part) = (c.get(1).map(|m| m.as_str()), &c[2]);
        if let Some(value) = fraction(count, part, &text[..all.start()]) {
            found.push((all.range(), value, 0, true, false));
        }
    }
    for m in DIGITS.find_iter(text) {
        let before = text[..m.start()].chars().next_back();
        // Part of a name: `b04`, `sentinel-2`.
        let hyphened = before == Some('-') && text[..m.start() - 1].ends_with(char::is_alphanumeric);
        if before.is_some_and(|c| c.is_alphanumeric() && !without_blanks(c) || c == '_')
            || hyphened && !text[..m.start() - 1].ends_with(|c: char| c.is_ascii_digit())
        {
            continue;
        }
        let negative = !hyphened && matches!(before, Some('-' | '−'));
        let digits = m.as_str().replace(',', "");
        let Ok(size) = digits.parse::<f64>() else { continue };
        let decimals = digits.split_once('.').map_or(0, |(_, d)| d.len() as i32);
        let start = m.start() - if negative { before.map_or(0, char::len_utf8) } else { 0 };
        found.push((start..m.end(), if negative { -size } else { size }, decimals, false, false));
    }
    for (span, value) in spelled(text) {
        let is_one = &text[span.clone()] == "one";
        found.push((span, value as f64, 0, false, is_one));
    }
    found.sort_by_key(|f| (f.0.start, std::cmp::Reverse(f.0.end)));
    // The words of a fraction are not numbers again.
    let mut end = 0;
    found.retain(|f| {
        let own = f.0.start >= end;
        end = end.max(f.0.end);
        own
    });
    let mut numbers: Vec<Number> = Vec::new();
    for (span, value, decimals, is_fraction, is_one) in found {
        let hedge = if is_fraction { Hedge::About } else { hedge(&text[..span.start]) };
        let (quantity, end) = match UNIT.captures(&text[span.end..]) {
            _ if is_fraction => (Ok(Quantity::Percent), span.end),
            Some(c) => (unit(&c[1]), span.end + c[0].len()),
            None => (Ok(Quantity::Count), span.end),
        };
        numbers.push(Number { span: span.start..end, value, decimals, quantity, hedge, end: None, is_one });
    }
    // `from 3 to 16 m`, `224 × 224 pixels`: the unit stands behind the last one.
    for k in (1..numbers.len()).rev() {
        let gap = &text[numbers[k - 1].span.end..numbers[k].span.start];
        if !RANGE.is_match(gap) {
            continue;
        }
        let before = text[..numbers[k - 1].span.start].split_whitespace().next_back().unwrap_or_default();
        if matches!((before, gap.trim()), ("from", "to") | ("between", "and") | (_, "–")) {
            numbers[k - 1].end = Some(RangeEnd::Lower);
            numbers[k].end = Some(RangeEnd::Upper);
        }
        if numbers[k - 1].quantity == Ok(Quantity::Count) {
            numbers[k - 1].quantity = numbers[k].quantity.clone();
        }
    }
    numbers
}

fn unit(text: &str) -> Result<Quantity, String> {
    Ok(match text {
        "%" | "percent" | "per cent" => Quantity::Percent,
        "m" | "meter" | "meters" | "metre" | "metres" => Quantity::Metres,
        "pixel" | "pixels" | "px" => Quantity::Pixels,
        other => return Err(other.to_owned()),
    })
}

/// `half`, `a third`, `two thirds`, `a quarter`, …; none where the words name a place (`left half`) or an order (`the third`).
fn fraction(count: Option<&str>, part: &str, before: &str) -> Option<f64> {
    let whole = match part {
        "half" => 50.0,
        "third" | "thirds" => 100.0 / 3.0,
        "quarter" | "quarters" => 25.0,
        _ => 20.0,
    };
    let many = match count {
        Some("two") => 2.0,
        Some("three") => 3.0,
        _ => 1.0,
    };
    let last = before.split(|c: char| !c.is_alphabetic()).rfind(|w| !w.is_empty()).unwrap_or_default();
    let place = [
        "left", "right", "upper", "lower", "top", "bottom", "northern", "southern", "eastern", "western", "other",
        "each", "either", "first", "second", "same",
    ];
    if place.contains(&last) || count.is_none() && part != "half" {
        return None;
    }
    Some(whole * many)
}

fn hedge(before: &str) -> Hedge {
    let words: Vec<&str> =
        before.split(|c: char| !(c.is_alphanumeric() || c == '~')).filter(|w| !w.is_empty()).collect();
    let ends = |phrase: &str| {
        let phrase: Vec<&str> = phrase.split(' ').collect();
        words.ends_with(&phrase)
    };
    if !before.ends_with([' ', '~', '\u{a0}']) {
        return Hedge::Exact;
    }
    if ["about", "approximately", "around", "roughly", "nearly", "almost", "circa", "some", "close to", "~"]
        .iter()
        .any(|p| ends(p))
    {
        return Hedge::About;
    }
    if ["more than", "over", "at least", "exceeding", "greater than"].iter().any(|p| ends(p)) {
        return Hedge::Over;
    }
    if ["less than", "under", "below", "fewer than", "at most", "smaller than"].iter().any(|p| ends(p)) {
        return Hedge::Under;
    }
    Hedge::Exact
}

/// Numbers in words up to the thousands: `three`, `twenty-five`, `two hundred and six`, `a dozen`.
fn spelled(text: &str) -> Vec<(Range<usize>, u64)> {
    let words: Vec<regex::Match> = WORDS.find_iter(text).collect();
    let (mut out, mut k) = (Vec::new(), 0);
    while k < words.len() {
        let Some(mut value) = small(words[k].as_str()) else {
            k += 1;
            continue;
        };
        let (start, mut last) = (words[k].start(), k);
        let touches = |a: usize, b: usize| {
            words.get(b).is_some_and(|w| matches!(&text.as_bytes()[words[a].end()..w.start()], b" " | b"-"))
        };
        let mut next = k + 1;
        while touches(last, next) {
            let word = words[next].as_str();
            if word == "and" && value >= 100 && touches(next, next + 1) && small(words[next + 1].as_str()).is_some() {
                value += small(words[next + 1].as_str()).unwrap_or_default();
                next += 1;
            } else if word == "hundred" && value < 100 {
                value *= 100;
            } else if word == "thousand" && value < 1000 {
                value *= 1000;
            } else if let Some(more) = small(word).filter(|m| value % 10 == 0 && *m < 10 && value > *m) {
                value += more;
            } else {
                break;
            }
            last = next;
            next += 1;
        }
        out.push((start..words[last].end(), value));
        k = last + 1;
    }
    out
}

fn small(word: &str) -> Option<u64> {
    const UNITS: [&str; 20] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ];
    const TENS: [&str; 8] = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
    let place = |list: &[&str]| list.iter().position(|w| *w == word).map(|k| k as u64);
    match word {
        "dozen" => Some(12),
        "hundred" => Some(100),
        _ => place(&UNITS).or_else(|| place(&TENS).map(|k| 10 * (k + 2))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(f64, Result<Quantity, String>)> {
        numbers(text).into_iter().map(|n| (n.value, n.quantity)).collect()
    }

    #[test]
    fn digits_words_and_units() {
        use Quantity::{Count, Metres, Percent, Pixels};
        let cases = [
            ("water covers 52% and trees 37.5 percent", vec![(52.0, Ok(Percent)), (37.5, Ok(Percent))]),
            ("heights from -3 to 1,218 m", vec![(-3.0, Ok(Metres)), (1218.0, Ok(Metres))]),
            ("between 3 and 16 meters", vec![(3.0, Ok(Metres)), (16.0, Ok(Metres))]),
            ("0–16 m", vec![(0.0, Ok(Metres)), (16.0, Ok(Metres))]),
            ("sentinel-2 band b04", vec![]),
            ("twenty-five cars and two hundred and six people", vec![(25.0, Ok(Count)), (206.0, Ok(Count))]),
            ("two thirds of it, in the left half", vec![(200.0 / 3.0, Ok(Percent))]),
            ("half of the image", vec![(50.0, Ok(Percent))]),
            ("224 × 224 pixels", vec![(224.0, Ok(Pixels)), (224.0, Ok(Pixels))]),
            ("12 ha", vec![(12.0, Err("ha".into()))]),
            ("12 maps of 3 km²", vec![(12.0, Ok(Count)), (3.0, Err("km²".into()))]),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn hedges() {
        let agrees = |text: &str, value: f64| numbers(text)[0].agrees(value);
        assert!(agrees("52%", 51.8) && !agrees("52%", 51.2) && agrees("51.8%", 51.77) && !agrees("51.8%", 51.9));
        assert!(agrees("about 50%", 52.0) && !agrees("about 50%", 60.0));
        assert!(agrees("more than 50%", 52.0) && !agrees("more than 50%", 48.0));
        assert!(agrees("less than 1%", 0.3) && !agrees("less than 1%", 1.3));
        assert!(agrees("half of it", 48.0) && !agrees("half of it", 30.0));
    }
}
