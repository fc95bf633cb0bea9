//! Wording by a language model behind an OpenAI-compatible endpoint; nothing is sent anywhere unless a recipe names one.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::check::check_caption;
use super::error::{Error, Result};
use super::facts::Facts;
use super::grammar::{Captions, SHORT_WORDS};
use super::noun::list;
use super::script::word_count;

/// Most words of a long caption.
const LONG_WORDS: usize = 150;
/// Largest answer that is read, in bytes.
const LARGEST_ANSWER: u64 = 1 << 20;

/// The endpoint of a recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointSection {
    /// Base address, such as `http://localhost:8080/v1`.
    pub url: String,
    /// Name of the model, as the server knows it.
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
        if !self.url.starts_with("http://") && !self.url.starts_with("https://") {
            return fail(format!("url = {:?}: give an address such as \"http://localhost:8080/v1\"", self.url));
        }
        if self.model.trim().is_empty() {
            return fail("model is empty; give the name the server knows".into());
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

/// A language model that words facts.
#[derive(Debug)]
pub struct Endpoint {
    section: EndpointSection,
    key: Option<String>,
    agent: ureq::Agent,
}

impl Endpoint {
    /// Prepares requests; asks nothing yet.
    ///
    /// # Errors
    /// [`Error::Recipe`] for settings out of range and a key variable that is not set.
    pub fn new(section: &EndpointSection) -> Result<Self> {
        section.check()?;
        let key = match &section.key_variable {
            None => None,
            Some(name) => Some(std::env::var(name).map_err(|_| {
                Error::Recipe(format!("endpoint.key_variable: the environment variable {name} is not set"))
            })?),
        };
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs_f64(section.timeout_seconds)))
            .http_status_as_error(false)
            .build();
        Ok(Self { section: section.clone(), key, agent: config.into() })
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        &self.section.model
    }

    /// Requests at a time.
    pub fn parallel(&self) -> usize {
        self.section.parallel
    }

    /// What to do when no attempt agrees with the facts.
    pub fn on_disagreement(&self) -> OnDisagreement {
        self.section.on_disagreement
    }

    /// `count` long captions by the model, and a short one from each. `Ok(Err(problem))` when no attempt gave captions whose numbers agree
    /// with the facts.
    ///
    /// # Errors
    /// [`Error::Endpoint`] when the server cannot be reached in time, refuses, or does not answer as the protocol says.
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
        let mut messages =
            vec![json!({"role": "system", "content": SYSTEM}), json!({"role": "user", "content": prompt})];
        let mut problem = String::new();
        for attempt in 0..self.section.attempts {
            let answer = self.chat(&messages, seed.wrapping_add(1000 * u64::from(attempt)))?;
            let text = clean(&answer);
            problem = match check_caption(facts, &text).first() {
                _ if text.is_empty() => "the answer is empty".into(),
                _ if word_count(&text) > most => {
                    format!("the answer has {} words, at most {most} were asked for", word_count(&text))
                }
                Some(wrong) => format!("the answer disagrees with the facts: {wrong}"),
                None => return Ok(Ok(text)),
            };
            messages.truncate(2);
            messages.push(json!({"role": "assistant", "content": answer}));
            messages.push(json!({"role": "user", "content": format!("That cannot be used: {problem}. Write it again, with the numbers given and no others.")}));
        }
        Ok(Err(problem))
    }

    /// One exchange; overloaded servers and broken connections are asked again.
    fn chat(&self, messages: &[Value], seed: u64) -> Result<String> {
        let url = format!("{}/chat/completions", self.section.url.trim_end_matches('/'));
        let fail = |problem: String| Error::Endpoint { url: url.clone(), problem };
        let body = json!({
            "model": self.section.model,
            "messages": messages,
            "temperature": self.section.temperature,
            "max_tokens": self.section.max_tokens,
            "seed": seed,
            "stream": false,
        });
        let mut last = String::new();
        for attempt in 0..self.section.attempts {
            if attempt > 0 {
                std::thread::sleep(Duration::from_millis(200 << attempt.min(6)));
            }
            let mut request = self.agent.post(&url);
            if let Some(key) = &self.key {
                request = request.header("Authorization", format!("Bearer {key}"));
            }
            let mut response = match request.send_json(&body) {
                Ok(response) => response,
                Err(ureq::Error::Timeout(_)) => {
                    return Err(fail(format!(
                        "no answer within {} s; give the server more time (endpoint.timeout_seconds) or less work (endpoint.parallel)",
                        self.section.timeout_seconds
                    )));
                }
                Err(e) => {
                    last = format!("cannot be reached ({e}); is the server running?");
                    continue;
                }
            };
            let status = response.status().as_u16();
            let text = response.body_mut().with_config().limit(LARGEST_ANSWER).read_to_string();
            let text = match text {
                Ok(text) => text,
                Err(ureq::Error::Timeout(_)) => {
                    return Err(fail(format!("the answer was cut after {} s", self.section.timeout_seconds)));
                }
                Err(e) => return Err(fail(format!("the answer cannot be read: {e}"))),
            };
            match status {
                200..=299 => return content(&text).map_err(fail),
                429 | 500..=599 => last = format!("answered {status}: {}", excerpt(&text)),
                401 | 403 => {
                    return Err(fail(format!(
                        "answered {status}: {}; is the key right? (endpoint.key_variable)",
                        excerpt(&text)
                    )));
                }
                404 => {
                    return Err(fail(format!(
                        "answered 404: {}; is the base address right, and the model `{}` known?",
                        excerpt(&text),
                        self.section.model
                    )));
                }
                _ => return Err(fail(format!("answered {status}: {}", excerpt(&text)))),
            }
        }
        Err(fail(last))
    }
}

/// The words of an answer of the protocol.
fn content(text: &str) -> std::result::Result<String, String> {
    let value: Value = serde_json::from_str(text).map_err(|e| {
        format!("the answer is not JSON ({e}): {}; is this an OpenAI-compatible server?", excerpt(text))
    })?;
    match value.pointer("/choices/0/message/content").and_then(Value::as_str) {
        Some(content) => Ok(content.to_owned()),
        None => Err(format!("the answer has no choices[0].message.content: {}", excerpt(text))),
    }
}

fn excerpt(text: &str) -> String {
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match flat.char_indices().nth(160) {
        Some((end, _)) => format!("`{}…`", &flat[..end]),
        None => format!("`{flat}`"),
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
