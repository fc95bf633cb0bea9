//! The headers of a level-5 file's variables.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use flate2::bufread::ZlibDecoder;

use crate::SampleType;
use crate::formats::axes::times;

/// Where a level-5 variable lies and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatVariable {
    /// Name, shape, class.
    pub name: String,
    /// Lengths of its axes; the first varies fastest.
    pub shape: Vec<usize>,
    /// MATLAB class, such as `double`, `struct`, `complex double`.
    pub class: &'static str,
    /// Real numbers, not complex, not sparse.
    pub numeric: bool,
    /// How the numbers are stored, which may be narrower than the class.
    pub(super) stored: Option<SampleType>,
    /// Byte where the element starts: the zlib stream, or the numbers themselves.
    pub(super) offset: u64,
    /// Length of the zlib stream; `None` for plain numbers.
    pub(super) compressed: Option<u64>,
}

const COMPRESSED: u32 = 15;
pub(super) const MATRIX: u32 = 14;
/// zlib cannot shrink by more than this factor (RFC 1951: 258 bytes in 2 bits).
const ZLIB_LIMIT: u64 = 1032;
const NAME_LIMIT: u32 = 4096;
const MOST_AXES: u32 = 32;
const MOST_VARIABLES: usize = 4096;

fn sample_of(code: u32) -> Option<SampleType> {
    Some(match code {
        1 => SampleType::I8,
        2 => SampleType::U8,
        3 => SampleType::I16,
        4 => SampleType::U16,
        5 => SampleType::I32,
        6 => SampleType::U32,
        7 => SampleType::F32,
        9 => SampleType::F64,
        12 => SampleType::I64,
        13 => SampleType::U64,
        _ => return None,
    })
}

fn class_of(code: u32, complex: bool, logical: bool) -> (&'static str, bool) {
    let (name, numeric) = match code {
        1 => ("cell", false),
        2 => ("struct", false),
        3 => ("object", false),
        4 => ("text", false),
        5 => ("sparse matrix", false),
        6 => ("double", true),
        7 => ("single", true),
        8 => ("int8", true),
        9 if logical => ("logical", true),
        9 => ("uint8", true),
        10 => ("int16", true),
        11 => ("uint16", true),
        12 => ("int32", true),
        13 => ("uint32", true),
        14 => ("int64", true),
        15 => ("uint64", true),
        _ => ("unknown class", false),
    };
    if complex && numeric { ("complex numbers", false) } else { (name, numeric) }
}

/// Bytes with their order and how many were read.
pub(super) struct Words<R> {
    pub(super) inner: R,
    pub(super) big_endian: bool,
    pub(super) read: u64,
}

impl<R: Read> Words<R> {
    pub(super) fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut b = [0; N];
        self.inner.read_exact(&mut b)?;
        self.read += N as u64;
        Ok(b)
    }

    pub(super) fn u32(&mut self) -> io::Result<u32> {
        let b = self.bytes()?;
        Ok(if self.big_endian { u32::from_be_bytes(b) } else { u32::from_le_bytes(b) })
    }

    /// Type, length, and the data of a small element (which sits in the tag itself).
    pub(super) fn tag(&mut self) -> io::Result<(u32, u32, Option<[u8; 4]>)> {
        let first = self.u32()?;
        if first >> 16 != 0 {
            return Ok((first & 0xffff, first >> 16, Some(self.bytes()?)));
        }
        Ok((first, self.u32()?, None))
    }

    /// The data of a short element, padding skipped.
    pub(super) fn short(&mut self, limit: u32, what: &str) -> Result<Vec<u8>, String> {
        let (_, length, small) = self.tag().map_err(ends)?;
        if let Some(small) = small {
            return small.get(..length as usize).map(<[u8]>::to_vec).ok_or_else(|| format!("has a damaged {what}"));
        }
        if length > limit {
            return Err(format!("has a damaged {what}: {length} bytes long"));
        }
        let mut data = vec![0; length.next_multiple_of(8) as usize];
        self.inner.read_exact(&mut data).map_err(ends)?;
        self.read += data.len() as u64;
        data.truncate(length as usize);
        Ok(data)
    }
}

pub(super) fn ends(e: io::Error) -> String {
    match e.kind() {
        io::ErrorKind::UnexpectedEof => "ends early: the file is truncated".into(),
        _ => format!("cannot be decoded: {e}; the file is damaged"),
    }
}

/// Name, shape and class at the start of a matrix element whose tag was read; leaves `words` at the numbers.
pub(super) fn matrix_start<R: Read>(words: &mut Words<R>) -> Result<(MatVariable, u64), String> {
    let flags = words.short(16, "array flags")?;
    let flags: [u8; 4] = flags.get(..4).and_then(|b| b.try_into().ok()).ok_or("has damaged array flags")?;
    let flags = if words.big_endian { u32::from_be_bytes(flags) } else { u32::from_le_bytes(flags) };
    let dims = words.short(4 * MOST_AXES, "list of dimensions")?;
    let shape = dims
        .chunks_exact(4)
        .map(|b| {
            let b = [b[0], b[1], b[2], b[3]];
            usize::try_from(if words.big_endian { i32::from_be_bytes(b) } else { i32::from_le_bytes(b) })
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| "has a negative dimension")?;
    let name = String::from_utf8_lossy(&words.short(NAME_LIMIT, "variable name")?).into_owned();
    let (class, mut numeric) = class_of(flags & 0xff, flags & 0x0800 != 0, flags & 0x0200 != 0);
    let mut stored = None;
    let mut length = 0;
    if numeric {
        let elements = shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d as u64));
        let (code, bytes, small) = words.tag().map_err(ends)?;
        let sample =
            sample_of(code).ok_or_else(|| format!("variable `{name}` stores its numbers as unknown type {code}"))?;
        // Numbers in the tag itself: four bytes at most, never an image.
        numeric = small.is_none();
        let expected = elements.and_then(|n| n.checked_mul(sample.bytes() as u64));
        if expected != Some(u64::from(bytes)) {
            return Err(format!(
                "variable `{name}` declares {} numbers of type {} but stores {bytes} bytes",
                times(&shape),
                sample
            ));
        }
        stored = Some(sample);
        length = u64::from(bytes);
    }
    Ok((MatVariable { name, shape, class, numeric, stored, offset: 0, compressed: None }, length))
}

/// Lists the variables of a level-5 MATLAB file of `length` bytes, without decoding their numbers.
///
/// # Errors
/// In words: other formats, truncated or damaged files, sizes that the bytes cannot hold.
pub fn list_mat5<R: Read + Seek>(reader: R, length: u64) -> Result<(Vec<MatVariable>, bool), String> {
    let mut reader = BufReader::new(reader);
    let mut head = [0u8; 128];
    reader.read_exact(&mut head).map_err(|_| "is shorter than the 128 bytes of a MATLAB header")?;
    let big_endian = match &head[126..128] {
        b"IM" => false,
        b"MI" => true,
        _ if head[..4] == [0, 0, 0, 0] || !head.starts_with(b"MATLAB") => {
            return Err("is not a MATLAB level 5 file (level 4 files are not read: save again with `save -v7`)".into());
        }
        _ => return Err("has a damaged MATLAB header: no byte order".into()),
    };
    let mut found = Vec::new();
    let mut at = 128u64;
    // A lone remainder shorter than a tag is padding.
    while at + 8 <= length {
        reader.seek(SeekFrom::Start(at)).map_err(ends)?;
        let mut words = Words { inner: &mut reader, big_endian, read: 0 };
        let (code, bytes, small) = words.tag().map_err(ends)?;
        if code != COMPRESSED && code != MATRIX {
            return Err(format!(
                "has an element of type {code} at byte {at} where a variable is expected: it is damaged"
            ));
        }
        let body = at + 8;
        let end = if small.is_some() { body } else { body + u64::from(bytes) };
        if end > length {
            return Err(format!(
                "is truncated: the element at byte {at} needs {bytes} bytes, {} are left",
                length.saturating_sub(body)
            ));
        }
        if code == COMPRESSED {
            let mut words =
                Words { inner: ZlibDecoder::new((&mut reader).take(u64::from(bytes))), big_endian, read: 0 };
            let (code, _, _) = words.tag().map_err(ends)?;
            if code != MATRIX {
                return Err(format!(
                    "has a compressed element of type {code} at byte {at} where a variable is expected"
                ));
            }
            let (mut variable, size) = matrix_start(&mut words)?;
            if size > u64::from(bytes).saturating_mul(ZLIB_LIMIT) {
                return Err(format!(
                    "variable `{}` declares {} ({size} bytes), more than its {bytes} compressed bytes can hold",
                    variable.name,
                    times(&variable.shape)
                ));
            }
            (variable.offset, variable.compressed) = (body, Some(u64::from(bytes)));
            found.push(variable);
        } else {
            let (mut variable, size) = matrix_start(&mut words)?;
            variable.offset = at + words.read;
            if variable.offset + size > length {
                return Err(format!("is truncated inside variable `{}`", variable.name));
            }
            found.push(variable);
        }
        if found.len() > MOST_VARIABLES {
            return Err(format!("holds more than {MOST_VARIABLES} variables"));
        }
        // Compressed elements are not padded, plain ones are.
        at = if code == COMPRESSED { end } else { end.next_multiple_of(8) };
    }
    // MATLAB's own bookkeeping variable has no name.
    found.retain(|v| !v.name.is_empty());
    Ok((found, big_endian))
}
