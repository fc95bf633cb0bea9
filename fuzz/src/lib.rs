//! Entry points of the fuzz targets: each takes any bytes, and neither panics, overflows nor allocates without bound.
//!
//! The tests of the `geoglot` crate run the same functions over the seeds and damaged copies of them.

#[cfg(feature = "archive")]
pub mod archive;
#[cfg(feature = "nn")]
pub mod datasets;
#[cfg(feature = "nn")]
pub mod models;
pub mod raster;

/// Decoders of other crates may panic on damaged files, which ours catch and turn into errors: their panics are printed here and do not
/// end the process, as they would by the fuzzer's own hook.
pub fn catch_decoders() {
    let _ = std::panic::take_hook();
}
