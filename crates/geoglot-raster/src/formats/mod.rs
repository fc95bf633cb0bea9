//! Readers of array files and folders: MATLAB, npy, HDF5, NetCDF, ENVI, folders of one-band GeoTIFFs.
//!
//! Every reader implements [`BandSource`](crate::BandSource): opening reads metadata only; pixels come window by window. Compressed MATLAB v5
//! variables are the exception: their only access is from the start, so the chosen variable is inflated once, at the first read.
//!
//! Array files do not say which axis holds bands. [`axes`] decides by stated rules, each overridable by
//! [`SourceOptions::axes`](crate::SourceOptions); what was decided is in [`ArraySource::notes`].

/// Calls the macro `$read` with the Rust type of a sample type that an array file can hold; `$other` for any other or none.
macro_rules! by_sample {
    ($sample:expr, $read:ident, $other:expr) => {
        match $sample {
            Some(crate::SampleType::U8) => $read!(u8),
            Some(crate::SampleType::I8) => $read!(i8),
            Some(crate::SampleType::U16) => $read!(u16),
            Some(crate::SampleType::I16) => $read!(i16),
            Some(crate::SampleType::U32) => $read!(u32),
            Some(crate::SampleType::I32) => $read!(i32),
            Some(crate::SampleType::U64) => $read!(u64),
            Some(crate::SampleType::I64) => $read!(i64),
            Some(crate::SampleType::F32) => $read!(f32),
            Some(crate::SampleType::F64) => $read!(f64),
            _ => $other,
        }
    };
}

pub mod array;
pub mod axes;
pub mod envi;
pub mod flat;
pub mod folder;
pub mod hdf5;
pub mod mat;
pub mod netcdf;
pub mod npy;
mod wkt;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use geoglot_core::Band;
use ndarray::{Array2, ArrayView3, Axis};

use crate::{Error, Result};

pub use array::ArraySource;
pub use envi::EnviSource;
pub use folder::FolderSource;

/// Validity of stored values, [H, W]: false where any band is nodata or not finite.
pub(crate) fn mask_of(data: ArrayView3<'_, f32>, bands: &[&Band]) -> Array2<bool> {
    let (_, height, width) = data.dim();
    let mut mask = Array2::from_elem((height, width), true);
    for (plane, band) in data.axis_iter(Axis(0)).zip(bands) {
        // Stored values are read as f32, so the nodata value must be rounded the same way (−3.4028235e38 written as f64).
        let nodata = band.nodata.map(|v| v as f32);
        ndarray::Zip::from(&mut mask).and(&plane).for_each(|m, &v| *m &= v.is_finite() && Some(v) != nodata);
    }
    mask
}

/// Runs code of a parsing library; a panic in it becomes an error of `path`.
pub(crate) fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result,
        Err(cause) => {
            let said = cause
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| cause.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            Err(Error::format(
                path,
                format!("is damaged in a way its parser cannot follow ({said}); fetch the file again"),
            ))
        }
    }
}
