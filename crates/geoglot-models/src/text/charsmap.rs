//! Checks of SentencePiece's character maps before they are used: the library that applies them trusts every offset in them.
//!
//! A map is the length of a trie in bytes, the trie (a double array of 32-bit units, as Darts-clone writes it), and the replacements, each
//! ended by a zero byte (sentencepiece, `normalizer.cc`).

use base64::Engine as _;
use serde::Deserialize;
use serde_json::Value;

/// Checks every character map of a `tokenizer.json`.
///
/// # Errors
/// What is wrong with a map. Files of another form pass: their own reader says what is wrong with them.
pub(crate) fn check_tokenizer(json: &[u8]) -> Result<(), String> {
    #[derive(Deserialize)]
    struct Specification {
        #[serde(default)]
        normalizer: Value,
    }
    let Ok(specification) = serde_json::from_slice::<Specification>(json) else { return Ok(()) };
    let mut waiting = vec![&specification.normalizer];
    while let Some(value) = waiting.pop() {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(text)) = fields.get("precompiled_charsmap")
                    && let Ok(map) = base64::engine::general_purpose::STANDARD.decode(text)
                {
                    check(&map)?;
                }
                waiting.extend(fields.values());
            }
            Value::Array(items) => waiting.extend(items),
            _ => {}
        }
    }
    Ok(())
}

/// Follows every path of the trie.
///
/// # Errors
/// A length or offset that leads out of the map.
pub(super) fn check(map: &[u8]) -> Result<(), String> {
    let damaged = |what: &str| format!("its character map is damaged: {what}; fetch the tokeniser again");
    let Some((length, rest)) = map.split_first_chunk() else { return Err(damaged("it has no length")) };
    let length = u32::from_le_bytes(*length) as usize;
    let Some((trie, words)) = rest.split_at_checked(length) else {
        return Err(damaged(&format!("{length} bytes of trie in a map of {}", map.len())));
    };
    let units: Vec<u32> = trie.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let words = std::str::from_utf8(words).map_err(|_| damaged("its replacements are not UTF-8"))?;
    let offset = |unit: u32| ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize;
    let Some(&root) = units.first() else { return Err(damaged("its trie is empty")) };
    let mut seen = vec![false; units.len()];
    let mut waiting = vec![offset(root)];
    while let Some(base) = waiting.pop() {
        // Children lie in the block of 256 units around the base.
        if base | 0xff >= units.len() {
            return Err(damaged("its trie leads out of itself"));
        }
        if std::mem::replace(&mut seen[base], true) {
            continue;
        }
        for label in 1..=0xff {
            let at = base ^ label;
            let unit = units[at];
            if (unit & (1 << 31 | 0xff)) as usize != label {
                continue;
            }
            let next = at ^ offset(unit);
            if unit >> 8 & 1 == 1 {
                let word = units.get(next).map(|leaf| (leaf & ((1 << 31) - 1)) as usize);
                if !word.is_some_and(|word| words.is_char_boundary(word)) {
                    return Err(damaged("a replacement lies outside of it"));
                }
            }
            // An end without children: its base is that of the leaf alone.
            waiting.push(next);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A map of one entry: the byte `a` becomes `bc`.
    fn map() -> Vec<u8> {
        let mut units = vec![0u32; 512];
        // The root's children lie around 256; the node of `a` around 256 + 2.
        units[0] = 256 << 10;
        units[256 ^ 0x61] = ((256 ^ 0x61 ^ 258) << 10) | 1 << 8 | 0x61;
        units[258] = 1 << 31;
        let trie: Vec<u8> = units.iter().flat_map(|u| u.to_le_bytes()).collect();
        [&(trie.len() as u32).to_le_bytes()[..], &trie, b"bc\0"].concat()
    }

    #[test]
    fn maps_that_lead_out_of_themselves_are_refused() {
        assert_eq!(check(&map()), Ok(()));
        let word = |at: usize, value: u32| {
            let mut bytes = map();
            bytes[4 + 4 * at..8 + 4 * at].copy_from_slice(&value.to_le_bytes());
            check(&bytes).unwrap_err()
        };
        assert!(word(0, 4096 << 10).contains("out of itself"));
        assert!(word(258, 1 << 31 | 77).contains("replacement"));
        assert!(word(256 ^ 0x61, 9999 << 10 | 1 << 8 | 0x61).contains("replacement"));
        assert!(word(256 ^ 0x61, 9999 << 10 | 0x61).contains("out of itself"));
        for cut in 0..map().len() - 3 {
            assert!(check(&map()[..cut]).is_err(), "{cut}");
        }
        // A length that would be allocated.
        assert!(check(&[0xff, 0xff, 0xff, 0xff, 0]).unwrap_err().contains("4294967295"));
        let json = |map: &[u8]| {
            let text = base64::engine::general_purpose::STANDARD.encode(map);
            serde_json::json!({ "normalizer": { "type": "Sequence", "normalizers": [{ "precompiled_charsmap": text }] } })
        };
        assert!(check_tokenizer(json(&map()).to_string().as_bytes()).is_ok());
        assert!(check_tokenizer(json(b"1234567").to_string().as_bytes()).is_err());
        assert!(check_tokenizer(b"{").is_ok() && check_tokenizer(b"{\"normalizer\": null}").is_ok());
    }

    #[test]
    fn the_published_map_passes() {
        let path =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/siglip/open-clip-spm/spiece.model");
        let json = crate::text::spm::tokenizer_json(&std::fs::read(path).unwrap()).unwrap();
        assert!(json.to_string().contains("precompiled_charsmap"));
        check_tokenizer(json.to_string().as_bytes()).unwrap();
    }
}
