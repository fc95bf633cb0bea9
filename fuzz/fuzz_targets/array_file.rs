#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(init: geoglot_fuzz::catch_decoders(), |data: &[u8]| {
    geoglot_fuzz::raster::array_file(data);
});
