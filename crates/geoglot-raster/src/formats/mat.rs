//! MATLAB files: level 5 (`save -v6`, `-v7`) by an own reader, level 7.3 as the HDF5 file it is.
//!
//! The level-5 reader looks at the headers of all variables first, so that a file is listed without inflating it, sizes are checked against the
//! bytes that are there, and only the chosen variable is decoded. Format: "MAT-File Format", The MathWorks, chapter 1.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use flate2::bufread::ZlibDecoder;
use ndarray::{ArrayD, IxDyn, ShapeBuilder, SliceInfoElem};

use super::array::{ArraySource, ArrayStore, Variable};
use super::axes::{Custom, times};
use super::flat::{Flat, contiguous_strides, decode};
use super::{guarded, hdf5};
use crate::{Error, Result, SampleType, SourceOptions};

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
    stored: Option<SampleType>,
    /// Byte where the element starts: the zlib stream, or the numbers themselves.
    offset: u64,
    /// Length of the zlib stream; `None` for plain numbers.
    compressed: Option<u64>,
}

const COMPRESSED: u32 = 15;
const MATRIX: u32 = 14;
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
struct Words<R> {
    inner: R,
    big_endian: bool,
    read: u64,
}

impl<R: Read> Words<R> {
    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut b = [0; N];
        self.inner.read_exact(&mut b)?;
        self.read += N as u64;
        Ok(b)
    }

    fn u32(&mut self) -> io::Result<u32> {
        let b = self.bytes()?;
        Ok(if self.big_endian { u32::from_be_bytes(b) } else { u32::from_le_bytes(b) })
    }

    /// Type, length, and the data of a small element (which sits in the tag itself).
    fn tag(&mut self) -> io::Result<(u32, u32, Option<[u8; 4]>)> {
        let first = self.u32()?;
        if first >> 16 != 0 {
            return Ok((first & 0xffff, first >> 16, Some(self.bytes()?)));
        }
        Ok((first, self.u32()?, None))
    }

    /// The data of a short element, padding skipped.
    fn short(&mut self, limit: u32, what: &str) -> Result<Vec<u8>, String> {
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

fn ends(e: io::Error) -> String {
    match e.kind() {
        io::ErrorKind::UnexpectedEof => "ends early: the file is truncated".into(),
        _ => format!("cannot be decoded: {e}; the file is damaged"),
    }
}

/// Name, shape and class at the start of a matrix element whose tag was read; leaves `words` at the numbers.
fn matrix_start<R: Read>(words: &mut Words<R>) -> Result<(MatVariable, u64), String> {
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

#[derive(Debug)]
struct MatStore {
    path: PathBuf,
    variables: Vec<Variable>,
    details: Vec<MatVariable>,
    big_endian: bool,
    /// The variable read last: a scene is one.
    loaded: Mutex<Option<(usize, Arc<ArrayD<f32>>)>>,
}

impl MatStore {
    /// A compressed variable, decoded in blocks so that only its f32 form is held.
    fn inflate(&self, detail: &MatVariable, stored: SampleType, compressed: u64) -> Result<ArrayD<f32>> {
        let wrong = |e: String| Error::format(&self.path, format!("variable `{}` {e}", detail.name));
        let mut file = File::open(&self.path).map_err(|e| Error::io(&self.path, "open", e))?;
        file.seek(SeekFrom::Start(detail.offset)).map_err(|e| Error::io(&self.path, "read", e))?;
        let stream = ZlibDecoder::new(BufReader::new(file).take(compressed));
        let mut words = Words { inner: stream, big_endian: self.big_endian, read: 0 };
        words.tag().map_err(ends).map_err(wrong)?;
        let (again, _) = matrix_start(&mut words).map_err(wrong)?;
        if again.shape != detail.shape {
            return Err(wrong("changed while it was read".into()));
        }
        let count: usize = detail.shape.iter().product();
        let mut values = Vec::new();
        values
            .try_reserve_exact(count)
            .map_err(|_| wrong(format!("of {} does not fit into memory", times(&detail.shape))))?;
        let mut block = vec![0u8; 8192 * stored.bytes()];
        while values.len() < count {
            let take = (count - values.len()).min(8192) * stored.bytes();
            words.inner.read_exact(&mut block[..take]).map_err(ends).map_err(wrong)?;
            decode(stored, &block[..take], self.big_endian, &mut values);
        }
        ArrayD::from_shape_vec(IxDyn(&detail.shape).f(), values).map_err(|e| wrong(e.to_string()))
    }
}

impl ArrayStore for MatStore {
    fn variables(&self) -> &[Variable] {
        &self.variables
    }

    fn read(&self, variable: usize, ranges: &[Range<usize>]) -> Result<ArrayD<f32>> {
        let detail = &self.details[variable];
        let Some(stored) = detail.stored else {
            return Err(Error::format(&self.path, format!("variable `{}` holds no numbers", detail.name)));
        };
        let Some(compressed) = detail.compressed else {
            let strides = contiguous_strides(&detail.shape, true)
                .ok_or_else(|| Error::format(&self.path, format!("variable `{}` is impossibly large", detail.name)))?;
            let flat = Flat::open(&self.path, detail.offset, &detail.shape, &strides, stored, self.big_endian)?;
            return flat.read(&ranges.iter().map(|r| r.clone().collect()).collect::<Vec<_>>());
        };
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let array = match &*loaded {
            Some((index, array)) if *index == variable => array.clone(),
            _ => {
                let array = Arc::new(self.inflate(detail, stored, compressed)?);
                *loaded = Some((variable, array.clone()));
                array
            }
        };
        drop(loaded);
        let slice: Vec<SliceInfoElem> = ranges.iter().map(|r| SliceInfoElem::from(r.clone())).collect();
        Ok(array.slice(slice.as_slice()).to_owned())
    }

    fn custom(&self) -> Custom {
        Custom::Matlab
    }

    fn stacks(&self) -> bool {
        false
    }
}

/// Opens a MATLAB file, level 5 or 7.3; only headers are read.
///
/// # Errors
/// [`Error::Io`]; [`Error::Format`] for truncated or damaged files and where several arrays can be the image, listing them with their shapes.
pub fn open(path: &Path, options: &SourceOptions) -> Result<ArraySource> {
    let mut file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
    let length = file.metadata().map_err(|e| Error::io(path, "read the size", e))?.len();
    let mut head = [0u8; 16];
    let n = file.read(&mut head).map_err(|e| Error::io(path, "read", e))?;
    if head[..n].starts_with(b"MATLAB 7.3") || head[..n].starts_with(b"\x89HDF") {
        return hdf5::open(path, options);
    }
    file.seek(SeekFrom::Start(0)).map_err(|e| Error::io(path, "read", e))?;
    let (details, big_endian) = guarded(path, || list_mat5(&mut file, length).map_err(|e| Error::format(path, e)))?;
    let variables = details
        .iter()
        .map(|d| Variable {
            name: d.name.clone(),
            shape: d.shape.clone(),
            kind: d.class.into(),
            sample: d.stored.filter(|_| d.numeric),
        })
        .collect();
    let store = MatStore { path: path.into(), variables, details, big_endian, loaded: Mutex::new(None) };
    ArraySource::new(path, Box::new(store), options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::{Cursor, Write};

    /// A plain (uncompressed) little-endian variable of 2×3 int16 stored as int8.
    fn plain() -> Vec<u8> {
        let mut file = b"MATLAB 5.0 MAT-file".to_vec();
        file.resize(124, b' ');
        file.extend([0, 1, b'I', b'M']);
        let mut body = Vec::new();
        let words = |body: &mut Vec<u8>, w: &[u32]| w.iter().for_each(|w| body.extend(w.to_le_bytes()));
        words(&mut body, &[6, 8, 10, 0]);
        words(&mut body, &[5, 8, 2, 3]);
        words(&mut body, &[0x0001_0001]);
        body.extend(b"x\0\0\0");
        words(&mut body, &[1, 6]);
        body.extend([1, 2, 3, 4, 5, 0xff, 0, 0]);
        words(&mut file, &[MATRIX, body.len() as u32]);
        file.extend(body);
        file
    }

    fn list(bytes: &[u8]) -> Result<Vec<MatVariable>, String> {
        list_mat5(Cursor::new(bytes), bytes.len() as u64).map(|r| r.0)
    }

    #[test]
    fn a_narrow_stored_variable_is_read_column_by_column() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&plain()).unwrap();
        let source = open(file.path(), &SourceOptions::default()).unwrap();
        let tile = crate::BandSource::read_stored(&source, &[0], geoglot_core::Window::new(0, 0, 3, 2)).unwrap();
        assert_eq!(tile.data, ndarray::array![[[1.0, 3.0, 5.0], [2.0, 4.0, -1.0]]]);
    }

    #[test]
    fn lies_about_sizes_are_refused() {
        let whole = plain();
        assert_eq!(list(&whole).unwrap()[0].shape, [2, 3]);
        for cut in 128..whole.len() {
            if let Ok(found) = list(&whole[..cut]) {
                assert!(found.is_empty(), "cut at {cut}");
            }
        }
        let mut huge = whole.clone();
        huge[128 + 8 + 16 + 8..][..8].copy_from_slice(&[0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f]);
        assert!(list(&huge).unwrap_err().contains("declares"));
    }

    proptest! {
        #[test]
        fn any_bytes_give_variables_or_words(flips in proptest::collection::vec((0usize..200, any::<u8>()), 0..12), cut in 0usize..220) {
            let mut bytes = plain();
            for (at, value) in flips {
                let n = bytes.len();
                bytes[at % n] = value;
            }
            bytes.truncate(cut.max(1));
            let _ = list(&bytes);
        }
    }
}
