//! The Parquet library on files that may be damaged: some damage it meets with a panic.

use std::panic::{AssertUnwindSafe, catch_unwind};

use parquet::errors::{ParquetError, Result};

/// Runs code of the library; a panic in it becomes its error.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(ParquetError::General("is damaged in a way its decoder cannot follow; fetch or write it again".into()))
    })
}

/// The batches of a reader, up to the first that cannot be read.
pub(crate) fn guarded_batches<B, E: Into<ParquetError>>(
    mut reader: impl Iterator<Item = std::result::Result<B, E>>,
) -> impl Iterator<Item = Result<B>> {
    let mut failed = false;
    std::iter::from_fn(move || {
        if failed {
            return None;
        }
        let batch = guarded(|| reader.next().transpose().map_err(Into::into)).transpose();
        failed = matches!(batch, Some(Err(_)));
        batch
    })
}
