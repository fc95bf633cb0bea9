//! Reads everything a folder holds and says what is wrong.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use sha2::{Digest, Sha256};

use super::error::{Error, Result};
use super::folder::{ShardFolder, read_sample};
use super::members::Walk;
use super::modality::Modality;
use super::sample::ReadOptions;
use super::writer::hex;

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct VerifyReport {
    /// Tar files read.
    pub shards: usize,
    /// Whole samples.
    pub samples: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Number of samples of each modality.
    pub modalities: Vec<(Modality, u64)>,
    /// What is wrong, one sentence each.
    pub problems: Vec<String>,
}

impl VerifyReport {
    /// True when nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.problems.is_empty()
    }
}

struct OneShard {
    keys: Vec<String>,
    modalities: Vec<(Modality, u64)>,
    bytes: u64,
    problems: Vec<String>,
}

/// Decodes every sample of `folder` and compares with its index.
///
/// # Errors
/// Only what keeps it from looking: [`Error::Io`].
pub fn verify(folder: &ShardFolder, options: &ReadOptions) -> Result<VerifyReport> {
    let found: Vec<Result<OneShard>> = folder.shards().par_iter().map(|shard| one(shard, options)).collect();
    let mut report = VerifyReport { shards: folder.shards().len(), ..VerifyReport::default() };
    let mut owners: HashMap<String, usize> = HashMap::new();
    for (number, one) in found.into_iter().enumerate() {
        let one = one?;
        let shard = &folder.shards()[number];
        report.samples += one.modalities.iter().map(|m| m.1).sum::<u64>();
        report.bytes += one.bytes;
        report.problems.extend(one.problems);
        for (modality, count) in one.modalities {
            add(&mut report.modalities, modality, count);
        }
        if let Some(entry) = folder.index().and_then(|i| i.shards.get(number)) {
            if entry.samples != one.keys.len() as u64 {
                report.problems.push(format!(
                    "{}: holds {} samples, shards.json says {}",
                    shard.display(),
                    one.keys.len(),
                    entry.samples
                ));
            }
            let hash = sha256(shard)?;
            if entry.sha256 != hash {
                report.problems.push(format!(
                    "{}: SHA-256 is {hash}, shards.json says {}; copy it again",
                    shard.display(),
                    entry.sha256
                ));
            }
        }
        for key in one.keys {
            if let Some(first) = owners.insert(key.clone(), number)
                && first != number
            {
                let first = folder.shards()[first].display();
                report
                    .problems
                    .push(format!("{}, sample `{key}`: {first} has a sample of this key, too", shard.display()));
            }
        }
    }
    if let Some(index) = folder.index() {
        for known in &index.modalities {
            let found = report.modalities.iter().find(|m| m.0 == known.modality()).map_or(0, |m| m.1);
            if found != known.samples {
                let problem =
                    format!("shards.json: says {} samples of {}, found {found}", known.samples, known.modality());
                report.problems.push(problem);
            }
        }
        if !index.complete {
            report.problems.push("shards.json: the job that writes these shards did not end; resume it".into());
        }
    }
    Ok(report)
}

fn add(all: &mut Vec<(Modality, u64)>, modality: Modality, count: u64) {
    match all.iter_mut().find(|m| m.0 == modality) {
        Some(known) => known.1 += count,
        None => all.push((modality, count)),
    }
}

fn one(shard: &Path, options: &ReadOptions) -> Result<OneShard> {
    let mut file = File::open(shard).map_err(|e| Error::io(shard, "open", e))?;
    let bytes = file.metadata().map_err(|e| Error::io(shard, "read", e))?.len();
    let mut walk = Walk::open(shard)?;
    let mut found = OneShard { keys: Vec::new(), modalities: Vec::new(), bytes, problems: Vec::new() };
    let mut scratch = Vec::new();
    loop {
        let raw = match walk.next_sample() {
            Ok(Some(raw)) => raw,
            Ok(None) => return Ok(found),
            Err(e) if e.is_fault() => {
                found.problems.push(e.to_string());
                return Ok(found);
            }
            Err(e) => return Err(e),
        };
        match read_sample(&mut file, shard, &raw, options, &mut scratch) {
            Ok(sample) => add(&mut found.modalities, sample.modality(), 1),
            Err(e) if e.is_fault() => found.problems.push(e.to_string()),
            Err(e) => return Err(e),
        }
        found.keys.push(raw.key);
    }
}

fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
    let (mut hash, mut block) = (Sha256::new(), vec![0; 1 << 18]);
    loop {
        match file.read(&mut block).map_err(|e| Error::io(path, "read", e))? {
            0 => return Ok(hex(&hash.finalize())),
            n => hash.update(&block[..n]),
        }
    }
}
