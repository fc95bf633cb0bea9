//! Conversations in the words a model was trained on: Hugging Face's Jinja templates.

use std::path::Path;

use geoglot_core::small_file;
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, context};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::text::towers::read_json;

/// Steps a template may take; published ones take a few hundred a message.
const FUEL: u64 = 5_000_000;

/// Templates for models that bring none, by name.
const NAMED: &[(&str, &str)] = &[
    (
        "chatml",
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}\
         {% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    ),
    (
        "llama-3",
        "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content | trim + '<|eot_id|>' }}\
         {% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}",
    ),
    (
        "llama-2",
        "{% if messages[0].role == 'system' %}{% set system = '<<SYS>>\\n' + messages[0].content + '\\n<</SYS>>\\n\\n' %}\
         {% set rest = messages[1:] %}{% else %}{% set system = '' %}{% set rest = messages %}{% endif %}\
         {% for m in rest %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' + (system if loop.first else '') + m.content | trim + ' [/INST]' }}\
         {% else %}{{ ' ' + m.content | trim + ' ' + eos_token }}{% endif %}{% endfor %}",
    ),
    (
        "zephyr",
        "{% for m in messages %}{{ '<|' + m.role + '|>\\n' + m.content + eos_token + '\\n' }}{% endfor %}\
         {% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}",
    ),
    (
        "vicuna",
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ m.content + ' ' }}{% elif m.role == 'user' %}{{ 'USER: ' + m.content + ' ' }}\
         {% else %}{{ 'ASSISTANT: ' + m.content + eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}",
    ),
];

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions before the conversation.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }
}

/// A turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A person's turn.
    pub fn user(content: impl Into<String>) -> Self {
        Self { role: Role::User, content: content.into() }
    }

    /// A model's turn.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self { role: Role::Assistant, content: content.into() }
    }

    /// Instructions.
    pub fn system(content: impl Into<String>) -> Self {
        Self { role: Role::System, content: content.into() }
    }
}

/// How a conversation is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatTemplate {
    source: String,
    /// The beginning-of-text token, for templates that write it.
    pub bos: String,
    /// The end-of-text token, for templates that write it.
    pub eos: String,
}

impl ChatTemplate {
    /// A template in Jinja's language.
    ///
    /// # Errors
    /// [`Error::Input`] for one that does not parse.
    pub fn new(source: impl Into<String>, bos: impl Into<String>, eos: impl Into<String>) -> Result<Self> {
        let template = Self { source: source.into(), bos: bos.into(), eos: eos.into() };
        environment().template_from_str(&template.source).map_err(|e| problem("does not parse", &e))?;
        Ok(template)
    }

    /// A template by name: chatml, llama-3, llama-2, zephyr, vicuna.
    ///
    /// # Errors
    /// [`Error::Input`] listing the names.
    pub fn named(name: &str, bos: impl Into<String>, eos: impl Into<String>) -> Result<Self> {
        match NAMED.iter().find(|(n, _)| *n == name) {
            Some((_, source)) => Self::new(*source, bos, eos),
            None => {
                let names: Vec<&str> = NAMED.iter().map(|(n, _)| *n).collect();
                Err(Error::Input(format!("unknown chat template `{name}`; expected one of {}", names.join(", "))))
            }
        }
    }

    /// The template beside a model's weights: `chat_template.jinja`, or `chat_template` of `tokenizer_config.json`; `None` when neither
    /// is there.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Config`], and a template that does not parse.
    pub fn from_folder(folder: &Path) -> Result<Option<Self>> {
        let config = folder.join("tokenizer_config.json");
        let config = if config.is_file() { read_json(&config)? } else { Value::Null };
        // A token is a string, or an object with its content.
        let token = |name: &str| {
            let value = config.get(name)?;
            value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned)
        };
        let (bos, eos) = (token("bos_token").unwrap_or_default(), token("eos_token").unwrap_or_default());
        let file = folder.join("chat_template.jinja");
        if file.is_file() {
            return Self::new(small_file::read_text(&file, small_file::TEXT)?, bos, eos).map(Some);
        }
        let source = match config.get("chat_template") {
            Some(Value::String(source)) => Some(source.as_str()),
            Some(Value::Array(several)) => {
                let default = several.iter().find(|t| t.get("name").and_then(Value::as_str) == Some("default"));
                default.or_else(|| several.first()).and_then(|t| t.get("template")?.as_str())
            }
            _ => None,
        };
        source.map(|s| Self::new(s, bos, eos)).transpose()
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The conversation as one text; `answer` adds what comes before the model's next turn.
    ///
    /// # Errors
    /// [`Error::Input`] with what the template says is wrong (roles out of order, say).
    pub fn render(&self, messages: &[Message], answer: bool) -> Result<String> {
        let environment = environment();
        let template = environment.template_from_str(&self.source).map_err(|e| problem("does not parse", &e))?;
        let messages: Vec<_> = messages
            .iter()
            .map(|m| minijinja::Value::from_pairs([("role", m.role.name()), ("content", m.content.as_str())]))
            .collect();
        template
            .render(context! { messages => messages, add_generation_prompt => answer, bos_token => self.bos.as_str(), eos_token => self.eos.as_str() })
            .map_err(|e| problem("refuses this conversation", &e))
    }
}

fn problem(what: &str, error: &minijinja::Error) -> Error {
    Error::Input(format!("the model's chat template {what}: {error}"))
}

/// What Hugging Face gives templates.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the usual delimiters"));
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", |message: String| -> std::result::Result<String, minijinja::Error> {
        Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_function("strftime_now", |format: String| {
        use std::fmt::Write;
        let mut text = String::new();
        // A format chrono does not know is an error of `write`, not a panic.
        match write!(text, "{}", chrono::Local::now().format(&format)) {
            Ok(()) => Ok(text),
            Err(_) => Err(minijinja::Error::new(
                ErrorKind::InvalidOperation,
                format!("strftime_now: unknown format {format}"),
            )),
        }
    });
    environment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_templates_word_a_conversation() {
        let turns =
            [Message::system("Be short."), Message::user("Hi"), Message::assistant("Hello"), Message::user("Bye")];
        let render = |name: &str| ChatTemplate::named(name, "<s>", "</s>").unwrap().render(&turns, true).unwrap();
        assert_eq!(
            render("chatml"),
            "<|im_start|>system\nBe short.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n\
             <|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"
        );
        assert_eq!(
            render("llama-2"),
            "<s>[INST] <<SYS>>\nBe short.\n<</SYS>>\n\nHi [/INST] Hello </s><s>[INST] Bye [/INST]"
        );
        assert_eq!(render("vicuna"), "<s>Be short. USER: Hi ASSISTANT: Hello</s>USER: Bye ASSISTANT:");
        assert!(render("llama-3").ends_with("<|start_header_id|>assistant<|end_header_id|>\n\n"));
        assert!(render("zephyr").starts_with("<|system|>\nBe short.</s>\n"));
    }

    #[test]
    fn bad_templates_are_errors() {
        let error = ChatTemplate::named("alpaca", "", "").unwrap_err().to_string();
        assert!(error.contains("alpaca") && error.contains("chatml"), "{error}");
        assert!(ChatTemplate::new("{% for", "", "").is_err());
        let say = |source: &str| ChatTemplate::new(source, "", "").unwrap().render(&[Message::user("x")], true);
        let error = say("{{ raise_exception('roles must alternate') }}").unwrap_err().to_string();
        assert!(error.contains("roles must alternate"), "{error}");
        assert!(say("{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}").is_err());
        assert!(say("{{ strftime_now('%Q%!') }}").is_err());
        assert_eq!(say("{{ messages[0]['content'].strip().upper() }}").unwrap(), "X");
    }
}
