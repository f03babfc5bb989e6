#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| push_core::hostile::store(bytes));
