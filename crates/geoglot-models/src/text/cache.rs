//! Embeddings kept on disk by content.

use std::fs;
use std::path::{Path, PathBuf};

use ndarray::{Array2, ArrayView1};
use sha2::{Digest, Sha256};

use super::{PromptEncoder, SpaceId, TextTower};
use crate::error::{Error, Result};
use crate::hub::hex;

/// First bytes of an entry.
const MAGIC: &[u8; 8] = b"GLTEXT01";

/// A text tower whose features are kept in a folder, one small file a text.
///
/// The key is the SHA-256 of the tower's fingerprint (weights, tokeniser, config, pooling) and the text, so that an entry
/// is never used for another model. Entries are written atomically and carry their own checksum: a damaged one is
/// computed again and replaced. A folder that cannot be written costs a warning, not the run.
pub struct CachedTower {
    inner: Box<dyn TextTower>,
    folder: PathBuf,
}

impl CachedTower {
    /// Keeps features of `inner` in `folder`, which is created when the first entry is written.
    pub fn new(inner: Box<dyn TextTower>, folder: impl Into<PathBuf>) -> Self {
        Self { inner, folder: folder.into() }
    }

    /// The file of a text's entry.
    pub fn entry(&self, text: &str) -> PathBuf {
        let mut hasher = Sha256::new();
        hasher.update(self.inner.fingerprint());
        hasher.update([0]);
        hasher.update(text);
        let key = hex(&hasher.finalize());
        self.folder.join(&key[..2]).join(format!("{key}.bin"))
    }
}

impl TextTower for CachedTower {
    fn space(&self) -> &SpaceId {
        self.inner.space()
    }

    fn fingerprint(&self) -> &str {
        self.inner.fingerprint()
    }

    fn states_width(&self) -> usize {
        self.inner.states_width()
    }

    fn states(&self, texts: &[String]) -> Result<Vec<Array2<f32>>> {
        self.inner.states(texts)
    }

    fn prompt_encoder(&self, texts: &[String], count: usize) -> Result<Option<PromptEncoder>> {
        self.inner.prompt_encoder(texts, count)
    }

    fn encode(&self, texts: &[String]) -> Result<Array2<f32>> {
        let width = self.width();
        let mut out = Array2::zeros((texts.len(), width));
        let (mut missing, mut missing_texts) = (Vec::new(), Vec::new());
        for (i, text) in texts.iter().enumerate() {
            let path = self.entry(text);
            match read(&path, width) {
                Ok(Some(values)) => out.row_mut(i).assign(&ArrayView1::from(&values)),
                Ok(None) => {
                    missing.push(i);
                    missing_texts.push(text.clone());
                }
                Err(problem) => {
                    tracing::warn!(path = %path.display(), "{problem}; the embedding is computed again");
                    missing.push(i);
                    missing_texts.push(text.clone());
                }
            }
        }
        if missing.is_empty() {
            return Ok(out);
        }
        let computed = self.inner.encode(&missing_texts)?;
        for (row, &i) in computed.rows().into_iter().zip(&missing) {
            out.row_mut(i).assign(&row);
            let path = self.entry(&texts[i]);
            if let Err(error) = write(&path, row) {
                tracing::warn!(path = %path.display(), "embedding not kept: {error}");
            }
        }
        Ok(out)
    }
}

/// Magic, width, values, SHA-256 of all that.
fn write(path: &Path, values: ArrayView1<f32>) -> Result<()> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend((values.len() as u32).to_le_bytes());
    bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    bytes.extend(Sha256::digest(&bytes));
    Ok(geoglot_core::atomic::write(path, &bytes)?)
}

/// The values of an entry, `None` when there is none.
fn read(path: &Path, width: usize) -> Result<Option<Vec<f32>>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(path, "read", e)),
    };
    let body = MAGIC.len() + 4 + 4 * width;
    let intact = bytes.len() == body + 32
        && bytes.starts_with(MAGIC)
        && bytes[8..12] == (width as u32).to_le_bytes()
        && Sha256::digest(&bytes[..body])[..] == bytes[body..];
    if !intact {
        return Err(Error::config(path, "a damaged entry of the embedding cache"));
    }
    Ok(Some(bytes[12..body].chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::HashedWords;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Counting(HashedWords, Arc<AtomicUsize>);

    impl TextTower for Counting {
        fn space(&self) -> &SpaceId {
            self.0.space()
        }
        fn fingerprint(&self) -> &str {
            self.0.fingerprint()
        }
        fn encode(&self, texts: &[String]) -> Result<Array2<f32>> {
            self.1.fetch_add(texts.len(), Ordering::Relaxed);
            self.0.encode(texts)
        }
    }

    #[test]
    fn entries_are_used_and_damage_is_repaired() {
        let folder = tempfile::tempdir().unwrap();
        let count = Arc::new(AtomicUsize::new(0));
        let tower = CachedTower::new(Box::new(Counting(HashedWords::new(), count.clone())), folder.path());
        let texts = ["water".to_owned(), "grass".to_owned()];
        let first = tower.encode(&texts).unwrap();
        assert_eq!(tower.encode(&texts).unwrap(), first);
        assert_eq!(count.load(Ordering::Relaxed), 2);

        let entry = tower.entry("grass");
        for damage in [|b: &mut Vec<u8>| b[20] ^= 1, |b: &mut Vec<u8>| b.truncate(30), |b: &mut Vec<u8>| b.clear()] {
            let mut bytes = fs::read(&entry).unwrap();
            damage(&mut bytes);
            fs::write(&entry, bytes).unwrap();
            let before = count.load(Ordering::Relaxed);
            assert_eq!(tower.encode(&texts).unwrap(), first);
            assert_eq!(count.load(Ordering::Relaxed), before + 1);
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_no_failure() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let tower = CachedTower::new(Box::new(HashedWords::new()), file.path().join("below"));
        assert_eq!(tower.encode(&["x".into()]).unwrap().dim(), (1, 384));
    }
}
