//! The models geoglot knows by name.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Files that a hub repository without an entry may hold; those it lacks are passed over.
const AD_HOC_FILES: &[&str] = &[
    "config.json",
    "open_clip_config.json",
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "modules.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
    "preprocessor_config.json",
    "spiece.model",
];
const AD_HOC_WEIGHTS: &[&str] =
    &["model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin", "open_clip_pytorch_model.bin"];

/// One known model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelEntry {
    /// Name used in recipes and on the command line.
    pub name: String,
    /// Other names.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// One line about it.
    pub about: String,
    /// `text-tower`, `image-text` (both towers of one space), `image-tower` or `language-model`.
    pub kind: String,
    /// Name of its embedding space.
    pub space: String,
    /// Width of its embeddings.
    pub width: usize,
    /// Licence of the weights.
    pub licence: String,
    /// Hugging Face repository.
    pub repo: String,
    /// Pinned commit; without one, the first pull records what it got.
    #[serde(default)]
    pub revision: Option<String>,
    /// Files fetched.
    pub files: Vec<String>,
    /// Weight files, alternatives in order of preference.
    pub weights: Vec<String>,
    /// Hashes known beforehand.
    #[serde(default)]
    pub sha256: BTreeMap<String, String>,
    /// A Python wheel that holds the model.
    #[serde(default)]
    pub wheel: Option<WheelEntry>,
    /// The preset that configures weights published without a configuration.
    #[serde(default)]
    pub preset: Option<String>,
    /// Whether the files are guesses: absent ones are passed over.
    #[serde(skip)]
    pub ad_hoc: bool,
}

/// A Python wheel that holds a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WheelEntry {
    /// Package name.
    pub package: String,
    /// Exact version.
    pub version: String,
    /// Hash of the wheel.
    pub sha256: String,
    /// Folder inside the wheel.
    pub folder: String,
    /// Licences of package and model.
    pub licence: String,
}

/// The table of known models.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    #[serde(rename = "model")]
    models: Vec<ModelEntry>,
}

impl Registry {
    /// The table that ships with geoglot.
    pub fn builtin() -> Self {
        toml::from_str(include_str!("models.toml")).expect("the registry of this crate, parsed in its tests")
    }

    /// A table from TOML of the same form; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn from_toml(text: &str, path: &Path) -> Result<Self> {
        toml::from_str(text).map_err(|e| Error::config(path, e.to_string()))
    }

    /// All models, in the table's order.
    pub fn models(&self) -> &[ModelEntry] {
        &self.models
    }

    /// A model by name or alias.
    pub fn find(&self, name: &str) -> Option<&ModelEntry> {
        self.models
            .iter()
            .find(|m| m.name.eq_ignore_ascii_case(name) || m.aliases.iter().any(|a| a.eq_ignore_ascii_case(name)))
    }

    /// The space of weights with this hash, if the table knows it.
    pub fn space_of_weights(&self, sha256: &str) -> Option<String> {
        let known = |m: &&ModelEntry| m.weights.iter().any(|w| m.sha256.get(w).is_some_and(|h| h == sha256));
        self.models.iter().find(known).map(|m| m.space.clone())
    }

    /// Names, comma separated.
    pub fn names(&self) -> String {
        self.models.iter().map(|m| m.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

impl ModelEntry {
    /// An entry for a repository that the table does not have, written `owner/name` or `owner/name@revision`.
    pub fn ad_hoc(name: &str) -> Option<Self> {
        let (repo, revision) = match name.split_once('@') {
            Some((repo, revision)) => (repo, Some(revision.to_owned())),
            None => (name, None),
        };
        let plain = |part: &str| {
            !part.is_empty()
                && part != "."
                && part != ".."
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        let (owner, model) = repo.split_once('/')?;
        if !plain(owner) || !plain(model) || revision.as_deref().is_some_and(|r| !plain(r)) {
            return None;
        }
        Some(Self {
            name: repo.replace('/', "--"),
            aliases: Vec::new(),
            about: format!("Hugging Face repository {repo}"),
            kind: "text-tower".into(),
            space: String::new(),
            width: 0,
            licence: format!("see https://huggingface.co/{repo}"),
            repo: repo.to_owned(),
            revision,
            files: AD_HOC_FILES.iter().map(|f| f.to_string()).collect(),
            weights: AD_HOC_WEIGHTS.iter().map(|f| f.to_string()).collect(),
            sha256: BTreeMap::new(),
            wheel: None,
            preset: None,
            ad_hoc: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sound() {
        let registry = Registry::builtin();
        let hexadecimal = |s: &str, n: usize| s.len() == n && s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        for m in registry.models() {
            assert!(m.revision.as_ref().is_none_or(|r| hexadecimal(r, 40)), "{}", m.name);
            assert!(m.sha256.values().all(|h| hexadecimal(h, 64)), "{}", m.name);
            assert!(m.sha256.keys().all(|f| m.files.contains(f) || m.weights.contains(f)), "{}", m.name);
            assert!(m.space.ends_with(&m.width.to_string()), "{}", m.name);
            assert!(!m.weights.is_empty() && !m.licence.is_empty());
        }
        let mut names: Vec<_> = registry.models().iter().flat_map(|m| m.aliases.iter().chain([&m.name])).collect();
        let n = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), n, "a name is used twice");
        assert_eq!(registry.find("all-MiniLM-L6-v2").unwrap().name, "minilm");
    }

    #[test]
    fn repository_names_are_checked() {
        let entry = ModelEntry::ad_hoc("owner/name@main").unwrap();
        assert_eq!((entry.repo.as_str(), entry.revision.as_deref()), ("owner/name", Some("main")));
        for bad in ["minilm", "a/b/c", "../x", "a/..", "a/b@../c", "/x"] {
            assert!(ModelEntry::ad_hoc(bad).is_none(), "{bad}");
        }
    }
}
