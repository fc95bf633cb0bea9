//! Whole jobs: what the command line runs, callable from Rust.
//!
//! Each function glues rooms together and holds no algorithm of its own.

pub mod ablate;
pub mod bind;
pub mod evaluate;
pub mod fold;
pub mod map;
pub mod prepare;
pub mod text;
