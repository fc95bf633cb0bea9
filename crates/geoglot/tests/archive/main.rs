//! `embed`, `index` and `classify` through the real program, on small models with random weights.

mod bad_input;
mod classify;
mod embed;
mod fixtures;
mod kill;
mod search;
