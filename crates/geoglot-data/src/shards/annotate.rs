//! Features of frozen teachers, computed once and kept in the shards.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use ndarray::ArrayD;

use super::error::{Error, Result};
use super::folder::{ShardFolder, read_members};
use super::index::ShardIndex;
use super::members::Walk;
use super::npy;
use super::sample::{ReadOptions, Sample, decode};
use super::writer::{ShardWriter, WriteOptions, hex, index_modality};

/// Copies the shards of `folder` into the folder `out` with features added to every sample as `<key>.teacher-NAME.npy`; all other members
/// are copied byte by byte. `features` is given up to `batch` samples at once and returns a map from teacher to array for each.
/// `job` stands for what the features depend on (teacher, preprocessing): an interrupted job resumes only with the same.
///
/// # Errors
/// Faulty samples, features for another number of samples or under unfit names; what `features` and the writer give.
pub fn annotate<E: From<Error>>(
    folder: &ShardFolder,
    out: &Path,
    job: &str,
    batch: usize,
    options: WriteOptions,
    mut features: impl FnMut(&[Sample]) -> Result<Vec<BTreeMap<String, ArrayD<f32>>>, E>,
) -> Result<ShardIndex, E> {
    let read = ReadOptions { need_text: false, ..ReadOptions::default() };
    let names: Vec<String> = folder.shards().iter().map(|s| s.display().to_string()).collect();
    let known = folder.index().map(|i| i.shards.iter().map(|s| s.sha256.as_str()).collect::<Vec<_>>());
    let source = sha2_of(&format!("{job} {known:?} {names:?}"));
    let mut writer = ShardWriter::create(out, &source, options)?;
    let (mut number, done) = (0, writer.position());
    let mut waiting: Vec<Waiting> = Vec::new();
    for shard in folder.shards() {
        let mut file = File::open(shard).map_err(|e| Error::io(shard, "open", e))?;
        let (mut walk, mut scratch) = (Walk::open(shard)?, Vec::new());
        while let Some(raw) = walk.next_sample()? {
            number += 1;
            if number <= done {
                continue;
            }
            let members = read_members(&mut file, shard, &raw, &read, &mut scratch)?;
            let sample = decode(shard, &raw.key, &members, &read)?;
            waiting.push((sample, members.iter().map(|(s, b)| ((*s).to_owned(), b.to_vec())).collect()));
            if waiting.len() == batch.max(1) {
                flush(&mut writer, folder, &mut waiting, &mut features)?;
            }
        }
    }
    flush(&mut writer, folder, &mut waiting, &mut features)?;
    Ok(writer.finish()?)
}

/// A sample and its members as they are.
type Waiting = (Sample, Vec<(String, Vec<u8>)>);

fn flush<E: From<Error>>(
    writer: &mut ShardWriter,
    folder: &ShardFolder,
    waiting: &mut Vec<Waiting>,
    features: &mut impl FnMut(&[Sample]) -> Result<Vec<BTreeMap<String, ArrayD<f32>>>, E>,
) -> Result<(), E> {
    if waiting.is_empty() {
        return Ok(());
    }
    let (samples, members): (Vec<Sample>, Vec<_>) = std::mem::take(waiting).into_iter().unzip();
    let found = features(&samples)?;
    if found.len() != samples.len() {
        return Err(Error::Usage(format!("features of {} samples for {}", found.len(), samples.len())).into());
    }
    for ((sample, members), found) in samples.iter().zip(members).zip(found) {
        let named = |(name, array): (&String, &ArrayD<f32>)| (format!("teacher-{name}.npy"), npy::encode(array.view()));
        let new: Vec<(String, Vec<u8>)> = found.iter().map(named).collect();
        let kept = members.iter().filter(|m| new.iter().all(|n| n.0 != m.0));
        let all: Vec<(String, &[u8])> = kept.chain(&new).map(|(s, b)| (s.clone(), b.as_slice())).collect();
        let modality = sample.modality();
        let bands = folder.bands(&modality, geoglot_core::Registry::builtin(), None, None)?;
        writer.put(&sample.key, &all, &index_modality(&modality, &bands))?;
    }
    Ok(())
}

fn sha2_of(text: &str) -> String {
    use sha2::Digest;
    hex(&sha2::Sha256::digest(text.as_bytes()))
}
