//! Shortening a text that came with an image.

use super::SHORT_WORDS;
use crate::captions::script::{ends_clause, ends_sentence, first_words, needs_no_blank, without_blanks, word_count};

/// The first sentences of `text` that fit into a short caption together; of a first sentence that does not fit, its first clauses, else its
/// first words.
pub(super) fn shorten(text: &str) -> String {
    let mut taken = String::new();
    for sentence in sentences(text) {
        let blank = if taken.is_empty() || taken.ends_with(needs_no_blank) { "" } else { " " };
        let more = format!("{taken}{blank}{sentence}");
        if word_count(&more) > SHORT_WORDS {
            break;
        }
        taken = more;
    }
    if !taken.is_empty() {
        return taken;
    }
    let first = sentences(text).next().unwrap_or_default();
    let within = |end: &usize| word_count(&first[..*end]) <= SHORT_WORDS;
    let clause = first.match_indices(ends_clause).map(|(k, _)| k).rfind(within);
    let cut = match clause.filter(|&end| word_count(&first[..end]) >= 5) {
        Some(end) => &first[..end],
        None => first_words(first, SHORT_WORDS),
    };
    let mark = |c: char| c.is_ascii_punctuation() && c != ')' && c != '%' || ends_clause(c) || ends_sentence(c);
    let cut = cut.trim_end_matches(mark);
    // Blanks in a row, and breaks of lines, are one blank.
    let words = cut.split_whitespace().collect::<Vec<_>>().join(" ");
    let stop = if words.ends_with(without_blanks) { "。" } else { "." };
    words + stop
}

/// Sentences, with the sign that ends each. A point inside a number or an abbreviation of one letter ends none.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    let mut ends: Vec<usize> = Vec::new();
    for (k, sign) in text.char_indices().filter(|(_, c)| ends_sentence(*c)) {
        let next = text[k + sign.len_utf8()..].chars().next();
        let word = text[..k].split_whitespace().last().unwrap_or_default();
        if needs_no_blank(sign) || next.is_none_or(char::is_whitespace) && word.chars().count() > 1 {
            ends.push(k + sign.len_utf8());
        }
    }
    if ends.last().is_none_or(|&e| !text[e..].trim().is_empty()) {
        ends.push(text.len());
    }
    let mut start = 0;
    ends.into_iter().filter_map(move |end| {
        let sentence = text[start..end].trim();
        start = end;
        (!sentence.is_empty()).then_some(sentence)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_sentences_are_kept() {
        let long = "Trees cover 52.5% of the image. Water lies in the south. Beyond that, there is a wide open plain with crops, grass, roads and small villages that reaches to the edge.";
        assert_eq!(shorten(long), "Trees cover 52.5% of the image. Water lies in the south.");
        assert_eq!(shorten("Only this"), "Only this");
        let clauses = format!("Trees cover the north of the image, {}", "and so on ".repeat(20));
        assert_eq!(shorten(&clauses), "Trees cover the north of the image.");
        assert_eq!(word_count(&shorten(&"word ".repeat(50))), SHORT_WORDS);
    }

    #[test]
    fn other_scripts_are_shortened_at_their_own_signs() {
        let chinese = format!("河流穿过城市。北部是森林。{}。", "农田一直延伸到图像的边缘".repeat(6));
        assert_eq!(shorten(&chinese), "河流穿过城市。北部是森林。");
        let arabic = format!("يمر نهر عبر المدينة؟ هناك غابة. {}", "حقول واسعة ".repeat(20));
        assert_eq!(shorten(&arabic), "يمر نهر عبر المدينة؟ هناك غابة.");
        let clauses = format!("森林位于图像的北部，{}", "城市和道路".repeat(30));
        assert_eq!(shorten(&clauses), "森林位于图像的北部。");
        assert_eq!(word_count(&shorten(&"水".repeat(200))), SHORT_WORDS);
        assert_eq!(shorten("🌊🏝️ an island"), "🌊🏝️ an island");
    }
}
