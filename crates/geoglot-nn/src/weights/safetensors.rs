//! The table of tensors of a safetensors file, read without loading the values.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use ::safetensors::tensor::{Dtype, Metadata};

use super::checkpoint::{Entry, TensorInfo, format, io};
use super::{DType, WeightsError};

/// Longest header accepted, as in the format's own library (100 MB).
const MAX_HEADER: u64 = 100_000_000;

/// Reads the header of a safetensors file held in `bytes` (header and data, or the header alone with `data_len` following).
///
/// Returns each tensor's name, type, shape and byte range inside the data part. Never panics, never allocates more than
/// the header's own size asks for.
///
/// # Errors
/// A description of what is wrong with the header.
pub fn parse_header(header: &[u8], data_len: u64) -> Result<Vec<(String, TensorInfo, std::ops::Range<u64>)>, String> {
    let text = std::str::from_utf8(header).map_err(|_| "the header is not text".to_owned())?;
    let metadata: Metadata = serde_json::from_str(text).map_err(|e| format!("the header does not parse ({e})"))?;
    let mut table = Vec::new();
    for (name, t) in metadata.tensors() {
        let (start, end) = (t.data_offsets.0 as u64, t.data_offsets.1 as u64);
        if start > end || end > data_len {
            return Err(format!(
                "tensor `{name}` lies at bytes {start}..{end} of {data_len}: the file is truncated or damaged"
            ));
        }
        let dtype = match t.dtype {
            Dtype::F64 => DType::F64,
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            Dtype::I64 => DType::I64,
            Dtype::I32 => DType::I32,
            Dtype::I16 => DType::I16,
            Dtype::I8 => DType::I8,
            Dtype::U8 => DType::U8,
            Dtype::BOOL => DType::Bool,
            other => DType::Other(other.bitsize()),
        };
        let bits = t.shape.iter().try_fold(dtype.bits() as u64, |n, &d| n.checked_mul(d as u64));
        if bits.map(|b| b.div_ceil(8)) != Some(end - start) {
            return Err(format!("tensor `{name}` of shape {:?} does not fill its {} bytes", t.shape, end - start));
        }
        table.push((name.to_owned(), TensorInfo { dtype, shape: t.shape.clone() }, start..end));
    }
    Ok(table)
}

/// The table of `file`, positioned at its start; entries point to file number `index`.
pub(crate) fn read_table(path: &Path, file: &mut File, index: usize) -> Result<BTreeMap<String, Entry>, WeightsError> {
    let bad = |problem: String| format(path, "safetensors", problem);
    let size = file.metadata().map_err(|e| io(path, "read", e))?.len();
    let mut length = [0u8; 8];
    file.read_exact(&mut length).map_err(|_| bad("shorter than 8 bytes".into()))?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER || length.saturating_add(8) > size {
        return Err(bad(format!(
            "its header would be {length} bytes in a file of {size}: truncated, or of another kind"
        )));
    }
    let mut header = vec![0u8; length as usize];
    file.read_exact(&mut header).map_err(|e| io(path, "read", e))?;
    let data = 8 + length;
    let table = parse_header(&header, size - data).map_err(bad)?;
    Ok(table
        .into_iter()
        .map(|(name, info, range)| {
            (name, Entry { info, file: index, offset: data + range.start, len: range.end - range.start, view: None })
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_truncated_file_is_named() {
        let header = br#"{"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}"#;
        assert_eq!(parse_header(header, 16).unwrap()[0].1.shape, [2, 2]);
        assert!(parse_header(header, 15).unwrap_err().contains("`a`"));
        let huge = br#"{"a":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,16]}}"#;
        assert!(parse_header(huge, 16).is_err());
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), len in any::<u64>()) {
            let _ = parse_header(&bytes, len);
        }
    }
}
