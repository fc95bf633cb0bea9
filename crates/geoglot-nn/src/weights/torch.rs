//! PyTorch zip checkpoints (`torch.save` since version 1.6): a pickle describing tensors, and one stored member per storage.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use zip::{CompressionMethod, ZipArchive};

use super::WeightsError;
use super::checkpoint::{Entry, TensorInfo, format};
use super::pickle::{self, Node, Pickle};

/// Keys under which training scripts keep the state dict, in order of preference.
const STATE_DICTS: &[&str] =
    &["state_dict", "model_state_dict", "model", "module", "net", "network", "teacher", "student"];

/// A stored member of the zip: offset and length in the file.
struct Member {
    start: u64,
    len: u64,
    stored: bool,
}

/// Parses a whole PyTorch zip held in memory and returns its tensor names and shapes.
///
/// The entry point for fuzzing the reader: it never panics and never executes anything.
///
/// # Errors
/// The same descriptions as [`super::Checkpoint::open`].
pub fn parse_zip(bytes: &[u8]) -> Result<Vec<(String, TensorInfo)>, WeightsError> {
    let table = table_of(Path::new("<memory>"), &mut std::io::Cursor::new(bytes))?;
    Ok(table.into_iter().map(|(name, entry)| (name, entry.info)).collect())
}

pub(crate) fn read_table(path: &Path, file: &mut File) -> Result<BTreeMap<String, Entry>, WeightsError> {
    table_of(path, file)
}

fn table_of<R: Read + Seek>(path: &Path, reader: &mut R) -> Result<BTreeMap<String, Entry>, WeightsError> {
    let bad = |problem: String| format(path, "PyTorch", problem);
    let mut archive = ZipArchive::new(reader)
        .map_err(|e| bad(format!("its zip directory cannot be read ({e}); is it truncated?")))?;
    let mut members: HashMap<String, Member> = HashMap::new();
    for i in 0..archive.len() {
        let member = archive.by_index_raw(i).map_err(|e| bad(format!("zip member {i}: {e}")))?;
        let stored = member.compression() == CompressionMethod::Stored && member.compressed_size() == member.size();
        members.insert(member.name().to_owned(), Member { start: member.data_start(), len: member.size(), stored });
    }
    // `<folder>/data.pkl`, where the folder is the name the file was saved under.
    let Some(prefix) = members.keys().filter_map(|n| n.strip_suffix("data.pkl")).min_by_key(|p| p.len()) else {
        return Err(bad("a zip file without data.pkl: not written by torch.save".into()));
    };
    let prefix = prefix.to_owned();
    if members.contains_key(&format!("{prefix}constants.pkl")) {
        return Err(bad("a TorchScript program, not a checkpoint; use the state dict or a safetensors file".into()));
    }
    let pickle_member = &members[&format!("{prefix}data.pkl")];
    if !pickle_member.stored || pickle_member.len > pickle::MAX_BYTES as u64 {
        return Err(bad(format!("data.pkl is compressed or too long ({} bytes)", pickle_member.len)));
    }
    let mut text = Vec::new();
    archive
        .by_name(&format!("{prefix}data.pkl"))
        .map_err(|e| bad(format!("data.pkl: {e}")))?
        .take(pickle::MAX_BYTES as u64)
        .read_to_end(&mut text)
        .map_err(|e| bad(format!("data.pkl: {e}")))?;
    if let Ok(order) = archive.by_name(&format!("{prefix}byteorder")) {
        let mut name = String::new();
        let _ = order.take(16).read_to_string(&mut name);
        if name.trim() == "big" {
            return Err(bad("written on a big-endian machine; save it again on a little-endian one".into()));
        }
    }
    let parsed = pickle::parse(&text).map_err(|source| WeightsError::Pickle { path: path.to_owned(), source })?;
    let dict = state_dict(&parsed)
        .ok_or_else(|| bad(format!("no dict of tensors at the top or under one of {}", STATE_DICTS.join(", "))))?;
    let mut table = BTreeMap::new();
    for (name, tensor) in parsed.tensors(dict) {
        let storage = &tensor.storage;
        let member = members
            .get(&format!("{prefix}data/{}", storage.key))
            .ok_or_else(|| bad(format!("tensor `{name}` lies in storage {}, which is missing", storage.key)))?;
        let size = (storage.dtype.bits() as u64 / 8).checked_mul(storage.elements);
        if !member.stored || size != Some(member.len) {
            return Err(bad(format!(
                "storage {} of tensor `{name}` holds {} bytes, expected {} elements of {:?} uncompressed",
                storage.key, member.len, storage.elements, storage.dtype
            )));
        }
        let view = (tensor.offset != 0 || !tensor.is_contiguous() || tensor.elements() as u64 != storage.elements)
            .then(|| (tensor.offset, tensor.strides.clone()));
        let info = TensorInfo { dtype: storage.dtype, shape: tensor.shape.clone() };
        table.insert(name.to_owned(), Entry { info, file: 0, offset: member.start, len: member.len, view });
    }
    Ok(table)
}

/// The dict that holds tensors: the root itself, or the first known key under it.
fn state_dict(pickle: &Pickle) -> Option<&Node> {
    let root = pickle.root();
    let holds_tensors = |node: &&Node| pickle.tensors(node).next().is_some();
    Some(root)
        .filter(holds_tensors)
        .or_else(|| STATE_DICTS.iter().filter_map(|key| pickle.get(root, key)).find(holds_tensors))
}

#[cfg(test)]
mod tests;
