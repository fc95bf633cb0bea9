#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    geoglot_fuzz::models::llm_config(data);
});
