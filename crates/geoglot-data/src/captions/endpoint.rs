//! Wording by a language model, behind an OpenAI-compatible endpoint or in this process; nothing is sent anywhere unless a recipe names a server.

use serde::{Deserialize, Serialize};

use super::check::check_caption;
use super::error::{Error, Result};
use super::facts::Facts;
use super::grammar::{Captions, SHORT_WORDS};
use super::noun::list;
use super::script::word_count;
use super::server::Server;

/// Most words of a long caption.
const LONG_WORDS: usize = 150;

/// The endpoint of a recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointSection {
    /// Base address of a server, such as `http://localhost:8080/v1`; without one the model runs in this process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Name of the model, as the server knows it; without a server a language model's name, folder or GGUF file.
    pub model: String,
    /// Environment variable that holds the key, where the server wants one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_variable: Option<String>,
    /// Longest wait for an answer.
    #[serde(default = "sixty")]
    pub timeout_seconds: f64,
    /// Tries for an answer that agrees with the facts, and after a refusal by an overloaded server.
    #[serde(default = "three")]
    pub attempts: u32,
    /// Sampling temperature.
    #[serde(default = "warm")]
    pub temperature: f64,
    /// Longest answer in tokens.
    #[serde(default = "tokens")]
    pub max_tokens: u32,
    /// Requests at a time.
    #[serde(default = "four")]
    pub parallel: usize,
    /// What to do when no attempt agrees with the facts.
    #[serde(default)]
    pub on_disagreement: OnDisagreement,
}

/// What to do with an image that the model words wrongly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnDisagreement {
    /// The grammar words it.
    #[default]
    FallBack,
    /// It is left out.
    Refuse,
}

fn sixty() -> f64 {
    60.0
}
fn three() -> u32 {
    3
}
fn warm() -> f64 {
    0.7
}
fn tokens() -> u32 {
    300
}
fn four() -> usize {
    4
}

impl EndpointSection {
    pub(super) fn check(&self) -> Result<()> {
        let fail = |text: String| Err(Error::Recipe(format!("endpoint.{text}")));
        if let Some(url) = self.url.as_ref().filter(|u| !u.starts_with("http://") && !u.starts_with("https://")) {
            return fail(format!("url = {url:?}: give an address such as \"http://localhost:8080/v1\""));
        }
        if self.model.trim().is_empty() {
            return fail(
                "model is empty; give the name the server knows, or that of a language model of your own".into(),
            );
        }
        if !(self.timeout_seconds > 0.0 && self.timeout_seconds <= 86_400.0) {
            return fail(format!("timeout_seconds = {} is out of range", self.timeout_seconds));
        }
        if !(1..=20).contains(&self.attempts) || !(1..=256).contains(&self.parallel) || self.max_tokens == 0 {
            return fail("attempts (1 to 20), parallel (1 to 256) or max_tokens is out of range".into());
        }
        if !(0.0..=2.0).contains(&self.temperature) {
            return fail(format!("temperature = {}: give 0 to 2", self.temperature));
        }
        Ok(())
    }
}

/// One turn of a conversation, as the protocol writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Turn {
    /// `system`, `user` or `assistant`.
    pub role: &'static str,
    /// What is said.
    pub content: String,
}

/// A language model that answers.
pub trait Answer: std::fmt::Debug + Send + Sync {
    /// The next turn of a conversation, at the section's temperature and length.
    ///
    /// # Errors
    /// [`Error::Endpoint`] where there is no answer to be had.
    fn answer(&self, turns: &[Turn], section: &EndpointSection, seed: u64) -> Result<String>;
}

/// A language model that words facts.
#[derive(Debug)]
pub struct Endpoint {
    section: EndpointSection,
    model: Box<dyn Answer>,
}

impl Endpoint {
    /// Prepares requests to the section's server; asks nothing yet. Without a server `local` opens the model that the section names.
    ///
    /// # Errors
    /// [`Error::Recipe`] for settings out of range and a key variable that is not set; what `local` gives.
    pub fn new(section: &EndpointSection, local: impl FnOnce(&str) -> Result<Box<dyn Answer>>) -> Result<Self> {
        section.check()?;
        let model = match &section.url {
            Some(url) => Box::new(Server::new(url, section)?),
            None => local(&section.model)?,
        };
        Ok(Self { section: section.clone(), model })
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        &self.section.model
    }

    /// Requests at a time; 0 for a model in this process, which uses every core by itself.
    pub fn parallel(&self) -> usize {
        if self.section.url.is_some() { self.section.parallel } else { 0 }
    }

    /// What to do when no attempt agrees with the facts.
    pub fn on_disagreement(&self) -> OnDisagreement {
        self.section.on_disagreement
    }

    /// `count` long captions by the model, and a short one from each. `Ok(Err(problem))` when no attempt gave captions whose numbers agree
    /// with the facts.
    ///
    /// # Errors
    /// [`Error::Endpoint`] when the server cannot be reached in time, refuses, or does not answer as the protocol says; a model that fails.
    pub fn word(&self, facts: &Facts, count: usize, seed: u64) -> Result<Result<Captions, String>> {
        let mut captions = Captions::default();
        let known = state(facts);
        for k in 0..count {
            let seed = seed.wrapping_add(k as u64);
            let long = match &facts.description {
                Some(text) => text.clone(),
                None => match self.ask(facts, &long_prompt(&known), LONG_WORDS, seed)? {
                    Ok(text) => text,
                    Err(problem) => return Ok(Err(problem)),
                },
            };
            match self.ask(facts, &short_prompt(&long), SHORT_WORDS, seed)? {
                Ok(text) => captions.short.push(text),
                Err(problem) => return Ok(Err(problem)),
            }
            captions.long.push(long);
        }
        captions.short.dedup();
        captions.long.dedup();
        Ok(Ok(captions))
    }

    /// An answer that agrees with the facts, or why the last attempt did not.
    fn ask(&self, facts: &Facts, prompt: &str, most: usize, seed: u64) -> Result<Result<String, String>> {
        let turn = |role: &'static str, content: &str| Turn { role, content: content.to_owned() };
        let mut turns = vec![turn("system", SYSTEM), turn("user", prompt)];
        let mut problem = String::new();
        for attempt in 0..self.section.attempts {
            let answer = self.model.answer(&turns, &self.section, seed.wrapping_add(1000 * u64::from(attempt)))?;
            let text = clean(&answer);
            problem = match check_caption(facts, &text).first() {
                _ if text.is_empty() => "the answer is empty".into(),
                _ if word_count(&text) > most => {
                    format!("the answer has {} words, at most {most} were asked for", word_count(&text))
                }
                Some(wrong) => format!("the answer disagrees with the facts: {wrong}"),
                None => return Ok(Ok(text)),
            };
            turns.truncate(2);
            turns.push(turn("assistant", &answer));
            let again =
                format!("That cannot be used: {problem}. Write it again, with the numbers given and no others.");
            turns.push(turn("user", &again));
        }
        Ok(Err(problem))
    }
}

/// An answer without quotes, marks and line breaks.
fn clean(answer: &str) -> String {
    let text = answer.split_whitespace().collect::<Vec<_>>().join(" ").replace("**", "");
    let text = text.trim_matches(['"', '“', '”', '`', ' ']);
    let text = ["Caption:", "Description:"].iter().find_map(|p| text.strip_prefix(p)).unwrap_or(text);
    text.trim_matches(['"', '“', '”', '`', ' ']).to_owned()
}

const SYSTEM: &str = "You write captions of remote sensing images from measured facts. Say only what the facts say, in plain English, as one paragraph without headings, lists or remarks about the task. Use the class names as they are given. Every number must be one of those given; rounding to whole numbers is allowed, adding numbers up is not.";

fn long_prompt(facts: &str) -> String {
    format!(
        "Describe the image in two to four natural sentences: what there is, how much of it, and where it lies.\n\nFacts:\n{facts}"
    )
}

fn short_prompt(long: &str) -> String {
    format!(
        "Shorten this description to one caption of at most {SHORT_WORDS} words that keeps what matters most:\n\n{long}"
    )
}

/// The facts as lines for a prompt.
fn state(facts: &Facts) -> String {
    let mut lines = vec![format!("- it is a {}", facts.image)];
    if let Some(cover) = &facts.cover {
        lines.push(format!("- number of land cover types: {}", cover.classes.len()));
        for class in &cover.classes {
            let place = class.layout.as_ref().map_or(String::new(), |l| format!(", {}", l.position.phrase()));
            lines.push(format!("- {}: {:.1}% of the image{place}", class.noun, class.percent));
        }
    }
    if let Some(heights) = &facts.elevation {
        for (name, extreme) in [("highest", &heights.highest), ("lowest", &heights.lowest)] {
            let cover = extreme.class.as_ref().map_or(String::new(), |c| format!(", covered by {c}"));
            lines.push(format!("- {name}: {:.0} m, {}{cover}", extreme.metres, extreme.position.phrase()));
        }
        lines.push(format!("- relief: {:.0} m ({:?})", heights.relief, heights.terrain));
    }
    if let Some(flood) = &facts.flood {
        let place = flood.layout.as_ref().map_or(String::new(), |l| format!(", {}", l.position.phrase()));
        lines.push(format!("- {}: {:.1}% of the image{place}", flood.water, flood.percent));
    }
    if let Some(objects) = &facts.objects {
        for category in &objects.found {
            lines.push(format!("- {}, {}", category.thing.counted(category.count), category.position.phrase()));
        }
        if objects.found.is_empty() {
            lines.push("- no objects".into());
        }
    }
    if !facts.labels.is_empty() {
        let names: Vec<&str> = facts.labels.iter().map(|n| n.words.as_str()).collect();
        lines.push(format!("- it shows {}", list(&names)));
    }
    lines.join("\n")
}
