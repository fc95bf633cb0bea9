//! numpy's `.npy` files, any number type, C or Fortran order, read by window.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use ndarray::ArrayD;

use super::array::{ArraySource, ArrayStore, Variable};
use super::axes::Custom;
use super::flat::{Flat, contiguous_strides};
use crate::{Error, Result, SampleType, SourceOptions};

/// What the header of an npy file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NpyHeader {
    /// Type of the numbers.
    pub sample: SampleType,
    /// Most significant byte first.
    pub big_endian: bool,
    /// First axis varies fastest.
    pub fortran_order: bool,
    /// Lengths of the axes.
    pub shape: Vec<usize>,
    /// Where the numbers start.
    pub offset: u64,
}

/// Longest header accepted; numpy's own limit for untrusted files is 10,000.
const HEADER_LIMIT: usize = 64 << 10;

/// Parses the start of an npy file (format versions 1 to 3).
///
/// # Errors
/// In words: what was expected and found.
pub fn parse_npy_header(bytes: &[u8]) -> Result<NpyHeader, String> {
    let rest = bytes.strip_prefix(b"\x93NUMPY").ok_or("is not an npy file: it does not start with \\x93NUMPY")?;
    let short = || "ends inside its header: it is truncated".to_owned();
    let (&[major, _minor], rest) = rest.split_first_chunk::<2>().ok_or_else(short)?;
    let (length, rest, before) = match major {
        1 => {
            let (n, rest) = rest.split_first_chunk::<2>().ok_or_else(short)?;
            (usize::from(u16::from_le_bytes(*n)), rest, 10)
        }
        2 | 3 => {
            let (n, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
            (u32::from_le_bytes(*n) as usize, rest, 12)
        }
        _ => return Err(format!("has npy format version {major}; versions 1 to 3 are known")),
    };
    if length > HEADER_LIMIT {
        return Err(format!("declares a header of {length} bytes; at most {HEADER_LIMIT} are accepted"));
    }
    let text = rest.get(..length).ok_or_else(short)?;
    let text = std::str::from_utf8(text).map_err(|_| "has a header that is not text".to_owned())?;
    let value = |key: &str| {
        [format!("'{key}'"), format!("\"{key}\"")]
            .iter()
            .find_map(|quoted| text.split_once(quoted.as_str()))
            .and_then(|(_, rest)| rest.trim_start().strip_prefix(':'))
            .map(str::trim_start)
            .ok_or_else(|| format!("has a header without `{key}`"))
    };
    let descr = value("descr")?;
    let descr = match descr.chars().next() {
        Some(quote @ ('\'' | '"')) => descr[1..].split(quote).next().unwrap_or_default(),
        _ => {
            return Err(
                "holds records (a structured dtype), not an array of numbers; save one field as its own array".into()
            );
        }
    };
    let (big_endian, code) = match descr.chars().next() {
        Some('>') => (true, &descr[1..]),
        Some('<' | '|' | '=') => (false, &descr[1..]),
        _ => (false, descr),
    };
    let sample = match code {
        "u1" | "b1" | "?" | "B" => SampleType::U8,
        "i1" | "b" => SampleType::I8,
        "u2" => SampleType::U16,
        "i2" => SampleType::I16,
        "u4" => SampleType::U32,
        "i4" => SampleType::I32,
        "u8" => SampleType::U64,
        "i8" => SampleType::I64,
        "f2" => SampleType::F16,
        "f4" => SampleType::F32,
        "f8" => SampleType::F64,
        _ => {
            return Err(format!(
                "holds values of type `{descr}`; save it as an array of real numbers (int, uint, float, bool)"
            ));
        }
    };
    let order = value("fortran_order")?;
    let fortran_order = match (order.starts_with("True"), order.starts_with("False")) {
        (true, _) => true,
        (_, true) => false,
        _ => return Err("has a header whose `fortran_order` is neither True nor False".into()),
    };
    let shape = value("shape")?;
    let inner = shape
        .strip_prefix('(')
        .and_then(|s| s.split_once(')'))
        .map(|(inner, _)| inner)
        .ok_or("has a header whose `shape` is not a tuple")?;
    let shape: Vec<usize> = inner
        .split(',')
        .map(|n| n.trim().trim_end_matches('L'))
        .filter(|n| !n.is_empty())
        .map(str::parse)
        .collect::<Result<_, _>>()
        .map_err(|_| format!("has a header whose shape ({inner}) is not made of sizes"))?;
    Ok(NpyHeader { sample, big_endian, fortran_order, shape, offset: (before + length) as u64 })
}

#[derive(Debug)]
struct NpyStore {
    variables: Vec<Variable>,
    flat: Flat,
}

impl ArrayStore for NpyStore {
    fn variables(&self) -> &[Variable] {
        &self.variables
    }

    fn read(&self, _variable: usize, ranges: &[Range<usize>]) -> Result<ArrayD<f32>> {
        let index: Vec<Vec<usize>> = ranges.iter().map(|r| r.clone().collect()).collect();
        self.flat.read(&index)
    }

    fn custom(&self) -> Custom {
        Custom::Open
    }

    fn stacks(&self) -> bool {
        false
    }
}

/// Opens an npy file; only its header is read.
///
/// # Errors
/// [`Error::Io`]; [`Error::Format`] for other formats, types without numbers, truncated files, ambiguous axes.
pub fn open(path: &Path, options: &SourceOptions) -> Result<ArraySource> {
    let mut file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
    let mut start = Vec::new();
    file.by_ref().take((HEADER_LIMIT + 16) as u64).read_to_end(&mut start).map_err(|e| Error::io(path, "read", e))?;
    let header = parse_npy_header(&start).map_err(|e| Error::format(path, e))?;
    let strides = contiguous_strides(&header.shape, header.fortran_order)
        .ok_or_else(|| Error::format(path, format!("declares the impossible shape {:?}", header.shape)))?;
    if header.shape.len() < 2 {
        return Err(Error::format(
            path,
            format!("has the shape {:?}; an image has two axes, or three with bands", header.shape),
        ));
    }
    let flat = Flat::open(path, header.offset, &header.shape, &strides, header.sample, header.big_endian)?;
    let name = path.file_stem().map_or_else(|| "array".into(), |s| s.to_string_lossy().into_owned());
    let variable = Variable { name, shape: header.shape, kind: header.sample.to_string(), sample: Some(header.sample) };
    // The file is one array: a variable name can only select a slice of it.
    let mut options = options.clone();
    if let Some(text) = &options.variable
        && let Some(at) = text.find('[')
    {
        options.variable = Some(format!("{}{}", variable.name, &text[at..]));
    }
    ArraySource::new(path, Box::new(NpyStore { variables: vec![variable], flat }), &options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(text: &str) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((text.len() as u16).to_le_bytes());
        bytes.extend(text.as_bytes());
        bytes
    }

    #[test]
    fn headers_of_numpy() {
        let h = parse_npy_header(&header("{'descr': '>i2', 'fortran_order': True, 'shape': (3, 4), }\n")).unwrap();
        assert_eq!((h.sample, h.big_endian, h.fortran_order, h.shape), (SampleType::I16, true, true, vec![3, 4]));
        for (text, expected) in [
            ("{'descr': '<c8', 'fortran_order': False, 'shape': (3,), }", "real numbers"),
            ("{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (3,), }", "records"),
            ("{'descr': '<f4', 'fortran_order': Maybe, 'shape': (3,), }", "fortran_order"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (3,-1), }", "shape"),
            ("{'fortran_order': False}", "descr"),
        ] {
            assert!(parse_npy_header(&header(text)).unwrap_err().contains(expected), "{text}");
        }
        assert!(parse_npy_header(b"\x93NUMPY\x01\x00\xff\xff").unwrap_err().contains("truncated"));
        assert!(parse_npy_header(b"PK").unwrap_err().contains("not an npy"));
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_header_or_words(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), magic in any::<bool>()) {
            if magic {
                bytes.splice(0..0, *b"\x93NUMPY\x01\x00\x40\x00");
            }
            let _ = parse_npy_header(&bytes);
        }

        #[test]
        fn any_text_gives_a_header_or_words(text in ".{0,80}") {
            let _ = parse_npy_header(&header(&format!("{{'descr': '{text}', 'fortran_order': False, 'shape': ({text}), }}")));
        }
    }
}
