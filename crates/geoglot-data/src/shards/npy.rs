//! numpy's `.npy` form of whole arrays in memory.

use geoglot_raster::SampleType;
use geoglot_raster::formats::npy::{NpyHeader, parse_npy_header};
use half::f16;
use ndarray::{ArrayD, ArrayViewD, IxDyn, ShapeBuilder};

/// Bytes read to see a header.
pub(super) const HEAD: u64 = 1 << 10;

/// A parsed file: header and numbers.
pub(super) struct Npy<'a> {
    pub header: NpyHeader,
    data: &'a [u8],
}

/// Number of values of a shape.
pub(super) fn count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, &axis| n.checked_mul(axis))
}

/// Checks that a file of `size` bytes holds exactly what its header states.
pub(super) fn check_size(header: &NpyHeader, size: u64) -> Result<(), String> {
    let data = count(&header.shape).and_then(|n| n.checked_mul(header.sample.bytes())).map(|n| n as u64);
    if data.and_then(|n| n.checked_add(header.offset)) != Some(size) {
        let shape = &header.shape;
        let data = size.saturating_sub(header.offset);
        return Err(format!(
            "states an array {shape:?} of {} and holds {data} bytes of it: it was cut off or is damaged",
            header.sample
        ));
    }
    Ok(())
}

impl<'a> Npy<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let header = parse_npy_header(bytes)?;
        check_size(&header, bytes.len() as u64)?;
        let data = bytes.get(header.offset as usize..).unwrap_or_default();
        Ok(Self { header, data })
    }

    fn values<T, const N: usize>(&self, little: impl Fn([u8; N]) -> T, big: impl Fn([u8; N]) -> T) -> Vec<T> {
        let chunks = self.data.as_chunks::<N>().0;
        match self.header.big_endian {
            false => chunks.iter().map(|&c| little(c)).collect(),
            true => chunks.iter().map(|&c| big(c)).collect(),
        }
    }

    fn shaped<T: Clone>(&self, values: Vec<T>) -> Result<ArrayD<T>, String> {
        let shape = IxDyn(&self.header.shape).set_f(self.header.fortran_order);
        let array = ArrayD::from_shape_vec(shape, values).map_err(|e| format!("has an impossible shape: {e}"))?;
        Ok(if self.header.fortran_order { array.as_standard_layout().into_owned() } else { array })
    }

    pub fn u8(&self) -> Result<ArrayD<u8>, String> {
        self.shaped(self.data.to_vec())
    }

    pub fn u16(&self) -> Result<ArrayD<u16>, String> {
        self.shaped(self.values(u16::from_le_bytes, u16::from_be_bytes))
    }

    /// Any number type as f32; 32-bit integers and doubles lose what f32 cannot hold.
    pub fn f32(&self) -> Result<ArrayD<f32>, String> {
        use SampleType::*;
        macro_rules! cast {
            ($t:ty) => {
                self.values(<$t>::from_le_bytes, <$t>::from_be_bytes).into_iter().map(|v| v as f32).collect()
            };
        }
        let values: Vec<f32> = match self.header.sample {
            U8 => self.data.iter().map(|&v| f32::from(v)).collect(),
            I8 => cast!(i8),
            U16 => cast!(u16),
            I16 => cast!(i16),
            U32 => cast!(u32),
            I32 => cast!(i32),
            U64 => cast!(u64),
            I64 => cast!(i64),
            F16 => self.values(f16::from_le_bytes, f16::from_be_bytes).into_iter().map(f32::from).collect(),
            F32 => self.values(f32::from_le_bytes, f32::from_be_bytes),
            F64 => cast!(f64),
        };
        self.shaped(values)
    }
}

/// A number type written as it is.
pub(super) trait Stored: Copy {
    const CODE: &'static str;
    fn append(values: impl Iterator<Item = Self>, bytes: &mut Vec<u8>);
}

macro_rules! stored {
    ($t:ty, $code:literal) => {
        impl Stored for $t {
            const CODE: &'static str = $code;
            fn append(values: impl Iterator<Item = Self>, bytes: &mut Vec<u8>) {
                bytes.extend(values.flat_map(<$t>::to_le_bytes));
            }
        }
    };
}
stored!(u8, "|u1");
stored!(u16, "<u2");
stored!(f32, "<f4");

/// The file of an array, as `numpy.save` writes it (version 1.0, C order).
pub(super) fn encode<T: Stored>(array: ArrayViewD<'_, T>) -> Vec<u8> {
    let axes: Vec<String> = array.shape().iter().map(usize::to_string).collect();
    let shape = if axes.len() == 1 { format!("({},)", axes[0]) } else { format!("({})", axes.join(", ")) };
    let mut header = format!("{{'descr': '{}', 'fortran_order': False, 'shape': {shape}, }}", T::CODE);
    // The numbers begin at a multiple of 64.
    let padding = (64 - (10 + header.len() + 1) % 64) % 64;
    header.push_str(&" ".repeat(padding));
    header.push('\n');
    let mut bytes = Vec::with_capacity(10 + header.len() + array.len() * size_of::<T>());
    bytes.extend(b"\x93NUMPY\x01\x00");
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    match array.as_slice() {
        Some(values) => T::append(values.iter().copied(), &mut bytes),
        None => T::append(array.iter().copied(), &mut bytes),
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array;

    #[test]
    fn arrays_come_back() {
        let a = Array::from_shape_fn((3, 4, 2), |(i, j, k)| (i * 1000 + j * 10 + k) as u16).into_dyn();
        let bytes = encode(a.view());
        assert_eq!(bytes.len() % 64, 48);
        assert_eq!(Npy::parse(&bytes).unwrap().u16().unwrap(), a);
        assert_eq!(Npy::parse(&bytes).unwrap().f32().unwrap(), a.mapv(f32::from));
        let f = Array::from_shape_fn(5, |i| i as f32 - 0.5).into_dyn();
        assert_eq!(Npy::parse(&encode(f.view())).unwrap().f32().unwrap(), f);
        assert!(Npy::parse(&bytes[..bytes.len() - 1]).err().unwrap().contains("cut off"));
    }
}
