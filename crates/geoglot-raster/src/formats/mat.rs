//! MATLAB files: level 5 (`save -v6`, `-v7`) by an own reader, level 7.3 as the HDF5 file it is.
//!
//! The level-5 reader looks at the headers of all variables first, so that a file is listed without inflating it, sizes are checked against the
//! bytes that are there, and only the chosen variable is decoded. Format: "MAT-File Format", The MathWorks, chapter 1.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
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

mod list;

pub use list::{MatVariable, list_mat5};
use list::{Words, ends, matrix_start};

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
    use super::list::MATRIX;
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
