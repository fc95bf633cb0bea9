#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    geoglot_fuzz::models::adapter_config(data);
});
