//! Spectral-LLaVA (Karanfil et al. 2025): a frozen image tower, a linear projection, and a language model that reads the projected tokens
//! in the place of `<image>`.
//!
//! * [`ImageTokens`] says how many of the tower's tokens the language model sees;
//! * [`Projector`] is the linear layer between them;
//! * [`LlavaCard`] and [`SpectralLlava`] are a trained model's folder: tower, projector, adapter, and which language model it belongs to;
//! * [`prompt_parts`] puts images into a worded conversation.

mod card;
mod model;
mod projector;
mod prompt;
mod tokens;

pub use card::{LlavaCard, LlmReference};
pub use model::{PROJECTOR, Parts, SpectralLlava, save_spectral_llava};
pub use projector::Projector;
pub use prompt::{IMAGE, Task, prompt_parts};
pub use tokens::{ImageTokens, image_tokens};
