//! Texts to token ids, with the tokenisers published beside the weights.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use geoglot_core::small_file;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokenizers::{Tokenizer, TruncationDirection, TruncationParams, TruncationStrategy};

use crate::error::{Error, Result};
use crate::hub::hex;

/// Start of text in CLIP's vocabulary.
pub const CLIP_START: &str = "<|startoftext|>";
/// End of text in CLIP's vocabulary; its state is the feature.
pub const CLIP_END: &str = "<|endoftext|>";
/// What CLIP splits text into before byte pairs: contractions, letters, single digits, everything else but spaces.
const CLIP_WORDS: &str = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// A tokeniser that truncates to a fixed length and adds the model's own start and end tokens.
pub struct TextTokenizer {
    inner: Tokenizer,
    path: PathBuf,
    digest: String,
    /// Whether a text too long was told: once is enough.
    said: AtomicBool,
}

impl TextTokenizer {
    /// Reads `tokenizer.json` (WordPiece, byte-level BPE, Unigram, CLIP's BPE) from `folder`; truncation to `max_tokens`.
    ///
    /// # Errors
    /// [`Error::Tokenizer`], [`Error::Io`].
    pub fn from_folder(folder: &Path, max_tokens: usize) -> Result<Self> {
        let path = folder.join("tokenizer.json");
        if !path.is_file() {
            return Err(Error::config(
                folder,
                "no tokenizer.json beside the weights; save the tokeniser there (AutoTokenizer.from_pretrained(…).save_pretrained)",
            ));
        }
        let bytes = small_file::read(&path, small_file::LIST)?;
        Self::from_bytes(&bytes, path, max_tokens)
    }

    /// CLIP's tokeniser from `tokenizer.json`, or from `merges.txt` with `vocab.json`, or from `merges.txt` alone
    /// (the vocabulary follows from the merges). Lower-cases, collapses white space, and puts every text between
    /// `<|startoftext|>` and `<|endoftext|>`, as OpenAI's code does; its repair of broken Unicode and HTML is not repeated.
    ///
    /// # Errors
    /// [`Error::Tokenizer`], [`Error::Io`], [`Error::Config`] when none of the files is there.
    pub fn clip_from_folder(folder: &Path, max_tokens: usize) -> Result<Self> {
        if folder.join("tokenizer.json").is_file() {
            return Self::from_folder(folder, max_tokens);
        }
        let merges_path = folder.join("merges.txt");
        if !merges_path.is_file() {
            return Err(Error::config(folder, "neither tokenizer.json nor merges.txt beside the weights"));
        }
        let merges = small_file::read_text(&merges_path, small_file::LIST)?;
        let vocab_path = folder.join("vocab.json");
        let vocabulary = if vocab_path.is_file() {
            let bytes = small_file::read(&vocab_path, small_file::LIST)?;
            Some(serde_json::from_slice(&bytes).map_err(|e| tokenizer_error(&vocab_path, e))?)
        } else {
            None
        };
        Self::clip_from_merges(&merges, vocabulary, merges_path, max_tokens)
    }

    /// CLIP's tokeniser from the text of `merges.txt` and, if given, the object in `vocab.json`.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] for merges that are not pairs or a vocabulary without the special tokens.
    pub fn clip_from_merges(merges: &str, vocabulary: Option<Value>, path: PathBuf, max_tokens: usize) -> Result<Self> {
        let mut pairs = Vec::new();
        for line in
            merges.lines().filter(|l| !l.starts_with("#version") && !l.contains("bpe_simple_vocab") && !l.is_empty())
        {
            match line.split_once(' ') {
                Some((a, b)) if !a.is_empty() && !b.is_empty() && !b.contains(' ') => pairs.push((a, b)),
                _ => return Err(tokenizer_error(&path, format!("`{line}` is not a pair of symbols"))),
            }
        }
        let vocabulary = vocabulary.unwrap_or_else(|| clip_vocabulary(&pairs));
        let id = |token: &str| {
            vocabulary
                .get(token)
                .and_then(Value::as_u64)
                .ok_or_else(|| tokenizer_error(&path, format!("the vocabulary has no `{token}`")))
        };
        let (start, end) = (id(CLIP_START)?, id(CLIP_END)?);
        let special = |id: u64, content: &str| json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true});
        let merges: Vec<String> = pairs.iter().map(|(a, b)| format!("{a} {b}")).collect();
        let specification = json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": [special(start, CLIP_START), special(end, CLIP_END)],
            "normalizer": {"type": "Sequence", "normalizers": [
                {"type": "NFC"},
                {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "},
                {"type": "Lowercase"}]},
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": CLIP_WORDS}, "behavior": "Removed", "invert": true},
                {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]},
            "post_processor": {"type": "RobertaProcessing", "sep": [CLIP_END, end], "cls": [CLIP_START, start],
                "trim_offsets": false, "add_prefix_space": false},
            "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
            "model": {"type": "BPE", "dropout": null, "unk_token": CLIP_END, "continuing_subword_prefix": "",
                "end_of_word_suffix": "</w>", "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                "vocab": vocabulary, "merges": merges}
        });
        Self::from_bytes(specification.to_string().as_bytes(), path, max_tokens)
    }

    /// SigLIP's tokeniser from `tokenizer.json`, or from a SentencePiece model (`spiece.model`, `sentencepiece.model`,
    /// `tokenizer.model`). Texts must come as [`super::siglip::canonicalise`] makes them.
    ///
    /// # Errors
    /// [`Error::Tokenizer`], [`Error::Io`], [`Error::Config`] when none of the files is there.
    pub fn siglip_from_folder(folder: &Path, max_tokens: usize) -> Result<Self> {
        if folder.join("tokenizer.json").is_file() {
            return Self::from_folder(folder, max_tokens);
        }
        let models = ["spiece.model", "sentencepiece.model", "tokenizer.model"];
        let Some(path) = models.iter().map(|m| folder.join(m)).find(|p| p.is_file()) else {
            return Err(Error::config(
                folder,
                format!("neither tokenizer.json nor one of {} beside the weights", models.join(", ")),
            ));
        };
        let bytes = small_file::read(&path, small_file::LIST)?;
        let specification = super::spm::tokenizer_json(&bytes).map_err(|e| tokenizer_error(&path, e))?;
        Self::from_bytes(specification.to_string().as_bytes(), path, max_tokens)
    }

    fn from_bytes(bytes: &[u8], path: PathBuf, max_tokens: usize) -> Result<Self> {
        super::charsmap::check_tokenizer(bytes).map_err(|e| tokenizer_error(&path, e))?;
        let mut inner = Tokenizer::from_bytes(bytes).map_err(|e| tokenizer_error(&path, e))?;
        // Room for the special tokens and at least one more.
        if max_tokens < 3 {
            return Err(tokenizer_error(&path, format!("a context of {max_tokens} tokens holds no text")));
        }
        let truncation = TruncationParams {
            direction: TruncationDirection::Right,
            max_length: max_tokens,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
        };
        inner.with_truncation(Some(truncation)).map_err(|e| tokenizer_error(&path, e))?;
        inner.with_padding(None);
        Ok(Self { inner, path, digest: hex(&Sha256::digest(bytes)), said: AtomicBool::new(false) })
    }

    /// Ids of each text, special tokens included, truncated, not padded. The first text that is too long is told in the log.
    ///
    /// # Errors
    /// [`Error::Tokenizer`].
    pub fn encode(&self, texts: &[String]) -> Result<Vec<Vec<u32>>> {
        let inputs: Vec<&str> = texts.iter().map(String::as_str).collect();
        let encodings = self.inner.encode_batch(inputs, true).map_err(|e| tokenizer_error(&self.path, e))?;
        let cut = |k: &usize| !encodings[*k].get_overflowing().is_empty();
        if let Some(first) = (0..texts.len()).find(cut)
            && !self.said.swap(true, Ordering::Relaxed)
        {
            let start: String = texts[first].chars().take(40).collect();
            tracing::warn!(
                "the text `{start}…` has more than the {} tokens that the tower reads; the rest of it counts for nothing, as with \
                 other such texts",
                encodings[first].len()
            );
        }
        Ok(encodings.iter().map(|e| e.get_ids().to_vec()).collect())
    }

    /// Id of a token of the vocabulary.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Number of tokens, added ones included.
    pub fn vocabulary(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// SHA-256 of the tokeniser's specification, in hex.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The file the tokeniser came from.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn tokenizer_error(path: &Path, problem: impl std::fmt::Display) -> Error {
    Error::Tokenizer { path: path.to_owned(), problem: problem.to_string() }
}

/// CLIP's vocabulary: 256 byte symbols, the same ending a word, one entry per merge, two special tokens.
fn clip_vocabulary(merges: &[(&str, &str)]) -> Value {
    let bytes = byte_symbols();
    let symbols = bytes.iter().map(char::to_string);
    let endings = bytes.iter().map(|c| format!("{c}</w>"));
    let merged = merges.iter().map(|(a, b)| format!("{a}{b}"));
    let special = [CLIP_START, CLIP_END].map(str::to_owned);
    let tokens = symbols.chain(endings).chain(merged).chain(special);
    Value::Object(tokens.enumerate().map(|(id, token)| (token, json!(id))).collect())
}

/// The printable stand-ins of the 256 bytes, in the order of CLIP's vocabulary: printable Latin-1 first, then the rest.
fn byte_symbols() -> Vec<char> {
    let printable = |b: &u32| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let rest = (0u32..256).filter(|b| !printable(b)).count() as u32;
    (0u32..256).filter(printable).chain(256..256 + rest).filter_map(char::from_u32).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_vocabulary_follows_from_the_merges() {
        let vocabulary = clip_vocabulary(&[("t", "h"), ("th", "e</w>")]);
        // As in the published vocabulary: "!" is 0, "a" 64, "a</w>" 320, first merge 512.
        for (token, id) in
            [("!", 0), ("a", 64), ("a</w>", 320), ("th", 512), ("the</w>", 513), (CLIP_START, 514), (CLIP_END, 515)]
        {
            assert_eq!(vocabulary[token], json!(id), "{token}");
        }
    }

    #[test]
    fn clip_cleans_merges_and_truncates() {
        let tokenizer =
            TextTokenizer::clip_from_merges("#version: 0.2\nt h\nth e</w>\n", None, "merges.txt".into(), 6).unwrap();
        let ids = tokenizer.encode(&["  THE \n the ".into(), "the the the the the the".into(), String::new()]).unwrap();
        assert_eq!(ids[0], [514, 513, 513, 515]);
        assert_eq!(ids[1], [514, 513, 513, 513, 513, 515]);
        assert_eq!(ids[2], [514, 515]);
    }

    #[test]
    fn bad_files_are_named() {
        let bad = |merges: &str, vocabulary| {
            TextTokenizer::clip_from_merges(merges, vocabulary, "here/merges.txt".into(), 77)
        };
        assert!(bad("abc\n", None).err().unwrap().to_string().contains("here/merges.txt"));
        assert!(bad("a b\n", Some(json!({"a": 0}))).is_err());
        let folder = tempfile::tempdir().unwrap();
        assert!(TextTokenizer::from_folder(folder.path(), 77).is_err());
        assert!(TextTokenizer::clip_from_folder(folder.path(), 77).is_err());
        fs::write(folder.path().join("tokenizer.json"), b"{").unwrap();
        assert!(matches!(TextTokenizer::from_folder(folder.path(), 77), Err(Error::Tokenizer { .. })));
    }
}
