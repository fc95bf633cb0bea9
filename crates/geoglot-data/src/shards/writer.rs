//! Writes shards: whole or absent, the same bytes from the same samples, continued after a kill.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use geoglot_core::{Band, atomic};
use serde_json::json;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use super::error::{Error, Result};
use super::index::{IndexModality, IndexShard, ShardIndex};
use super::members::{Walk, key_and_suffix};
use super::modality::Modality;
use super::npy;
use super::sample::Sample;

const LOCK: &str = ".shards.lock";
/// Longest key: tar readers of other programs take no more.
const LONGEST_KEY: usize = 1024;

/// How large shards become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WriteOptions {
    /// Most samples of a shard.
    pub samples: u64,
    /// Most bytes of a shard; one sample that is larger has a shard of its own.
    pub bytes: u64,
    /// Continue what an interrupted job of the same source has written.
    pub resume: bool,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self { samples: 10_000, bytes: 1 << 30, resume: false }
    }
}

/// A file that is hashed while it is written.
struct Hashing {
    file: BufWriter<File>,
    hash: Sha256,
    bytes: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.hash.update(&bytes[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// The shard being written, under a temporary name.
struct Open {
    temporary: PathBuf,
    tar: Builder<Hashing>,
    samples: u64,
    counts: Vec<u64>,
}

/// Writes the samples of one source into a folder as `shard-000000.tar`, `shard-000001.tar`, … with `shards.json`.
///
/// A shard gets its name when it is whole, and is entered into the index then. A killed writer loses the shard it was writing; the next
/// one with `resume` continues at [`ShardWriter::position`] of the source, and the files come out as if nothing had happened.
pub struct ShardWriter {
    folder: PathBuf,
    options: WriteOptions,
    index: ShardIndex,
    open: Option<Open>,
    keys: HashSet<String>,
    /// Items of the source used up.
    position: u64,
    /// Faulty items so far, written into the index with the next shard.
    skipped: u64,
    _lock: File,
}

impl Drop for ShardWriter {
    fn drop(&mut self) {
        if let Some(open) = &self.open {
            let _ = std::fs::remove_file(&open.temporary);
        }
    }
}

impl ShardWriter {
    /// A writer into `folder`. `source` stands for what the samples are made from: a job is resumed only with the same.
    ///
    /// # Errors
    /// A folder that holds shards already and `resume` is not set, or shards of another source; another writer at work; [`Error::Io`].
    pub fn create(folder: &Path, source: &str, options: WriteOptions) -> Result<Self> {
        if options.samples == 0 || options.bytes == 0 {
            return Err(Error::Usage("a shard must hold at least one sample and one byte".into()));
        }
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create the folder", e))?;
        let lock = lock(folder)?;
        let path = ShardIndex::path(folder);
        let index = match (ShardIndex::load(folder)?, options.resume) {
            (None, _) => ShardIndex::new(source),
            (Some(_), false) => {
                return Err(Error::index(
                    folder,
                    "holds shards already; choose another folder, or resume the job that wrote them",
                ));
            }
            (Some(index), true) if index.source != source => {
                let problem = "was written from other data or with other options; choose another folder, or repeat the first command";
                return Err(Error::index(&path, problem));
            }
            (Some(index), true) => index,
        };
        for left in temporary_shards(folder)? {
            std::fs::remove_file(&left).map_err(|e| Error::io(&left, "remove", e))?;
        }
        let mut keys = HashSet::new();
        for shard in &index.shards {
            let mut walk = Walk::open(&folder.join(&shard.file))?;
            while let Some(sample) = walk.next_sample()? {
                keys.insert(sample.key);
            }
        }
        let position = index.shards.last().map_or(0, |s| s.position);
        let skipped = index.skipped;
        Ok(Self { folder: folder.into(), options, index, open: None, keys, position, skipped, _lock: lock })
    }

    /// Items of the source that need not be given again.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// True when the job was finished before.
    pub fn is_complete(&self) -> bool {
        self.index.complete
    }

    /// Passes over a faulty item of the source.
    pub fn pass_over(&mut self) {
        self.position += 1;
        self.skipped += 1;
    }

    /// Writes a sample whose channels are `bands`. Its own bands and wavelengths are replaced by theirs.
    ///
    /// # Errors
    /// [`Error::Item`] for keys that are no names, keys that were written before, bands that are not the image's; nothing is written
    /// then, and the item counts as not given. [`Error::Io`].
    pub fn write(&mut self, sample: &Sample, bands: &[Band]) -> Result<()> {
        let channels = sample.image.dim().2;
        if bands.len() != channels {
            return Err(Error::item(&sample.key, format!("has {channels} channels and {} bands", bands.len())));
        }
        let wavelengths: Vec<Option<f32>> = bands.iter().map(|b| b.wavelength_um).collect();
        let members = encode(sample, bands, &wavelengths)?;
        let parts: Vec<(String, &[u8])> = members.iter().map(|(s, b)| (s.clone(), b.as_slice())).collect();
        let modality =
            IndexModality { sample: sample.image.sample_type(), bands: bands.to_vec(), wavelengths, samples: 0 };
        self.put(&sample.key, &parts, &modality)
    }

    /// Writes the members (suffix, bytes) of a sample as they are.
    pub(super) fn put(&mut self, key: &str, members: &[(String, &[u8])], modality: &IndexModality) -> Result<()> {
        check_key(key)?;
        if self.keys.contains(key) {
            return Err(Error::item(key, "was written before; every sample needs a key of its own"));
        }
        let size: u64 = members.iter().map(|m| 512 + (m.1.len() as u64).next_multiple_of(512)).sum();
        if self
            .open
            .as_ref()
            .is_some_and(|o| o.samples >= self.options.samples || o.tar.get_ref().bytes + size > self.options.bytes)
        {
            self.close_shard()?;
        }
        let kind = self.modality(modality);
        let fail = |path: &Path, e| Error::io(path, "write", e);
        if self.open.is_none() {
            self.open = Some(self.start()?);
        }
        let open = self.open.as_mut().expect("opened above");
        for (suffix, bytes) in members {
            let mut header = Header::new_ustar();
            header.set_entry_type(EntryType::Regular);
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(0);
            // Names over 100 bytes get an extended header.
            if header.set_path(format!("{key}.{suffix}")).is_err() {
                header = Header::new_gnu();
                header.set_entry_type(EntryType::Regular);
                header.set_size(bytes.len() as u64);
                header.set_mode(0o644);
                header.set_mtime(0);
            }
            open.tar
                .append_data(&mut header, format!("{key}.{suffix}"), *bytes)
                .map_err(|e| fail(&open.temporary, e))?;
        }
        open.samples += 1;
        open.counts.resize(open.counts.len().max(kind + 1), 0);
        open.counts[kind] += 1;
        self.keys.insert(key.to_owned());
        self.position += 1;
        Ok(())
    }

    /// Ends the last shard and the index.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Usage`] when there is no sample at all.
    pub fn finish(mut self) -> Result<ShardIndex> {
        self.close_shard()?;
        if self.index.shards.is_empty() {
            return Err(Error::Usage(format!("{}: no sample was written", self.folder.display())));
        }
        self.index.complete = true;
        self.save()?;
        Ok(self.index.clone())
    }

    fn modality(&mut self, wanted: &IndexModality) -> usize {
        let same = |m: &IndexModality| m.modality() == wanted.modality() && m.bands == wanted.bands;
        self.index.modalities.iter().position(same).unwrap_or_else(|| {
            self.index.modalities.push(IndexModality { samples: 0, ..wanted.clone() });
            self.index.modalities.len() - 1
        })
    }

    fn start(&self) -> Result<Open> {
        let temporary = atomic::temporary_name(&self.shard_path());
        let file = File::create(&temporary).map_err(|e| Error::io(&temporary, "create", e))?;
        let hashing = Hashing { file: BufWriter::with_capacity(1 << 18, file), hash: Sha256::new(), bytes: 0 };
        Ok(Open { temporary, tar: Builder::new(hashing), samples: 0, counts: Vec::new() })
    }

    fn shard_path(&self) -> PathBuf {
        self.folder.join(format!("shard-{:06}.tar", self.index.shards.len()))
    }

    fn close_shard(&mut self) -> Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let path = self.shard_path();
        let end = || -> std::io::Result<(Sha256, u64)> {
            let mut hashing = open.tar.into_inner()?;
            hashing.flush()?;
            hashing.file.get_ref().sync_all()?;
            std::fs::rename(&open.temporary, &path)?;
            Ok((hashing.hash, hashing.bytes))
        };
        let (hash, bytes) = end().map_err(|e| {
            let _ = std::fs::remove_file(&open.temporary);
            Error::io(&path, "write", e)
        })?;
        for (kind, count) in open.counts.iter().enumerate() {
            self.index.modalities[kind].samples += count;
        }
        self.index.skipped = self.skipped;
        self.index.shards.push(IndexShard {
            file: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            samples: open.samples,
            modalities: open.counts,
            bytes,
            sha256: hex(&hash.finalize()),
            position: self.position,
        });
        self.save()
    }

    fn save(&mut self) -> Result<()> {
        self.index.skipped = self.skipped;
        Ok(atomic::write_json(&ShardIndex::path(&self.folder), &self.index)?)
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(LOCK);
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|e| Error::io(&path, "open", e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            Err(Error::index(folder, "another process is writing shards here; wait for it"))
        }
        Err(std::fs::TryLockError::Error(e)) => Err(Error::io(&path, "lock", e)),
    }
}

/// What killed writers left.
fn temporary_shards(folder: &Path) -> Result<Vec<PathBuf>> {
    let list = std::fs::read_dir(folder).map_err(|e| Error::io(folder, "list", e))?;
    let mut found = Vec::new();
    for entry in list {
        let path = entry.map_err(|e| Error::io(folder, "list", e))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if (name.starts_with("shard-") || name.starts_with("shards.json.")) && name.ends_with(".tmp") {
            found.push(path);
        }
    }
    Ok(found)
}

/// Keys become file names in a tar: no dots, no empty parts, no control characters.
fn check_key(key: &str) -> Result<()> {
    let parts = || key.split('/');
    let problem = if key.len() > LONGEST_KEY {
        Some(format!("has a key of {} bytes; at most {LONGEST_KEY} are accepted", key.len()))
    } else if key.contains('.') || key.contains('\\') || key.chars().any(char::is_control) || parts().any(str::is_empty)
    {
        Some(
            "has a key that is no name for members; leave out dots, backslashes, control characters and empty parts"
                .into(),
        )
    } else if key_and_suffix(&format!("{key}.text")).is_none() {
        Some("has a key that readers take for metadata; do not put it into a folder `__…__`".into())
    } else {
        None
    };
    problem.map_or(Ok(()), |problem| Err(Error::item(key, problem)))
}

/// The members of a sample in the order in which they are written.
fn encode(sample: &Sample, bands: &[Band], wavelengths: &[Option<f32>]) -> Result<Vec<(String, Vec<u8>)>> {
    let mut members = vec![("image".to_owned(), sample.image.to_npy())];
    if let Some(first) = sample.texts.first() {
        members.push(("text".into(), first.clone().into_bytes()));
    }
    members.push(("wavelength".into(), wavelength_list(wavelengths).into_bytes()));
    if let Some(place) = &sample.geoloc {
        members.push(("geoloc".into(), place.clone().into_bytes()));
    }
    if let Some(class) = sample.class {
        members.push(("cls".into(), class.to_string().into_bytes()));
    }
    let labels: Vec<String> = bands.iter().map(Band::label).collect();
    let more = json!({ "bands": labels, "captions": sample.texts, "classes": sample.classes });
    members.push(("json".into(), more.to_string().into_bytes()));
    for (name, features) in &sample.teachers {
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c)) {
            let problem = format!("has features of the teacher `{name}`; use lower-case letters, digits, - and _");
            return Err(Error::item(&sample.key, problem));
        }
        members.push((format!("teacher-{name}.npy"), npy::encode(features.view())));
    }
    Ok(members)
}

/// `[0.665, null]`; not through a JSON value, which would show every digit of the double.
fn wavelength_list(wavelengths: &[Option<f32>]) -> String {
    let words: Vec<String> = wavelengths.iter().map(|w| w.map_or("null".into(), |w| w.to_string())).collect();
    format!("[{}]", words.join(", "))
}

/// The modality of a sample with `bands`.
pub(super) fn index_modality(modality: &Modality, bands: &[Band]) -> IndexModality {
    IndexModality {
        sample: modality.sample,
        bands: bands.to_vec(),
        wavelengths: modality.wavelengths.clone(),
        samples: 0,
    }
}
