//! Shortening a text that came with an image.

use super::{SHORT_WORDS, word_count};

/// The first sentences of `text` that fit into a short caption together; of a first sentence that does not fit, its first clauses, else its
/// first words.
pub(super) fn shorten(text: &str) -> String {
    let mut taken = String::new();
    for sentence in sentences(text) {
        let more = if taken.is_empty() { sentence.to_owned() } else { format!("{taken} {sentence}") };
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
    let clause = first.match_indices([',', ';', ':']).map(|(k, _)| k).rfind(within);
    let cut = match clause.filter(|&end| word_count(&first[..end]) >= 5) {
        Some(end) => first[..end].to_owned(),
        None => first.split_whitespace().take(SHORT_WORDS).collect::<Vec<_>>().join(" "),
    };
    format!("{}.", cut.trim_end_matches(|c: char| c.is_ascii_punctuation() && c != ')' && c != '%'))
}

/// Sentences, with the sign that ends each. A point inside a number or an abbreviation of one letter ends none.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    let mut ends: Vec<usize> = Vec::new();
    for (k, sign) in text.char_indices().filter(|(_, c)| matches!(c, '.' | '!' | '?')) {
        let next = text[k + sign.len_utf8()..].chars().next();
        let word = text[..k].split_whitespace().last().unwrap_or_default();
        if next.is_none_or(char::is_whitespace) && word.chars().count() > 1 {
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
}
