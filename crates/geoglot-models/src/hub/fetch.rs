//! Fetching from the Hugging Face hub into its ordinary cache.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hf_hub::api::sync::{ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Repo, RepoType};

use super::store::{Lock, verify};
use super::{Hub, ModelEntry, Pulled};
use crate::error::{Error, Result};

impl Hub {
    /// Fetches a model from the hub into the hub's ordinary cache, at its pinned revision (or `revision`), and checks hashes.
    ///
    /// Files already in the cache are not fetched again. For a model without a pinned revision, or one asked for by
    /// repository name, the commit and hashes of the first pull are recorded in the store and hold from then on.
    ///
    /// # Errors
    /// [`Error::Hub`] when the hub is out of reach or lacks a file, [`Error::Hash`] when a file is not the recorded one,
    /// [`Error::UnknownModel`].
    pub fn pull(&self, name: &str, revision: Option<&str>) -> Result<Pulled> {
        let entry = self.entry(name)?;
        let lock = self.store().lock(&entry.name)?.filter(|l| l.source == entry.repo);
        let wanted = revision
            .map(str::to_owned)
            .or_else(|| entry.revision.clone())
            .or_else(|| lock.as_ref().map(|l| l.revision.clone()))
            .unwrap_or_else(|| "main".into());
        let fetcher = Fetcher::new(self, &entry, &wanted)?;
        let mut commit = None;
        let mut paths = BTreeMap::new();
        for file in &entry.files {
            // Tokeniser files of CLIP repositories vary; what is needed is checked at loading.
            let optional = entry.ad_hoc || file != "config.json" && file != "open_clip_config.json";
            match fetcher.file(file) {
                Ok(path) => drop(paths.insert(file.clone(), path)),
                Err(error) if optional && fetcher.is_absent(&error) => {}
                Err(error) => return Err(fetcher.error(file, error)),
            }
        }
        let mut last = None;
        for file in &entry.weights {
            match fetcher.file(file) {
                Ok(path) => {
                    paths.insert(file.clone(), path);
                    last = None;
                    break;
                }
                Err(error) if fetcher.is_absent(&error) => last = Some((file, error)),
                Err(error) => return Err(fetcher.error(file, error)),
            }
        }
        if let Some((file, error)) = last {
            return Err(fetcher.error(file, error));
        }
        // `…/snapshots/<commit>/<file>`: the commit is what the hub resolved the revision to.
        let mut folder = PathBuf::new();
        let mut sha256 = BTreeMap::new();
        for (file, path) in &paths {
            let root = path.ancestors().nth(Path::new(file).components().count()).unwrap_or(path).to_owned();
            let name = root.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            if commit.as_ref().is_some_and(|c| *c != name) {
                return Err(Error::Hub {
                    repo: entry.repo.clone(),
                    revision: wanted,
                    file: file.clone(),
                    problem: "the repository changed while it was fetched; pull again".into(),
                });
            }
            commit = Some(name);
            folder = root;
            let recorded =
                lock.as_ref().filter(|l| Some(&l.revision) == commit.as_ref()).and_then(|l| l.sha256.get(file));
            let pinned = entry.sha256.get(file).filter(|_| revision.is_none() || revision == entry.revision.as_deref());
            sha256.insert(file.clone(), verify(path, pinned.or(recorded))?);
        }
        let commit = commit.unwrap_or_default();
        self.store().write_lock(
            &entry.name,
            &Lock { source: entry.repo.clone(), revision: commit.clone(), sha256: sha256.clone() },
        )?;
        Ok(Pulled { name: entry.name, folder, source: entry.repo, revision: commit, licence: entry.licence, sha256 })
    }
}

/// One repository at one revision.
struct Fetcher {
    repo: ApiRepo,
    name: String,
    revision: String,
    /// Where files of this revision already lie, when the revision is a commit in the cache.
    cached: Option<PathBuf>,
    offline: bool,
    endpoint: String,
}

enum FetchError {
    Offline,
    Api(ApiError),
}

impl Fetcher {
    fn new(hub: &Hub, entry: &ModelEntry, revision: &str) -> Result<Self> {
        let fail = |e: ApiError| Error::Hub {
            repo: entry.repo.clone(),
            revision: revision.to_owned(),
            file: String::new(),
            problem: describe(&e),
        };
        let mut builder = ApiBuilder::from_cache(hub.cache().clone())
            .with_progress(hub.progress)
            .with_user_agent("geoglot", env!("CARGO_PKG_VERSION"));
        if let Some(endpoint) = &hub.endpoint {
            builder = builder.with_endpoint(endpoint.clone());
        }
        let repo = Repo::with_revision(entry.repo.clone(), RepoType::Model, revision.to_owned());
        let cached = hub.snapshot(&entry.repo, revision);
        Ok(Self {
            repo: builder.build().map_err(fail)?.repo(repo),
            name: entry.repo.clone(),
            revision: revision.to_owned(),
            cached,
            offline: hub.offline,
            endpoint: hub.endpoint.clone().unwrap_or_else(|| "https://huggingface.co".into()),
        })
    }

    fn file(&self, file: &str) -> Result<PathBuf, FetchError> {
        if let Some(path) = self.cached.as_ref().map(|c| c.join(file)).filter(|p| p.is_file()) {
            return Ok(path);
        }
        if self.offline {
            return Err(FetchError::Offline);
        }
        self.repo.download(file).map_err(FetchError::Api)
    }

    /// Whether the repository answered that it has no such file.
    fn is_absent(&self, error: &FetchError) -> bool {
        match error {
            FetchError::Offline => self.cached.is_some(),
            FetchError::Api(ApiError::RequestError(e)) => e.to_string().contains("404"),
            FetchError::Api(_) => false,
        }
    }

    fn error(&self, file: &str, error: FetchError) -> Error {
        let problem = match error {
            FetchError::Offline => "it is not in the cache and HF_HUB_OFFLINE forbids fetching; unset it".into(),
            FetchError::Api(e) => {
                let said = describe(&e);
                let remedy = if said.contains("401") || said.contains("403") {
                    "accept the model's licence on its page, and set HF_TOKEN"
                } else if said.contains("404") {
                    "check the names of repository and revision"
                } else {
                    "check the network, or set HF_ENDPOINT to a mirror"
                };
                format!("{} answers: {said}; {remedy}", self.endpoint)
            }
        };
        let problem = format!("{problem}, or copy the model's files into a folder and give its path");
        Error::Hub { repo: self.name.clone(), revision: self.revision.clone(), file: file.to_owned(), problem }
    }
}

/// The reason, with the cause behind it.
fn describe(error: &ApiError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
