//! The header: metadata and the table of tensors.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use geoglot_nn::llm::Format;

use crate::error::{Error, Result};

/// Most bytes of a header; a vocabulary of 250 000 tokens with its merges needs about 12 MB.
const MOST_HEADER: u64 = 64 << 20;
/// Lists within lists.
const MOST_NESTED: usize = 4;

/// A value of the metadata.
#[derive(Debug, Clone, PartialEq)]
pub enum GgufValue {
    /// A whole number or truth value.
    Whole(i128),
    /// A floating-point number.
    Float(f64),
    /// A text.
    Text(String),
    /// Whole numbers.
    Wholes(Vec<i64>),
    /// Floating-point numbers.
    Floats(Vec<f32>),
    /// Texts.
    Texts(Vec<String>),
    /// Lists of lists; what is in them is not kept.
    Nested,
}

/// Where a tensor lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Sizes, the fastest first.
    pub shape: Vec<usize>,
    /// ggml's number of its type.
    pub kind: u32,
    /// First byte in the file.
    pub start: u64,
    /// Bytes, where the type is known.
    pub len: Option<u64>,
}

impl Tensor {
    /// How its numbers are stored, if that is known here.
    pub fn format(&self) -> Option<Format> {
        format_of(self.kind)
    }
}

/// The header of a file.
pub struct Gguf {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) metadata: BTreeMap<String, GgufValue>,
    pub(super) tensors: BTreeMap<String, Tensor>,
}

impl Gguf {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Config`] for a file that is no GGUF, truncated, or whose header contradicts its length.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
        let len = file.metadata().map_err(|e| Error::io(path, "read", e))?.len();
        let mut reader = BufReader::new(&file);
        let (metadata, tensors) = parse(&mut reader, len).map_err(|problem| Error::config(path, problem))?;
        Ok(Self { path: path.to_owned(), file, metadata, tensors })
    }

    /// A whole number of the metadata.
    pub fn number(&self, key: &str) -> Option<u64> {
        match self.metadata.get(key)? {
            GgufValue::Whole(n) => u64::try_from(*n).ok(),
            _ => None,
        }
    }

    /// A floating-point number of the metadata.
    pub fn float(&self, key: &str) -> Option<f64> {
        match self.metadata.get(key)? {
            GgufValue::Float(v) => Some(*v),
            GgufValue::Whole(n) => Some(*n as f64),
            _ => None,
        }
    }

    /// A text of the metadata.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.metadata.get(key)? {
            GgufValue::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Texts of the metadata.
    pub fn texts(&self, key: &str) -> Option<&[String]> {
        match self.metadata.get(key)? {
            GgufValue::Texts(texts) => Some(texts),
            _ => None,
        }
    }

    /// The table of tensors.
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    pub(super) fn bad(&self, problem: impl Into<String>) -> Error {
        Error::config(&self.path, problem)
    }
}

type Header = (BTreeMap<String, GgufValue>, BTreeMap<String, Tensor>);

/// Reads a header from a file of `len` bytes. The entry point for fuzzing.
///
/// # Errors
/// What is wrong with it.
pub fn parse<R: Read>(reader: &mut R, len: u64) -> std::result::Result<Header, String> {
    let mut input = Input { reader, left: len.min(MOST_HEADER), read: 0 };
    if &input.bytes::<4>()? != b"GGUF" {
        return Err("not a GGUF file".into());
    }
    match input.u32()? {
        2 | 3 => {}
        version if matches!(version.swap_bytes(), 1..=3) => {
            return Err("a GGUF file for big-endian machines; convert the model again for little-endian ones".into());
        }
        version => return Err(format!("GGUF version {version}; expected 2 or 3: convert the model again")),
    }
    let (tensor_count, pair_count) = (input.u64()?, input.u64()?);
    // The least a tensor's entry and a pair of metadata take.
    input.holds(tensor_count, 24, "tensors")?;
    input.holds(pair_count, 13, "metadata entries")?;
    let mut metadata = BTreeMap::new();
    for _ in 0..pair_count {
        let key = input.text()?;
        let kind = input.u32()?;
        let value = input.value(kind, 0).map_err(|e| format!("metadata `{key}`: {e}"))?;
        metadata.insert(key, value);
    }
    let mut tensors = BTreeMap::new();
    for _ in 0..tensor_count {
        let name = input.text()?;
        let axes = input.u32()?;
        if axes > 4 {
            return Err(format!("tensor `{name}` has {axes} axes; expected at most 4"));
        }
        let shape = (0..axes).map(|_| input.u64()).collect::<std::result::Result<Vec<u64>, _>>()?;
        let (kind, offset) = (input.u32()?, input.u64()?);
        let elements = shape.iter().try_fold(1u64, |n, s| n.checked_mul(*s)).filter(|n| *n <= 1 << 48);
        let elements = elements.ok_or_else(|| format!("tensor `{name}` has the shape {shape:?}"))?;
        let shape = shape.into_iter().map(|s| s as usize).collect::<Vec<_>>();
        let bytes = |format: Format| {
            let (block, bytes) = (format.block() as u64, format.bytes() as u64);
            let rows = shape.first().copied().unwrap_or(1) as u64;
            match rows.is_multiple_of(block) {
                true => Ok(elements / block * bytes),
                false => Err(format!("tensor `{name}`: rows of {rows} numbers are no whole {} blocks", format.name())),
            }
        };
        let size = format_of(kind).map(bytes).transpose()?;
        if tensors.insert(name.clone(), Tensor { shape, kind, start: offset, len: size }).is_some() {
            return Err(format!("tensor `{name}` is there twice"));
        }
    }
    let alignment = match metadata.get("general.alignment") {
        None => 32,
        Some(GgufValue::Whole(n)) if (1..=1 << 20).contains(n) => *n as u64,
        Some(other) => return Err(format!("general.alignment is {other:?}")),
    };
    let data = input.read.next_multiple_of(alignment);
    for (name, tensor) in &mut tensors {
        let end = data.checked_add(tensor.start).and_then(|s| s.checked_add(tensor.len.unwrap_or(0)));
        let end = end.ok_or_else(|| format!("tensor `{name}` begins at {}", tensor.start))?;
        if end > len {
            return Err(format!(
                "tensor `{name}` ends at byte {end}, the file has {len}: it is truncated; copy or download it again"
            ));
        }
        tensor.start += data;
    }
    Ok((metadata, tensors))
}

fn format_of(kind: u32) -> Option<Format> {
    Some(match kind {
        0 => Format::F32,
        1 => Format::F16,
        2 => Format::Q4_0,
        3 => Format::Q4_1,
        6 => Format::Q5_0,
        7 => Format::Q5_1,
        8 => Format::Q8_0,
        30 => Format::Bf16,
        _ => return None,
    })
}

/// Counts what is read, and never asks for more than is left.
struct Input<'a, R: Read> {
    reader: &'a mut R,
    left: u64,
    read: u64,
}

impl<R: Read> Input<'_, R> {
    fn take(&mut self, n: u64) -> std::result::Result<(), String> {
        if n > self.left {
            return Err("the header does not end within the file (or within 64 MB): truncated or damaged".into());
        }
        self.left -= n;
        self.read += n;
        Ok(())
    }

    fn bytes<const N: usize>(&mut self) -> std::result::Result<[u8; N], String> {
        self.take(N as u64)?;
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes).map_err(|e| format!("the header cannot be read: {e}"))?;
        Ok(bytes)
    }

    fn u32(&mut self) -> std::result::Result<u32, String> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn u64(&mut self) -> std::result::Result<u64, String> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    /// Whether `count` things of at least `size` bytes can follow.
    fn holds(&self, count: u64, size: u64, what: &str) -> std::result::Result<(), String> {
        match count.checked_mul(size) {
            Some(bytes) if bytes <= self.left => Ok(()),
            _ => Err(format!("the header announces {count} {what}, more than fit into it: truncated or damaged")),
        }
    }

    fn text(&mut self) -> std::result::Result<String, String> {
        let len = self.u64()?;
        self.take(len)?;
        let mut bytes = Vec::new();
        self.reader
            .by_ref()
            .take(len)
            .read_to_end(&mut bytes)
            .map_err(|e| format!("the header cannot be read: {e}"))?;
        if bytes.len() as u64 != len {
            return Err("the header ends inside a text: truncated".into());
        }
        // Some vocabularies hold broken characters.
        Ok(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
    }

    fn whole(&mut self, kind: u32) -> std::result::Result<Option<i128>, String> {
        Ok(Some(match kind {
            0 | 7 => i128::from(self.bytes::<1>()?[0]),
            1 => i128::from(i8::from_le_bytes(self.bytes()?)),
            2 => i128::from(u16::from_le_bytes(self.bytes()?)),
            3 => i128::from(i16::from_le_bytes(self.bytes()?)),
            4 => i128::from(self.u32()?),
            5 => i128::from(i32::from_le_bytes(self.bytes()?)),
            10 => i128::from(self.u64()?),
            11 => i128::from(i64::from_le_bytes(self.bytes()?)),
            _ => return Ok(None),
        }))
    }

    fn value(&mut self, kind: u32, depth: usize) -> std::result::Result<GgufValue, String> {
        Ok(match kind {
            6 => GgufValue::Float(f64::from(f32::from_le_bytes(self.bytes()?))),
            12 => GgufValue::Float(f64::from_le_bytes(self.bytes()?)),
            8 => GgufValue::Text(self.text()?),
            9 if depth < MOST_NESTED => {
                let (of, count) = (self.u32()?, self.u64()?);
                let least = match of {
                    0 | 1 | 7 => 1,
                    2 | 3 => 2,
                    4..=6 => 4,
                    9 => 12,
                    _ => 8,
                };
                self.holds(count, least, "values of a list")?;
                match of {
                    6 | 12 => {
                        let mut values = Vec::new();
                        for _ in 0..count {
                            if let GgufValue::Float(v) = self.value(of, depth + 1)? {
                                values.push(v as f32);
                            }
                        }
                        GgufValue::Floats(values)
                    }
                    8 => GgufValue::Texts((0..count).map(|_| self.text()).collect::<std::result::Result<_, _>>()?),
                    9 => {
                        for _ in 0..count {
                            self.value(of, depth + 1)?;
                        }
                        GgufValue::Nested
                    }
                    _ => {
                        let mut values = Vec::new();
                        for _ in 0..count {
                            let value = self.whole(of)?.ok_or_else(|| format!("a list of unknown type {of}"))?;
                            values.push(i64::try_from(value).unwrap_or(i64::MAX));
                        }
                        GgufValue::Wholes(values)
                    }
                }
            }
            _ => match self.whole(kind)? {
                Some(value) => GgufValue::Whole(value),
                None => return Err(format!("value of unknown type {kind}")),
            },
        })
    }
}
