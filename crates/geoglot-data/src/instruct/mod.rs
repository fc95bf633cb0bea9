//! Conversations about multispectral images (the Spectral-Inst data of Spectral-LLaVA, §IV): what captions say, and what only spectra
//! know: vegetation, water, snow, cloud, haze, burnt ground.
//!
//! 1. [`spectral_facts`] measures indices on reflectance; [`SpectralFacts`] holds what could be measured;
//! 2. [`conversations`] words captions, classes and spectral facts as questions and answers, by seed;
//! 3. [`Conversation`] is one entry of LLaVA's JSON, read and written by [`read_conversations`] and [`write_conversations`].

mod record;
mod spectral;
mod wording;

pub use record::{Conversation, Turn, read_conversations, write_conversations};
pub use spectral::{SpectralFacts, spectral_facts};
pub use wording::{InstructOptions, conversations};
