//! Language models of the LLaMA family: LLaMA 2 and 3, TinyLlama, SmolLM2, Qwen2.
//!
//! # Brief overview
//! 1. [`LanguageModel::load`] reads a Hugging Face folder (`config.json`, safetensors, tokeniser) or one GGUF file;
//! 2. [`ChatTemplate`] words a conversation as the model was trained on it, [`LlmTokenizer`] makes it tokens;
//! 3. [`LanguageModel::generate`] continues tokens and embeddings ([`Part`]), token by token, greedily or by [`Sampling`];
//! 4. [`PeftAdapter`] reads and writes low-rank adapters in PEFT's format.
//!
//! ```no_run
//! use geoglot_models::llm::{GenerateOptions, LanguageModel, Message, Part};
//! let model = LanguageModel::load("smollm2-135m-q4")?;
//! let prompt = model.prompt(&[Message::user("What is NDVI?")])?;
//! let answer = model.generate(&[Part::Tokens(prompt)], &GenerateOptions::default(), &mut |text| {
//!     print!("{text}");
//!     true
//! })?;
//! # Ok::<(), geoglot_models::Error>(())
//! ```
//!
//! Why not a library's inference: states of an image encoder enter as embeddings between tokens, adapters stay apart from quantised
//! weights, training and generation share one loader, and a header of a hostile file must never be believed.

mod chat;
mod config;
mod generate;
pub mod gguf;
mod hugging_face;
mod model;
mod peft;
mod pieces;
mod sampling;
mod tokenizer;

pub use chat::{ChatTemplate, Message, Role};
pub use config::decoder_config;
pub use generate::{Ended, GenerateOptions, Generated, Part};
pub use model::LanguageModel;
pub use peft::{PeftAdapter, PeftConfig};
pub use sampling::Sampling;
pub use tokenizer::LlmTokenizer;
