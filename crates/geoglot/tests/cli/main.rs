//! The program from outside: what it writes, what it says, how it ends.

#[path = "../common/mod.rs"]
mod common;

mod damage;
mod jobs;
mod maps;
mod model_files;
mod outputs;
mod published;
mod recipes;
mod repeat;
mod scenes;
mod usage;
