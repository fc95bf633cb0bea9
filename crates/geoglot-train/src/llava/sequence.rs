//! A conversation as a language model reads it.

use geoglot_models::llm::{LanguageModel, Message, Role};
use geoglot_models::spectral_llava::IMAGE;

use crate::contrastive::PretrainError;

type Result<T, E = PretrainError> = std::result::Result<T, E>;

/// Tokens of a conversation about one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// Tokens before the image.
    pub before: Vec<u32>,
    /// Tokens behind it.
    pub after: Vec<u32>,
    /// For each token of `after`, whether it is part of an answer.
    pub answer: Vec<bool>,
    /// Number of the image.
    pub image: usize,
}

impl Sequence {
    /// Words `messages` as `llm` was trained, one [`IMAGE`] among them, answers marked: the model learns to write its own turns and their
    /// ends, nothing else. `tokens` is the number of image tokens.
    ///
    /// # Errors
    /// A conversation without image, without answer, or that the template refuses; one longer than the context, with the sum.
    pub fn new(llm: &LanguageModel, messages: &[Message], image: usize, tokens: usize) -> Result<Self> {
        let wrong = |problem: String| PretrainError::Input(problem);
        let template = llm.template()?;
        // Pieces of text: (text, whether it is an answer).
        let mut pieces: Vec<(String, bool)> = Vec::new();
        let mut said = String::new();
        for (k, message) in messages.iter().enumerate() {
            if message.role != Role::Assistant {
                continue;
            }
            let (asked, answered) = (template.render(&messages[..k], true)?, template.render(&messages[..=k], false)?);
            let question = asked.strip_prefix(&said).map(str::to_owned);
            let answer = answered.strip_prefix(&asked).map(str::to_owned);
            let (Some(question), Some(answer)) = (question, answer) else {
                return Err(wrong(
                    "the chat template rewrites earlier turns when a turn is added, so that answers cannot be told from questions: choose \
                     another template (model.template)"
                        .into(),
                ));
            };
            pieces.push((question, false));
            pieces.push((answer, true));
            said = answered;
        }
        if pieces.is_empty() {
            return Err(wrong("a conversation without an answer teaches nothing".into()));
        }
        let images: usize = pieces.iter().map(|p| p.0.matches(IMAGE).count()).sum();
        let first = pieces[0].0.split_once(IMAGE).map(|(a, b)| (a.to_owned(), b.to_owned()));
        let Some((head, tail)) = first.filter(|_| images == 1) else {
            return Err(wrong(format!(
                "a conversation has {images} `{IMAGE}`; expected one, in the first question: \"{}\"",
                pieces[0].0.chars().take(80).collect::<String>()
            )));
        };
        let encode = |text: &str| -> Result<Vec<u32>> {
            if text.is_empty() { Ok(Vec::new()) } else { Ok(llm.tokenizer.encode(text, false)?) }
        };
        let mut sequence = Self { before: encode(&head)?, after: encode(&tail)?, answer: Vec::new(), image };
        sequence.answer.resize(sequence.after.len(), false);
        for (text, answer) in &pieces[1..] {
            let ids = encode(text)?;
            sequence.answer.extend(std::iter::repeat_n(*answer, ids.len()));
            sequence.after.extend(ids);
        }
        if sequence.before.is_empty() && tokens == 0 {
            return Err(wrong("a conversation that begins with its answer".into()));
        }
        let answers = sequence.answers();
        llm.fits([sequence.before.len() + sequence.after.len() - answers, tokens], answers)?;
        Ok(sequence)
    }

    /// Number of tokens the model learns to write.
    pub fn answers(&self) -> usize {
        self.answer.iter().filter(|a| **a).count()
    }

    /// Number of all tokens with an image of `tokens`.
    pub fn len(&self, tokens: usize) -> usize {
        self.before.len() + tokens + self.after.len()
    }
}
