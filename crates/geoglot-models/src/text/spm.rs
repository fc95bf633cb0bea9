//! SentencePiece `.model` files (unigram), rewritten as a `tokenizer.json`.
//!
//! The file is a protocol-buffer message; of its fields only the pieces, the trainer's model type and unknown id, and the
//! normaliser's character map are needed (sentencepiece_model.proto).

use base64::Engine as _;
use serde_json::{Value, json};

/// A field of a protocol-buffer message.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed32([u8; 4]),
}

/// The fields of a message with their numbers, `None` where the bytes are no message.
fn fields(mut bytes: &[u8]) -> Option<Vec<(u64, Field<'_>)>> {
    fn varint(bytes: &mut &[u8]) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (first, rest) = bytes.split_first()?;
            *bytes = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
    fn take<'a>(bytes: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
        let (head, rest) = bytes.split_at_checked(n)?;
        *bytes = rest;
        Some(head)
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let field = match key & 7 {
            0 => Field::Number(varint(&mut bytes)?),
            1 => Field::Bytes(take(&mut bytes, 8)?),
            2 => {
                let n = varint(&mut bytes)?;
                Field::Bytes(take(&mut bytes, usize::try_from(n).ok()?)?)
            }
            5 => Field::Fixed32(take(&mut bytes, 4)?.try_into().ok()?),
            _ => return None,
        };
        found.push((key >> 3, field));
    }
    Some(found)
}

/// The kinds of pieces that matter.
const CONTROL: u64 = 3;
const USER: u64 = 4;
const UNIGRAM: u64 = 1;

/// What a SentencePiece model holds.
pub(crate) struct Pieces<'a> {
    /// Text, score and kind of every piece; the position is the id.
    pub pieces: Vec<(&'a str, f32, u64)>,
    /// Id of the unknown piece.
    pub unknown: u64,
    /// How texts are split: 1 unigram, 2 byte pairs.
    pub kind: u64,
    /// The normaliser's character map.
    pub map: Option<&'a [u8]>,
    /// Whether a space is put in front of every text.
    pub prefix: bool,
}

/// Reads a SentencePiece model.
///
/// # Errors
/// A description of what is wrong with the file.
pub(crate) fn read(bytes: &[u8]) -> Result<Pieces<'_>, String> {
    let broken = || "not a SentencePiece model, or a damaged one".to_owned();
    let mut found = Pieces { pieces: Vec::new(), unknown: 0, kind: UNIGRAM, map: None, prefix: true };
    for (number, field) in fields(bytes).ok_or_else(broken)? {
        let Field::Bytes(message) = field else { continue };
        match number {
            1 => {
                let (mut piece, mut score, mut of) = (None, 0f32, 1u64);
                for (number, field) in fields(message).ok_or_else(broken)? {
                    match (number, field) {
                        (1, Field::Bytes(text)) => piece = Some(std::str::from_utf8(text).map_err(|_| broken())?),
                        (2, Field::Fixed32(bytes)) => score = f32::from_le_bytes(bytes),
                        (3, Field::Number(n)) => of = n,
                        _ => {}
                    }
                }
                found.pieces.push((piece.ok_or_else(broken)?, score, of));
            }
            2 => {
                for (number, field) in fields(message).ok_or_else(broken)? {
                    match (number, field) {
                        (3, Field::Number(n)) => found.kind = n,
                        (40, Field::Number(n)) => found.unknown = n,
                        _ => {}
                    }
                }
            }
            3 => {
                for (number, field) in fields(message).ok_or_else(broken)? {
                    match (number, field) {
                        (2, Field::Bytes(bytes)) => found.map = Some(bytes).filter(|b| !b.is_empty()),
                        (3, Field::Number(n)) => found.prefix = n != 0,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    match found.pieces.is_empty() {
        true => Err(broken()),
        false => Ok(found),
    }
}

/// A `tokenizer.json` with the tokens, scores and normalisation of a SentencePiece model, adding `</s>` behind every text as T5's
/// and SigLIP's tokenisers do.
///
/// # Errors
/// A description of what is wrong with the file.
pub(super) fn tokenizer_json(bytes: &[u8]) -> Result<Value, String> {
    let Pieces { pieces, unknown, kind, map, .. } = read(bytes)?;
    if kind != UNIGRAM {
        return Err(
            "a SentencePiece model that is not of the unigram kind; save the tokeniser as tokenizer.json".into()
        );
    }
    let vocabulary: Vec<Value> = pieces.iter().map(|(piece, score, _)| json!([piece, score])).collect();
    let special: Vec<(usize, &str, bool)> = pieces
        .iter()
        .enumerate()
        .filter(|(_, (_, _, of))| matches!(*of, CONTROL | USER))
        .map(|(id, (piece, _, of))| (id, *piece, *of == CONTROL))
        .collect();
    let end = vocabulary
        .iter()
        .position(|p| p[0] == "</s>")
        .ok_or_else(|| "the SentencePiece model has no `</s>`".to_owned())?;
    let mut steps = vec![json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "})];
    if let Some(map) = map {
        let text = base64::engine::general_purpose::STANDARD.encode(map);
        steps.insert(0, json!({"type": "Precompiled", "precompiled_charsmap": text}));
    }
    let added: Vec<Value> = special
        .iter()
        .map(|(id, piece, control)| {
            json!({"id": id, "content": piece, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": control})
        })
        .collect();
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": steps},
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}},
                     {"Sequence": {"id": "B", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
            "special_tokens": {"</s>": {"id": "</s>", "ids": [end], "tokens": ["</s>"]}}},
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
        "model": {"type": "Unigram", "unk_id": unknown, "vocab": vocabulary, "byte_fallback": false}
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rubbish_is_refused_without_panic() {
        for bytes in
            [&b""[..], b"abc", &[0xff; 30], b"\x0a\x05\x0a\x03abc", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"]
        {
            assert!(tokenizer_json(bytes).is_err());
        }
    }
}
