//! `embed`, `index` and `classify` through the real program, on small models with random weights.

mod bad_input;
mod classify;
mod embed;
mod fixtures;
mod kill;
#[cfg(target_os = "linux")]
mod large;
mod search;
mod weights;
mod wrong_words;
