//! What differs from script to script: blanks between words, digits, the signs that end sentences and clauses.

/// Whether `c` belongs to a script that is written without blanks between words: Chinese, Japanese, Thai, Lao, Khmer, Burmese.
pub(super) fn without_blanks(c: char) -> bool {
    matches!(u32::from(c),
        0x0e00..=0x0eff | 0x1000..=0x109f | 0x1780..=0x17ff | 0x3005..=0x3007 | 0x3040..=0x30ff | 0x3400..=0x4dbf | 0x4e00..=0x9fff
        | 0xf900..=0xfaff | 0x2_0000..=0x3_ffff)
}

/// Number of words: as blanks divide them, and where a script has none two signs for one word.
pub fn word_count(text: &str) -> usize {
    let words = |piece: &str| {
        let dense = piece.chars().filter(|c| without_blanks(*c)).count();
        let other = piece.chars().any(|c| c.is_alphanumeric() && !without_blanks(c));
        if dense == 0 { 1 } else { dense.div_ceil(2) + usize::from(other) }
    };
    text.split_whitespace().map(words).sum()
}

/// The first `count` words, as [`word_count`] counts them.
pub(super) fn first_words(text: &str, count: usize) -> &str {
    let text = text.trim();
    // Cut behind a blank's neighbour or a sign of a dense script, never inside a word.
    let mut signs = text.char_indices().peekable();
    let mut end = 0;
    while let Some((at, sign)) = signs.next() {
        let behind = at + sign.len_utf8();
        let cut = signs.peek().is_none_or(|(_, next)| next.is_whitespace() || without_blanks(sign));
        if cut && !sign.is_whitespace() {
            if word_count(&text[..behind]) > count {
                break;
            }
            end = behind;
        }
    }
    &text[..end]
}

/// Whether `c` ends a sentence.
pub(super) fn ends_sentence(c: char) -> bool {
    matches!(c, '.' | '!' | '?' | '。' | '！' | '？' | '।' | '؟' | '۔')
}

/// Whether a sentence goes on right behind the sign, without a blank.
pub(super) fn needs_no_blank(c: char) -> bool {
    matches!(c, '。' | '！' | '？' | '।')
}

/// Whether `c` ends a clause.
pub(super) fn ends_clause(c: char) -> bool {
    matches!(c, ',' | ';' | ':' | '，' | '；' | '：' | '、' | '،' | '؛')
}

/// `text` with the decimal digits, signs of percent and signs inside numbers of other scripts as those of English.
pub(super) fn plain_digits(text: &str) -> String {
    // The zeros of Arabic, Persian, Devanagari, Bengali, Thai and full-width digits.
    const ZEROS: [u32; 6] = [0x0660, 0x06f0, 0x0966, 0x09e6, 0x0e50, 0xff10];
    let plain = |c: char| match c {
        '٪' | '％' => '%',
        '٫' => '.',
        '٬' => ',',
        _ => {
            let digit = ZEROS.iter().find_map(|zero| u32::from(c).checked_sub(*zero).filter(|d| *d < 10));
            digit.and_then(|d| char::from_digit(d, 10)).unwrap_or(c)
        }
    };
    text.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_counted_in_every_script() {
        for (text, words) in [
            ("two words", 2),
            ("", 0),
            ("مدينة على نهر", 3),
            ("河流穿过城市", 3),
            ("一条 S2 图像", 3),
            ("🌊 🏙️", 2),
            ("नदी के किनारे शहर", 4),
        ] {
            assert_eq!(word_count(text), words, "{text}");
        }
        assert_eq!(first_words("one two  three", 2), "one two");
        assert_eq!(first_words("河流穿过城市", 2), "河流穿过");
        assert_eq!(first_words("نهر ومدينة وغابة", 2), "نهر ومدينة");
        assert_eq!(first_words("👨‍👩‍👧 by the sea", 1), "👨‍👩‍👧");
        assert_eq!(first_words("word", 0), "");
    }

    #[test]
    fn digits_of_other_scripts_become_plain_ones() {
        assert_eq!(plain_digits("٥٢٫٥٪ १०% ５０％ ۷ ৯ ๓"), "52.5% 10% 50% 7 9 3");
    }
}
