//! Element types of stored tensors and their conversion to f32.

use half::{bf16, f16};

/// Element type of a stored tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DType {
    /// 64-bit float.
    F64,
    /// 32-bit float.
    F32,
    /// IEEE half precision.
    F16,
    /// Brain float.
    BF16,
    /// 64-bit signed integer.
    I64,
    /// 32-bit signed integer.
    I32,
    /// 16-bit signed integer.
    I16,
    /// 8-bit signed integer.
    I8,
    /// 8-bit unsigned integer.
    U8,
    /// One byte per truth value.
    Bool,
    /// Anything else, by its bit width: it can be listed, not read.
    Other(usize),
}

impl DType {
    /// Bits per element.
    pub fn bits(self) -> usize {
        match self {
            DType::F64 | DType::I64 => 64,
            DType::F32 | DType::I32 => 32,
            DType::F16 | DType::BF16 | DType::I16 => 16,
            DType::I8 | DType::U8 | DType::Bool => 8,
            DType::Other(bits) => bits,
        }
    }

    /// Whether values of this type can become f32 weights.
    pub fn is_float(self) -> bool {
        matches!(self, DType::F64 | DType::F32 | DType::F16 | DType::BF16)
    }

    /// Little-endian bytes to f32; `None` for types that are not floats. A trailing partial element is dropped.
    pub(crate) fn to_f32(self, bytes: &[u8]) -> Option<Vec<f32>> {
        let values = match self {
            DType::F64 => bytes.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap()) as f32).collect(),
            DType::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect(),
            DType::F16 => bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            DType::BF16 => bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            _ => return None,
        };
        Some(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_float_type_becomes_f32() {
        let one_and_half = |d: DType, b: &[u8]| assert_eq!(d.to_f32(b), Some(vec![1.5f32]));
        one_and_half(DType::F64, &1.5f64.to_le_bytes());
        one_and_half(DType::F32, &1.5f32.to_le_bytes());
        one_and_half(DType::F16, &f16::from_f32(1.5).to_le_bytes());
        one_and_half(DType::BF16, &bf16::from_f32(1.5).to_le_bytes());
        assert_eq!(DType::I64.to_f32(&[0; 8]), None);
    }
}
