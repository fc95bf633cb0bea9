//! Merging the weights of image towers (GeoLangBind, §"Progressive Multimodal Weight Merging"; Wortsman et al. 2022).
//!
//! # Brief overview
//! 1. [`TowerFiles`](geoglot_models::vision::TowerFiles) are the models: folders, weight files, registry names. Their tensors are
//!    compared under geoglot's names, whatever the published ones are;
//! 2. [`Merge::new`] refuses models that do not fit one another, with a list of every difference;
//! 3. a [`MergePlan`] says how: linear, along the arc, or by task arithmetic, with one ratio for each model after the first and
//!    other ratios for tensors by name;
//! 4. [`Merge::write`] writes a model folder, one tensor in memory at a time.
//!
//! Two rounds of GeoLangBind: the models SigLIP, RGB, Others with the ratios 0.9, 0.5 give
//! θ_I = 0.1·θ_SigLIP + 0.9·θ_RGB, then 0.5·θ_I + 0.5·θ_Others. A tensor that one side lacks is taken from the other.

mod combine;
mod compare;
mod error;
mod write;

pub use combine::MergePlan;
pub use compare::Allowed;
pub use error::{Difference, MergeError, Result};
pub use write::{Merge, Named};

#[cfg(test)]
mod tests;
