//! Native-endian sample bytes → f32 values and validity.

use ndarray::{ArrayViewMut2, ArrayViewMut3, Axis};
use rayon::prelude::*;

use crate::SampleType;

/// How samples lie in a decoded buffer of rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// Number type.
    pub sample: SampleType,
    /// Samples per pixel in the buffer.
    pub interleaved: usize,
    /// Pixels per row of the buffer.
    pub width: usize,
}

impl Layout {
    pub fn row_bytes(&self) -> usize {
        self.width * self.interleaved * self.sample.bytes()
    }
}

/// Copies `bands` (positions within a pixel of the buffer) of as many rows as `data` has, and clears `mask` where a value is nodata or not finite.
/// `data` is [C, H, W], `bytes` holds at least H rows.
pub(super) fn unpack(
    bytes: &[u8],
    layout: Layout,
    bands: &[usize],
    nodata: &[Option<f64>],
    mut data: ArrayViewMut3<'_, f32>,
    mut mask: ArrayViewMut2<'_, bool>,
) {
    data.axis_iter_mut(Axis(1)).into_par_iter().zip(mask.axis_iter_mut(Axis(0))).enumerate().with_min_len(16).for_each(
        |(row, (mut planes, mut valid))| {
            let bytes = &bytes[row * layout.row_bytes()..][..layout.row_bytes()];
            for ((mut out, &band), &nodata) in planes.outer_iter_mut().zip(bands).zip(nodata) {
                let (out, valid) =
                    (out.as_slice_mut().expect("a row of [C, H, W]"), valid.as_slice_mut().expect("a row"));
                row_of(bytes, layout, band, nodata, out, valid);
            }
        },
    );
}

fn row_of(bytes: &[u8], layout: Layout, band: usize, nodata: Option<f64>, out: &mut [f32], valid: &mut [bool]) {
    macro_rules! each {
        ($type:ty, $to_f32:expr, $matches:expr) => {{
            const SIZE: usize = size_of::<$type>();
            let step = SIZE * layout.interleaved;
            let matches = $matches;
            for ((pixel, out), valid) in bytes.chunks_exact(step).zip(out).zip(valid) {
                let value = <$type>::from_ne_bytes(pixel[band * SIZE..][..SIZE].try_into().expect("SIZE bytes"));
                let number: f32 = $to_f32(value);
                *out = number;
                *valid &= number.is_finite() && !matches(value);
            }
        }};
    }
    macro_rules! integer {
        ($type:ty) => {{
            // A nodata value the type cannot hold matches nothing.
            let wanted = nodata.filter(|v| v.fract() == 0.0 && *v >= <$type>::MIN as f64 && *v <= <$type>::MAX as f64);
            let wanted = wanted.map(|v| v as $type);
            each!($type, |v| v as f32, |v| Some(v) == wanted)
        }};
    }
    let close = |v: f64| nodata.is_some_and(|nodata| is_nodata(v, nodata));
    match layout.sample {
        SampleType::U8 => integer!(u8),
        SampleType::I8 => integer!(i8),
        SampleType::U16 => integer!(u16),
        SampleType::I16 => integer!(i16),
        SampleType::U32 => integer!(u32),
        SampleType::I32 => integer!(i32),
        SampleType::U64 => integer!(u64),
        SampleType::I64 => integer!(i64),
        SampleType::F16 => each!(half::f16, |v: half::f16| v.to_f32(), |v: half::f16| close(v.to_f64())),
        SampleType::F32 => each!(f32, |v| v, |v: f32| close(f64::from(v))),
        SampleType::F64 => each!(f64, |v| v as f32, close),
    }
}

/// Float nodata: equal as f64 or, because many writers print −3.4028235e38 and the like with few digits, equal to six digits for huge numbers.
fn is_nodata(value: f64, nodata: f64) -> bool {
    value == nodata
        || value == f64::from(nodata as f32)
        || (nodata.abs() > 1e30 && (value - nodata).abs() <= 1e-5 * nodata.abs())
}
