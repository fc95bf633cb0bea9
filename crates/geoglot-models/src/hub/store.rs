//! Where models lie: geoglot's own folder, hashes, and the record of what was fetched.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// geoglot's own folder: `models/<name>`, `locks/<name>.json`, `embeddings/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    root: PathBuf,
}

/// What a pull got: the commit, and the hash of every file. Written at the first pull, checked by later ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Repository or wheel.
    pub source: String,
    /// Commit or version.
    pub revision: String,
    /// File → SHA-256.
    pub sha256: BTreeMap<String, String>,
}

impl Store {
    /// `$GEOGLOT_HOME`, else `$XDG_CACHE_HOME/geoglot`, else `~/.cache/geoglot`.
    ///
    /// # Errors
    /// [`Error::Input`] when none of the three is known.
    pub fn from_env() -> Result<Self> {
        let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let root = set("GEOGLOT_HOME")
            .or_else(|| set("XDG_CACHE_HOME").map(|p| p.join("geoglot")))
            .or_else(|| std::env::home_dir().map(|p| p.join(".cache/geoglot")));
        root.map(Self::at).ok_or_else(|| Error::Input("no home folder: set GEOGLOT_HOME to a folder for models".into()))
    }

    /// A store in `root`; nothing is created yet.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of a model.
    pub fn model(&self, name: &str) -> PathBuf {
        self.root.join("models").join(name)
    }

    /// The folder for cached embeddings.
    pub fn embeddings(&self) -> PathBuf {
        self.root.join("embeddings")
    }

    fn lock_path(&self, name: &str) -> PathBuf {
        self.root.join("locks").join(format!("{name}.json"))
    }

    /// What an earlier pull of `name` recorded.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Config`] for a damaged record.
    pub fn lock(&self, name: &str) -> Result<Option<Lock>> {
        let path = self.lock_path(name);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| Error::config(&path, e.to_string())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io(&path, "read", e)),
        }
    }

    /// Records what a pull got.
    ///
    /// # Errors
    /// [`Error::Core`] when it cannot be written.
    pub fn write_lock(&self, name: &str, lock: &Lock) -> Result<()> {
        Ok(geoglot_core::atomic::write_json(&self.lock_path(name), lock)?)
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, b| {
        let _ = write!(text, "{b:02x}");
        text
    })
}

/// SHA-256 of a file, in hex.
///
/// # Errors
/// [`Error::Io`].
pub fn sha256_of_file(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0u8; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(|e| Error::io(path, "read", e))? {
            0 => return Ok(hex(&hasher.finalize())),
            n => hasher.update(&buffer[..n]),
        }
    }
}

/// Checks a file against its expected hash and returns the hash.
///
/// # Errors
/// [`Error::Hash`], [`Error::Io`].
pub fn verify(path: &Path, expected: Option<&String>) -> Result<String> {
    let found = sha256_of_file(path)?;
    match expected {
        Some(expected) if *expected != found => {
            Err(Error::Hash { path: path.to_owned(), expected: expected.clone(), found })
        }
        _ => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc");
        fs::write(&path, "abc").unwrap();
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".to_owned();
        assert_eq!(verify(&path, Some(&known)).unwrap(), known);
        fs::write(&path, "abd").unwrap();
        let error = verify(&path, Some(&known)).unwrap_err().to_string();
        assert!(error.contains(&known) && error.contains("abc"), "{error}");
    }

    #[test]
    fn locks_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path());
        assert_eq!(store.lock("m").unwrap(), None);
        let lock =
            Lock { source: "a/b".into(), revision: "0".repeat(40), sha256: BTreeMap::from([("f".into(), "1".into())]) };
        store.write_lock("m", &lock).unwrap();
        assert_eq!(store.lock("m").unwrap(), Some(lock));
        fs::write(store.lock_path("m"), "{").unwrap();
        assert!(store.lock("m").is_err());
    }
}
