//! A server that speaks OpenAI's chat protocol.

use std::time::Duration;

use serde_json::{Value, json};

use super::endpoint::{Answer, EndpointSection, Turn};
use super::error::{Error, Result};

/// Largest answer that is read, in bytes.
const LARGEST_ANSWER: u64 = 1 << 20;

/// A server's address, the key it wants, and a client.
#[derive(Debug)]
pub(super) struct Server {
    url: String,
    key: Option<String>,
    agent: ureq::Agent,
}

impl Server {
    /// Prepares requests; asks nothing yet.
    pub fn new(url: &str, section: &EndpointSection) -> Result<Self> {
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
        Ok(Self { url: url.to_owned(), key, agent: config.into() })
    }
}

impl Answer for Server {
    /// One exchange; overloaded servers and broken connections are asked again.
    fn answer(&self, turns: &[Turn], section: &EndpointSection, seed: u64) -> Result<String> {
        let url = format!("{}/chat/completions", self.url.trim_end_matches('/'));
        let fail = |problem: String| Error::Endpoint { url: url.clone(), problem };
        let body = json!({
            "model": section.model,
            "messages": turns,
            "temperature": section.temperature,
            "max_tokens": section.max_tokens,
            "seed": seed,
            "stream": false,
        });
        let mut last = String::new();
        for attempt in 0..section.attempts {
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
                        section.timeout_seconds
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
                    return Err(fail(format!("the answer was cut after {} s", section.timeout_seconds)));
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
                        section.model
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
