//! What a merged tower was made of.

use serde::{Deserialize, Serialize};

/// How two weights become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MergeMethod {
    /// (1 − r)·a + r·b, model after model: the progressive merging of GeoLangBind, equations 7 and 8.
    #[default]
    Linear,
    /// Along the arc between a and b, each tensor taken as one vector (Shoemake 1985), model after model.
    Slerp,
    /// a + Σ r·(b − a) with the first model as a (Ilharco et al. 2023).
    TaskArithmetic,
}

/// Other ratios for some tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleRatios {
    /// Regular expression on the tensors' names.
    pub names: String,
    /// One ratio for each model after the first.
    pub ratios: Vec<f64>,
}

/// One of the models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MergedModel {
    /// Its folder or name, as given.
    pub model: String,
    /// SHA-256 of its weights.
    pub sha256: String,
    /// Licence of its weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Tensors that only this model has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alone: Vec<String>,
    /// Tensors that the merged tower has no place for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// Rows and columns of its own grid of positions, where they were resampled to the merged tower's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resampled: Option<(usize, usize)>,
}

/// Record of a merge, in the merged tower's `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MergeRecord {
    /// How.
    pub method: MergeMethod,
    /// One ratio for each model after the first.
    pub ratios: Vec<f64>,
    /// Other ratios for some tensors; the first pattern that matches holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<ModuleRatios>,
    /// The models, in order.
    pub models: Vec<MergedModel>,
}
