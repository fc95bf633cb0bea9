//! Published weights into modules: files, key maps, loading and saving.
//!
//! The way of a tensor:
//! 1. [`Checkpoint`] lists the tensors of a safetensors file (or shards), or of a PyTorch zip checkpoint whose pickle is
//!    read by [`pickle`] without being executed;
//! 2. a [`KeyMap`], kept as data, renames published names to ours, splits fused projections and names what may be left out;
//! 3. [`load_into`] walks a burn module and fills every parameter, checking shapes; anything missing or unused is an error.
//!
//! [`save`] writes a module back under PyTorch's conventions (linear weights `[out, in]`, norms `weight`/`bias`), which
//! [`KeyMap::identity`] reads again.

mod checkpoint;
mod dtype;
mod error;
mod keymap;
mod load;
mod mapped;
pub mod pickle;
pub mod safetensors;
mod save;
pub mod torch;

pub use checkpoint::{Checkpoint, TensorInfo};
pub use dtype::DType;
pub use error::WeightsError;
pub use keymap::{KeyMap, Target};
pub use load::{LoadReport, load_into, parameter_name};
pub use mapped::{Mapped, Source};
pub use save::{save, save_streamed, to_bytes};
