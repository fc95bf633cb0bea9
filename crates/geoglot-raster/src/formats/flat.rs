//! Windows of an uncompressed array lying flat in a file: npy, ENVI, uncompressed MATLAB variables.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ndarray::{ArrayD, IxDyn};

use crate::{Error, Result, SampleType};

/// Appends the numbers in `bytes` (a whole number of them) to `out`.
pub(crate) fn decode(sample: SampleType, bytes: &[u8], big_endian: bool, out: &mut Vec<f32>) {
    macro_rules! numbers {
        ($type:ty) => {{
            const N: usize = size_of::<$type>();
            out.extend(bytes.chunks_exact(N).map(|b| {
                let b: [u8; N] = b.try_into().expect("chunks of that size");
                (if big_endian { <$type>::from_be_bytes(b) } else { <$type>::from_le_bytes(b) }) as f32
            }))
        }};
    }
    match sample {
        SampleType::U8 => out.extend(bytes.iter().map(|&b| f32::from(b))),
        SampleType::I8 => out.extend(bytes.iter().map(|&b| f32::from(b as i8))),
        SampleType::U16 => numbers!(u16),
        SampleType::I16 => numbers!(i16),
        SampleType::U32 => numbers!(u32),
        SampleType::I32 => numbers!(i32),
        SampleType::U64 => numbers!(u64),
        SampleType::I64 => numbers!(i64),
        SampleType::F16 => out.extend(bytes.chunks_exact(2).map(|b| {
            let b = [b[0], b[1]];
            (if big_endian { half::f16::from_be_bytes(b) } else { half::f16::from_le_bytes(b) }).to_f32()
        })),
        SampleType::F32 => numbers!(f32),
        SampleType::F64 => numbers!(f64),
    }
}

/// Reading at most this much at once keeps windows of interleaved files cheap in memory.
const BLOCK: usize = 4 << 20;
/// Skipping fewer bytes than a page costs more than reading them.
const SKIP: usize = 4096;

/// An array in a file at some offset, every axis with its own stride.
#[derive(Debug)]
pub struct Flat {
    path: PathBuf,
    file: Mutex<File>,
    offset: u64,
    shape: Vec<usize>,
    strides: Vec<usize>,
    sample: SampleType,
    big_endian: bool,
}

/// Strides in elements of a contiguous array; `None` when the number of elements overflows.
pub fn contiguous_strides(shape: &[usize], column_major: bool) -> Option<Vec<usize>> {
    let mut strides = vec![1; shape.len()];
    let mut step = 1usize;
    let order: Vec<usize> = if column_major { (0..shape.len()).collect() } else { (0..shape.len()).rev().collect() };
    for axis in order {
        strides[axis] = step;
        step = step.checked_mul(shape[axis])?;
    }
    Some(strides)
}

impl Flat {
    /// Opens the array; strides count elements.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] when the file is too short for the shape, before anything is allocated.
    pub fn open(
        path: &Path,
        offset: u64,
        shape: &[usize],
        strides: &[usize],
        sample: SampleType,
        big_endian: bool,
    ) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
        let length = file.metadata().map_err(|e| Error::io(path, "read the size", e))?.len();
        let last = shape.iter().zip(strides).try_fold(0u64, |sum, (&n, &stride)| {
            (n.checked_sub(1)? as u64).checked_mul(stride as u64)?.checked_add(sum)
        });
        let needed = last
            .and_then(|last| last.checked_add(1))
            .and_then(|n| n.checked_mul(sample.bytes() as u64))
            .and_then(|n| n.checked_add(offset));
        match needed {
            Some(needed) if needed <= length => {}
            _ => {
                let needed = needed.map_or("an impossible number of".into(), |n| n.to_string());
                return Err(Error::format(
                    path,
                    format!(
                        "is too short: {shape:?} numbers of type {} after {offset} bytes of header need {needed} bytes, the file has {length}; \
                         it is truncated, or the header states other sizes or another data type",
                        sample
                    ),
                ));
            }
        }
        Ok(Self {
            path: path.into(),
            file: Mutex::new(file),
            offset,
            shape: shape.to_vec(),
            strides: strides.to_vec(),
            sample,
            big_endian,
        })
    }

    /// The values at the given indices of every axis (inside the shape, any order), as an array with the axes in their given order.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Format`] when the file changed since it was opened; [`Error::Usage`] for indices outside.
    pub fn read(&self, index: &[Vec<usize>]) -> Result<ArrayD<f32>> {
        let inside = index.len() == self.shape.len()
            && index.iter().zip(&self.shape).all(|(list, &n)| !list.is_empty() && list.iter().all(|&i| i < n));
        if !inside {
            return Err(Error::Usage(format!("{}: indices outside the array {:?}", self.path.display(), self.shape)));
        }
        let dims: Vec<usize> = index.iter().map(Vec::len).collect();
        let mut out = ArrayD::<f32>::zeros(IxDyn(&dims));
        // Axes from the slowest to the fastest in the file: the last varies inside a run of bytes, the one before it is read in groups,
        // the others one index at a time.
        let mut axes: Vec<usize> = (0..index.len()).collect();
        axes.sort_by_key(|&a| std::cmp::Reverse((self.strides[a], self.shape[a])));
        let Some((&inner, rest)) = axes.split_last() else { return Ok(out) };
        let size = self.sample.bytes();
        let low = *index[inner].iter().min().expect("not empty");
        let high = *index[inner].iter().max().expect("not empty");
        let run = (high - low) * self.strides[inner] + 1;
        let (middle, outer) = match rest.split_last() {
            Some((&m, o)) => (Some(m), o),
            None => (None, rest),
        };
        let groups = match middle {
            Some(m) => group(&index[m], self.strides[m] * size, run * size),
            None => vec![vec![(0, 0)]],
        };
        let mut position = vec![0usize; outer.len()];
        let (mut bytes, mut values, mut at) = (Vec::new(), Vec::new(), vec![0usize; index.len()]);
        loop {
            let mut base = low * self.strides[inner];
            for (&axis, &p) in outer.iter().zip(&position) {
                base += index[axis][p] * self.strides[axis];
                at[axis] = p;
            }
            for group in &groups {
                let step = middle.map_or(0, |m| self.strides[m]);
                let (first, last) = (group[0].0, group[group.len() - 1].0);
                let count = (last - first) * step + run;
                bytes.resize(count * size, 0);
                self.fetch((base + first * step) as u64 * size as u64, &mut bytes)?;
                values.clear();
                decode(self.sample, &bytes, self.big_endian, &mut values);
                for &(i, p) in group {
                    if let Some(m) = middle {
                        at[m] = p;
                    }
                    let row = &values[(i - first) * step..];
                    for (p, &i) in index[inner].iter().enumerate() {
                        at[inner] = p;
                        out[IxDyn(&at)] = row[(i - low) * self.strides[inner]];
                    }
                }
            }
            // The next combination of the outer axes.
            let mut axis = outer.len();
            loop {
                if axis == 0 {
                    return Ok(out);
                }
                axis -= 1;
                position[axis] += 1;
                if position[axis] < dims[outer[axis]] {
                    break;
                }
                position[axis] = 0;
            }
        }
    }

    fn fetch(&self, at: u64, bytes: &mut [u8]) -> Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(self.offset + at))
            .and_then(|_| file.read_exact(bytes))
            .map_err(|e| Error::io(&self.path, "read", e))
    }
}

/// Indices with their positions, sorted and cut into groups that are worth one read each.
fn group(list: &[usize], stride: usize, run: usize) -> Vec<Vec<(usize, usize)>> {
    let mut sorted: Vec<(usize, usize)> = list.iter().enumerate().map(|(p, &i)| (i, p)).collect();
    sorted.sort_unstable();
    let mut groups: Vec<Vec<(usize, usize)>> = Vec::new();
    for item in sorted {
        if let Some(open) = groups.last_mut() {
            let (first, last) = (open[0].0, open[open.len() - 1].0);
            let skipped = ((item.0 - last) * stride).saturating_sub(run);
            if skipped <= SKIP && (item.0 - first + 1) * stride <= BLOCK {
                open.push(item);
                continue;
            }
        }
        groups.push(vec![item]);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    #[test]
    fn every_type_decodes_in_both_byte_orders() {
        let mut out = Vec::new();
        decode(SampleType::I16, &[0xff, 0xfe], true, &mut out);
        decode(SampleType::I16, &[0xfe, 0xff], false, &mut out);
        decode(SampleType::U16, &[0x01, 0x00], true, &mut out);
        decode(SampleType::F64, &1.5f64.to_be_bytes(), true, &mut out);
        decode(SampleType::F16, &half::f16::from_f32(-0.5).to_le_bytes(), false, &mut out);
        decode(SampleType::I8, &[0x80], false, &mut out);
        assert_eq!(out, [-2.0, -2.0, 256.0, 1.5, -0.5, -128.0]);
    }

    #[test]
    fn a_short_file_is_refused_before_allocating() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[0; 10]).unwrap();
        for shape in [[3, 2, 2], [1_000_000, 1_000_000, 1_000_000], [usize::MAX, usize::MAX, 2]] {
            let strides = contiguous_strides(&shape, false).unwrap_or(vec![usize::MAX, 1, 1]);
            let error = Flat::open(file.path(), 0, &shape, &strides, SampleType::U8, false).unwrap_err().to_string();
            assert!(error.contains("too short"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn windows_equal_slices_of_the_whole(a in 1usize..6, b in 1usize..7, c in 1usize..5, order in 0usize..6, pick in proptest::collection::vec((0usize..64, 0usize..64, 0usize..64), 1..5)) {
            let shape = [a, b, c];
            let order = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]][order];
            let mut strides = vec![0; 3];
            let mut step = 1;
            for &axis in order.iter().rev() {
                strides[axis] = step;
                step *= shape[axis];
            }
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(b"head").unwrap();
            for v in 0..(a * b * c) as u16 {
                file.write_all(&v.to_be_bytes()).unwrap();
            }
            file.flush().unwrap();
            let flat = Flat::open(file.path(), 4, &shape, &strides, SampleType::U16, true).unwrap();
            let index = [pick.iter().map(|p| p.0 % a).collect::<Vec<_>>(), pick.iter().map(|p| p.1 % b).collect(), pick.iter().map(|p| p.2 % c).collect()];
            let got = flat.read(&index).unwrap();
            for (x, &i) in index[0].iter().enumerate() {
                for (y, &j) in index[1].iter().enumerate() {
                    for (z, &k) in index[2].iter().enumerate() {
                        prop_assert_eq!(got[[x, y, z]] as usize, i * strides[0] + j * strides[1] + k * strides[2]);
                    }
                }
            }
        }
    }
}
