//! A folder of shards opened for reading: its tar files, its index, and a catalogue for access by number.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use geoglot_core::Legend;
use geoglot_raster::formats::npy::parse_npy_header;
use ndarray::ArrayD;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::error::{Error, OnFault, Result};
use super::index::ShardIndex;
use super::members::{RawSample, Walk};
use super::modality::Modality;
use super::npy::{self, Npy};
use super::sample::{ReadOptions, Role, Sample, decode, decode_image, image_member, npy_shape, role};
use super::text;
use crate::datasets::legend_of;

/// The tar files of a folder.
#[derive(Debug, Clone)]
pub struct ShardFolder {
    path: PathBuf,
    shards: Vec<PathBuf>,
    index: Option<ShardIndex>,
}

impl ShardFolder {
    /// Whether `path` is a tar file, or a folder that holds `shards.json` or tar files.
    pub fn recognises(path: &Path) -> bool {
        path.is_file() && is_tar(path)
            || path.is_dir() && (ShardIndex::path(path).is_file() || !tars(path).unwrap_or_default().is_empty())
    }

    /// Opens a folder, or a single tar file. With `shards.json` the folder holds what it says; else every `.tar` in it, by name.
    ///
    /// # Errors
    /// [`Error::Index`] for folders without shards, shards that are missing or not as long as the index says; [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self> {
        if path.is_file() {
            return Ok(Self { path: path.into(), shards: vec![path.into()], index: None });
        }
        let index = ShardIndex::load(path)?;
        let shards = match &index {
            None => tars(path)?,
            Some(index) => {
                let check = |shard: &super::index::IndexShard| -> Result<PathBuf> {
                    let file = path.join(&shard.file);
                    let bytes = match std::fs::metadata(&file) {
                        Ok(data) => data.len(),
                        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                            return Err(Error::shard(
                                &file,
                                "is missing; shards.json names it. Copy it here, or write the shards again",
                            ));
                        }
                        Err(e) => return Err(Error::io(&file, "read", e)),
                    };
                    if bytes != shard.bytes {
                        let problem = format!("has {bytes} bytes, shards.json says {}; copy it again", shard.bytes);
                        return Err(Error::shard(&file, problem));
                    }
                    Ok(file)
                };
                index.shards.iter().map(check).collect::<Result<_>>()?
            }
        };
        if shards.is_empty() {
            return Err(Error::index(path, "holds no shards (.tar files)"));
        }
        Ok(Self { path: path.into(), shards, index })
    }

    /// The folder, or the one tar file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tar files, in order.
    pub fn shards(&self) -> &[PathBuf] {
        &self.shards
    }

    /// The index, where there is one.
    pub fn index(&self) -> Option<&ShardIndex> {
        self.index.as_ref()
    }

    /// Full descriptions of the bands of `modality`: those of the index, else as [`Modality::bind`] finds them. A sensor told by the
    /// user comes first.
    ///
    /// # Errors
    /// As [`Modality::bind`].
    pub fn bands(
        &self,
        modality: &Modality,
        registry: &geoglot_core::Registry,
        sensor: Option<&str>,
        layout: Option<&str>,
    ) -> Result<Vec<geoglot_core::Band>> {
        let known = self.index.iter().flat_map(|i| &i.modalities).find(|m| m.modality() == *modality);
        match known {
            Some(known) if sensor.is_none() => Ok(known.bands.clone()),
            _ => modality.bind(&self.path, registry, sensor, layout),
        }
    }

    /// Reads the headers and small members of every sample, so that samples can be read by number. Pixels are not read.
    ///
    /// # Errors
    /// Faulty samples and shards, unless they are skipped; [`Error::Io`].
    pub fn catalogue(&self, options: &ReadOptions, on_fault: OnFault) -> Result<Catalogue> {
        let scanned: Vec<Result<Vec<Result<Scanned>>>> =
            self.shards.clone().into_par_iter().map(|shard| scan(&shard, options)).collect();
        let mut catalogue = Catalogue {
            folder: self.clone(),
            options: options.clone(),
            entries: Vec::new(),
            modalities: Vec::new(),
            faults: 0,
        };
        for (shard, samples) in scanned.into_iter().enumerate() {
            for sample in samples? {
                match sample {
                    Ok(scanned) => catalogue.add(shard, scanned),
                    Err(e) if e.is_fault() && on_fault == OnFault::Skip => {
                        tracing::warn!("left out: {e}");
                        catalogue.faults += 1;
                    }
                    Err(e) => return Err(e),
                }
            }
        }
        if catalogue.entries.is_empty() {
            return Err(Error::index(
                &self.path,
                format!("holds no usable sample; {} were left out as faulty", catalogue.faults),
            ));
        }
        Ok(catalogue)
    }
}

fn is_tar(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("tar"))
}

fn tars(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, "list", e))? {
        let path = entry.map_err(|e| Error::io(folder, "list", e))?.path();
        if path.is_file() && is_tar(&path) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// What a catalogue knows of a sample.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Position of its shard in [`ShardFolder::shards`].
    pub shard: usize,
    /// Its key.
    pub key: String,
    /// Position of its modality in [`Catalogue::modalities`].
    pub modality: usize,
    /// Captions.
    pub texts: Vec<String>,
    /// Class names.
    pub classes: Vec<String>,
    raw: RawSample,
}

struct Scanned {
    raw: RawSample,
    modality: Modality,
    texts: Vec<String>,
    classes: Vec<String>,
}

/// The samples of a folder by number.
#[derive(Debug, Clone)]
pub struct Catalogue {
    folder: ShardFolder,
    options: ReadOptions,
    entries: Vec<Entry>,
    modalities: Vec<Modality>,
    faults: usize,
}

impl Catalogue {
    fn add(&mut self, shard: usize, scanned: Scanned) {
        let modality = self.modalities.iter().position(|m| *m == scanned.modality).unwrap_or_else(|| {
            self.modalities.push(scanned.modality.clone());
            self.modalities.len() - 1
        });
        let Scanned { raw, texts, classes, .. } = scanned;
        self.entries.push(Entry { shard, key: raw.key.clone(), modality, texts, classes, raw });
    }

    /// Where the samples lie.
    pub fn folder(&self) -> &ShardFolder {
        &self.folder
    }

    /// The samples, in the order of the shards.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The kinds of images, in the order of their first sample.
    pub fn modalities(&self) -> &[Modality] {
        &self.modalities
    }

    /// Samples and shards that were left out.
    pub fn faults(&self) -> usize {
        self.faults
    }

    /// The different class names, sorted, with words for prompts.
    ///
    /// # Errors
    /// Without classes.
    pub fn legend(&self) -> Result<Legend> {
        let names: BTreeSet<&String> = self.entries.iter().flat_map(|e| &e.classes).collect();
        Ok(legend_of(&names.into_iter().cloned().collect::<Vec<_>>())?)
    }

    /// Reads sample `i`.
    ///
    /// # Errors
    /// Samples that cannot be decoded or are no longer what they were; [`Error::Usage`] for a number outside.
    pub fn read(&self, i: usize) -> Result<Sample> {
        let entry = self
            .entries
            .get(i)
            .ok_or_else(|| Error::Usage(format!("sample {i} was asked for, there are {}", self.entries.len())))?;
        let shard = &self.folder.shards[entry.shard];
        let mut file = File::open(shard).map_err(|e| Error::io(shard, "open", e))?;
        let sample = read_sample(&mut file, shard, &entry.raw, &self.options, &mut Vec::new())?;
        if sample.modality() != self.modalities[entry.modality] {
            return Err(Error::sample(
                shard,
                &entry.key,
                "is not what it was when the shards were opened; write them to a new folder, not over the old",
            ));
        }
        Ok(sample)
    }
}

impl Catalogue {
    /// Features of sample `i` by the teacher `name`, and nothing else of it; `None` where it has none.
    ///
    /// # Errors
    /// As [`Catalogue::read`]; features that are no npy array.
    pub fn teacher(&self, i: usize, name: &str) -> Result<Option<ArrayD<f32>>> {
        let Some(entry) = self.entries.get(i) else {
            return Err(Error::Usage(format!("sample {i} was asked for, there are {}", self.entries.len())));
        };
        let shard = &self.folder.shards[entry.shard];
        checked_start(shard, &entry.raw, &self.options)?;
        let wanted = |m: &&super::members::Member| role(&m.suffix) == Role::Teacher(name);
        let Some(member) = entry.raw.members.iter().find(wanted) else { return Ok(None) };
        let io = |e: std::io::Error| Error::io(shard, "read", e);
        let mut file = File::open(shard).map_err(io)?;
        file.seek(SeekFrom::Start(member.offset)).map_err(io)?;
        let mut bytes = vec![0; member.size as usize];
        file.read_exact(&mut bytes).map_err(io)?;
        let parsed = Npy::parse(&bytes).and_then(|npy| npy.f32());
        parsed.map(Some).map_err(|e| Error::sample(shard, &entry.key, format!("`.{}` {e}", member.suffix)))
    }
}

/// Reads the bytes of a sample in one go and decodes it. `scratch` keeps its room from sample to sample.
pub(super) fn read_sample<R: Read + Seek>(
    file: &mut R,
    shard: &Path,
    raw: &RawSample,
    options: &ReadOptions,
    scratch: &mut Vec<u8>,
) -> Result<Sample> {
    decode(shard, &raw.key, &read_members(file, shard, raw, options, scratch)?, options)
}

/// The members of a sample with their bytes, which lie in `scratch`.
pub(super) fn read_members<'a, R: Read + Seek>(
    file: &mut R,
    shard: &Path,
    raw: &'a RawSample,
    options: &ReadOptions,
    scratch: &'a mut Vec<u8>,
) -> Result<Vec<(&'a str, &'a [u8])>> {
    let start = checked_start(shard, raw, options)?;
    let end = raw.members.last().map_or(0, |m| m.offset + m.size);
    let length = (end - start) as usize;
    if scratch.len() < length {
        scratch.resize(length, 0);
    }
    let io = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            Error::sample(shard, &raw.key, "is cut off: the shard became shorter while it was read")
        }
        _ => Error::io(shard, "read", e),
    };
    file.seek(SeekFrom::Start(start)).map_err(io)?;
    file.read_exact(&mut scratch[..length]).map_err(io)?;
    let scratch: &'a [u8] = scratch;
    let bytes = |m: &super::members::Member| {
        let at = (m.offset - start) as usize;
        &scratch[at..at + m.size as usize]
    };
    Ok(raw.members.iter().map(|m| (m.suffix.as_str(), bytes(m))).collect())
}

/// Where the sample begins, when it can be read.
fn checked_start(shard: &Path, raw: &RawSample, options: &ReadOptions) -> Result<u64> {
    if let Some(problem) = &raw.problem {
        return Err(Error::sample(shard, &raw.key, problem));
    }
    let start = raw.members.first().map_or(0, |m| m.offset);
    let length = raw.members.last().map_or(0, |m| m.offset + m.size).saturating_sub(start);
    if length > options.most_bytes {
        return Err(Error::sample(
            shard,
            &raw.key,
            format!("takes {length} bytes; at most {} are read", options.most_bytes),
        ));
    }
    Ok(start)
}

fn scan(shard: &Path, options: &ReadOptions) -> Result<Vec<Result<Scanned>>> {
    let mut file = File::open(shard).map_err(|e| Error::io(shard, "open", e))?;
    let mut walk = Walk::open(shard)?;
    let mut all = Vec::new();
    loop {
        match walk.next_sample() {
            Ok(Some(raw)) => all.push(scan_one(&mut file, shard, raw, options)),
            Ok(None) => return Ok(all),
            Err(e @ Error::Io { .. }) => return Err(e),
            Err(e) => {
                all.push(Err(e));
                return Ok(all);
            }
        }
    }
}

fn scan_one(file: &mut File, shard: &Path, raw: RawSample, options: &ReadOptions) -> Result<Scanned> {
    checked_start(shard, &raw, options)?;
    let suffixes: Vec<&str> = raw.members.iter().map(|m| m.suffix.as_str()).collect();
    let wrong = |problem: String| Error::sample(shard, &raw.key, problem);
    let at = image_member(&suffixes, options).map_err(wrong)?;
    let mut bytes: Vec<(&str, Vec<u8>)> = Vec::new();
    for (k, member) in raw.members.iter().enumerate() {
        let wanted = match role(&member.suffix) {
            _ if k == at => member.size.min(npy::HEAD),
            Role::Image | Role::Teacher(_) | Role::Other => continue,
            _ => member.size,
        };
        let mut held = vec![0; wanted as usize];
        file.seek(SeekFrom::Start(member.offset))
            .and_then(|_| file.read_exact(&mut held))
            .map_err(|e| Error::io(shard, "read", e))?;
        bytes.push((&member.suffix, held));
    }
    let members: Vec<(&str, &[u8])> = bytes.iter().map(|(s, b)| (*s, b.as_slice())).collect();
    let said = text::read(&members, options).map_err(wrong)?;
    let head = bytes.iter().find(|(s, _)| *s == suffixes[at]).map(|(_, b)| b.as_slice()).unwrap_or_default();
    let named = |e: String| wrong(format!("`.{}` {e}", suffixes[at]));
    let (channels, sample, own) = if head.starts_with(b"\x93NUMPY") {
        let header = parse_npy_header(head).map_err(named)?;
        npy::check_size(&header, raw.members[at].size).map_err(named)?;
        let ([_, _, channels], sample) = npy_shape(&header, options).map_err(named)?;
        (channels, sample, Vec::new())
    } else {
        // Pictures say how many channels they have in headers of any length: they are decoded.
        let member = &raw.members[at];
        let mut held = vec![0; member.size as usize];
        file.seek(SeekFrom::Start(member.offset))
            .and_then(|_| file.read_exact(&mut held))
            .map_err(|e| Error::io(shard, "read", e))?;
        let decoded =
            decode_image(&shard.join(format!("{}.{}", raw.key, member.suffix)), &held, options).map_err(named)?;
        (decoded.image.dim().2, decoded.image.sample_type(), decoded.bands)
    };
    let (wavelengths, names) = text::bands(said.wavelengths, said.bands, &own, channels).map_err(wrong)?;
    let modality = Modality::new(sample, channels, &wavelengths, &names);
    Ok(Scanned { modality, texts: said.texts, classes: said.classes, raw })
}
