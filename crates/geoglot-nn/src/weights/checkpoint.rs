//! One view on the tensors of a weight file, whatever its kind.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use geoglot_core::small_file;

use super::error::some_of;
use super::{DType, WeightsError, safetensors, torch};

/// What is known of a stored tensor without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Element type in the file.
    pub dtype: DType,
    /// Shape in the file's layout.
    pub shape: Vec<usize>,
}

/// Where a tensor's bytes lie.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub info: TensorInfo,
    /// Index into [`Checkpoint::files`].
    pub file: usize,
    /// First byte of the storage in the file.
    pub offset: u64,
    /// Length of the storage in bytes.
    pub len: u64,
    /// For tensors that are views: first element and strides (elements) inside the storage.
    pub view: Option<(usize, Vec<usize>)>,
}

/// The named tensors of a weight file; values are read one by one, on demand.
///
/// Recognised by content: safetensors; `*.index.json` of sharded safetensors; PyTorch zip checkpoints (`.pt`, `.pth`, `.bin`).
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    files: Vec<Mutex<File>>,
    entries: BTreeMap<String, Entry>,
}

impl Checkpoint {
    /// Opens a weight file and reads its table of tensors.
    ///
    /// # Errors
    /// [`WeightsError::Io`], [`WeightsError::Format`] for a file of another kind or a damaged one,
    /// [`WeightsError::Pickle`] for a PyTorch file whose pickle asks for anything but tensors and plain values.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, WeightsError> {
        let path = path.as_ref();
        if path.to_string_lossy().ends_with(".index.json") {
            return Self::open_shards(path);
        }
        let mut file = open_file(path)?;
        let mut start = [0u8; 8];
        let got = read_up_to(&mut file, &mut start).map_err(|e| io(path, "read", e))?;
        file.rewind().map_err(|e| io(path, "read", e))?;
        let entries = if start.starts_with(b"PK\x03\x04") {
            torch::read_table(path, &mut file)?
        } else if start[0] == 0x80 && got == 8 && start[1] < 6 && start[7] != 0 {
            // A pickle. The length of a safetensors header may begin with the same bytes, but never fills its eighth.
            return Err(format(path, "PyTorch", "the file is in PyTorch's format from before version 1.6; load it there and save it again with torch.save or as safetensors".into()));
        } else {
            safetensors::read_table(path, &mut file, 0)?
        };
        Ok(Self { path: path.to_owned(), files: vec![Mutex::new(file)], entries })
    }

    fn open_shards(path: &Path) -> Result<Self, WeightsError> {
        let bad = |problem: String| format(path, "safetensors index", problem);
        let text = small_file::read(path, small_file::LIST).map_err(|e| bad(e.problem()))?;
        let index: serde_json::Value = serde_json::from_slice(&text).map_err(|e| bad(e.to_string()))?;
        let map =
            index.get("weight_map").and_then(|m| m.as_object()).ok_or_else(|| bad("no `weight_map` object".into()))?;
        let mut shards: Vec<String> = Vec::new();
        for (name, file) in map {
            let file = file.as_str().ok_or_else(|| bad(format!("`{name}` has no file name")))?;
            // A shard is a neighbour of its index, never a path elsewhere.
            if file.contains(['/', '\\']) || file == ".." {
                return Err(bad(format!("shard name `{file}` leaves the folder")));
            }
            if !shards.iter().any(|s| s == file) {
                shards.push(file.to_owned());
            }
        }
        let (mut files, mut entries) = (Vec::new(), BTreeMap::new());
        for (i, shard) in shards.iter().enumerate() {
            let shard = path.with_file_name(shard);
            let mut file = open_file(&shard)?;
            entries.extend(safetensors::read_table(&shard, &mut file, i)?);
            files.push(Mutex::new(file));
        }
        Ok(Self { path: path.to_owned(), files, entries })
    }

    /// The file this was opened from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tensor names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Type and shape of a tensor.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.entries.get(name).map(|e| &e.info)
    }

    /// Values of a tensor in row-major order, as f32.
    ///
    /// # Errors
    /// [`WeightsError::NoTensor`], [`WeightsError::DType`] for integers, [`WeightsError::Io`].
    pub fn read_f32(&self, name: &str) -> Result<Vec<f32>, WeightsError> {
        let (entry, bytes) = self.storage(name)?;
        let dtype = entry.info.dtype;
        let storage = dtype.to_f32(&bytes).ok_or_else(|| WeightsError::DType {
            path: self.path.clone(),
            name: name.to_owned(),
            found: format!("{dtype:?}"),
        })?;
        Ok(match &entry.view {
            None => storage,
            Some((first, strides)) => gather(&storage, *first, &entry.info.shape, strides),
        })
    }

    /// A tensor's bytes as the file has them, row-major and little-endian; `None` for a view into a larger storage.
    ///
    /// # Errors
    /// [`WeightsError::NoTensor`], [`WeightsError::Io`].
    pub fn read_bytes(&self, name: &str) -> Result<Option<Vec<u8>>, WeightsError> {
        let (entry, bytes) = self.storage(name)?;
        Ok(entry.view.is_none().then_some(bytes))
    }

    /// What is known of a tensor and the bytes of its storage.
    fn storage(&self, name: &str) -> Result<(&Entry, Vec<u8>), WeightsError> {
        let entry = self.entries.get(name).ok_or_else(|| WeightsError::NoTensor {
            path: self.path.clone(),
            name: name.to_owned(),
            count: self.entries.len(),
            examples: some_of(&self.names().take(9).collect::<Vec<_>>()),
        })?;
        let mut bytes = Vec::new();
        {
            let mut file = self.files[entry.file].lock().unwrap_or_else(|p| p.into_inner());
            file.seek(SeekFrom::Start(entry.offset)).map_err(|e| io(&self.path, "read", e))?;
            // `take` bounds the allocation by what the file really holds.
            (&mut *file).take(entry.len).read_to_end(&mut bytes).map_err(|e| io(&self.path, "read", e))?;
        }
        if bytes.len() as u64 != entry.len {
            return Err(format(
                &self.path,
                "weight",
                format!("it ends inside tensor `{name}`; copy or download it again"),
            ));
        }
        Ok((entry, bytes))
    }
}

/// Copies a strided view out of `storage`; extents were checked when the table was read.
fn gather(storage: &[f32], first: usize, shape: &[usize], strides: &[usize]) -> Vec<f32> {
    let n: usize = shape.iter().product();
    let mut out = Vec::with_capacity(n);
    let mut index = vec![0usize; shape.len()];
    for _ in 0..n {
        out.push(storage[first + index.iter().zip(strides).map(|(i, s)| i * s).sum::<usize>()]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    out
}

fn open_file(path: &Path) -> Result<File, WeightsError> {
    File::open(path).map_err(|e| io(path, "open", e))
}

fn read_up_to(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match file.read(&mut buffer[got..])? {
            0 => break,
            n => got += n,
        }
    }
    Ok(got)
}

pub(crate) fn io(path: &Path, action: &'static str, source: std::io::Error) -> WeightsError {
    WeightsError::Io { path: path.to_owned(), action, source }
}

pub(crate) fn format(path: &Path, kind: &'static str, problem: String) -> WeightsError {
    WeightsError::Format { path: path.to_owned(), kind, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gathers_a_transposed_view() {
        // Storage 0..6 as [2, 3], seen transposed as [3, 2].
        let storage: Vec<f32> = (0..6).map(|v| v as f32).collect();
        assert_eq!(gather(&storage, 0, &[3, 2], &[1, 3]), [0., 3., 1., 4., 2., 5.]);
        assert_eq!(gather(&storage, 5, &[], &[]), [5.]);
        assert!(gather(&storage, 0, &[0, 4], &[4, 1]).is_empty());
    }

    #[test]
    fn an_unknown_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.bin");
        for bytes in [&b""[..], b"abc", b"PK\x03\x04rubbish", b"\x80\x02\x8a\x0alFC\x9cF\xf9 j\xa8P\x19.", &[0xff; 64]]
        {
            std::fs::write(&path, bytes).unwrap();
            let error = Checkpoint::open(&path).unwrap_err().to_string();
            assert!(error.contains("x.bin"), "{error}");
        }
    }

    #[test]
    fn a_safetensors_header_whose_length_begins_like_a_pickle_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        for length in [0x0280usize, 0x0480] {
            let table = r#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
            let bytes = [&(length as u64).to_le_bytes()[..], format!("{table:length$}").as_bytes(), &[0; 4]].concat();
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(Checkpoint::open(&path).unwrap().names().count(), 1);
        }
    }
}
