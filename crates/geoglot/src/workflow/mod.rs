//! Whole jobs: what the command line runs, callable from Rust.
//!
//! Each function glues rooms together and holds no algorithm of its own.

pub mod ablate;
pub mod ablate_towers;
pub mod ablation_table;
pub mod archive;
pub mod bind;
pub mod captions;
pub mod classify;
pub mod dates;
pub mod describe;
pub mod describe_archive;
mod display;
pub mod embed;
pub mod embed_plan;
pub mod evaluate;
pub mod fold;
pub mod grounded;
pub mod images;
pub mod llava;
mod local_model;
pub mod map;
mod measure;
pub mod merge;
pub mod open_segment;
pub mod picture;
pub mod prepare;
pub mod pretrain;
pub mod protocols;
pub mod said;
pub mod segment;
pub mod similarity;
pub mod text;
mod thumbnail;
pub mod tiles;
