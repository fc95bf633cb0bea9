//! A language model of one's own that words captions.

use crate::data::captions::{Answer, EndpointSection, Error, Turn};
use crate::models::llm::{GenerateOptions, LanguageModel, Message, Part, Sampling};

/// The model under the name that a recipe gives it.
pub(super) struct LocalModel {
    name: String,
    model: LanguageModel,
}

impl std::fmt::Debug for LocalModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("LocalModel").field(&self.name).finish()
    }
}

impl LocalModel {
    /// Opens a language model by name, folder or GGUF file.
    pub fn open(name: &str) -> Result<Box<dyn Answer>, Error> {
        let model = LanguageModel::load(name).map_err(|e| fault(name, &e))?;
        Ok(Box::new(Self { name: name.to_owned(), model }))
    }
}

impl Answer for LocalModel {
    fn answer(&self, turns: &[Turn], section: &EndpointSection, seed: u64) -> Result<String, Error> {
        let message = |turn: &Turn| match turn.role {
            "system" => Message::system(&turn.content),
            "assistant" => Message::assistant(&turn.content),
            _ => Message::user(&turn.content),
        };
        let turns: Vec<Message> = turns.iter().map(message).collect();
        let sampling = Sampling { temperature: section.temperature as f32, seed, ..Sampling::default() };
        let options = GenerateOptions { max_tokens: section.max_tokens as usize, sampling, stop: Vec::new() };
        let prompt = self.model.prompt(&turns).map_err(|e| fault(&self.name, &e))?;
        let answer = self.model.generate(&[Part::Tokens(prompt)], &options, &mut |_| true);
        Ok(answer.map_err(|e| fault(&self.name, &e))?.text)
    }
}

fn fault(name: &str, error: &crate::models::Error) -> Error {
    Error::Endpoint { url: name.to_owned(), problem: error.to_string() }
}
