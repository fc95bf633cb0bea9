//! Texts to tokens of a language model and back.

use std::path::{Path, PathBuf};

use geoglot_core::small_file;
use serde_json::Value;
use tokenizers::Tokenizer;

use super::pieces::{self, Vocabulary};
use crate::error::{Error, Result};
use crate::text::{charsmap, spm};

/// A language model's tokeniser. Special tokens come from chat templates or are asked for; nothing is cut off.
pub struct LlmTokenizer {
    inner: Tokenizer,
    path: PathBuf,
}

impl LlmTokenizer {
    /// `tokenizer.json` of a folder, or `tokenizer.model` (SentencePiece byte pairs).
    ///
    /// # Errors
    /// [`Error::Tokenizer`], [`Error::Config`] when neither is there.
    pub fn from_folder(folder: &Path) -> Result<Self> {
        let path = folder.join("tokenizer.json");
        if path.is_file() {
            return Self::from_bytes(&small_file::read(&path, small_file::LIST)?, path);
        }
        let path = folder.join("tokenizer.model");
        if !path.is_file() {
            return Err(Error::config(folder, "neither tokenizer.json nor tokenizer.model beside the weights"));
        }
        let bytes = small_file::read(&path, small_file::LIST)?;
        let bad = |problem: String| Error::Tokenizer { path: path.clone(), problem };
        let model = spm::read(&bytes).map_err(bad)?;
        if model.kind != 2 {
            return Err(bad(
                "a SentencePiece model that is not of byte pairs; save the tokeniser as tokenizer.json".into()
            ));
        }
        let vocabulary = Vocabulary {
            tokens: model.pieces.iter().map(|p| p.0).collect(),
            kinds: model.pieces.iter().map(|p| p.2).collect(),
        };
        let scores: Vec<f32> = model.pieces.iter().map(|p| p.1).collect();
        let specification = pieces::sentence_pieces(&vocabulary, &scores, model.prefix);
        Self::from_specification(&specification, path.clone())
    }

    pub(super) fn from_specification(specification: &Value, path: PathBuf) -> Result<Self> {
        Self::from_bytes(specification.to_string().as_bytes(), path)
    }

    fn from_bytes(bytes: &[u8], path: PathBuf) -> Result<Self> {
        let bad = |problem: String| Error::Tokenizer { path: path.clone(), problem };
        charsmap::check_tokenizer(bytes).map_err(bad)?;
        let mut inner = Tokenizer::from_bytes(bytes).map_err(|e| bad(e.to_string()))?;
        inner.with_truncation(None).map_err(|e| bad(e.to_string()))?;
        inner.with_padding(None);
        Ok(Self { inner, path })
    }

    /// Tokens of a text. `special` adds those the tokeniser puts around every text (a beginning of text); special tokens written in the
    /// text are found either way.
    ///
    /// # Errors
    /// [`Error::Tokenizer`].
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        Ok(self.inner.encode(text, special).map_err(|e| self.error(e))?.get_ids().to_vec())
    }

    /// The text of tokens; special ones are left out unless `special`.
    ///
    /// # Errors
    /// [`Error::Tokenizer`].
    pub fn decode(&self, ids: &[u32], special: bool) -> Result<String> {
        self.inner.decode(ids, !special).map_err(|e| self.error(e))
    }

    /// Text token by token.
    pub(super) fn stream(&self) -> TextStream<'_> {
        TextStream { tokenizer: self, ids: Vec::new(), told: 0, known: 0 }
    }

    /// Id of a token.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Text of a token.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// One more than the largest id.
    pub fn size(&self) -> usize {
        self.inner.get_vocab(true).values().max().map_or(0, |m| *m as usize + 1)
    }

    /// The file it came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn error(&self, problem: impl std::fmt::Display) -> Error {
        Error::Tokenizer { path: self.path.clone(), problem: problem.to_string() }
    }
}

/// Text of tokens as they come. Characters of several tokens wait for the last one.
pub(super) struct TextStream<'a> {
    tokenizer: &'a LlmTokenizer,
    ids: Vec<u32>,
    /// Tokens before this one are no longer decoded: how a token reads depends on the one before it at most.
    told: usize,
    /// Tokens whose text was given.
    known: usize,
}

impl TextStream<'_> {
    /// Adds a token; the text that became certain.
    pub fn add(&mut self, id: u32) -> Result<String> {
        self.ids.push(id);
        let news = self.news()?;
        // The replacement character stands for the first bytes of a character.
        if news.is_empty() || news.ends_with('\u{fffd}') {
            return Ok(String::new());
        }
        (self.told, self.known) = (self.known, self.ids.len());
        Ok(news)
    }

    /// What still waits when no token follows.
    pub fn finish(&mut self) -> Result<String> {
        let news = self.news()?;
        (self.told, self.known) = (self.known, self.ids.len());
        Ok(news)
    }

    fn news(&self) -> Result<String> {
        let before = self.tokenizer.decode(&self.ids[self.told..self.known], false)?;
        let all = self.tokenizer.decode(&self.ids[self.told..], false)?;
        let same = before.chars().zip(all.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum();
        Ok(all[same..].to_owned())
    }
}
