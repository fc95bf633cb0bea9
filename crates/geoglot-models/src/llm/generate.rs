//! Continuing a prompt, token by token.

use geoglot_core::Seeds;
use geoglot_nn::llm::Cache;

use super::{LanguageModel, Sampling};
use crate::error::{Error, Result};

/// A part of a prompt.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Tokens.
    Tokens(Vec<u32>),
    /// States [n, D] in the place of n tokens' embeddings: an image.
    Embedded(Vec<f32>),
}

/// How long and by what rule.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateOptions {
    /// Most tokens of the answer.
    pub max_tokens: usize,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Texts that end the answer; they are not part of it.
    pub stop: Vec<String>,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self { max_tokens: 256, sampling: Sampling::default(), stop: Vec::new() }
    }
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The model said so.
    EndOfText,
    /// A stop text came up.
    Stop,
    /// The longest answer asked for.
    Length,
    /// Who listened had enough.
    Interrupted,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// Its tokens, the one that ended it included.
    pub ids: Vec<u32>,
    /// Its text.
    pub text: String,
    /// Why it ended.
    pub ended: Ended,
    /// Tokens of the prompt.
    pub prompt: usize,
}

impl LanguageModel {
    /// Tokens and image states of a prompt.
    pub(crate) fn lengths(&self, prompt: &[Part]) -> [usize; 2] {
        let width = self.decoder.config.width;
        prompt.iter().fold([0, 0], |[text, image], part| match part {
            Part::Tokens(ids) => [text + ids.len(), image],
            Part::Embedded(states) => [text, image + states.len() / width],
        })
    }

    /// Whether prompt and answer fit into the context.
    ///
    /// # Errors
    /// [`Error::Input`] with the sum.
    pub fn fits(&self, [text, image]: [usize; 2], answer: usize) -> Result<()> {
        let (sum, context) = (text + image + answer, self.context());
        if sum <= context {
            return Ok(());
        }
        let image = match image {
            0 => String::new(),
            n => format!(" + {n} of the image"),
        };
        let remedy = match image.is_empty() {
            true => "shorten the prompt, or ask for a shorter answer",
            false => {
                "reduce the image's tokens (a model trained with `tokens = \"spectral-concat\"` or `\"pooled\"` has fewer), shorten the prompt, or ask \
                 for a shorter answer"
            }
        };
        Err(Error::Input(format!(
            "{text} tokens of text{image} + {answer} of the answer = {sum} tokens; {} reads {context}: {remedy}",
            self.name
        )))
    }

    /// Continues `prompt`. `listen` gets the text as it comes and says whether to go on.
    ///
    /// # Errors
    /// [`Error::Input`] for an empty prompt, impossible sampling, tokens outside the vocabulary, or a prompt that leaves no room for the
    /// answer.
    pub fn generate(
        &self,
        prompt: &[Part],
        options: &GenerateOptions,
        listen: &mut dyn FnMut(&str) -> bool,
    ) -> Result<Generated> {
        if let Some(problem) = options.sampling.problem() {
            return Err(Error::Input(problem));
        }
        let lengths = self.lengths(prompt);
        self.fits(lengths, options.max_tokens)?;
        let count = lengths[0] + lengths[1];
        if count == 0 {
            return Err(Error::Input("an empty prompt has no continuation".into()));
        }
        let config = &self.decoder.config;
        let mut input = Vec::with_capacity(count * config.width);
        for part in prompt {
            match part {
                Part::Tokens(ids) => {
                    if let Some(bad) = ids.iter().find(|id| **id as usize >= config.vocabulary) {
                        return Err(Error::Input(format!(
                            "token {bad} is not in the vocabulary of {} tokens: the tokeniser belongs to another model",
                            config.vocabulary
                        )));
                    }
                    input.extend(self.decoder.embed(ids));
                }
                Part::Embedded(states) => input.extend(states),
            }
        }
        let mut cache = Cache::new(config, count + options.max_tokens);
        let mut states = self.decoder.forward(&input, &mut cache);
        let mut rng = Seeds::new(options.sampling.seed).stream("generate");
        let mut words = self.tokenizer.stream();
        let (mut ids, mut said) = (Vec::new(), Said::new(&options.stop));
        let ended = loop {
            if ids.len() == options.max_tokens {
                break Ended::Length;
            }
            let scores = self.decoder.logits(&states[states.len() - config.width..]);
            let id = options.sampling.choose(&scores, &mut rng);
            ids.push(id);
            if self.ends.contains(&id) {
                break Ended::EndOfText;
            }
            let (news, stopped) = said.add(&words.add(id)?);
            if !news.is_empty() && !listen(&news) {
                break Ended::Interrupted;
            }
            if stopped {
                break Ended::Stop;
            }
            if ids.len() < options.max_tokens {
                states = self.decoder.forward(&self.decoder.embed(&[id]), &mut cache);
            }
        };
        if matches!(ended, Ended::EndOfText | Ended::Length) {
            let (news, _) = said.add(&words.finish()?);
            let rest = news + &said.rest();
            if !rest.is_empty() {
                listen(&rest);
            }
        }
        Ok(Generated { ids, text: said.text, ended, prompt: count })
    }
}

/// What was said so far; text that may be the start of a stop text is held back.
struct Said<'a> {
    stop: &'a [String],
    text: String,
    told: usize,
}

impl<'a> Said<'a> {
    fn new(stop: &'a [String]) -> Self {
        Self { stop, text: String::new(), told: 0 }
    }

    /// Adds text; what can be told now, and whether a stop text ended it.
    fn add(&mut self, news: &str) -> (String, bool) {
        self.text += news;
        let stops = self.stop.iter().filter(|s| !s.is_empty());
        // A stop text may have begun in what is held back.
        let first = stops.clone().filter_map(|s| self.text[self.told..].find(s.as_str())).min();
        if let Some(at) = first {
            self.text.truncate(self.told + at);
            return (self.rest(), true);
        }
        let waiting = &self.text[self.told..];
        let begins = |at: &usize| stops.clone().any(|s| s.starts_with(&waiting[*at..]));
        let held = waiting.char_indices().map(|(at, _)| at).find(begins).unwrap_or(waiting.len());
        let tell = waiting[..held].to_owned();
        self.told += held;
        (tell, false)
    }

    /// What was held back.
    fn rest(&mut self) -> String {
        let rest = self.text[self.told..].to_owned();
        self.told = self.text.len();
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_texts_are_found_across_tokens_and_never_told() {
        let stop = vec!["###".to_owned(), "USER:".to_owned()];
        let mut said = Said::new(&stop);
        assert_eq!(said.add("Water. U"), ("Water. ".into(), false));
        assert_eq!(said.add("S"), (String::new(), false));
        assert_eq!(said.add("A is #"), ("USA is ".into(), false));
        assert_eq!(said.add("#"), (String::new(), false));
        assert_eq!(said.add("# more"), (String::new(), true));
        assert_eq!(said.text, "Water. USA is ");
        let mut said = Said::new(&stop);
        assert_eq!(said.add("ends in U"), ("ends in ".into(), false));
        assert_eq!(said.rest(), "U");
    }
}
