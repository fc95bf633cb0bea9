//! `tokenizer.json` specifications from vocabularies: byte-level byte pairs (GPT-2 and its successors), and SentencePiece's byte pairs
//! (LLaMA 2), whose merges follow from the scores.

use std::cmp::Reverse;
use std::collections::HashMap;

use serde_json::{Value, json};

/// LLaMA 3's split of texts before byte pairs, numbers in groups of up to three.
const LLAMA3_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Qwen 2's: numbers digit by digit.
const QWEN2_WORDS: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Kinds of tokens, as SentencePiece and GGUF number them.
pub const UNKNOWN: u64 = 2;
/// Tokens that are no text.
pub const CONTROL: u64 = 3;
/// Tokens that are found in texts before anything else.
pub const USER: u64 = 4;
/// Tokens of one byte.
pub const BYTE: u64 = 6;

/// A vocabulary.
pub struct Vocabulary<'a> {
    /// Texts, by id.
    pub tokens: Vec<&'a str>,
    /// Kinds, by id; empty when all are ordinary.
    pub kinds: Vec<u64>,
}

impl Vocabulary<'_> {
    fn kind(&self, id: usize) -> u64 {
        self.kinds.get(id).copied().unwrap_or(1)
    }

    fn added(&self) -> Vec<Value> {
        let special = |id: &usize| matches!(self.kind(*id), CONTROL | USER | UNKNOWN);
        (0..self.tokens.len())
            .filter(special)
            .map(|id| {
                json!({"id": id, "content": self.tokens[id], "single_word": false, "lstrip": false, "rstrip": false,
                       "normalized": false, "special": self.kind(id) != USER})
            })
            .collect()
    }

    fn ids(&self) -> Value {
        // The first of equal tokens counts.
        let mut ids = serde_json::Map::new();
        for (id, token) in self.tokens.iter().enumerate() {
            ids.entry((*token).to_owned()).or_insert_with(|| json!(id));
        }
        Value::Object(ids)
    }
}

/// Byte-level byte pairs with the given `merges` ("a b"); `words` names how texts are split first, as llama.cpp calls it.
///
/// # Errors
/// A split that is not known.
pub fn byte_level(vocabulary: &Vocabulary<'_>, merges: &[&str], words: &str) -> Result<Value, String> {
    let byte_level =
        |regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex});
    let split = |pattern: &str| {
        json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false},
            byte_level(false)]})
    };
    let (split, normalizer, whole) = match words {
        "default" | "gpt-2" | "gpt2" => (byte_level(true), Value::Null, false),
        "smollm" => {
            let digits = json!({"type": "Digits", "individual_digits": true});
            (json!({"type": "Sequence", "pretokenizers": [digits, byte_level(true)]}), Value::Null, false)
        }
        "llama-bpe" | "llama3" | "llama-v3" => (split(LLAMA3_WORDS), Value::Null, true),
        "qwen2" => (split(QWEN2_WORDS), json!({"type": "NFC"}), false),
        other => {
            return Err(format!(
                "texts are split by `{other}` before byte pairs; expected gpt-2, smollm, llama-bpe or qwen2"
            ));
        }
    };
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": vocabulary.added(),
        "normalizer": normalizer, "pre_tokenizer": split, "post_processor": null, "decoder": byte_level(true),
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": whole,
            "vocab": vocabulary.ids(), "merges": merges}
    }))
}

/// SentencePiece's byte pairs: the pair whose union has the highest score is merged first; characters without a token become bytes.
/// `prefix` puts a space in front of every text.
pub fn sentence_pieces(vocabulary: &Vocabulary<'_>, scores: &[f32], prefix: bool) -> Value {
    let ids: HashMap<&str, usize> = vocabulary.tokens.iter().enumerate().rev().map(|(id, t)| (*t, id)).collect();
    let mut merges = Vec::new();
    for (id, token) in vocabulary.tokens.iter().enumerate() {
        if matches!(vocabulary.kind(id), CONTROL | UNKNOWN | BYTE) {
            continue;
        }
        let mut pairs: Vec<(usize, usize, &str, &str)> = token
            .char_indices()
            .skip(1)
            .map(|(at, _)| token.split_at(at))
            .filter_map(|(l, r)| Some((*ids.get(l)?, *ids.get(r)?, l, r)))
            .collect();
        pairs.sort();
        let score = scores.get(id).copied().unwrap_or(0.0);
        merges.extend(pairs.into_iter().map(|(_, _, l, r)| (score, l, r)));
    }
    let count = |text: &str| text.chars().count();
    // Stable: pairs of one token stay in the order of their parts' ids.
    merges.sort_by(|a, b| {
        b.0.total_cmp(&a.0).then_with(|| Reverse((count(a.1), count(a.2))).cmp(&Reverse((count(b.1), count(b.2)))))
    });
    let merges: Vec<Value> = merges.into_iter().map(|(_, l, r)| json!([l, r])).collect();
    let unknown = (0..vocabulary.tokens.len()).find(|id| vocabulary.kind(*id) == UNKNOWN);
    let unknown = unknown.map(|id| vocabulary.tokens[id]);
    let mut steps = vec![json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"})];
    let mut back = vec![
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix {
        steps.insert(0, json!({"type": "Prepend", "prepend": "▁"}));
        back.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": vocabulary.added(),
        "normalizer": {"type": "Sequence", "normalizers": steps}, "pre_tokenizer": null, "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": back},
        "model": {"type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": vocabulary.ids(), "merges": merges}
    })
}
